"""Candidates under way: sent to workers, followed, and ended if they outstay their deadline."""

from __future__ import annotations

import json
import logging
import time
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from kmorph.search.executors import WorkerProcesses
from kmorph.search.record import Record
from kmorph.search.worker import Result, Task, evaluate

logger = logging.getLogger("kmorph.search")

GRACE = 2.5  # seconds that a candidate may outstay the deadline before its worker is ended

T = TypeVar("T")


class Listener(Protocol):
    """What is told of a search as it goes."""

    def search_started(self, path: Any, time_limit: float | None, resumed: int) -> None:
        """A search begins in the folder `path`, which holds `resumed` models already."""

    def candidate_started(
        self, change: str, parent_id: int | None, n_parameters: int, phase: str, seconds: float | None
    ) -> None:
        """A candidate was sent to a worker, to train for `seconds`."""

    def candidate_progress(self, event: dict[str, Any]) -> None:
        """A worker told of its training: ``images``, ``loss``, ``progress`` from 0 to 1, ``time``."""

    def candidate_recorded(self, record: Record) -> None:
        """A candidate was trained and recorded."""

    def candidate_failed(self, record: Record) -> None:
        """A candidate could not be trained; the record tells the reason."""

    def search_finished(self, best: Record | None) -> None:
        """The search is over."""


@dataclass
class _Job(Generic[T]):
    what: T
    task: Task
    read: int = 0


class Jobs(Generic[T]):
    """The candidates that are being trained.

    Parameters
    ----------
    executor : concurrent.futures.Executor or WorkerProcesses
    listener : Listener
    """

    def __init__(self, executor: Executor | WorkerProcesses, listener: Listener) -> None:
        self._executor, self._listener = executor, listener
        self._jobs: dict[Future, _Job[T]] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def under_way(self) -> list[T]:
        """What was sent and has not come back."""
        return [job.what for job in self._jobs.values()]

    def send(self, what: T, task: Task) -> None:
        """Let a worker train a task; `what` comes back with its result."""
        self._jobs[self._executor.submit(evaluate, task)] = _Job(what, task)

    def collect(self) -> list[tuple[T, Task, Result | None]]:
        """Wait until at least one candidate comes back.

        Returns
        -------
        list of (what, Task, Result or None)
            None: it outstayed its deadline and its worker was ended.
        """
        while self._jobs:
            done, _ = wait(list(self._jobs), timeout=0.2, return_when=FIRST_COMPLETED)
            for job in self._jobs.values():
                self._tell_progress(job)
            if done:
                jobs = [(self._jobs.pop(future), future) for future in done]
                return [(job.what, job.task, self._result(future)) for job, future in jobs]
            if any(self._is_late(job) for job in self._jobs.values()):
                logger.warning("a candidate outstayed its deadline; its worker is ended")
                return [(job.what, job.task, None) for job in self.abandon()]
        return []

    def abandon(self) -> list[_Job[T]]:
        """Leave no candidate behind that still trains; returns what was under way."""
        jobs = list(self._jobs.values())
        for future in self._jobs:
            future.cancel()
        if jobs and isinstance(self._executor, WorkerProcesses):
            self._executor.kill()
        self._jobs.clear()
        return jobs

    def _result(self, future: Future) -> Result:
        try:
            return future.result()
        except Exception as error:
            # Executors have their own classes for a worker that died; any of them costs this candidate alone.
            logger.warning("a worker died: %r", error)
            if isinstance(self._executor, WorkerProcesses):
                self._executor.kill()
            return Result(reason=f"its worker died ({type(error).__name__}), perhaps for lack of memory")

    def _is_late(self, job: _Job[T]) -> bool:
        deadline = job.task.plan.deadline
        return (
            deadline is not None
            and isinstance(self._executor, WorkerProcesses)
            and time.time() > deadline + GRACE
        )

    def _tell_progress(self, job: _Job[T]) -> None:
        """Pass on what the worker appended to its event file since the last look."""
        try:
            with open(job.task.events_file, "rb") as events:
                events.seek(job.read)
                text = events.read()
        except OSError:
            return
        whole = text[: text.rfind(b"\n") + 1]
        job.read += len(whole)
        for line in whole.splitlines():
            self._listener.candidate_progress(json.loads(line))
