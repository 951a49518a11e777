"""Progress: lines into pipes, a display on terminals, never an error, the terminal as it was."""

import io
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from search_runs import as_on_a_terminal

from kmorph.report import Progress
from kmorph.report.progress import is_live
from kmorph.search.events import (
    CandidateFailed,
    CandidateProgress,
    CandidateStarted,
    ModelRecorded,
    SearchFinished,
    SearchStarted,
)
from kmorph.search.store.record import FailureRecord, ModelRecord

pty = pytest.importorskip("pty")  # not on Windows

HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"


def model(model_id, loss, **values):
    metrics = {"accuracy": 1 - loss, "loss": loss}
    return ModelRecord(
        model_id=model_id, state="done", loss=loss, metric_value=1 - loss, metrics=metrics, **values
    )


def failure():
    return FailureRecord(parent_id=0, reason="out of\nmemory", change="widen all")


def search(progress, time_limit=60.0, resumed=0):
    """A short search: a start, a failure, a better child."""
    progress.message("the earlier search was moved to auto.1")
    progress(SearchStarted(Path("auto"), time_limit, resumed))
    progress(CandidateStarted("start: cnn", None, 1234, "stable", 2.0))
    progress(CandidateProgress(images=64, loss=0.7, progress=0.25))
    progress(ModelRecorded(model(0, 0.5, change="start: cnn", n_parameters=1234, seconds=2.5)))
    progress(CandidateStarted("widen all", 0, 5678, "stable", None))
    progress(CandidateFailed(failure()))
    best = model(1, 0.25, parent_id=0, change="deepen [3]")
    progress(ModelRecorded(best))
    return best


class Terminal(io.StringIO):
    """Says that it is a terminal and keeps what it is sent."""

    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def usual_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)


def test_lines_where_there_is_no_terminal(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    stream = io.StringIO()
    with Progress(stream) as progress:
        progress(SearchFinished(search(progress)))
    lines = [re.sub(r"\[ *\d+ s\]", "[t]", line) for line in stream.getvalue().splitlines()]
    assert lines[:-1] == [
        "the earlier search was moved to auto.1",
        "Searching for 60 s in auto",
        "[t] model 0: start: cnn; 1,234 parameters, accuracy 0.5000, loss 0.5000, 2.5 s (best so far)",
        "[t] failed from 0: widen all; out of memory",
        "[t] model 1 from 0: deepen [3]; 0 parameters, accuracy 0.7500, loss 0.2500, 0.0 s (best so far)",
    ]
    end = r"Search ended after 0\.\d s: 2 models, 1 failed; best is model 1, accuracy 0\.7500, loss 0\.2500"
    assert re.fullmatch(end, lines[-1])
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize(
    ("limit", "resumed", "words"),
    [
        (None, 0, "Searching without a time limit in auto"),
        (7200.0, 0, "for 2 h 0 min"),
        (900.0, 0, "for 15 min"),
        (5.0, 1, "Going on for 5.0 s with the search in auto, 1 model so far"),
    ],
)
def test_the_first_line_tells_the_task(limit, resumed, words):
    stream = io.StringIO()
    Progress(stream)(SearchStarted(Path("auto"), limit, resumed))
    assert words in stream.getvalue()


def test_a_model_of_an_earlier_fit_may_be_the_best():
    for stream in (io.StringIO(), Terminal()):
        with Progress(stream) as progress:
            search(progress, resumed=3)
            progress(SearchFinished(model(7, 0.01)))
        assert "best is model 7" in stream.getvalue()
        assert "best so far" not in stream.getvalue()
    assert "*7" in stream.getvalue()


def test_without_any_model():
    stream = io.StringIO()
    with Progress(stream) as progress:
        progress(SearchStarted(Path("auto"), 1.0, 0))
        progress(SearchFinished(None))
    assert "0 models" in stream.getvalue()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_streams_that_cannot_hold_every_character(encoding):
    buffer = io.BytesIO()
    stream = io.TextIOWrapper(buffer, encoding)
    with Progress(stream) as progress:
        progress.message("conv 3×3 → 64")
    assert buffer.getvalue().decode(encoding).startswith("conv 3")


class Broken(io.StringIO):
    """Fails from the n-th writing on."""

    def __init__(self, after, terminal):
        super().__init__()
        self.after, self.terminal = after, terminal

    def isatty(self):
        return self.terminal

    def write(self, text):
        self.after -= 1
        if self.after < 0:
            raise BrokenPipeError(32, "Broken pipe")
        return super().write(text)


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("after", range(5))
def test_a_broken_stream_never_reaches_the_search(terminal, after):
    stdout = sys.stdout
    with Progress(Broken(after, terminal)) as progress:
        progress(SearchFinished(search(progress)))
    assert sys.stdout is stdout


def test_a_closed_stream_and_nonsense_never_reach_the_search():
    stream = io.StringIO()
    stream.close()
    for progress in (Progress(stream), Progress(io.StringIO()), Progress(Terminal())):
        with progress:
            search(progress)
            progress(CandidateProgress(None, None, None))
            progress(CandidateProgress(1, "no number", None))
            progress(ModelRecorded(None))
            progress(CandidateFailed(3))
            progress(SearchFinished("best"))


def test_only_a_free_terminal_is_live(monkeypatch):
    assert is_live(Terminal()) and not is_live(io.StringIO()) and not is_live(None)
    other = Terminal()
    other.__class__ = type("Ascii", (Terminal,), {"encoding": "ascii"})
    assert not is_live(other)
    monkeypatch.setenv("TERM", "dumb")
    assert not is_live(Terminal())


def test_live_display_leaves_the_table_and_the_cursor():
    stream = Terminal()
    stdout = sys.stdout
    with Progress(stream) as progress:
        best = search(progress)
        time.sleep(1.2)  # for the display's thread
        progress(SearchFinished(best))
    text = stream.getvalue()
    assert "choosing the next candidate" in text and "of 60 s" in text
    assert text.count(HIDE) == 1 and text.rindex(SHOW) > text.rindex(HIDE)
    left = text[text.rindex(SHOW) :]
    for words in ("*1", "deepen [3]", "×", "out of", "Search ended after"):
        assert words in left
    assert sys.stdout is stdout


def test_the_live_table_is_short_and_shows_the_best():
    stream = Terminal()
    with Progress(stream) as progress:
        progress(SearchStarted(Path("auto"), 60.0, 0))
        for number in range(40):
            progress(ModelRecorded(model(number, 0.1 if number == 3 else 0.5)))
        rows = progress._latest(12)
        time.sleep(0.8)
    assert [record.model_id for record in rows] == [3, *range(29, 40)]
    assert len(stream.getvalue().split(SHOW)[-1].splitlines()) >= 40


SCRIPT = """
    import os, sys, time
    from pathlib import Path
    from kmorph.report import Progress
    from kmorph.search.events import CandidateProgress, CandidateStarted, ModelRecorded, SearchStarted
    from kmorph.search.store.record import ModelRecord

    with Progress() as progress:
        progress(SearchStarted(Path("auto"), None, 0))
        progress(CandidateStarted("deepen", None, 1234, "stable", 2.0))
        progress(CandidateProgress(images=64, loss=0.7, progress=0.25))
        progress(ModelRecorded(ModelRecord(model_id=0, state="done", loss=0.5, change="start: cnn")))
        print("from the program")
        print("for the log", file=sys.stderr)
        time.sleep(0.8)
        END
"""


def on_a_terminal(end, interrupt=False):
    """Run the script with a pseudo-terminal as its stdout; returns what came there, and on stderr."""
    main, other = pty.openpty()
    code = textwrap.dedent(SCRIPT).replace("END", end)
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=other, stdin=other, stderr=subprocess.PIPE, text=True,
        preexec_fn=as_on_a_terminal,
    )  # fmt: skip
    os.close(other)
    parts = []
    while True:
        try:
            part = os.read(main, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        parts.append(part)
        if interrupt and b"%" in part:
            process.send_signal(signal.SIGINT)
            interrupt = False
    os.close(main)
    errors = process.communicate(timeout=60)[1]
    return b"".join(parts).decode(), errors


@pytest.mark.parametrize("end", ["pass", "raise ValueError('boom')", "sys.exit(3)"])
def test_terminal_is_restored(end):
    text, errors = on_a_terminal(end)
    assert text.count(HIDE) == 1 and text.rindex(SHOW) > text.rindex(HIDE)
    assert "start: cnn" in text[text.rindex(SHOW) :]
    assert "from the program" in text
    assert "for the log" in errors and "for the log" not in text
    assert ("boom" in errors) == ("boom" in end)


def test_terminal_is_restored_after_ctrl_c():
    again = "progress(CandidateStarted('deepen', None, 1, 'stable', 2.0))"
    text, errors = on_a_terminal(f"{again}; progress(CandidateProgress(1, 0.5, 0.5)); time.sleep(30)", True)
    assert "KeyboardInterrupt" in errors
    assert text.rindex(SHOW) > text.rindex(HIDE)
    assert "start: cnn" in text[text.rindex(SHOW) :]
