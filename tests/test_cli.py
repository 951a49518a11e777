"""The command line, as a user runs it: in a process of its own."""

import os
import re
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.datasets import load_digits

from kmorph import ImageClassifier
from kmorph.cli import demo

HEAVY = ("tensorflow", "keras", "sklearn", "scipy", "pandas")
OLD_FOLDER = Path(__file__).parent / "folders" / "v1"
DEMO_LIMIT = 20  # seconds of search; the whole command adds loading TensorFlow twice, testing and exporting


def kmorph(*arguments, cwd=None, code=0):
    command = [sys.executable, "-m", "kmorph.cli", *arguments]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8", "TF_CPP_MIN_LOG_LEVEL": "2"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == code, done.stdout + done.stderr
    return done


def test_help_is_quick():
    seconds = []
    for _ in range(3):
        begun = spent_by_children()
        assert "demo" in kmorph("--help").stdout
        seconds.append(spent_by_children() - begun)
    assert min(seconds) < 0.7


def spent_by_children():
    """Seconds of the processor that ended child processes took; other programs do not count."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def test_help_loads_nothing_heavy():
    code = (
        "import sys, kmorph.cli\n"
        "try: kmorph.cli.app(['demo', '--help'])\n"
        "except SystemExit: print('loaded', *sys.modules)"
    )
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    loaded = output.rpartition("loaded")[2].split()
    assert "kmorph.cli" in loaded
    assert not set(HEAVY) & set(loaded)
    for option in ("--time-limit", "--seed", "--out"):
        assert option in output


def test_version():
    import kmorph as package

    assert kmorph("--version").stdout == f"kmorph {package.__version__}\n"


@pytest.mark.parametrize("arguments", [(), ("no-such-command",), ("demo", "--time-limit", "0")])
def test_wrong_use_is_explained(arguments):
    done = kmorph(*arguments, code=2)
    assert "Usage" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_errors_are_one_line(tmp_path):
    (tmp_path / "taken").write_text("not a folder")
    done = kmorph("demo", "--out", "taken", cwd=tmp_path, code=1)
    assert done.stderr.startswith("kmorph: ") and "taken" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert (tmp_path / "taken").read_text() == "not a folder"


@pytest.mark.wall
def test_demo_keeps_its_time_and_is_good(tmp_path):
    begun = time.perf_counter()
    text = kmorph("demo", "--time-limit", str(DEMO_LIMIT), cwd=tmp_path).stdout
    assert time.perf_counter() - begun < DEMO_LIMIT + 45
    assert "moved to" not in text
    assert float(re.search(r"Test accuracy: (\d\.\d+) on 450 images", text)[1]) > 0.8


def test_demo(tmp_path):
    """In a folder that holds a search, which is moved aside."""
    folder = shutil.copytree(OLD_FOLDER, tmp_path / "kmorph-demo")
    text = kmorph("demo", "--time-limit", "5", cwd=tmp_path).stdout
    assert "\x1b" not in text and f"moved to {folder}.1" in text
    assert (tmp_path / "kmorph-demo.1" / "search.db").read_bytes() == (OLD_FOLDER / "search.db").read_bytes()
    assert re.search(r"id +parent +what changed +parameters +(accuracy|metric)", text)  # if it has one
    assert re.search(r"Test accuracy: (\d\.\d+) on 450 images", text)
    assert len(text.partition("What to do next:\n")[2].partition("\n\n")[0].splitlines()) == 3
    assert str(folder) in text and str(folder / "best.keras") in text
    assert (folder / "search.db").is_file()
    assert all((folder / name).is_file() for name in ("best.svg", "tree.svg")) or "Graphviz" in text
    check_without_kmorph(folder)


def test_demo_beside_another_search_keeps_to_its_own_folder(tmp_path, monkeypatch, capsys):
    written = []

    def write(file):
        written.append(file)
        return file

    classifier = SimpleNamespace(
        path_=tmp_path / "run.1",
        history=[],
        failures=[],
        fit=lambda x, y, time_limit: None,
        evaluate=lambda x, y: 0.5,
        get_best_model_id=lambda: 0,
        export_keras_model=write,
        best_graph=SimpleNamespace(draw=write),
    )
    monkeypatch.setattr("kmorph.tasks.ImageClassifier", lambda **_: classifier)
    demo(out=tmp_path / "run")
    assert {file.parent for file in written} == {classifier.path_} and len(written) == 2
    text = capsys.readouterr().out
    assert f"{(tmp_path / 'run.1').as_posix()}/best.keras" in text and f"{tmp_path / 'run'}/" not in text


def check_without_kmorph(folder: Path):
    """Where there is no kmorph, the exported file gives the search's own answers for raw images."""
    images = load_digits().images[:50]
    np.save(folder / "images.npy", images[..., None])
    code = (
        "import sys, keras, numpy as np; sys.modules['kmorph'] = None\n"
        "model = keras.models.load_model('best.keras', safe_mode=True)\n"
        "np.save('scores.npy', model.predict(np.load('images.npy'), verbose=0))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    expected = ImageClassifier(path=folder, resume=True).predict_proba(images)
    np.testing.assert_allclose(np.load(folder / "scores.npy"), expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.wall
@pytest.mark.timeout(900)
def test_demo_as_it_is(tmp_path):
    """The README's promises of `kmorph demo`, on five seeds."""
    accuracies = []
    for seed in range(5):
        begun = time.perf_counter()
        text = kmorph("demo", "--seed", str(seed), "--out", f"demo{seed}", cwd=tmp_path).stdout
        assert time.perf_counter() - begun < 90
        accuracies.append(float(re.search(r"Test accuracy: (\d\.\d+)", text)[1]))
        steps = re.findall(r"^\[ *\d+ s\] model \d+ from \d+: widen all layers", text, re.MULTILINE)
        assert len(steps) == 2
        first, last, line = re.search(r"grew from ([\d,]+) to ([\d,]+) parameters: (.+)", text).groups()
        assert int(last.replace(",", "")) > 5 * int(first.replace(",", ""))
        assert len(line.split(" → ")) >= 4  # start, two steps, settled
        assert (tmp_path / f"demo{seed}" / "tree.svg").stat().st_size > 1000
    assert min(accuracies) >= 0.975
    assert sum(accuracies) / 5 >= 0.985
