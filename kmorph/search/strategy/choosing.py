"""Choice of what is trained next: a planned step, or the child that the surrogate proposes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import inf

import numpy as np

from kmorph.graph import Graph
from kmorph.search.candidate import Candidate
from kmorph.search.settings import Settings
from kmorph.search.store.models import Models
from kmorph.search.strategy.bounds import Bounds
from kmorph.search.strategy.ensemble import within_limits
from kmorph.search.strategy.observe import Observer
from kmorph.search.strategy.proposal import Proposal, Proposer, Situation
from kmorph.search.strategy.schedule import Schedule
from kmorph.search.strategy.steps import planned_step, steps_to

SECONDS_TO_PROPOSE = 2.0  # for scoring children, under a clock


@dataclass(frozen=True)
class Standing:
    """State of a search when a child is chosen.

    Parameters
    ----------
    under_way : sequence of Candidate
        In training.
    failed : iterable of Candidate
        Children that failed.
    next_id : int
        Number that the next model will have.
    """

    under_way: Sequence[Candidate]
    failed: Iterable[Candidate]
    next_id: int


class Chooser:
    """Chooses children, also ahead: while one trains, the next one is chosen from its prediction.

    Parameters
    ----------
    settings : Settings
    schedule : Schedule
    models : Models
    observer : Observer
    bounds : Bounds
        Of growth.
    proposer : Proposer
    workers : int
        Candidates trained at once.
    rng : numpy.random.Generator
    """

    def __init__(
        self,
        settings: Settings,
        schedule: Schedule,
        models: Models,
        observer: Observer,
        bounds: Bounds,
        proposer: Proposer,
        workers: int,
        rng: np.random.Generator,
    ) -> None:
        self.settings, self.schedule, self.models = settings, schedule, models
        self.observer, self.bounds, self.workers = observer, bounds, workers
        self.proposer, self.rng = proposer, rng
        self._prepared: Proposal | None = None
        self._awaited: int | None = None  # model that was in training when `_prepared` was chosen

    def plan(self, start_flops: int) -> None:
        """Let the clock plan how a search begins.

        Steps lead from a start, or an earlier model, to its size; or, without steps, several starts are
        averaged.
        """
        best = self.models.best_stable()
        flops = start_flops if best is None else self.models.structures[best.model_id].flops
        starts = len(self.settings.starts) if best is None else 0
        self.schedule.plan_steps(steps_to(flops, self.settings.affordable), starts)
        room = self.schedule.max_models
        graphs = averageable(self.settings, None if room is None else room - len(self.models))
        slowest = max((graph.flops for graph in graphs), default=0) / max(start_flops, 1)
        self.schedule.plan_average(len(graphs), max(1.0, slowest))

    def next(self, standing: Standing) -> Proposal | None:
        """The next child; None if there is nothing to try, or no time for it."""
        proposal = self._planned_step(standing)
        if proposal is None and self.schedule.tries_children:
            proposal, self._prepared = self._prepared, None
            if proposal is None or not self._is_still_right(proposal):
                proposal = self._propose(standing)
        return proposal

    def prepare(self, standing: Standing) -> None:
        """Choose the next child while the present one trains, whose prediction stands in for its loss."""
        wanted = self.schedule.tries_children and not self.schedule.steps_to_come
        if wanted and self._prepared is None and standing.under_way:
            if not self.schedule.time_to_settle(len(self.models) + len(standing.under_way)):
                self._prepared = self._propose(standing)

    def note_failure(self) -> None:
        """Forget a choice made ahead if its parent failed: the next model gets the parent's number."""
        if self._prepared is not None and self._prepared.parent_id not in self.models.records:
            self._prepared = None

    def _planned_step(self, standing: Standing) -> Proposal | None:
        """The best network, grown on its way to the size that the time affords; one such step at a time."""
        best, affordable = self.models.best_stable(), self.settings.affordable
        if not self.schedule.steps_to_come or affordable is None or best is None or standing.under_way:
            return None
        parent = self.observer.observation(best)
        step = planned_step(parent, affordable, self.bounds.limits, self.settings.kinds, self.rng)
        if step is None:
            self.schedule.give_up_steps()
        else:
            self.schedule.step_taken()
        return step

    def _is_still_right(self, proposal: Proposal) -> bool:
        """Return whether a choice made ahead holds, now that the candidate which was in training is known.

        It does if its parent is the best model; or another, if work may be discarded and it is not the one
        that was awaited and expected to do better.
        """
        best, parent_id = self.models.best_stable(), proposal.parent_id
        if best is None or parent_id not in self.models.records or parent_id in self.models.weightless:
            return False
        return parent_id == best.model_id or (self.schedule.may_branch() and parent_id != self._awaited)

    def _propose(self, standing: Standing) -> Proposal | None:
        situation = self._situation(standing)
        if not situation.observations and situation.expected is None:
            return None
        return self.proposer(situation, self.rng)

    def _situation(self, standing: Standing) -> Situation:
        """All that the next child is chosen from."""
        observations, under_way = self.observer.observations(), list(standing.under_way)
        best, clocked = self.models.best_stable(), self.schedule.time_limit is not None
        if not clocked:  # what is proposed must not depend on how fast the machine happened to be
            speed = self.observer.planner.speed
            observations = [replace(o, examples_per_second=speed(o.graph)) for o in observations]
        parents = {record.model_id for record in self.models.growable()} if self.models.weightless else None
        if best is not None and not self.schedule.may_branch():
            parents = {best.model_id}
        expected = self._awaited = None
        if self.workers == 1 and under_way and under_way[0].phase == "stable":
            # It is likely to be the best, and then the one to be grown.
            expected = self.observer.expected(under_way.pop(), standing.next_id)
            self._awaited = expected.model_id
            if parents is not None:
                parents = parents | {expected.model_id} if self.schedule.may_branch() else {expected.model_id}
        return Situation(
            observations=observations,
            expected=expected,
            pending=self.observer.unmeasured(under_way),
            failed=self.observer.unmeasured(standing.failed),
            parents=parents,
            limits=self.bounds.limits,
            kinds=self.settings.kinds if self.schedule.may_grow else (),
            space=self.settings.space,
            time_left=self.schedule.time_left(),
            seconds=SECONDS_TO_PROPOSE if clocked else inf,
        )


def averageable(settings: Settings, room: int | None) -> list[Graph]:
    """The starts, in their order, that a search may average instead of growing one; none if it may not.

    Parameters
    ----------
    settings : Settings
    room : int or None
        Models that the search may still train: each start is one, settled another, and so is the mean.
    """
    graphs = list({graph.fingerprint: graph for _, graph in settings.starts}.values())
    # A trained network that somebody brought must not come out worse for being averaged with untrained ones.
    if not settings.may_average or any(graph.has_weights for graph in graphs):
        return []
    if room is not None:
        graphs = graphs[: max(0, (room - 1) // 2)]
    while graphs and not within_limits(graphs, settings.limits):
        graphs.pop()
    return graphs
