"""Who is told of a search: the progress display, if wanted, and the user's callbacks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from kmorph.search.record import Record


class Audience:
    """Passes what happens in a search on to a progress display and to callbacks.

    Parameters
    ----------
    verbose : bool
        Whether progress is shown.
    objective : {"accuracy", "loss"}
        The metric by which the best model is told.
    callbacks : sequence of callable
        Called with each record, as the history tells it.
    """

    def __init__(
        self, verbose: bool, objective: str, callbacks: Sequence[Callable[[dict[str, Any]], Any]] = ()
    ) -> None:
        from kmorph.report.progress import Progress

        self._display = Progress(objective=objective) if verbose else None
        self._callbacks = tuple(callbacks)

    def search_started(self, path: Path, time_limit: float | None, resumed: int) -> None:
        if self._display is not None:
            self._display.search_started(path, time_limit, resumed)

    def candidate_started(
        self, change: str, parent_id: int | None, n_parameters: int, phase: str, seconds: float | None
    ) -> None:
        if self._display is not None:
            self._display.candidate_started(change, parent_id, n_parameters, phase, seconds)

    def candidate_progress(self, event: dict[str, Any]) -> None:
        if self._display is not None:
            self._display.candidate_progress(event)

    def candidate_recorded(self, record: Record) -> None:
        if self._display is not None:
            self._display.candidate_recorded(record)
        for callback in self._callbacks:
            callback(record.to_dict())

    def candidate_failed(self, record: Record) -> None:
        if self._display is not None:
            self._display.candidate_failed(record)

    def search_finished(self, best: Record | None) -> None:
        if self._display is not None:
            self._display.search_finished(best)

    def message(self, text: str) -> None:
        """Show a note."""
        if self._display is not None:
            self._display.message(text)

    def __enter__(self) -> Audience:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._display is not None:
            self._display.close()
