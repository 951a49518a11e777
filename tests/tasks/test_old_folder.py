"""The folder that version 0.1 wrote opens, predicts, exports and goes on."""

import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits

from kmorph import ImageClassifier, load_searcher
from kmorph.search.workers.pool import InlineExecutor

FOLDERS = Path(__file__).parents[1] / "folders"
NAMES = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])


@pytest.fixture
def folder(tmp_path):
    """A copy: to open a folder may leave files in it."""
    return Path(shutil.copytree(FOLDERS / "v1", tmp_path / "v1"))


@pytest.fixture(scope="module")
def expected():
    with np.load(FOLDERS / "v1_expected.npz") as arrays:
        return arrays["x"], arrays["probabilities"]


def estimator(folder, **options):
    return ImageClassifier(path=folder, resume=True, verbose=False, executor=InlineExecutor(), **options)


def digits():
    x, y = load_digits(return_X_y=True)
    return x.reshape(-1, 8, 8).astype(np.uint8)[:300], NAMES[y[:300]]


def test_it_opens(folder):
    searcher = load_searcher(folder)
    assert [entry["model_id"] for entry in searcher.history] == [0, 1, 2, 3, 4]
    assert [entry["reason"] for entry in searcher.failures] == ["out of memory"]
    assert searcher.search_id == load_searcher(FOLDERS / "v1").search_id
    assert all(searcher.load_model_by_id(number).has_weights for number in range(5))


def test_it_predicts_and_exports(folder, expected, tmp_path):
    x, probabilities = expected
    clf = estimator(folder)
    assert np.allclose(clf.predict_proba(x), probabilities, atol=1e-5)
    assert np.array_equal(clf.predict(x).ravel(), clf.classes_[probabilities.argmax(1)])
    model = keras.models.load_model(clf.export_keras_model(tmp_path / "best.keras"), safe_mode=True)
    assert np.allclose(model.predict(x[..., None], verbose=0), probabilities, atol=1e-5)


def test_it_goes_on_and_is_still_known(folder, expected):
    before, searcher = estimator(folder), load_searcher(folder)
    assert len(before.history) == 5
    caps = {"searcher_args": {"trainer_args": {"max_iter_num": 1}}}
    clf = estimator(folder, max_models=6, starts=["mlp"], **caps).fit(*digits())
    assert len(clf.history) == len(before.history) == 6 and len(clf.failures) == 1
    clf.final_fit(*digits(), trainer_args={"max_iter_num": 1})
    assert clf.history[clf.get_best_model_id()]["phase"] == "final"
    folder.rename(folder.with_name("v1.3"))
    assert searcher.path.name == before.path_.name == clf.path_.name == "v1.3"
    assert np.allclose(clf.predict_proba(expected[0]).sum(1), 1)
