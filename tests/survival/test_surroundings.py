"""Searches in processes without a current folder, a home, standard streams or a temporary folder."""

import os
import subprocess
import sys
import tempfile

import numpy as np
import pytest

from kmorph import ImageClassifier
from kmorph.errors import SearchError
from kmorph.report import Progress
from kmorph.search import InlineExecutor
from kmorph.search.events import SearchFinished, SearchStarted
from kmorph.search.store.folder import RunFolder
from kmorph.search.workers.surroundings import startable

SEARCH = """
import os, pwd, sys
for name in ("HOME", "KERAS_HOME", "KERAS_BACKEND"):
    os.environ.pop(name, None)
def unknown(_):
    raise KeyError("unknown")
pwd.getpwuid = unknown
gone, run, report = sys.argv[1:]
sys.stdout.close()
os.chdir(gone)
os.rmdir(gone)
import numpy as np
from kmorph import ImageClassifier
x, y = np.zeros((60, 8, 8, 1), np.uint8), np.arange(60) % 3
x[y == 1] = 255
fit = dict(verbose=True, seed=0, max_models=1, starts=[("mlp", {"width": 8})])
fit["searcher_args"] = {"trainer_args": {"max_iter_num": 1}}
if __name__ == "__main__":
    try:
        clf = ImageClassifier(path=run, **fit).fit(x, y)
        exported = clf.export(run + "/a.keras")
        text = f"{len(clf.history)} models, {clf.predict(x).shape} labels, exported {exported}"
    except BaseException as error:
        text = repr(error)
    with open(report, "w") as file:
        file.write(text)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows removes no folder that is in use")
def test_a_search_needs_none_of_them(tmp_path):
    (tmp_path / "gone").mkdir()
    program = tmp_path / "search.py"
    program.write_text(SEARCH)
    command = [sys.executable, str(program), *(str(tmp_path / name) for name in ("gone", "run", "report"))]
    # Two descriptors are closed from the beginning, the stream on the third is closed by the program.
    subprocess.run(["sh", "-c", 'exec "$@" <&- 2>&-', "sh", *command], timeout=280)
    expected = f"1 models, (60,) labels, exported {tmp_path / 'run' / 'a.keras'}"
    assert (tmp_path / "report").read_text() == expected


@pytest.mark.skipif(os.name == "nt", reason="Windows removes no folder that is in use")
def test_processes_are_started_from_a_folder_that_exists(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with startable():
        assert os.getcwd() == os.sep
    with pytest.raises(FileNotFoundError):
        os.getcwd()
    os.chdir(tmp_path)
    with startable():
        assert os.getcwd() == str(tmp_path)


def test_a_relative_path_in_a_removed_folder_is_refused(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    x, y = np.zeros((20, 4, 4), np.uint8), np.arange(20) % 2
    clf = ImageClassifier(path="run", verbose=False, executor=InlineExecutor(), starts=["mlp"])
    with pytest.raises(SearchError, match="absolute path"):
        clf.fit(x, y, time_limit=5)
    os.chdir(tmp_path)


def test_no_temporary_folder(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(SearchError, match="TMPDIR"):
        RunFolder.open(None)

    def none():
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    with pytest.raises(SearchError, match="TMPDIR"):
        RunFolder.open(None)


def test_progress_without_a_standard_output(monkeypatch, tmp_path):
    for stream in (None, open(tmp_path / "closed", "w")):
        if stream is not None:
            stream.close()
        monkeypatch.setattr(sys, "stdout", stream)
        with Progress() as progress:
            progress(SearchStarted(tmp_path, 1.0, 0))
            progress.message("a note")
            progress(SearchFinished(None))
