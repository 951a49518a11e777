"""One script, as users write it: from a file, from stdin and in a notebook, again and again in one folder."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """\
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from kmorph import ImageClassifier

x, y = load_digits(return_X_y=True)
x = x.reshape(-1, 8, 8, 1)
x_train, x_test, y_train, y_test = train_test_split(x, y.reshape(-1, 1), random_state=0)
clf = ImageClassifier(verbose=True, path="auto/", searcher_args={"trainer_args": {"max_iter_num": 5}})
clf.fit(x_train, y_train, time_limit=60)
print(clf.get_best_model_id())
searcher = clf.load_searcher()
print(searcher.history)
clf.final_fit(x_train, y_train, x_test, y_test, retrain=False, trainer_args={"max_iter_num": 10})
print(clf.evaluate(x_test, y_test))
clf.export_keras_model("best.keras")
graph = searcher.load_best_model()
graph.to_keras().summary()
"""
SHORT = SCRIPT.replace("time_limit=60", "time_limit=5")
assert SHORT != SCRIPT


def from_file(script: str, folder: Path) -> str:
    (folder / "script.py").write_text(script, encoding="utf-8")
    return in_process([sys.executable, "script.py"], folder)


def from_stdin(script: str, folder: Path) -> str:
    return in_process([sys.executable, "-"], folder, script)


def in_process(command: list[str], folder: Path, text: str | None = None) -> str:
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        command, cwd=folder, input=text, env=environment, capture_output=True, text=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def in_notebook(script: str, folder: Path) -> str:
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    # The imports, the data and each call in a cell of its own.
    cells = [
        "\n".join(script.splitlines()[:3]),
        "\n".join(script.splitlines()[3:7]),
        *script.splitlines()[7:],
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    client = nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}})
    client.execute()
    outputs = [output for cell in notebook.cells for output in cell.outputs]
    # Keras shows its summary, where it can, as a rich object.
    return "\n".join(output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs)


WAYS = {"file": from_file, "stdin": from_stdin, "notebook": in_notebook}


def check(text: str, folder: Path, earlier: int) -> None:
    assert "Total params" in text
    lines = text.splitlines()
    assert any(re.fullmatch(r"\d+", line) for line in lines)  # the best model's id
    assert any(line.startswith("[{'model_id': 0") for line in lines)
    (accuracy,) = [float(line) for line in lines if re.fullmatch(r"[01]\.\d+", line)]
    assert accuracy > 0.9
    assert (folder / "best.keras").is_file()
    # No search was written over.
    searches = sorted(file.parent.name for file in folder.glob("*/search.db"))
    assert searches == sorted(["auto", *(f"auto.{number}" for number in range(1, earlier + 1))])
    assert "\x1b[?25" not in text


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_in_every_way_in_one_folder(tmp_path):
    """Each run finds the search of the one before."""
    for earlier, way in enumerate(WAYS.values()):
        check(way(SHORT, tmp_path), tmp_path, earlier)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("way", WAYS)
def test_as_it_stands_twice(way, tmp_path):
    for earlier in range(2):
        check(WAYS[way](SCRIPT, tmp_path), tmp_path, earlier)
