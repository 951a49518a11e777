"""Candidates under way: sent to a pool, followed, and given up if they outstay their deadline."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import Any, Generic, TypeVar

from kmorph.errors import KmorphError
from kmorph.search.candidate import Job, Result
from kmorph.search.events import CandidateProgress, Listener
from kmorph.search.workers.interrupts import Termination
from kmorph.search.workers.pool import Handle, Pool
from kmorph.search.workers.worker import GRACE, MOST_WORDS, evaluate

logger = logging.getLogger("kmorph.search")

LOOK_EVERY = 0.2  # seconds between two looks at what workers report

T = TypeVar("T")


@dataclass(eq=False)
class _Sent(Generic[T]):
    """A job at a worker: what it was made of, and what its worker has reported so far."""

    what: T
    job: Job
    handle: Handle
    until: float  # by the search's clock; infinite without a deadline
    read: int = 0
    images: int = 0  # that the checkpoint in its output file was trained on
    seconds: float = 0.0


class Jobs(Generic[T]):
    """The candidates that are being trained.

    Parameters
    ----------
    pool : Pool
    listener : Listener
        Gets the progress of candidates.
    clock : callable, default=time.time
        The time in seconds.
    """

    def __init__(self, pool: Pool, listener: Listener, clock: Callable[[], float] = time.time) -> None:
        self.pool = pool
        self._listener, self._clock = listener, clock
        self._sent: list[_Sent[T]] = []
        self._refused: list[tuple[T, Job, Result]] = []

    def __len__(self) -> int:
        return len(self._sent) + len(self._refused)

    @property
    def under_way(self) -> list[T]:
        """Candidates that were sent and have not come back."""
        return [sent.what for sent in self._sent]

    def send(self, what: T, job: Job) -> None:
        """Let a worker train a job; `what` comes back with its result.

        An executor that does not take the job costs this candidate, not the search.

        Raises
        ------
        KmorphError
            If the pool itself says why nothing can be trained.
        """
        left = job.plan.seconds_left
        until = inf if left is None else self._clock() + left
        try:
            handle = self.pool.submit(evaluate, job)
        except KmorphError:
            raise
        except Exception as error:
            logger.warning("the executor did not take a job: %r", error)
            reason = f"the executor did not take it ({type(error).__name__}: {error})"
            self._refused.append((what, job, Result(reason=reason, cause="died")))
            return
        self._sent.append(_Sent(what, job, handle, until))

    def collect(self, timeout: float = inf) -> list[tuple[T, Job, Result]]:
        """Wait until at least one candidate comes back, or outstays its deadline.

        Parameters
        ----------
        timeout : float, default=inf
            Seconds.

        Returns
        -------
        list of (what, Job, Result)
            Empty if the timeout came first.
        """
        if self._refused:
            refused, self._refused = self._refused, []
            return refused
        until = self._clock() + timeout
        while self._sent and self._clock() < until:
            self.pool.wait([sent.handle for sent in self._sent], min(LOOK_EVERY, until - self._clock()))
            for sent in self._sent:
                self._report_progress(sent)
            if done := [sent for sent in self._sent if sent.handle.done()]:
                self._sent = [sent for sent in self._sent if sent not in done]
                found = [(sent.what, sent.job, self._result(sent)) for sent in done]
                return _as_one_death(found) if self.pool.can_kill else found
            if late := self._give_up_late():
                return late
        return []

    def _give_up_late(self) -> list[tuple[T, Job, Result]]:
        """Abandon what outstayed its deadline, and whatever else its workers had where they are killed."""
        now = self._clock()
        late = [sent for sent in self._sent if now > sent.until + GRACE]
        if not late:
            return []
        logger.warning("%s candidates outstayed their deadline and are given up", len(late))
        lost = self._sent if self.pool.can_kill else late
        self.pool.abandon([sent.handle for sent in lost])
        self._sent = [sent for sent in self._sent if sent not in lost]
        return [(sent.what, sent.job, _ended(sent, _late(sent), "late")) for sent in lost]

    def abandon(self, idle: bool = False) -> None:
        """Leave no candidate behind that still trains.

        Parameters
        ----------
        idle : bool, default=False
            Whether workers that have nothing to do are ended, too: a program that is about to end would wait
            for one that does not answer any more.
        """
        self.pool.abandon([sent.handle for sent in self._sent], idle)
        self._sent.clear()
        self._refused.clear()

    def _result(self, sent: _Sent[T]) -> Result:
        try:
            result = sent.handle.result()
        except (KeyboardInterrupt, Termination):  # of this process
            raise
        # Executors have their own classes for a worker that died, not all of them derived from Exception; any
        # of them costs this candidate alone.
        except BaseException as error:
            logger.warning("a worker died: %r", error)
            self.pool.abandon([sent.handle])
            return _ended(sent, self._reason(error), "died")
        if not isinstance(result, Result):
            return _ended(sent, f"the executor returned {type(result).__name__}, not a result", "died")
        if result.reason is None and result.file and not Path(result.file).exists():
            reason = f"its worker wrote {result.file}, which is not there: workers need the search's folder"
            return _ended(sent, reason, "died")
        return result

    def _reason(self, error: BaseException) -> str:
        """Words on a call that did not return."""
        if isinstance(error, KmorphError):
            return str(error)
        if self.pool.can_kill or isinstance(error, BrokenExecutor):
            return f"its worker died ({type(error).__name__}), perhaps for lack of memory"
        return f"the executor returned no result ({type(error).__name__}: {error})"[:MOST_WORDS]

    def _report_progress(self, sent: _Sent[T]) -> None:
        """Pass on what the worker appended to its event file since the last look."""
        try:
            with open(sent.job.events_file, "rb") as events:
                events.seek(sent.read)
                text = events.read()
        except OSError:
            return
        whole = text[: text.rfind(b"\n") + 1]
        sent.read += len(whole)
        for line in whole.splitlines():
            event = _read(line)
            if isinstance(event, CandidateProgress):
                self._listener(event)
            elif event is not None:
                sent.images, sent.seconds = event


def _as_one_death(found: list[tuple[T, Job, Result]]) -> list[tuple[T, Job, Result]]:
    """Results that came at once: where a worker of ours dies the others end with it, and only one counts."""
    died = [i for i, (_, _, result) in enumerate(found) if result.cause == "died"]
    for i in died[1:]:
        what, job, result = found[i]
        found[i] = what, job, replace(result, cause="lost")
    return found


def _read(line: bytes) -> CandidateProgress | tuple[int, float] | None:
    """Parse an event: progress, or a checkpoint's images and seconds.

    An executor that runs a job twice lets two workers write at once: None for a line that both have spoiled.
    """
    try:
        event: dict[str, Any] = json.loads(line)
        if "checkpoint" in event:
            return int(event["checkpoint"]), float(event["seconds"])
        return CandidateProgress(event["images"], event["loss"], event["progress"])
    except (ValueError, LookupError, TypeError):
        return None


def _late(sent: _Sent[T]) -> str:
    return "it outstayed its deadline" if sent.images else "its deadline passed before it began to train"


def _ended(sent: _Sent[T], reason: str, cause: str) -> Result:
    """The result of a candidate whose worker died, or was given up, before it reported."""
    return Result(reason=reason, cause=cause, images=sent.images, seconds=sent.seconds)
