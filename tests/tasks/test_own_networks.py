"""Searches that begin from networks users bring, and from starts of several sizes."""

import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits

from kmorph import ImageClassifier, load_searcher, starts
from kmorph.graph import Graph

X, Y = load_digits(return_X_y=True)
X = X.reshape(-1, 8, 8, 1)
QUICK = {"searcher_args": {"trainer_args": {"max_iter_num": 2}}, "verbose": False, "seed": 0}


def own_model():
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Rescaling(1 / 16)(inputs)
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(x)
    x = keras.layers.SeparableConv2D(16, 3, padding="same")(x)
    x = keras.layers.LayerNormalization()(x)
    x = keras.layers.MaxPooling2D()(keras.activations.silu(x))
    x = keras.layers.Flatten()(x)
    return keras.Model(inputs, keras.layers.Dense(10, activation="softmax")(x), name="mine")


@pytest.fixture(scope="module")
def trained():
    model = own_model()
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(X[:1200], Y[:1200], epochs=15, verbose=0)
    return model


def test_a_search_goes_on_from_a_trained_keras_model(trained, tmp_path):
    accuracy = float(np.mean(trained.predict(X[1200:], verbose=0).argmax(1) == Y[1200:]))
    clf = ImageClassifier(path=tmp_path, starts=[trained], max_models=3, **QUICK).fit(X[:1200], Y[:1200])
    history = clf.history
    assert history[0]["change"] == "start: mine" and history[1]["parent_id"] == 0
    # It went on from the weights: two epochs are enough to be about as good, from scratch they are not.
    assert history[0]["metric_value"] > accuracy - 0.05
    assert clf.evaluate(X[1200:], Y[1200:]) > accuracy - 0.05


def test_what_comes_out_is_made_of_stock_layers(trained, tmp_path):
    clf = ImageClassifier(path=tmp_path / "run", starts=[trained], max_models=2, **QUICK)
    clf.fit(X[:300], Y[:300]).export_keras_model(tmp_path / "grown.keras")
    model = keras.models.load_model(tmp_path / "grown.keras", safe_mode=True)
    assert all(type(layer).__module__.startswith("keras.") for layer in model.layers)
    scores = model.predict(X[:20], verbose=0)
    assert np.allclose(scores.sum(1), 1, atol=1e-5)
    assert np.allclose(scores, clf.predict_proba(X[:20]), atol=1e-5)


def test_stem_stride_and_resolution_are_sizes_of_a_start(tmp_path):
    variants = [("cnn", {"width": 8, "stem_stride": 2}), ("cnn", {"width": 8, "resolution": 4}), "mlp"]
    clf = ImageClassifier(path=tmp_path, starts=variants, max_models=4, **QUICK).fit(X[:300], Y[:300])
    changes = [entry["change"] for entry in clf.history]
    assert changes[:2] == ["start: cnn (width=8, stem_stride=2)", "start: cnn (width=8, resolution=4)"]
    assert changes[2] == "start: mlp"
    shapes = [load_searcher(tmp_path).load_model_by_id(i).node_shapes for i in (0, 1)]
    assert (4, 4, 8) in shapes[0] and (4, 4, 1) in shapes[1]


@pytest.mark.parametrize("kind", ["cnn", "resnet", "densenet"])
@pytest.mark.parametrize("shape", [(30, 2), (28, 28, 1), (12, 20, 16, 1)])
def test_starts_work_at_the_resolution_asked_for(kind, shape):
    graph = starts.KINDS[kind](shape, 3, resolution=10)
    assert isinstance(graph, Graph) and graph.output_shape == (3,)
    assert max(graph.node_shapes[1][:-1]) <= 10
    assert graph.flops < starts.KINDS[kind](shape, 3, stem_stride=1).flops
