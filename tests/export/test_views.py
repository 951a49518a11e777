"""Predictions averaged over views of an image, in the estimator and in what it exports."""

import copy
import pickle

import numpy as np
import pytest
from graph_samples import residual, run_python, with_random_weights
from sklearn.datasets import load_digits

from kmorph import ImageClassifier
from kmorph.errors import DataError
from kmorph.export import Views, export, wrap
from kmorph.graph import Activation
from kmorph.problem import ImageInput, Numbers
from kmorph.search.store.history import History
from kmorph.tasks.fitting import KEPT_CHANGES

NAMES = ("a", "b", "c")
INPUT = ImageInput((8, 8, 2), (100.0, 100.0), (5000.0, 5000.0))


def moved(images, by):
    """Shifted down and to the right by a pixel (1), or up and to the left (-1), with the edge repeated."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    begin = 1 - by
    return padded[:, begin : begin + images.shape[1], begin : begin + images.shape[2]]


def mirrored(images):
    return images[:, :, ::-1]


def mean_outputs(model, images, kinds):
    groups = [[images]] + [[moved(images, 1), moved(images, -1)]] * ("shift" in kinds)
    if "flip" in kinds:
        groups = [[*group, *map(mirrored, group)] for group in groups]
    return np.mean([np.mean([np.asarray(model(view)) for view in group], axis=0) for group in groups], axis=0)


@pytest.fixture(scope="module")
def graph():
    return with_random_weights(residual())


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (6, 8, 8, 2)).astype(np.float32)


@pytest.mark.parametrize("kinds", [(), ("flip",), ("shift", "erase"), ("shift", "flip"), ("jitter",)])
def test_outputs_are_means_over_views(graph, images, kinds):
    model = graph.to_keras()
    averaged = Views(INPUT, kinds).over(model)
    assert all(type(layer).__module__.startswith("keras.") for layer in averaged.layers)
    expected = mean_outputs(model, images, kinds)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(np.asarray(averaged(images)), expected, atol=1e-5 * scale)


def test_numbers_come_back_in_their_units(graph, images):
    target = Numbers((3.0, -5.0, 100.0), (2.0, 1.0, 10.0), flat=False)
    outputs = mean_outputs(graph.to_keras(), images, ("shift", "flip"))
    model = wrap(graph, target, Views(INPUT, ("shift", "flip")))
    np.testing.assert_allclose(np.asarray(model(images)), target.scores(outputs), rtol=1e-4)


@pytest.mark.parametrize("format", ["keras", "saved_model"])
def test_exports_keep_them_without_kmorph(graph, images, tmp_path, format):
    kinds = ("shift", "flip")
    written = export(graph, NAMES, tmp_path / "model.keras", format, Views(INPUT, kinds))
    logits = mean_outputs(graph.to_keras(), images, kinds).astype(np.float64)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.savez(tmp_path / "data.npz", x=images, scores=powers / powers.sum(axis=1, keepdims=True))
    load = {
        "keras": "import keras\nscores = keras.models.load_model(sys.argv[1], safe_mode=True)(data['x'])\n",
        "saved_model": "import tensorflow as tf\n"
        "serve = tf.saved_model.load(sys.argv[1]).signatures['serving_default']\n"
        "scores = serve(images=tf.constant(data['x']))['scores']\n",
    }
    run_python(
        "import sys, numpy as np\ndata = np.load(sys.argv[2])\n"
        + load[format]
        + "assert 'kmorph' not in sys.modules\n"
        "np.testing.assert_allclose(np.asarray(scores), data['scores'], atol=1e-5)\n",
        written,
        tmp_path / "data.npz",
    )


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    x, y = load_digits(return_X_y=True)
    x = x.reshape(-1, 8, 8, 1).astype(np.uint8)
    clf = ImageClassifier(
        path=tmp_path_factory.mktemp("run") / "digits", seed=0, verbose=False, max_models=2, views=True,
        starts=[("cnn", {"width": 8})], augment=False, searcher_args={"trainer_args": {"max_iter_num": 2}},
    )  # fmt: skip
    return clf.fit(x[:900], y[:900]), x[900:], y[900:]


def test_an_estimator_predicts_with_them_and_exports_them(fitted, tmp_path):
    clf, x, y = fitted
    logits = mean_outputs(
        clf.best_graph.to_keras(), x.astype(np.float32), ("shift",)
    )  # digits have two sides
    probabilities = clf.predict_proba(x)
    assert np.array_equal(probabilities.argmax(axis=1), logits.argmax(axis=1))
    assert clf.score(x, y) == np.mean(probabilities.argmax(axis=1) == y)
    (row,) = [row for row in clf.leaderboard(x, y) if row["model_id"] == clf.get_best_model_id()]
    assert row["accuracy"] == pytest.approx(clf.evaluate(x, y))
    import keras

    exported = keras.models.load_model(clf.export_keras_model(tmp_path / "digits.keras"), safe_mode=True)
    np.testing.assert_allclose(exported.predict(x, verbose=0), probabilities, atol=1e-5)
    assert clf.transform(x[:3]).shape[0] == 3


def test_they_can_be_chosen_after_fitting(fitted):
    clf, x, _ = fitted
    plain = copy.copy(clf).set_params(views=False)
    model = clf.best_graph.to_keras()
    expected = np.asarray(Activation("softmax").to_keras("softmax")(model(x.astype(np.float32))))
    np.testing.assert_allclose(plain.predict_proba(x), expected, atol=1e-5)
    assert np.abs(plain.predict_proba(x) - clf.predict_proba(x)).max() > 1e-3
    for other in (pickle.loads(pickle.dumps(clf)), copy.deepcopy(clf), plain.set_params(views=True)):
        np.testing.assert_allclose(other.predict_proba(x), clf.predict_proba(x), atol=1e-6)


def test_what_cannot_be_used_says_so(fitted):
    clf, x, y = fitted
    with pytest.raises(DataError, match="views must be True or False, got 'auto'"):
        copy.copy(clf).set_params(views="auto").predict(x)
    with pytest.raises(DataError, match="views must be True or False, got 3"):
        ImageClassifier(views=3).fit(x, y)


def test_a_search_of_an_earlier_version_says_so(fitted):
    clf, x, _ = fitted
    with History.open(clf.path_ / "search.db") as history:
        kept = history.get_meta(KEPT_CHANGES)
        history.set_meta(KEPT_CHANGES, None)
    try:
        with pytest.raises(DataError, match="resume=True once"):
            clf.predict(x)
    finally:
        with History.open(clf.path_ / "search.db") as history:
            history.set_meta(KEPT_CHANGES, kept)
