"""Candidates under way: sent to workers, followed, and ended if they outstay their deadline."""

from __future__ import annotations

import json
import logging
import time
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass
from math import inf
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
    images: int = 0  # that the checkpoint in its output file was trained on
    seconds: float = 0.0


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

    def collect(self, timeout: float = inf) -> list[tuple[T, Task, Result]]:
        """Wait until at least one candidate comes back.

        Parameters
        ----------
        timeout : float, default=inf
            Seconds.

        Returns
        -------
        list of (what, Task, Result)
            Empty if the timeout came first.
        """
        until = time.monotonic() + timeout
        while self._jobs and time.monotonic() < until:
            done, _ = wait(list(self._jobs), timeout=0.2, return_when=FIRST_COMPLETED)
            for job in self._jobs.values():
                self._tell_progress(job)
            if done:
                jobs = [(self._jobs.pop(future), future) for future in done]
                return [(job.what, job.task, self._result(job, future)) for job, future in jobs]
            if any(self._is_late(job) for job in self._jobs.values()):
                logger.warning("a candidate outstayed its deadline; its worker is ended")
                reason = "it outstayed its deadline"
                return [(job.what, job.task, _ended(job, reason, "late")) for job in self.abandon()]
        return []

    def abandon(self, idle: bool = False) -> list[_Job[T]]:
        """Leave no candidate behind that still trains; returns what was under way.

        Parameters
        ----------
        idle : bool, default=False
            Whether workers that have nothing to do are ended, too: a program that is about to end would wait
            for one that does not answer any more.
        """
        jobs = list(self._jobs.values())
        for future in self._jobs:
            future.cancel()
        if (jobs or idle) and isinstance(self._executor, WorkerProcesses):
            self._executor.kill()
        self._jobs.clear()
        return jobs

    def _result(self, job: _Job[T], future: Future) -> Result:
        try:
            return future.result()
        except Exception as error:
            # Executors have their own classes for a worker that died; any of them costs this candidate alone.
            logger.warning("a worker died: %r", error)
            if isinstance(self._executor, WorkerProcesses):
                self._executor.kill()
            reason = f"its worker died ({type(error).__name__}), perhaps for lack of memory"
            return _ended(job, reason, "died")

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
            event = json.loads(line)
            if "checkpoint" in event:
                job.images, job.seconds = event["checkpoint"], event["seconds"]
            else:
                self._listener.candidate_progress(event)


def _ended(job: _Job[T], reason: str, cause: str) -> Result:
    """What is known of a candidate whose worker did not live to tell."""
    return Result(reason=reason, cause=cause, images=job.images, seconds=job.seconds)
