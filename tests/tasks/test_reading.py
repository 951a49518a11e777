"""Loaders wherever examples are taken: the same search as with arrays, little memory, nothing left."""

import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits

from kmorph import ImageClassifier
from kmorph.errors import DataError

X, Y = load_digits(return_X_y=True)
X = X.reshape(-1, 8, 8, 1).astype(np.uint8)
QUICK = {
    "searcher_args": {"trainer_args": {"max_iter_num": 4}, "default_model_width": 16},
    "verbose": False,
    "max_models": 1,
    "seed": 0,
}


def loader(start, stop, labels=True):
    def batches():
        for begin in range(start, stop, 100):
            part = slice(begin, min(begin + 100, stop))
            yield (X[part], Y[part]) if labels else X[part]

    return batches


def test_a_loader_is_searched_as_arrays_are(tmp_path):
    arrays = ImageClassifier(path=tmp_path / "arrays", **QUICK).fit(X[:1300], Y[:1300])
    loaded = ImageClassifier(path=tmp_path / "loader", **QUICK).fit(loader(0, 1300))
    assert {path.name for path in tmp_path.iterdir()} == {"arrays", "loader"}
    np.testing.assert_allclose(loaded.predict_proba(X[1300:]), arrays.predict_proba(X[1300:]), atol=1e-5)
    test = loader(1300, len(X))
    np.testing.assert_array_equal(loaded.predict(test), loaded.predict(X[1300:]))
    np.testing.assert_array_equal(
        loaded.predict(loader(1300, len(X), labels=False)), loaded.predict(X[1300:])
    )
    assert loaded.evaluate(test) == loaded.evaluate(X[1300:], Y[1300:]) == loaded.score(test)
    assert loaded.transform(test).shape[0] == len(X) - 1300
    assert loaded.leaderboard(test) == loaded.leaderboard(X[1300:], Y[1300:])
    with pytest.raises(DataError, match="without labels"):
        loaded.leaderboard(loader(1300, len(X), labels=False))
    loaded.final_fit(loader(0, 1300), x_test=test, trainer_args={"max_iter_num": 1})
    assert len(loaded.history) == 1


def test_nothing_is_written_beside_an_array_of_the_user(tmp_path):
    np.save(tmp_path / "mine.npy", X[:600])
    mapped = np.load(tmp_path / "mine.npy", mmap_mode="r")
    clf = ImageClassifier(path=tmp_path / "runs" / "one", **QUICK).fit(mapped, Y[:600])
    clf.final_fit(mapped, Y[:600], trainer_args={"max_iter_num": 1})
    assert {path.name for path in tmp_path.iterdir()} == {"mine.npy", "runs"}
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["one"]


def test_pairs_and_validation_from_loaders(tmp_path):
    clf = ImageClassifier(path=tmp_path / "run", **QUICK)
    features = clf.fit_transform(X[:600], Y[:600], validation_data=loader(600, 900))
    np.testing.assert_array_equal(features, clf.transform(X[:600]))
    assert clf.history[0]["metric_value"] is not None


def test_what_goes_wrong(tmp_path):
    clf = ImageClassifier(path=tmp_path / "run", **QUICK)
    with pytest.raises(DataError, match="y is None"):
        clf.fit(X)
    with pytest.raises(DataError, match="without labels"):
        clf.fit(loader(0, 300, labels=False))
    with pytest.raises(DataError, match="y is given too"):
        clf.fit(loader(0, 300), Y[:300])
    with pytest.raises(DataError, match="more than max_disk allows"):
        ImageClassifier(path=tmp_path / "run", max_disk=1000, **QUICK).fit(loader(0, 300))
    with pytest.raises(DataError, match="function"):
        clf.fit(loader(0, 300)())
    assert not list(tmp_path.iterdir())
    clf.fit(X[:300], Y[:300])
    with pytest.raises(DataError, match="y is None"):
        clf.evaluate(X)
    with pytest.raises(DataError, match="without labels"):
        clf.evaluate(loader(0, 300, labels=False))


@pytest.mark.slow
def test_a_set_of_a_gigabyte_needs_little_memory(tmp_path):
    """Main process and worker together; pages of files that are mapped are not theirs."""
    code = """
import numpy as np, psutil, sys, threading, time
from kmorph import ImageClassifier
most, done = [0], threading.Event()
def private(process):
    maps = process.memory_maps()
    return sum(m.private_dirty + m.private_clean for m in maps if m.path in ("[heap]", "[anon]"))
def watch():
    me = psutil.Process()
    while not done.wait(0.2):
        found = 0
        for process in [me, *me.children(recursive=True)]:
            try:
                found += private(process)
            except psutil.Error:
                pass
        most[0] = max(most[0], found)
def loader():
    rng = np.random.default_rng(0)
    base = rng.integers(0, 256, (100, 200, 200, 3), dtype=np.uint8)
    for i in range(85):
        y = np.arange(100) % 2
        x = base.copy()
        x[y == 1, :100] //= 2
        yield x, y
import kmorph.training.backend
threading.Thread(target=watch, daemon=True).start()
clf = ImageClassifier(path=sys.argv[1], seed=0, verbose=False, max_models=1, starts=[("cnn", {"width": 16})])
clf.fit(loader, time_limit=25)
done.set()
print(most[0])
"""
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "run"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.split()[-1]) < 1.5 * 2**30
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
