"""Events of a search, as frozen values; the search's listener is a function of one event."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from kmorph.search.store.record import FailureRecord, ModelRecord


@dataclass(frozen=True)
class SearchStarted:
    """A search begins.

    Parameters
    ----------
    path : pathlib.Path
        Its folder.
    time_limit : float or None
        Seconds.
    resumed : int
        Models that the folder holds already.
    """

    path: Path
    time_limit: float | None
    resumed: int


@dataclass(frozen=True)
class CandidateStarted:
    """A candidate was sent to a worker.

    Parameters
    ----------
    change : str
        The change in words.
    parent_id : int or None
    n_parameters : int
    phase : {"stable", "decay", "ensemble", "final"}
    seconds : float or None
        Planned training time, building and compiling not counted; None: not known.
    """

    change: str
    parent_id: int | None
    n_parameters: int
    phase: str
    seconds: float | None


@dataclass(frozen=True)
class CandidateProgress:
    """Progress of a candidate in training.

    Parameters
    ----------
    images : int
        Examples that it was trained on so far.
    loss : float
        Training loss of the latest batch.
    progress : float
        Part of its training that is done, from 0 to 1.
    """

    images: int
    loss: float
    progress: float


@dataclass(frozen=True)
class ModelRecorded:
    """A candidate was trained, evaluated and written to the history."""

    record: ModelRecord


@dataclass(frozen=True)
class CandidateFailed:
    """A candidate could not be trained; its record has the reason."""

    record: FailureRecord


@dataclass(frozen=True)
class SearchFinished:
    """The search is over.

    Parameters
    ----------
    best : ModelRecord or None
        The best model of the whole search, earlier fits included.
    early : str, optional
        Why it ended long before its time was up.
    """

    best: ModelRecord | None
    early: str | None = None


Event: TypeAlias = (
    SearchStarted | CandidateStarted | CandidateProgress | ModelRecorded | CandidateFailed | SearchFinished
)

Listener: TypeAlias = Callable[[Event], None]
"""Called with every event, in the search's thread. What it raises ends the search."""

logger = logging.getLogger("kmorph.search")


def log_candidate(name: str, text: str, **details: Any) -> None:
    """Log an event of one candidate; its name, the same in every event, and details are attributes too."""
    logger.info("candidate %s: %s", name, text, extra={"candidate": name, **details})
