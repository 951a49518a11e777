"""The search: train the starts, then grow what promises most, then settle the best, or several.

1. Train each start for a slice of the time.
2. Fit the surrogate to what is known, let it choose a parent and its morphs, train that child for a
   slice from its parent's weights, record it. Again, until the clock says so.
3. Train the best lineage on at a learning rate that falls to zero, or up to three, whose mean is the model.

Reference: Jin, Song and Hu, "Auto-Keras: An Efficient Neural Architecture Search System", KDD 2019,
algorithm 1; the clock and the settling phase are ours.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from kmorph.errors import SearchError
from kmorph.graph import Graph
from kmorph.morphs import to_json
from kmorph.problem.losses import OwnLoss
from kmorph.search.candidate import Candidate, Job, Result, start_in_words, start_key, was_widened
from kmorph.search.events import Listener, SearchFinished, SearchStarted
from kmorph.search.recording import (
    Recorder,
    advice,
    warn_if_none_is_done,
    warn_if_not_varied,
    warn_if_too_large,
)
from kmorph.search.settings import Settings
from kmorph.search.store.folder import RunFolder
from kmorph.search.store.history import History
from kmorph.search.store.models import Models
from kmorph.search.store.record import ModelRecord
from kmorph.search.strategy.bounds import Bounds
from kmorph.search.strategy.choosing import Chooser, Standing
from kmorph.search.strategy.insurance import Insurance
from kmorph.search.strategy.observe import Observer
from kmorph.search.strategy.planning import Planner
from kmorph.search.strategy.proposal import Proposer
from kmorph.search.strategy.propose import SurrogateProposer
from kmorph.search.strategy.schedule import Schedule
from kmorph.search.strategy.settling import Settling
from kmorph.search.workers.calibration import measure_power
from kmorph.search.workers.dispatch import Dispatcher
from kmorph.search.workers.interrupts import FAREWELL, terminable
from kmorph.search.workers.jobs import Jobs
from kmorph.search.workers.measure import validation_losses
from kmorph.search.workers.pool import Pool, ask
from kmorph.training.plan import Plan

SECONDS_TO_MEASURE = 60.0  # that a worker may take for the losses of a user's own …
SHARE_TO_MEASURE = 0.1  # … but no more than this part of the time that is left
MOST_FAILURES = 10  # in a row, before a search gives up: then the fault is not the candidate's


@dataclass(frozen=True)
class Search:
    """One search in one folder.

    Parameters
    ----------
    folder : RunFolder
    history : History
        Open for writing.
    data_folder : Path
        Where the training and validation data were saved.
    settings : Settings
    listener : Listener
        Called with every event.
    pool : Pool
        Where candidates are trained; this search's alone while it runs.
    workers : int, default=1
        Candidates trained at once.
    proposer : Proposer, default=SurrogateProposer()
        Chooses the next child.
    clock : callable, default=time.time
        The time in seconds.
    """

    folder: RunFolder
    history: History
    data_folder: Path
    settings: Settings
    listener: Listener
    pool: Pool
    workers: int = 1
    proposer: Proposer = field(default_factory=SurrogateProposer)
    clock: Callable[[], float] = time.time

    def run(self, time_limit: float | None, begun: float | None = None) -> None:
        """Search until the time, or the number of models, is spent.

        Parameters
        ----------
        time_limit : float or None
            Seconds, counted from `begun`.
        begun : float, default=now
            Moment, by the clock, at which the time began to count.

        Raises
        ------
        SearchError
            If not a single model could be trained, with the reasons.
        """
        _Loop(self, time_limit, begun).run()


class _Loop:
    """A search that is running: its state, and the algorithm.

    Parameters
    ----------
    search : Search
    time_limit, begun
        As for `Search.run`.
    """

    def __init__(self, search: Search, time_limit: float | None, begun: float | None) -> None:
        settings, folder, history = search.settings, search.folder, search.history
        self.search, self.settings, self.folder, self.history = search, settings, folder, history
        self.models = Models.read(history.records(), folder.model_file)
        self.discarded_before = self.models.discarded_seconds()  # in earlier runs, with time of their own
        self.rng = np.random.default_rng([settings.seed, len(self.models)])
        most = None if settings.max_models is None else max(settings.max_models, 0)
        self.schedule = Schedule(
            time_limit,
            most,
            begun,
            search.workers,
            search.clock,
            settings.n_val,
            settings.most_epochs,
            varies=bool(settings.space),
        )
        cold, start = not search.pool.is_ready, settings.starts[0][1]
        power = measure_power(search.pool, start, settings.n_train, time_limit, settings.packed_problem)
        self.planner = Planner(
            settings, self.schedule, self.models.records, power.multiply_adds, cold, power.policy
        )
        growth = max(1.0, (settings.affordable or 0) / max(start.flops, 1))
        self.schedule.expect(self.planner.epoch_seconds(start) * growth)
        self.settling = Settling(settings, self.schedule, self.planner, self.models, self._losses)
        compared = self._losses if settings.posed.loss.is_per_example else None
        self.insurance = Insurance(self.models, folder, compared)
        self.bounds = Bounds(settings.limits)
        self.chooser = Chooser(
            settings,
            self.schedule,
            self.models,
            Observer(self.models, self.planner),
            self.bounds,
            search.proposer,
            search.workers,
            self.rng,
        )
        self.chooser.plan(start.flops)
        self.jobs: Jobs[Candidate] = Jobs(search.pool, search.listener, search.clock)
        self.recorder = Recorder(folder, history, self.models, settings, search.listener, search.clock)
        self.dispatcher = Dispatcher(
            folder, search.data_folder, settings, search.listener, self.jobs, self.models
        )
        self.tried_starts: set[str] = set()  # fingerprints; in this run
        earlier = self.models.starts() if self.models.growable() else []
        sized = [record.change for record in earlier if settings.is_sized or was_widened(record.change)]
        self.sized_before = {start_key(change, settings.is_sized) for change in sized}
        self.n_before = len(self.models)
        self.was_late = False

    # The algorithm.

    def run(self) -> None:
        """Train candidates until it is over; whatever ends it, no job is left behind."""
        listener, limit = self.search.listener, self.schedule.time_limit
        listener(SearchStarted(self.folder.path, limit, len(self.models)))
        try:
            with terminable():
                while self._send_candidates():
                    self.chooser.prepare(self._standing())
                    for candidate, job, result in self.jobs.collect():
                        self._record(candidate, job, result)
                self._add_ensemble()
                self._require_a_model()
        except (KeyboardInterrupt, SystemExit):
            try:
                self._keep_what_was_trained()
            finally:
                self.jobs.abandon(idle=True)
            raise
        finally:
            self.jobs.abandon()
        best = self.models.best(self.settings.objective)
        warn_if_none_is_done(best, self.models, self.settings, stacklevel=6)
        warn_if_too_large(best, self.settings, stacklevel=6)
        warn_if_not_varied(self.models, self.n_before, self.settings, stacklevel=6)
        listener(SearchFinished(best, self.schedule.why_early(len(self.models))))

    def _keep_what_was_trained(self) -> None:
        """Ask the workers to evaluate what they have; those that take too long are ended."""
        try:
            self.folder.stop_file.touch()
        except OSError:  # the folder is gone, or its disk full: nothing could be kept
            return
        until = time.monotonic() + FAREWELL
        while self.jobs and (left := until - time.monotonic()) > 0:
            for candidate, job, result in self.jobs.collect(left):
                self._record(candidate, job, result)

    def _send_candidates(self) -> bool:
        """Keep every worker busy. Return False when nothing is left to train."""
        while len(self.jobs) < self.search.workers and not self._is_over() and not self._must_wait():
            candidate = self._next_start() or self._settling() or self._next_child() or self._early_settling()
            if candidate is None:
                break
            self.dispatcher.send(candidate, self._needed())
        return len(self.jobs) > 0

    def _is_over(self) -> bool:
        if self.settling.is_over or self.recorder.failures_in_a_row >= MOST_FAILURES:
            return True
        limit = self.schedule.max_models
        if limit is not None and len(self.models) + len(self.jobs) >= limit:
            return True
        # The first model is trained however little time there is.
        is_first = not (self.models or self.jobs or self.recorder.failed_starts)
        return self.schedule.is_spent() and not is_first

    def _must_wait(self) -> bool:
        """Return whether the next model to settle depends on candidates that still train."""
        if not self.jobs or self._due_starts():
            return False
        return self.schedule.time_to_settle(len(self.models) + len(self.jobs))

    def _due_starts(self) -> list[tuple[str, Graph]]:
        """Starts that were not trained yet, if the time allows another one."""
        known = len(self.models) + len(self.jobs)
        if known and self.schedule.max_models is not None and known >= self.schedule.max_models - 1:
            return []  # the last one settles
        tried = self.tried_starts | set(self.recorder.failed_starts)
        if self.models.growable():  # otherwise all begins anew
            tried |= {record.fingerprint for record in self.models.starts()}
        fresh = [
            (name, graph)
            for name, graph in self.settings.starts
            if graph.fingerprint not in tried and not self._was_sized_otherwise(name, graph)
        ]
        trained = len(self.settings.starts) - len(fresh)
        most = self.schedule.affordable_starts(len(self.settings.starts))
        return fresh if trained < most or not known else []

    def _was_sized_otherwise(self, name: str, graph: Graph) -> bool:
        """Return whether an earlier run trained this start at a width that suited another time."""
        return not graph.has_weights and start_key(name, self.settings.is_sized) in self.sized_before

    def _next_start(self) -> Candidate | None:
        """The next start that is due."""
        due = self._due_starts()
        if not due:
            return None
        name, graph = due[0]
        self.tried_starts.add(graph.fingerprint)
        seed, words = self._new_seed(), start_in_words(name, self.settings.growth.get(name))
        return Candidate(None, (), graph, words, *self.planner.first_or_stable(graph, seed))

    def _settling(self, early: bool = False) -> Candidate | None:
        """A lineage again, at a falling learning rate, when it is time for that."""
        if not self.models or any(candidate.phase != "stable" for candidate in self.jobs.under_way):
            return None
        return self.settling.next_candidate(self._new_seed, self.folder, early)

    def _early_settling(self) -> Candidate | None:
        """Settle before the scheduled time because every possible child has been tried."""
        return None if self.jobs else self._settling(early=True)

    def _next_child(self) -> Candidate | None:
        """A planned step, or else the child that the surrogate proposes."""
        proposal = self.chooser.next(self._standing())
        if proposal is None:
            return None
        seed = self._new_seed()
        return Candidate(
            self.models.records[proposal.parent_id],
            tuple(to_json(morph, seed) for morph, seed in proposal.morphs),
            proposal.graph,
            proposal.change,
            *self.planner.first_or_stable(proposal.graph, seed, proposal.hyperparameters),
        )

    def _standing(self) -> Standing:
        return Standing(self.jobs.under_way, self.recorder.failed_children, self.history.next_model_id())

    # Results.

    def _needed(self) -> list[ModelRecord]:
        """Models whose weights must stay, whatever the limit on disk space; parents in training apart."""
        best = [self.models.best(self.settings.objective), self.models.best_stable()]
        return [record for record in (*best, *self.settling.needed) if record is not None]

    def _record(self, candidate: Candidate, job: Job, result: Result) -> None:
        checkpoint = Path(job.output_file)
        name = checkpoint.stem
        if result.cause == "late":
            # Never evaluated: kept only if there is no other model.
            if checkpoint.exists() and not self.models:
                self._keep_late(candidate, result, checkpoint)
            else:
                self.was_late = True
                self._record_failure(candidate, result, checkpoint)
        elif result.reason is not None:
            self._record_failure(candidate, result, checkpoint)
        else:
            self.bounds.note_trained(candidate.graph)
            if result.images:
                self._observe(result)
            state = "stopped" if result.stopped else "done"
            record = self.recorder.model(candidate, result, Path(result.file), name, state)
            self.insurance.note(record)
            self.settling.note(record)
        self.schedule.discard(max(0.0, self.models.discarded_seconds() - self.discarded_before))
        self.folder.forget(name)

    def _keep_late(self, candidate: Candidate, result: Result, checkpoint: Path) -> None:
        """Record the only model there is, as it was at its last checkpoint or before training."""
        if not result.images:
            self.recorder.model(candidate, result, checkpoint, checkpoint.stem, "untrained")
            return
        reason = "ended at the deadline; as it was at its last checkpoint, and never evaluated"
        result = replace(result, epochs=result.images / self.settings.n_train, stopped=reason)
        self.recorder.model(candidate, result, checkpoint, checkpoint.stem, "stopped")

    def _record_failure(self, candidate: Candidate, result: Result, checkpoint: Path) -> None:
        self.recorder.failure(candidate, result, checkpoint.stem)
        if result.cause == "lost":
            self.tried_starts.discard(candidate.graph.fingerprint)
        self.bounds.note_failure(candidate.graph, result)
        self.chooser.note_failure()
        if result.cause == "disk":
            raise SearchError(
                f"the search in {self.folder.path} cannot go on ({result.reason}): free some disk space "
                f"or check permissions. Its {len(self.models)} models are kept; go on with resume=True"
            )
        if result.cause in ("died", "lost") and candidate.phase == "decay":
            self.settling.settle_again(candidate, checkpoint if result.images else None)

    def _observe(self, result: Result) -> None:
        """Let the clock learn how long candidates take."""
        speed, cap = max(result.examples_per_second, 1e-9), self.settings.epochs
        self.schedule.expect(self.settings.n_train / speed)
        longest = None if cap is None else cap * self.settings.n_train / speed
        self.schedule.observe(result.seconds - result.images / speed, longest)

    def _add_ensemble(self) -> None:
        """Record the mean of the settled models, if there are several."""
        candidate = self.settling.unmeasured_mean(self.folder)
        if candidate is not None:
            self.dispatcher.make_room(candidate, self._needed())
            with self.folder.translated_errors():
                file = candidate.graph.save(self.folder.scratch / "ensemble.safetensors")
            self.recorder.model(candidate, Result(), file, file.stem)

    def _require_a_model(self) -> None:
        if self.models:
            return
        failures = self.history.failures()
        if failures and not self.was_late:
            most = max(5, len(self.settings.starts))  # each start, and not all of a long history
            reasons = "; ".join(f"{record.change}: {record.reason}" for record in failures[-most:])
            raise SearchError(f"no model could be trained ({reasons}){advice(self.settings)}")
        # No worker answered in time: the first start with fresh weights is better than nothing.
        name, graph = self.settings.starts[0]
        seed = self._new_seed()
        graph = graph if graph.has_weights else graph.initialize(seed)
        with self.folder.translated_errors():
            file = graph.save(self.folder.scratch / "untrained.safetensors")
        words = start_in_words(name, self.settings.growth.get(name))
        candidate = Candidate(None, (), graph, words, "stable", Plan(seed=seed), seed)
        self.recorder.model(candidate, Result(), file, file.stem, "untrained")

    def _losses(self, outputs: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        """Losses of the validation examples for each of these; a user's loss is computed in a worker."""
        settings, folder = self.settings, str(self.search.data_folder)
        if not isinstance(settings.posed.loss, OwnLoss):
            return validation_losses(settings.posed, folder, outputs)
        left = self.schedule.time_left()
        seconds = SECONDS_TO_MEASURE if left is None else min(SECONDS_TO_MEASURE, SHARE_TO_MEASURE * left)
        arguments = (settings.packed_problem, folder, outputs, settings.strategy)
        found: Sequence[np.ndarray] = ask(self.search.pool, seconds, validation_losses, *arguments)
        return found

    def _new_seed(self) -> int:
        return int(self.rng.integers(2**31))
