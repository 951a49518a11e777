"""A line that says how far the training of a detector is."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import Any

from kmorph.report.progress import is_live

REFRESH_SECONDS = 0.5  # on a terminal, where the line is written anew
LINE_SECONDS = 10.0  # elsewhere, where each is another line


class ProgressLine:
    """Shows pass, loss and time left: one line that changes on a terminal, a line now and then elsewhere.

    It never raises: a stream that cannot be written to ends the display, not the training.

    Parameters
    ----------
    verbose : bool
        False: nothing is shown.
    """

    def __init__(self, verbose: bool) -> None:
        self._silent = not verbose
        self._shown = 0.0
        self._live: Any = None

    def __enter__(self) -> ProgressLine:
        with self._guarded():
            if not self._silent and is_live(sys.stdout):
                from rich.console import Console
                from rich.live import Live

                self._live = Live(console=Console(file=sys.stdout), auto_refresh=False, transient=True)
                self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        live, self._live = self._live, None
        if live is not None:
            with contextlib.suppress(Exception):
                live.stop()

    def show(self, passes: float, of: int | None, loss: float, left: float | None) -> None:
        """Show how far the training is."""
        now = time.monotonic()
        if self._silent or now - self._shown < (LINE_SECONDS if self._live is None else REFRESH_SECONDS):
            return
        self._shown = now
        parts = [f"pass {passes:.1f}" + ("" if of is None else f" of {of}"), f"loss {loss:.4f}"]
        if left is not None:
            parts.append(f"{max(0.0, left):.0f} s left")
        text = f"Training: {', '.join(parts)}"
        with self._guarded():
            if self._live is None:
                print(text, flush=True)
            else:
                from rich.text import Text

                self._live.update(Text(text, no_wrap=True, overflow="ellipsis"), refresh=True)

    def message(self, text: str) -> None:
        """Say something that stays."""
        with self._guarded():
            if not self._silent:
                print(text, flush=True)

    @contextlib.contextmanager
    def _guarded(self) -> Any:
        try:
            yield
        except Exception:  # a closed pipe, an odd terminal: training does not end for its display
            self._silent = True
