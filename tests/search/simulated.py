"""A search without training: a clock that jumps, workers that make losses up, a history in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import exp, inf
from pathlib import Path

import numpy as np

from kmorph.morphs import sites
from kmorph.search.candidate import Job, Result, outputs_beside
from kmorph.search.loop import Search
from kmorph.search.settings import Settings
from kmorph.search.store.folder import RunFolder
from kmorph.search.store.record import FailureRecord, ModelRecord
from kmorph.search.strategy.proposal import Proposal, Situation
from kmorph.search.workers.pool import Power
from kmorph.training.race import RACE

BEGINNING = 1_000_000.0  # of simulated time


class Clock:
    """The time in seconds, which passes only when it is moved."""

    def __init__(self) -> None:
        self.now = BEGINNING

    def __call__(self) -> float:
        return self.now


@dataclass(eq=False)
class SimulatedHandle:
    """A call that is done when the clock says so."""

    clock: Clock
    at: float
    value: Result
    cancelled: bool = False

    def done(self) -> bool:
        return self.cancelled or self.clock() >= self.at

    def result(self) -> Result:
        return self.value

    def cancel(self) -> None:
        self.cancelled = True


@dataclass
class SimulatedPool:
    """Workers that take simulated time, and whose losses fall with the examples that a lineage has seen.

    Parameters
    ----------
    clock : Clock
    speed : float
        Examples per second of every network.
    overhead : float
        Seconds of each job beside its training.
    fate : callable (number of the job, job) -> Result, None or inf
        A result for a candidate that does not come out as usual; infinity: it never comes back.
    loses : callable (job) -> bool
        True for a child that loses its race: it is stopped after a third of its time.
    """

    clock: Clock
    n_train: int
    speed: float = 1000.0
    overhead: float = 2.0
    fate: object = None
    loses: Callable[[Job], bool] = lambda job: False
    can_kill: bool = True
    is_ready: bool = True
    power: Power | None = None
    jobs: list[Job] = field(default_factory=list)
    abandoned: list[SimulatedHandle] = field(default_factory=list)

    def submit(self, fn: object, job: Job) -> SimulatedHandle:
        self.jobs.append(job)
        Path(job.output_file).touch()
        fate = None if self.fate is None else self.fate(len(self.jobs) - 1, job)
        if fate == inf:
            return SimulatedHandle(self.clock, inf, Result())
        if fate is not None:
            return SimulatedHandle(self.clock, self.clock() + self.overhead, fate)
        return self._train(job)

    def _train(self, job: Job) -> SimulatedHandle:
        plan = job.plan
        epochs = inf if plan.max_epochs is None else plan.max_epochs
        seconds = min(
            inf if plan.seconds is None else plan.seconds,
            inf if plan.seconds_left is None else max(0.0, plan.seconds_left - self.overhead),
            epochs * self.n_train / self.speed,
        )
        lost = self.loses(job)
        seconds *= RACE if lost else 1.0
        images = int(seconds * self.speed)
        trained = Path(job.output_file).with_suffix(".trained.safetensors")
        trained.touch()
        noise = np.random.default_rng(plan.seed).normal(scale=0.01)
        loss = 0.1 + 2.0 * (1 + (plan.images_before + images) / self.n_train) ** -0.3 * exp(noise)
        loss *= 0.9 if plan.phase == "decay" else 2.0 if lost else 1.0
        logits = np.zeros((2, 3), np.float32)
        np.save(outputs_beside(trained), logits)
        return SimulatedHandle(
            self.clock,
            self.clock() + seconds + self.overhead,
            Result(
                metrics={"loss": loss, "accuracy": exp(-loss)},
                epochs=images / self.n_train,
                images=images,
                seconds=seconds + self.overhead,
                examples_per_second=self.speed,
                hyperparameters=plan.hyperparameters.to_dict(),
                stopped="it lost" if lost else None,
                file=str(trained),
            ),
        )

    def wait(self, handles: list[SimulatedHandle], timeout: float) -> None:
        """Jump to when the next one is done; where none ever is, let the timeout pass."""
        first = min((handle.at for handle in handles), default=inf)
        if first == inf:
            self.clock.now += timeout if timeout < inf else 1.0
        else:
            self.clock.now = max(self.clock.now, first)

    def abandon(self, handles: list[SimulatedHandle], idle: bool = False) -> None:
        self.abandoned += handles


class MemoryHistory:
    """The methods of `kmorph.search.store.history.History` that a search calls, without a file."""

    def __init__(self) -> None:
        self.models: list[ModelRecord] = []
        self.failed: list[FailureRecord] = []

    def records(self) -> list[ModelRecord]:
        return list(self.models)

    def failures(self) -> list[FailureRecord]:
        return list(self.failed)

    def update_all(self, records: list[ModelRecord], meta: dict[str, object]) -> None:
        assert not records

    def next_model_id(self) -> int:
        return len(self.models)

    def add(self, record: ModelRecord) -> None:
        assert record.model_id == len(self.models)
        self.models.append(record)

    def add_failure(self, record: FailureRecord) -> None:
        self.failed.append(record)


def random_child(situation: Situation, rng: np.random.Generator) -> Proposal | None:
    """One of the first morphs of a random possible parent."""
    possible = [*situation.observations, *([] if situation.expected is None else [situation.expected])]
    allowed = [o for o in possible if situation.parents is None or o.model_id in situation.parents]
    parent = allowed[int(rng.integers(len(allowed)))]
    offered = [morph for morph, _ in zip(sites(parent.graph, situation.limits), range(5), strict=False)]
    if not offered:
        return None
    morph, seed = offered[int(rng.integers(len(offered)))], int(rng.integers(2**31))
    graph = morph.apply(parent.graph, rng=seed)
    values = parent.hyperparameters
    return Proposal(parent.model_id, ((morph, seed),), graph, values, morph.describe())


@dataclass
class Simulated:
    """Outcome of a simulated search."""

    history: MemoryHistory
    pool: SimulatedPool
    events: list
    seconds: float


def simulate(
    path: Path,
    settings: Settings,
    time_limit: float | None = None,
    proposer=random_child,
    workers=1,
    earlier: Simulated | None = None,
    **pool,
) -> Simulated:
    """Run a search whose workers and clock are simulated.

    Parameters
    ----------
    path : Path
        Folder for the few files that a search moves about.
    earlier : Simulated, optional
        A search in the same folder that goes on.
    pool
        Of `SimulatedPool`.
    """
    clock, history, events = Clock(), earlier.history if earlier else MemoryHistory(), []
    workers_pool = SimulatedPool(clock, settings.n_train, **pool)
    with RunFolder.open(path, resume=earlier is not None) as folder:
        search = Search(
            folder, history, folder.scratch, settings, events.append, workers_pool, workers, proposer, clock
        )
        search.run(time_limit)
    return Simulated(history, workers_pool, events, clock() - BEGINNING)
