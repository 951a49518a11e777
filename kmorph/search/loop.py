"""The search: train the starts, then grow what promises most, then settle the best.

1. Train each start for a slice of the time.
2. Fit the surrogate to what is known, let it choose a parent and its morphs, train that child for a
   slice from its parent's weights, record it. Again, until the clock says so.
3. Train the best lineage on at a learning rate that falls to zero.

Reference: Jin, Song and Hu, "Auto-Keras: An Efficient Neural Architecture Search System", KDD 2019,
algorithm 1; the clock and the settling phase are ours.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import replace
from math import inf
from pathlib import Path

import numpy as np

from kmorph.errors import SearchError
from kmorph.morphs import to_json
from kmorph.search.bounds import Bounds
from kmorph.search.calibration import measure_power
from kmorph.search.dispatch import Dispatcher
from kmorph.search.executors import WorkerProcesses
from kmorph.search.folder import RunFolder
from kmorph.search.history import History
from kmorph.search.interrupts import FAREWELL, terminable
from kmorph.search.jobs import Jobs, Listener
from kmorph.search.planning import Planner
from kmorph.search.population import Population
from kmorph.search.propose import Proposal, propose
from kmorph.search.record import Record
from kmorph.search.recording import Recorder, log_candidate
from kmorph.search.schedule import Schedule
from kmorph.search.settings import Candidate, Settings
from kmorph.search.settling import Settling
from kmorph.search.worker import Result, Task
from kmorph.surrogate import Surrogate
from kmorph.training.plan import Plan

SECONDS_TO_PROPOSE = 2.0  # for scoring children, under a clock
MOST_FAILURES = 10  # in a row, before a search gives up: then the fault is not the candidate's


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
    executor : concurrent.futures.Executor or WorkerProcesses
    workers : int, default=1
        Candidates trained at once.
    proposer : callable, default=propose
        Chooses the next child; benchmarks set others against the surrogate.
    """

    def __init__(
        self,
        folder: RunFolder,
        history: History,
        data_folder: Path,
        settings: Settings,
        listener: Listener,
        executor: Executor | WorkerProcesses,
        workers: int = 1,
        proposer: Callable[..., Proposal | None] = propose,
    ) -> None:
        self.folder, self.history = folder, history
        self.settings, self.listener = settings, listener
        self.workers, self._executor, self._proposer = workers, executor, proposer
        self.jobs: Jobs[Candidate] = Jobs(executor, listener)
        self.models = Population.read(history.records(), folder.model_file)
        self.recorder = Recorder(folder, history, self.models, settings, listener)
        self._set_clock(Schedule(), cold=False)
        self.dispatcher = Dispatcher(folder, data_folder, settings, listener, self.jobs, self.models)
        self.bounds = Bounds(settings.limits)
        self.surrogate = Surrogate()
        self.prepared: Proposal | None = None
        self._awaited: int | None = None  # model that was in training when `prepared` was chosen
        self._discarded_before = self.models.discarded_seconds()  # in earlier runs, with time of their own
        self._rng = np.random.default_rng([settings.seed, len(self.models)])

    def _set_clock(self, schedule: Schedule, cold: bool) -> None:
        self.schedule = schedule
        self.planner = Planner(self.settings, schedule, self.models.records, cold)
        self.settling = Settling(self.settings, schedule, self.planner, self.models)

    # The algorithm.

    def run(self, time_limit: float | None, begun: float) -> None:
        """Search until the time, or the number of models, is spent.

        Parameters
        ----------
        time_limit : float or None
            Seconds, counted from `begun`.
        begun : float
            ``time.time()`` at which the clock started.

        Raises
        ------
        SearchError
            If not a single model could be trained; the reasons are told.
        """
        settings = self.settings
        models = None if settings.max_models is None else max(settings.max_models, 0)
        cold = not getattr(self._executor, "is_ready", True)
        self._set_clock(Schedule(time_limit, models, begun, self.workers), cold)
        start = settings.starts[0][1]
        self.planner.power = measure_power(self._executor, start, settings.n_train, time_limit)
        self.schedule.expect(self.planner.epoch_seconds(start))
        self.listener.search_started(self.folder.path, time_limit, len(self.models))
        try:
            with terminable():
                while self._send_candidates():
                    self._prepare_proposal()
                    for candidate, task, result in self.jobs.collect():
                        self._record(candidate, task, result)
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
        self.listener.search_finished(self.models.best(self.settings.objective))

    def _keep_what_was_trained(self) -> None:
        """Ask the workers to evaluate what they have; those that take too long are ended."""
        self.folder.stop_file.touch()
        until = time.monotonic() + FAREWELL
        while self.jobs and (left := until - time.monotonic()) > 0:
            for candidate, task, result in self.jobs.collect(left):
                self._record(candidate, task, result)

    def _send_candidates(self) -> bool:
        """Keep every worker busy; False when nothing more is to be trained."""
        while len(self.jobs) < self.workers and not self._is_over() and not self._must_wait():
            candidate = self._next_start() or self._settling() or self._next_child()
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
        left = self.schedule.time_left()
        # The first model is trained however little time there is.
        is_first = not (self.models or self.jobs or self.recorder.failed_starts)
        return left is not None and left <= 0 and not is_first

    def _must_wait(self) -> bool:
        """Whether what is settled next depends on candidates that still train."""
        return len(self.jobs) > 0 and self.schedule.time_to_settle(len(self.models) + len(self.jobs))

    def _next_start(self) -> Candidate | None:
        """The next start that was not trained yet, as many as the time allows."""
        tried = {candidate.graph.fingerprint for candidate in self.jobs.under_way}
        tried |= set(self.recorder.failed_starts)
        if self.models.growable() or not self.models.weightless:  # otherwise all begins anew
            tried |= {
                record.fingerprint for record in self.models.records.values() if record.parent_id is None
            }
        fresh = [(name, graph) for name, graph in self.settings.starts if graph.fingerprint not in tried]
        trained = len(self.settings.starts) - len(fresh)
        if not fresh or (
            self.models and trained >= self.schedule.affordable_starts(len(self.settings.starts))
        ):
            return None
        name, graph = fresh[0]
        seed = self._new_seed()
        return Candidate(None, (), graph, f"start: {name}", *self.planner.first_or_stable(graph, seed))

    def _settling(self) -> Candidate | None:
        """A lineage again, at a falling learning rate, when it is time for that."""
        if not self.models or any(candidate.phase != "stable" for candidate in self.jobs.under_way):
            return None
        return self.settling.next_candidate(self._new_seed, self.folder)

    def _next_child(self) -> Candidate | None:
        """What the surrogate proposes."""
        proposal, self.prepared = self.prepared, None
        if proposal is None or not self._is_still_right(proposal):
            proposal = self._propose()
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

    def _is_still_right(self, proposal: Proposal) -> bool:
        """Whether what was chosen ahead holds, now that the candidate which was in training is known.

        It does if its parent is the best model; or another, if work may be discarded and it is not the one
        that was awaited and expected to do better.
        """
        best, parent_id = self.models.best_stable(), proposal.parent_id
        if best is None or parent_id not in self.models.records or parent_id in self.models.weightless:
            return False
        return parent_id == best.model_id or (self.schedule.may_branch() and parent_id != self._awaited)

    def _prepare_proposal(self) -> None:
        """Choose the next child while the present one trains, which stands in by its prediction."""
        if self.prepared is None and self.jobs:
            if not self.schedule.time_to_settle(len(self.models) + len(self.jobs)):
                self.prepared = self._propose()

    def _propose(self) -> Proposal | None:
        observations, under_way = self.models.observations(), self.jobs.under_way
        best, clocked = self.models.best_stable(), self.schedule.time_limit is not None
        if not clocked:  # what is proposed must not depend on how fast the machine happened to be
            observations = [replace(o, images_per_second=self.planner.speed(o.graph)) for o in observations]
        parents = {record.model_id for record in self.models.growable()} if self.models.weightless else None
        if best is not None and not self.schedule.may_branch():
            parents = {best.model_id}
        expected = self._awaited = None
        if self.workers == 1 and under_way and under_way[0].phase == "stable":
            # It is likely to be the best, and then the one to be grown.
            expected = self.models.expected(under_way.pop(), self.history.next_model_id(), self.planner)
            self._awaited = expected.model_id
            if parents is not None:
                parents = parents | {expected.model_id} if self.schedule.may_branch() else {expected.model_id}
        if not observations and expected is None:
            return None
        return self._proposer(
            observations,
            limits=self.bounds.limits,
            rng=self._rng,
            seconds=SECONDS_TO_PROPOSE if clocked else inf,
            time_left=self.schedule.time_left(),
            pending=self.models.unmeasured(under_way, self.planner),
            failed=self.models.unmeasured(self.recorder.failed_children, self.planner),
            kinds=self.settings.kinds,
            surrogate=self.surrogate,
            space=self.settings.space,
            expected=expected,
            parents=parents,
        )

    # What became of candidates.

    def _needed(self) -> list[Record]:
        """Models whose weights must stay, whatever the limit on disk space; parents in training apart."""
        best = [self.models.best(self.settings.objective), self.models.best_stable()]
        return [record for record in (*best, *self.settling.needed) if record is not None]

    def _record(self, candidate: Candidate, task: Task, result: Result) -> None:
        file = Path(task.output_file)
        if result.cause == "late":
            # Never evaluated: kept only if there is no other model.
            log_candidate(file.stem, "ended before it was evaluated")
            if not self.models and file.exists():
                if result.images:
                    reason = "ended at the deadline; as it was at its last checkpoint, and never evaluated"
                    result = replace(result, epochs=result.images / self.settings.n_train, stopped=reason)
                self.recorder.model(candidate, result, file, "stopped" if result.images else "untrained")
        elif result.reason is not None:
            self._record_failure(candidate, result, file)
        else:
            self.bounds.note_trained(candidate.graph)
            if result.images:
                self._observe(result)
            record = self.recorder.model(candidate, result, file, "stopped" if result.stopped else "done")
            self.settling.note(record)
        self._note_discarded()
        self.folder.forget(file.stem)

    def _record_failure(self, candidate: Candidate, result: Result, file: Path) -> None:
        self.recorder.failure(candidate, result, file.stem)
        self.bounds.note_failure(candidate.graph, result)
        if result.cause == "disk":
            raise SearchError(
                f"the search in {self.folder.path} cannot go on ({result.reason}): free some disk space "
                f"or check permissions. Its {len(self.models)} models are kept; go on with resume=True"
            )
        if result.cause == "died" and candidate.phase == "decay":
            self.settling.settle_again(candidate, file if result.images else None)

    def _observe(self, result: Result) -> None:
        speed, cap = max(result.images_per_second, 1e-9), self.settings.max_epochs
        self.schedule.expect(self.settings.n_train / speed)
        longest = None if cap is None else cap * self.settings.n_train / speed
        self.schedule.observe(result.seconds - result.images / speed, longest)

    def _note_discarded(self) -> None:
        self.schedule.discard(max(0.0, self.models.discarded_seconds() - self._discarded_before))

    def _add_ensemble(self) -> None:
        """What was settled, averaged, if it was more than one model."""
        candidate = self.settling.unmeasured_mean(self.folder)
        if candidate is not None:
            self.dispatcher.make_room(candidate, self._needed())
            with self.folder.told():
                file = candidate.graph.save(self.folder.scratch / "ensemble.safetensors")
            self.recorder.model(candidate, Result(), file)

    def _require_a_model(self) -> None:
        if self.models:
            return
        failures = self.history.failures()
        if failures:
            most = max(5, len(self.settings.starts))  # each start, and not all of a long history
            reasons = "; ".join(f"{record.change}: {record.reason}" for record in failures[-most:])
            raise SearchError(f"no model could be trained ({reasons})")
        # Not even a worker came up in time: the first start with fresh weights is better than nothing.
        name, graph = self.settings.starts[0]
        seed = self._new_seed()
        graph = graph if graph.has_weights else graph.initialize(seed)
        with self.folder.told():
            file = graph.save(self.folder.scratch / "untrained.safetensors")
        candidate = Candidate(None, (), graph, f"start: {name}", "stable", Plan(seed=seed), seed)
        self.recorder.model(candidate, Result(), file, "untrained")

    def _new_seed(self) -> int:
        return int(self._rng.integers(2**31))
