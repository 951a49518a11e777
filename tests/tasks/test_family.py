"""Signals and volumes: searched, trained on, resumed and exported, on small real data."""

import argparse
import inspect
import statistics

import numpy as np
import pytest
import sklearn.metrics
from sklearn.datasets import load_digits

import kmorph
from kmorph import (
    ImageClassifier1D,
    ImageClassifier3D,
    ImageRegressor1D,
    ImageRegressor3D,
    TextClassifier,
    TextRegressor,
)
from kmorph.errors import DataError, SearchError

QUICK = {
    "searcher_args": {"trainer_args": {"max_iter_num": 7}, "default_model_width": 16},
    "verbose": False,
    "max_models": 2,
    "seed": 0,
}
DIGITS, VALUES = load_digits(return_X_y=True)
DIGITS = DIGITS.reshape(-1, 8, 8).astype(np.float32)


def volumes():
    """Each digit turned in steps, one turn a layer."""
    return np.stack([np.rot90(DIGITS, turn, (1, 2)) for turn in range(4)], axis=1)


def unequal():
    """Digits read row by row, of which some lack the last rows."""
    rows = DIGITS.reshape(-1, 64)
    return [row[: 64 - 8 * (i % 3)] for i, row in enumerate(rows)]


def paragraphs():
    """Paragraphs of documentation, and which package they are of."""
    texts, labels = [], []
    for package in (np, np.linalg, sklearn.metrics, statistics, argparse):
        for name in sorted(vars(package)):
            text = inspect.getdoc(getattr(package, name)) or ""
            parts = [part for part in text.split("\n\n") if len(part) > 60]
            texts += parts
            labels += [package.__name__.partition(".")[0]] * len(parts)
    order = np.random.default_rng(0).permutation(len(texts))[:1600]
    return [texts[i] for i in order], np.array(labels)[order]


TEXTS, PACKAGES = paragraphs()

CASES = {
    "signals": (ImageClassifier1D, DIGITS.reshape(-1, 64), VALUES, 0.7),
    "channels": (ImageClassifier1D, DIGITS, VALUES, 0.7),
    "unequal": (ImageClassifier1D, unequal(), VALUES, 0.6),
    "volumes": (ImageClassifier3D, volumes(), VALUES, 0.65),
    "signals, numbers": (ImageRegressor1D, DIGITS, DIGITS.sum(axis=(1, 2)), 0.6),
    "texts": (TextClassifier, TEXTS, PACKAGES, 0.7),
    "texts, numbers": (TextRegressor, TEXTS, np.array([text.count(" ") for text in TEXTS]) * 1.0, 0.0),
    "volumes, numbers": (ImageRegressor3D, volumes(), VALUES * 10.0, 0.15),
}


SELDOM = ("channels", "signals, numbers", "volumes, numbers")  # they go the way of others


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SELDOM)) for name in CASES]
)
def test_it_learns_goes_on_and_is_exported(name, tmp_path):
    kind, x, y, least = CASES[name]
    train, test = slice(0, 800), slice(800, None)
    estimator = kind(path=tmp_path / "run", **QUICK).fit(x[train], y[train])
    assert estimator.score(x[test], y[test]) > least
    again = kind(path=tmp_path / "run", resume=True, **{**QUICK, "max_models": 3}).fit(x[train], y[train])
    assert len(again.history) == 3
    again.final_fit(x[train], y[train], trainer_args={"max_iter_num": 2})
    predicted = again.predict(x[:20])
    assert predicted.shape == (20,)
    assert again.transform(x[:5]).shape[0] == 5
    assert kmorph.load_searcher(tmp_path / "run").load_best_model() == again.best_graph
    import keras
    import tensorflow as tf

    is_text = name.startswith("texts")
    given = tf.constant(x[:20])[:, None] if is_text else again._input().encode(x[:20])
    model = keras.models.load_model(again.export_keras_model(tmp_path / "best.keras"))
    scores = model.predict(given, verbose=0)
    expected = again.predict_proba(x[:20]) if hasattr(again, "predict_proba") else predicted[:, None]
    np.testing.assert_allclose(scores, expected, rtol=1e-3, atol=1e-3)
    folder = again.export(tmp_path / "served", "saved_model")
    served = tf.saved_model.load(str(folder)).signatures["serving_default"]
    (spec,) = served.structured_input_signature[1].values()
    found = served(**{spec.name: given if is_text else tf.cast(given, spec.dtype)})
    np.testing.assert_allclose(found.get("scores", found.get("values")), expected, rtol=1e-3, atol=1e-3)


def test_longer_and_shorter_signals_at_predict(tmp_path):
    clf = ImageClassifier1D(path=tmp_path / "run", **{**QUICK, "max_models": 1}).fit(
        unequal()[:600], VALUES[:600]
    )
    assert len(clf.predict([np.ones(3), np.ones(200)])) == 2
    with pytest.raises(DataError, match=r"x\[0\] has 2 channels"):
        clf.predict([np.ones((3, 2)), np.ones((4, 2))])
    with pytest.raises(SearchError, match="is for signals, TextClassifier for texts"):
        TextClassifier(path=tmp_path / "run", resume=True).predict(["a"])


@pytest.mark.parametrize("shape", [(40, 1), (40, 2, 3)])
def test_tiny_signals(shape, tmp_path):
    x = np.random.default_rng(0).normal(size=shape)
    y = (x.reshape(40, -1).sum(axis=1) > 0).astype(int)
    clf = ImageClassifier1D(path=tmp_path / "run", **{**QUICK, "max_models": 1}).fit(x, y)
    assert clf.predict(x).shape == (40,)


def test_a_volume_with_an_axis_of_one(tmp_path):
    x = DIGITS[:300, None]
    clf = ImageClassifier3D(path=tmp_path / "run", **{**QUICK, "max_models": 1}).fit(x, VALUES[:300])
    assert clf.predict(x[:4]).shape == (4,)
