"""Regression from images, on real digits, trained for real."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_digits

import kmorph
from kmorph import ImageRegressor
from kmorph.errors import DataError, SearchError
from kmorph.graph import Graph

QUICK = {"searcher_args": {"trainer_args": {"max_iter_num": 6}, "default_model_width": 8}, "verbose": False}


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    return x.reshape(-1, 8, 8).astype(np.uint8), y.astype(float)


@pytest.fixture(scope="module")
def fitted(digits, tmp_path_factory):
    x, y = digits
    heights = 1000 + 50 * y  # a unit of the user's, far from mean 0
    reg = ImageRegressor(path=tmp_path_factory.mktemp("run"), seed=0, max_models=4, **QUICK)
    return reg.fit(x[:1300], heights[:1300]), heights


def test_it_predicts_in_the_users_units(fitted, digits):
    reg, heights = fitted
    x, y = digits[0][1300:], heights[1300:]
    predicted = reg.predict(x)
    assert predicted.shape == y.shape and predicted.dtype == np.float64
    assert 900 < predicted.mean() < 1500
    assert reg.evaluate(x, y) == pytest.approx(np.mean((predicted - y) ** 2))
    r2 = 1 - np.mean((predicted - y) ** 2) / y.var()
    assert reg.score(x, y) == pytest.approx(r2) and r2 > 0.6
    assert reg.transform(x[:3]).shape[0] == 3
    rows = reg.leaderboard(x, y)
    assert rows[0]["mse"] == min(row["mse"] for row in rows)


def test_the_history_names_the_objective(fitted):
    reg, _ = fitted
    for entry in reg.history:
        assert entry["objective"] == "mse"
        assert entry["metric_value"] == entry["metrics"]["mse"]
        assert entry["loss"] == pytest.approx(entry["metrics"]["loss"])
    best = min(reg.history, key=lambda entry: entry["metric_value"])
    assert best["metric_value"] <= reg.history[reg.get_best_model_id()]["metric_value"]


def test_exports_give_the_users_units(fitted, digits, tmp_path):
    import tensorflow as tf

    reg, _ = fitted
    x = digits[0][:20]
    model = tf.keras.models.load_model(reg.export_keras_model(tmp_path / "r.keras"))
    np.testing.assert_allclose(model.predict(x[..., None], verbose=0)[:, 0], reg.predict(x), rtol=1e-4)
    folder = reg.export(tmp_path / "saved", "saved_model")
    loaded = tf.saved_model.load(str(folder))
    values = loaded.signatures["serving_default"](images=tf.constant(x[..., None], tf.float32))["values"]
    np.testing.assert_allclose(values.numpy()[:, 0], reg.predict(x), rtol=1e-4)
    assert loaded.signatures["regress"].structured_outputs["outputs"].shape.as_list() == [None, 1]


def test_it_resumes_and_others_are_refused(fitted, digits, tmp_path):
    import shutil

    reg, heights = fitted
    x = digits[0]
    copy = tmp_path / "copy"
    shutil.copytree(reg.path_, copy)
    again = ImageRegressor(path=copy, resume=True, max_models=5, **QUICK)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        again.fit(x[:1300], heights[:1300])
    assert len(again.history) == 5
    with pytest.warns(UserWarning, match="the data differs from what the search in .* began with"):
        again.fit(x[400:1700], heights[400:1700])
    with pytest.raises(SearchError, match="other data"):
        ImageRegressor(path=copy, resume=True, **QUICK).fit(x, np.stack([heights, heights], 1))
    with pytest.raises(SearchError, match="other data|another task"):
        kmorph.ImageClassifier(path=copy, resume=True, **QUICK).fit(x, heights.astype(int))
    assert kmorph.load_searcher(copy).load_best_model().output_shape == (1,)


def test_final_fit_goes_on(fitted, digits, tmp_path):
    import shutil

    reg, heights = fitted
    copy = tmp_path / "copy"
    shutil.copytree(reg.path_, copy)
    again = ImageRegressor(path=copy, resume=True, **QUICK)
    before = again.score(digits[0][1300:], heights[1300:])
    again.final_fit(digits[0][:1300], heights[:1300], trainer_args={"max_iter_num": 3})
    assert again.score(digits[0][1300:], heights[1300:]) > before - 0.05


def test_several_outputs_and_an_own_network(digits, tmp_path):
    import keras

    x, y = digits
    ink = x.sum((1, 2)).astype(float)
    own = keras.Sequential([keras.layers.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(2)])
    reg = ImageRegressor(path=tmp_path / "run", seed=0, max_models=2, starts=[own, "cnn"], **QUICK)
    reg.fit(
        x[:600],
        np.stack([y, ink], axis=1)[:600],
        validation_data=(x[600:900], np.stack([y, ink], 1)[600:900]),
    )
    assert reg.predict(x[:5]).shape == (5, 2)
    assert isinstance(reg.best_graph, Graph)


def test_images_change_only_where_the_numbers_stay():
    """A bright square: its column moves with the image, its brightness stays, its ink falls with erasing."""
    from kmorph.problem import ImageInput, Numbers

    rng = np.random.default_rng(0)
    n, side = 1200, 20
    x = rng.integers(0, 20, (n, side, side, 1)).astype(np.uint8)
    row, column, bright = rng.integers(0, 14, n), rng.integers(0, 14, n), rng.integers(60, 250, n)
    for image, r, c, b in zip(x, row, column, bright, strict=True):
        image[r : r + 6, c : c + 6] = b
    found = {}
    for name, y in (("column", column), ("brightness", bright), ("ink", x.sum((1, 2, 3)))):
        target = Numbers.learn(y)
        given = ImageInput.learn(x)
        found[name] = given.augmentations(x, target.encode(y), target)
    assert "flip" not in found["column"] and "shift" not in found["column"]
    assert "flip" in found["brightness"]
    assert "erase" not in found["ink"]


@pytest.mark.parametrize(
    ("y", "words"),
    [(["a"] * 20, "classifier"), ([1.0] * 20, "nothing to learn"), ([1.0] * 19 + [np.nan], "missing")],
)
def test_labels_that_are_no_numbers_are_refused_before_anything(tmp_path, y, words):
    x = np.zeros((20, 8, 8), np.uint8)
    with warnings.catch_warnings(), pytest.raises(DataError, match=words):
        ImageRegressor(path=tmp_path / "run", verbose=False).fit(x, y, time_limit=5)
    assert not (tmp_path / "run").exists()
