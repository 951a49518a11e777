"""Progress of a search while it runs: a live display on a terminal, one line a model anywhere else."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, TextIO

from rich.console import Console, Group, RenderableType
from rich.file_proxy import FileProxy
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from kmorph.problem.metrics import Objective
from kmorph.report.table import change_of, metric_name, models_table, number, plain, reason_of
from kmorph.search.events import (
    CandidateFailed,
    CandidateProgress,
    CandidateStarted,
    Event,
    ModelRecorded,
    SearchFinished,
    SearchStarted,
)
from kmorph.search.store.ranking import best_record
from kmorph.search.store.record import ModelRecord, Record

ROWS = 12  # models in the live table; the best is always among them
REFRESH_SECONDS = 0.5
_BESIDE_TABLE = 9  # lines of the live display that are no rows of the table


def is_live(stream: TextIO) -> bool:
    """Return whether `Progress` shows a live display on this stream: a terminal without another display."""
    try:
        terminal = stream.isatty()
    except (AttributeError, ValueError):  # not a whole file, or closed
        return False
    taken = isinstance(stream, FileProxy)  # the caller's program has a live display of its own
    unicode = (getattr(stream, "encoding", None) or "utf-8").lower().startswith("utf")
    able = unicode and os.environ.get("TERM", "").lower() not in ("dumb", "unknown")
    return terminal and able and not taken


class Progress:
    """Shows how a search goes on: a listener of its events, which never raises.

    On a terminal there is a live display: time, the candidate in training, the latest models. When it ends,
    in whichever way, the cursor is back and the table of all models stays. Elsewhere (pipes, files,
    notebooks) there is one line for each model, flushed, without escape codes. A stream that cannot be
    written to any longer ends the display, not the search.

    Parameters
    ----------
    stream : text file, default=sys.stdout
        Where to write.
    objective : Objective, default: accuracy
        What makes a model the best so far; see `kmorph.search.store.ranking.best_record`.

    Examples
    --------
    >>> with Progress() as progress:  # doctest: +SKIP
    ...     progress(SearchStarted(folder, time_limit=60.0, resumed=0))
    """

    def __init__(self, stream: TextIO | None = None, objective: Objective | None = None) -> None:
        self._given = stream
        self._objective = objective or Objective()
        self._lock = threading.RLock()
        self._display: _Display | None = None
        self._time_limit: float | None = None
        self._began = time.monotonic()
        self._resumed = 0
        self._records: list[Record] = []
        self._best: ModelRecord | None = None
        self._candidate: dict[str, Any] = {}

    def __call__(self, event: Event) -> None:
        """Show an event."""
        with self._guarded():
            match event:
                case SearchStarted():
                    self._begin(event)
                case CandidateStarted():
                    self._candidate = {"text": _of_candidate(event), "began": time.monotonic()}
                case CandidateProgress():
                    self._candidate.update(loss=event.loss, progress=event.progress)
                case ModelRecorded():
                    self._show_model(event.record)
                case CandidateFailed():
                    self._show_failure(event)
                case SearchFinished():
                    self._end(event)

    def _begin(self, event: SearchStarted) -> None:
        self.close()
        self._time_limit, self._resumed = event.time_limit, event.resumed
        self._began = time.monotonic()
        self._records, self._best, self._candidate = [], None, {}
        place = plain(str(event.path))
        limit = "without a time limit" if event.time_limit is None else f"for {_seconds(event.time_limit)}"
        if event.resumed:
            models = _count(event.resumed, "model")
            self._say(f"Going on {limit} with the search in {place}, {models} so far")
        else:
            self._say(f"Searching {limit} in {place}")
        if is_live(self._stream):
            self._display = _Display(self._stream, self._render)
            self._display.start()

    def _show_model(self, record: ModelRecord) -> None:
        self._records.append(record)
        self._candidate = {}
        self._best = best_record([*([self._best] if self._best else []), record], self._objective)
        if self._display is None:
            mark = " (best so far)" if self._best is record and not self._resumed else ""
            self._say_line(record, f"model {record.model_id}", ", ".join(_measured(record)) + mark)

    def _show_failure(self, event: CandidateFailed) -> None:
        self._records.append(event.record)
        self._candidate = {}
        if self._display is None:
            self._say_line(event.record, "failed", reason_of(event.record.to_dict()))

    def _end(self, event: SearchFinished) -> None:
        self._best = event.best
        self.close()
        models = sum(isinstance(record, ModelRecord) for record in self._records)
        failed = len(self._records) - models
        counts = _count(models, "model") + (f", {failed} failed" if failed else "")
        text = f"Search ended after {_seconds(time.monotonic() - self._began)}: {counts}"
        if event.best is not None:
            text += "; best is " + ", ".join([f"model {event.best.model_id}", *_metrics(event.best)])
        self._say(text + (f". {event.early}" if event.early else ""))

    def message(self, text: str) -> None:
        """Show a note to the user, at any time."""
        with self._guarded():
            self._say(plain(text))

    def close(self) -> None:
        """End the live display, if there is one, and leave the terminal as it was. May be called twice."""
        with self._lock:
            display, self._display = self._display, None
        if display is None:
            return
        display.stop()
        if self._records:
            with contextlib.suppress(Exception):
                display.console.print(models_table(self._latest(len(self._records) + 1), self._best_id()))

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _stream(self) -> TextIO:
        return sys.stdout if self._given is None else self._given

    def _best_id(self) -> int | None:
        return None if self._best is None else self._best.model_id

    def _say_line(self, record: Record, what: str, result: str) -> None:
        clock = f"[{time.monotonic() - self._began:4.0f} s]"
        self._say(f"{clock} {what}{_from(record.parent_id)}: {change_of(record.to_dict())}; {result}")

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        """Whatever goes wrong in a display is no reason to lose a search: go on with lines, or silently."""
        try:
            with self._lock:
                yield
        except Exception:
            self.close()

    def _say(self, text: str) -> None:
        """One line, above the live display if there is one."""
        if self._display is not None:
            self._display.console.print(Text(text), soft_wrap=True)
            return
        stream = self._stream
        try:
            print(text, file=stream, flush=True)
        except UnicodeEncodeError:
            encoding = getattr(stream, "encoding", None) or "ascii"
            print(text.encode(encoding, "replace").decode(encoding), file=stream, flush=True)

    def _render(self) -> RenderableType:
        """Build the contents of the live display.

        Called under the lock of rich's display, by its thread and by `_say`: taking ours too could deadlock.
        """
        display = self._display
        height = 24 if display is None else display.console.height
        elapsed = time.monotonic() - self._began
        parts: list[RenderableType] = [_time_bar(elapsed, self._time_limit), self._render_candidate()]
        if shown := self._latest(max(3, min(ROWS, height - _BESIDE_TABLE))):
            parts.append(models_table(shown, self._best_id(), wrap=False))
        return Group(*parts)

    def _latest(self, most: int) -> list[Record]:
        """The last candidates; the best model takes the first place if it is not among them."""
        shown, best = self._records[-most:], self._best
        if best is not None and all(getattr(record, "model_id", None) != best.model_id for record in shown):
            shown = [best, *shown[-most + 1 :]]
        return shown

    def _render_candidate(self) -> Text:
        now = self._candidate
        if not now:
            return Text("choosing the next candidate", style="dim", no_wrap=True, overflow="ellipsis")
        details = [now["text"]]
        if "loss" in now:
            details.append(f"loss {number(now['loss'])}")
        if "progress" in now:
            details.append(f"{100 * min(1.0, max(0.0, now['progress'])):.0f} %")
        details.append(_seconds(time.monotonic() - now["began"]))
        return Text(f"training {', '.join(details)}", no_wrap=True, overflow="ellipsis")


class _Console(Console):
    """A console that falls silent when its stream is gone, where rich would end the program."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


class _Display:
    """A rich live display that is refreshed by a thread which no error ends loudly."""

    def __init__(self, stream: TextIO, render: Callable[[], RenderableType]) -> None:
        self.console = _Console(file=stream, force_terminal=True, force_jupyter=False)
        self._stopped = threading.Event()
        self._live = Live(
            get_renderable=render,
            console=self.console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=stream is sys.stdout,
            # What goes into a file must not come to the terminal.
            redirect_stderr=is_live(sys.stderr),
        )
        self._thread = threading.Thread(target=self._refresh, daemon=True, name="kmorph-progress")

    def start(self) -> None:
        self._live.start()
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        try:
            self._live.stop()
        except Exception:
            with contextlib.suppress(Exception):
                self.console.show_cursor(True)

    def _refresh(self) -> None:
        while not self._stopped.wait(REFRESH_SECONDS):
            with contextlib.suppress(Exception):
                self._live.refresh()


def _of_candidate(event: CandidateStarted) -> str:
    change = change_of({"change": event.change, "parent_id": event.parent_id})
    return f"{change}{_from(event.parent_id)}, {event.n_parameters:,} parameters, {plain(event.phase)}"


def _time_bar(elapsed: float, limit: float | None) -> Table:
    row = Table.grid(padding=(0, 1), expand=True)
    row.add_column(ratio=1)
    row.add_column(no_wrap=True)
    text = _seconds(elapsed) if limit is None else f"{_seconds(elapsed)} of {_seconds(limit)}"
    row.add_row(ProgressBar(total=limit, completed=elapsed, pulse=limit is None), Text(text))
    return row


def _measured(record: ModelRecord) -> list[str]:
    return [f"{record.n_parameters:,} parameters", *_metrics(record), _seconds(record.seconds)]


def _metrics(record: ModelRecord) -> list[str]:
    if record.is_unmeasured:
        return ["trained on all data"]
    values = {metric_name([record.to_dict()]): record.metric_value, "loss": record.loss}
    return [f"{name} {number(value)}" for name, value in values.items() if value is not None]


def _from(parent_id: int | None) -> str:
    return "" if parent_id is None else f" from {parent_id}"


def _count(n: int, word: str) -> str:
    return f"{n} {word}" if n == 1 else f"{n} {word}s"


def _seconds(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 600:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
