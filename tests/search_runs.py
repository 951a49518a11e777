"""Searches on digits in processes of their own, to be killed, watched and resumed."""

import contextlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
from sklearn.datasets import load_digits

from kmorph.graph import Graph
from kmorph.search import load_searcher
from kmorph.search.store.folder import RunFolder

SCRIPT = """
import json, sys
from sklearn.datasets import load_digits
from kmorph import ImageClassifier

x, y = load_digits(return_X_y=True)
x = x.reshape(-1, 8, 8)
print(json.dumps({"event": "begun"}), flush=True)


def tell(record):
    print(json.dumps({"event": "recorded", "model_id": record["model_id"]}), flush=True)


options = json.loads(sys.argv[2])
clf = ImageClassifier(path=sys.argv[1], resume=True, verbose=False, seed=0, callbacks=[tell], **options)
clf.fit(x, y, **json.loads(sys.argv[3]))
print(json.dumps({"event": "ended"}), flush=True)
"""
# The same with other kinds of examples: pixels as words, and as signals of unequal length.
TEXTS = SCRIPT.replace("ImageClassifier", "TextClassifier").replace(
    "x = x.reshape(-1, 8, 8)", "x = [' '.join(f'p{i}v{int(v) // 4}' for i, v in enumerate(row)) for row in x]"
)
SIGNALS = SCRIPT.replace("ImageClassifier", "ImageClassifier1D").replace(
    "x = x.reshape(-1, 8, 8)", "x = [row[: 64 - 8 * (i % 3)] for i, row in enumerate(x)]"
)
# Short trainings of a small network: many models, files and records for a killer to hit.
QUICK = {"searcher_args": {"trainer_args": {"max_iter_num": 2}}, "starts": [("cnn", {"width": 8})]}


def digits():
    x, y = load_digits(return_X_y=True)
    return x.reshape(-1, 8, 8), y


def as_on_a_terminal():
    """Signals do what they usually do, also where the tests themselves ignore some, as under nohup."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)


class Run:
    """A search in a process of its own; its events are read from a file, so that none is lost with it."""

    started = []  # their processes, so that none outlives a test that failed

    def __init__(self, folder, options=QUICK, fit=None, script=SCRIPT, log=None):
        self.folder = Path(folder)
        self.log = log or self.folder.with_suffix(".log")
        self.begun = time.monotonic()
        with self.log.open("w") as log, self.log.with_suffix(".err").open("w") as errors:
            command = [sys.executable, "-c", script, str(folder), json.dumps(options), json.dumps(fit or {})]
            self.process = subprocess.Popen(command, stdout=log, stderr=errors, preexec_fn=as_on_a_terminal)
        self.started.append(self.process)

    @property
    def errors(self):
        return self.log.with_suffix(".err").read_text()

    def events(self, name):
        """Those reported so far; a line that is being written is left out."""
        lines = self.log.read_text().split("\n")[:-1]
        found = [json.loads(line) for line in lines]
        return [event for event in found if event["event"] == name]

    def wait_for_models(self, number, seconds=200):
        """Until so many models were recorded in this run."""
        until = time.monotonic() + seconds
        while len(self.events("recorded")) < number:
            assert self.process.poll() is None, f"it ended: {self.errors}"
            assert time.monotonic() < until, f"no {number} models in {seconds} s"
            time.sleep(0.05)

    def workers(self):
        """The processes below it that it had so far."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(self.process.pid).children(recursive=True)
        return []

    def wait(self, seconds):
        return self.process.wait(seconds)


def gone(processes, seconds):
    """All must end within so many seconds."""
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    alive = [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]  # nobody asked how
    assert not alive, f"still there after {seconds} s: {alive}"


def check(folder):
    """All models of a search can be read; returns their ids."""
    searcher = load_searcher(folder)
    records = searcher.history
    assert [record["model_id"] for record in records] == list(range(len(records)))
    for record in records:
        graph = Graph.load(RunFolder.model_path(Path(folder), record["model_id"]))
        assert graph.has_weights and graph.fingerprint == record["fingerprint"]
    if records:
        assert searcher.load_best_model().has_weights
    return [record["model_id"] for record in records]
