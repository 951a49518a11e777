"""The listeners of a search: the progress display, if wanted, and the user's callbacks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from kmorph.problem import Objective
from kmorph.search.events import Event, ModelRecorded


class Audience:
    """Passes the events of a search on to a progress display and to callbacks.

    Parameters
    ----------
    verbose : bool
        Whether progress is shown.
    objective : Objective
        The metric that decides which model is the best.
    callbacks : sequence of callable
        Called with each model's record, a dict as in ``history``.
    """

    def __init__(
        self, verbose: bool, objective: Objective, callbacks: Sequence[Callable[[dict[str, Any]], Any]] = ()
    ) -> None:
        from kmorph.report.progress import Progress

        self._display = Progress(objective=objective) if verbose else None
        self._callbacks = tuple(callbacks)

    def __call__(self, event: Event) -> None:
        """Show an event; callbacks get the records of models."""
        if self._display is not None:
            self._display(event)
        if isinstance(event, ModelRecorded):
            for callback in self._callbacks:
                callback(event.record.to_dict())

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
