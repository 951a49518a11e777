"""Folders with records of version 2 open, predict, export and go on: numbers and label sets."""

import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits

from kmorph import ImageClassifier, ImageRegressor, load_searcher
from kmorph.search.workers.pool import InlineExecutor

FOLDERS = Path(__file__).parents[1] / "folders"
KINDS = {
    "v2_numbers": (ImageRegressor, "numbers", "mae"),
    "v2_sets": (ImageClassifier, "probabilities", "f1"),
}
ONE_EPOCH = {"trainer_args": {"max_iter_num": 1}}


def digits(name):
    """Images, labels and weights of the fit."""
    x, y = load_digits(return_X_y=True)
    x, y = x.reshape(-1, 8, 8).astype(np.uint8)[:300], y[:300]
    if name == "v2_numbers":
        return x, np.stack([y * 1000.0, x.sum((1, 2))], 1), np.where(y == 3, 2.0, 1.0)
    return x, np.stack([y % 2 == 0, y > 4, y % 3 == 0, y < 0], 1).astype(int), None


@pytest.mark.parametrize("name", KINDS)
def test_it_opens_predicts_exports_and_goes_on(name, tmp_path):
    kind, what, objective = KINDS[name]
    folder = Path(shutil.copytree(FOLDERS / name, tmp_path / name))
    with np.load(FOLDERS / "v2_expected.npz") as arrays:
        images, expected = arrays["x"], arrays[what]
    found = kind(
        path=folder, resume=True, verbose=False, executor=InlineExecutor(), max_models=4, starts=["mlp"],
        searcher_args=ONE_EPOCH,
    )  # fmt: skip
    answer = found.predict if what == "numbers" else found.predict_proba
    np.testing.assert_allclose(answer(images), expected, rtol=1e-4, atol=1e-5)
    model = keras.models.load_model(found.export_keras_model(tmp_path / "best.keras"), safe_mode=True)
    np.testing.assert_allclose(model.predict(images[..., None], verbose=0), expected, rtol=1e-3, atol=1e-3)
    before = found.history
    assert [entry["objective"] for entry in before] == [objective] * 3
    assert all(load_searcher(folder).load_model_by_id(number).has_weights for number in range(3))
    x, y, weights = digits(name)
    with_or_without = {} if weights is None else {"sample_weight": weights}
    found.fit(x, y, **with_or_without)
    # The same loss, weights and objective: nothing is measured anew.
    assert len(found.history) == 4 and found.history[:3] == before
    found.final_fit(x, y, trainer_args={"max_iter_num": 1}, **with_or_without)
    assert found.history[found.get_best_model_id()]["phase"] == "final"
