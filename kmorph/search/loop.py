"""The search: train the starts, then grow what promises most, then settle the best.

1. Train each start for a slice of the time.
2. Fit the surrogate to what is known, let it choose a parent and its morphs, train that child for a
   slice from its parent's weights, record it. Again, until the clock says so.
3. Train the best lineage on at a learning rate that falls to zero.

Reference: Jin, Song and Hu, "Auto-Keras: An Efficient Neural Architecture Search System", KDD 2019,
algorithm 1; the clock and the settling phase are ours.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path

import numpy as np

from kmorph.errors import SearchError
from kmorph.graph import Graph
from kmorph.morphs import to_json
from kmorph.search.calibration import measure_power
from kmorph.search.executors import WorkerProcesses
from kmorph.search.folder import RunFolder
from kmorph.search.history import History
from kmorph.search.jobs import Jobs, Listener
from kmorph.search.planning import Planner
from kmorph.search.population import Population
from kmorph.search.propose import Proposal, propose
from kmorph.search.record import Record, best_record
from kmorph.search.schedule import Schedule
from kmorph.search.settings import Candidate, Settings
from kmorph.search.settling import Settling, is_worse
from kmorph.search.worker import Result, Task, logits_file
from kmorph.surrogate import Surrogate
from kmorph.training.plan import Plan

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
        self.folder, self.history, self.data_folder = folder, history, data_folder
        self.settings, self.listener = settings, listener
        self.workers, self._executor, self._proposer = workers, executor, proposer
        self.jobs: Jobs[Candidate] = Jobs(executor, listener)
        self.models = Population()
        for record in history.records():
            assert record.model_id is not None
            self.models.add(record, Graph.load(folder.model_file(record.model_id), weights=False))
        self._set_clock(Schedule(), cold=False)
        self.surrogate = Surrogate()
        self.prepared: Proposal | None = None
        self._awaited: int | None = None  # model that was in training when `prepared` was chosen
        self._discarded_before = self.models.discarded_seconds()  # in earlier runs, with time of their own
        self._tickets = 0
        self._failed_starts: list[str] = []
        self._failed_children: list[Candidate] = []
        self._failures_in_a_row = 0
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
            while self._send_candidates():
                self._prepare_proposal()
                for candidate, task, result in self.jobs.collect():
                    self._record(candidate, task, result)
            self._add_ensemble()
            self._require_a_model()
        finally:
            self.jobs.abandon()
        self.listener.search_finished(best_record(self.models.records.values(), self.settings.objective))

    def _send_candidates(self) -> bool:
        """Keep every worker busy; False when nothing more is to be trained."""
        while len(self.jobs) < self.workers and not self._is_over() and not self._must_wait():
            candidate = self._next_start() or self._settling() or self._next_child()
            if candidate is None:
                break
            self._send(candidate)
        return len(self.jobs) > 0

    def _is_over(self) -> bool:
        if self.settling.is_over or self._failures_in_a_row >= MOST_FAILURES:
            return True
        limit = self.schedule.max_models
        if limit is not None and len(self.models) + len(self.jobs) >= limit:
            return True
        left = self.schedule.time_left()
        # The first model is trained however little time there is.
        return left is not None and left <= 0 and bool(self.models or self.jobs or self._failed_starts)

    def _must_wait(self) -> bool:
        """Whether what is settled next depends on candidates that still train."""
        return len(self.jobs) > 0 and self.schedule.time_to_settle(len(self.models) + len(self.jobs))

    def _next_start(self) -> Candidate | None:
        """The next start that was not trained yet, as many as the time allows."""
        tried = {record.fingerprint for record in self.models.records.values() if record.parent_id is None}
        tried |= {candidate.graph.fingerprint for candidate in self.jobs.under_way} | set(self._failed_starts)
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
        if best is None or parent_id not in self.models.records:
            return False
        return parent_id == best.model_id or (self.schedule.may_branch() and parent_id != self._awaited)

    def _prepare_proposal(self) -> None:
        """Choose the next child while the present one trains, which stands in by its prediction."""
        if self.prepared is None and self.jobs:
            if not self.schedule.time_to_settle(len(self.models) + len(self.jobs)):
                self.prepared = self._propose()

    def _propose(self) -> Proposal | None:
        observations, under_way = self.models.observations(), self.jobs.under_way
        best = self.models.best_stable()
        parents = {best.model_id} if best is not None and not self.schedule.may_branch() else None
        expected = self._awaited = None
        if self.workers == 1 and under_way and under_way[0].phase == "stable":
            # It is likely to be the best, and then the one to be grown.
            expected = self.models.expected(under_way.pop(), self.history.next_model_id(), self.planner)
            self._awaited = expected.model_id
            parents = parents and {expected.model_id}
        if not observations and expected is None:
            return None
        return self._proposer(
            observations,
            limits=self.settings.limits,
            rng=self._rng,
            time_left=self.schedule.time_left(),
            pending=self.models.unmeasured(under_way, self.planner),
            failed=self.models.unmeasured(self._failed_children, self.planner),
            kinds=self.settings.kinds,
            surrogate=self.surrogate,
            space=self.settings.space,
            expected=expected,
            parents=parents,
        )

    # Training.

    def _send(self, candidate: Candidate) -> None:
        parent = candidate.parent
        self._tickets += 1
        scratch = self.folder.scratch / f"{self._tickets:04d}"
        if parent is None or candidate.graph.has_weights:
            source = scratch.with_suffix(".start.safetensors")
            candidate.graph.save(source)
        else:
            assert parent.model_id is not None
            source = self.folder.model_file(parent.model_id)
        plan = replace(candidate.plan, images_before=parent.lineage_images if parent else 0)
        if parent is not None and plan.phase == "stable" and self._is_changed(candidate, parent):
            rival = self.folder.logits_file(parent.model_id)
            plan = replace(plan, rival=str(rival) if rival.exists() else None)
        task = Task(
            graph_file=str(source),
            morphs=candidate.morphs,
            data_folder=str(self.data_folder),
            plan=plan,
            output_file=str(scratch.with_suffix(".safetensors")),
            events_file=str(scratch.with_suffix(".jsonl")),
            stop_file=str(self.folder.scratch / "stop"),
            strategy=self.settings.strategy,
        )
        self.listener.candidate_started(
            candidate.change,
            parent.model_id if parent else None,
            candidate.graph.n_parameters,
            candidate.phase,
            candidate.plan.seconds,
        )
        self.jobs.send(candidate, task)

    def _is_changed(self, candidate: Candidate, parent: Record) -> bool:
        """Whether it is more than its parent trained on."""
        key, values = self.settings.space.key, candidate.plan.hyperparameters.to_dict()
        return bool(candidate.morphs) or key(values) != key(parent.hyperparameters)

    def _record(self, candidate: Candidate, task: Task, result: Result | None) -> None:
        file = Path(task.output_file)
        if result is None:
            # Not even evaluated: kept only if there is no other model.
            if not self.models and file.exists():
                self._add(self._as_record(candidate, Result(), "untrained"), file, candidate.graph)
        elif result.reason is not None:
            self._record_failure(candidate, result)
        else:
            if result.images:
                self._observe(result)
            record = self._as_record(candidate, result, "stopped" if result.stopped else "done")
            logits = logits_file(file)
            if logits.exists():
                logits.replace(self.folder.logits_file(record.model_id))
            self._add(record, file, candidate.graph)
            self.settling.note(record)

    def _observe(self, result: Result) -> None:
        speed, cap = max(result.images_per_second, 1e-9), self.settings.max_epochs
        self.schedule.expect(self.settings.n_train / speed)
        longest = None if cap is None else cap * self.settings.n_train / speed
        self.schedule.observe(result.seconds - result.images / speed, longest)

    def _as_record(self, candidate: Candidate, result: Result, state: str = "done") -> Record:
        parent, metrics = candidate.parent, result.metrics or {}
        before = candidate.members or ((parent,) if parent else ())
        merged = candidate.plan.merge_validation and result.images > 0
        if merged and parent is not None and not is_worse(metrics, parent):
            metrics = {}  # it was trained on these examples: no estimate of anything
        return Record(
            model_id=self.history.next_model_id(),
            parent_id=parent.model_id if parent else None,
            change=candidate.change,
            morphs=candidate.morphs,
            metric_value=metrics.get(self.settings.objective),
            loss=metrics.get("loss"),
            metrics=metrics,
            hyperparameters=result.hyperparameters or candidate.plan.hyperparameters.to_dict(),
            replicas=result.replicas,
            n_parameters=candidate.graph.n_parameters,
            flops=candidate.graph.flops,
            epochs=result.epochs,
            images_seen=result.images,
            seconds=result.seconds,
            state=state,
            reason=result.stopped,
            phase=candidate.phase,
            lineage_images=result.images + sum(record.lineage_images for record in before),
            lineage_seconds=result.seconds + sum(record.lineage_seconds for record in before),
            images_per_second=result.images_per_second,
            fingerprint=candidate.graph.fingerprint,
            seed=candidate.seed,
        )

    def _add(self, record: Record, file: Path, graph: Graph) -> None:
        """The graph file is in its place before the record tells of it."""
        assert record.model_id is not None
        file.replace(self.folder.model_file(record.model_id))
        self.history.add(record)
        self._failures_in_a_row = 0
        self.models.add(record, graph)
        self._note_discarded()
        self.listener.candidate_recorded(record)

    def _note_discarded(self) -> None:
        self.schedule.discard(max(0.0, self.models.discarded_seconds() - self._discarded_before))

    def _add_ensemble(self) -> None:
        """What was settled, averaged, if it was more than one model."""
        candidate = self.settling.unmeasured_mean(self.folder)
        if candidate is not None:
            file = candidate.graph.save(self.folder.scratch / "ensemble.safetensors")
            self._add(self._as_record(candidate, Result()), file, candidate.graph)

    def _record_failure(self, candidate: Candidate, result: Result) -> None:
        parent = candidate.parent
        record = Record(
            model_id=None,
            parent_id=parent.model_id if parent else None,
            change=candidate.change,
            morphs=candidate.morphs,
            hyperparameters=candidate.plan.hyperparameters.to_dict(),
            n_parameters=candidate.graph.n_parameters,
            flops=candidate.graph.flops,
            seconds=result.seconds,
            state="failed",
            reason=result.reason,
            phase=candidate.phase,
            fingerprint=candidate.graph.fingerprint,
            seed=candidate.seed,
        )
        self.history.add_failure(record)
        self.models.failed_seconds += record.seconds
        self._note_discarded()
        self._failures_in_a_row += 1
        if parent is None:
            self._failed_starts.append(candidate.graph.fingerprint)
        else:
            self._failed_children.append(candidate)
        self.listener.candidate_failed(record)

    def _require_a_model(self) -> None:
        if self.models:
            return
        failures = self.history.failures()
        if failures:
            reasons = "; ".join(f"{record.change}: {record.reason}" for record in failures[-5:])
            raise SearchError(f"no model could be trained ({reasons})")
        # Not even a worker came up in time: the first start with fresh weights is better than nothing.
        name, graph = self.settings.starts[0]
        seed = self._new_seed()
        graph = graph if graph.has_weights else graph.initialize(seed)
        file = graph.save(self.folder.scratch / "untrained.safetensors")
        candidate = Candidate(None, (), graph, f"start: {name}", "stable", Plan(seed=seed), seed)
        self._add(self._as_record(candidate, Result(), state="untrained"), file, graph)

    def _new_seed(self) -> int:
        return int(self._rng.integers(2**31))
