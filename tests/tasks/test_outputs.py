"""How users' own networks end: logits are kept, softmax is removed, other probabilities are refused."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from kmorph.errors import DataError
from kmorph.graph import Graph
from kmorph.tasks.options import SearcherArgs, choose_starts
from kmorph.tasks.outputs import without_ending

X = np.random.default_rng(0).normal(size=(5, 3, 3, 1)).astype(np.float32)


def network(end, n=4):
    inputs = keras.Input((3, 3, 1))
    return keras.Model(inputs, end(layers.Dense(n)(layers.Flatten()(inputs))), name="mine")


def softmax(values):
    powers = np.exp(values - values.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


REMOVED = {
    "softmax": layers.Softmax(),
    "Activation": layers.Activation("softmax"),
    "Dense": layers.Dense(3, activation="softmax"),
    "operation": ops.softmax,
    "axis 1": layers.Softmax(axis=1),
    "list of axes": layers.Softmax(axis=[1]),
    "linear in float32": lambda z: layers.Activation("linear", dtype="float32")(ops.softmax(z)),
    "Dropout": lambda z: layers.Dropout(0.3)(ops.softmax(z)),
    "noise": lambda z: layers.GaussianNoise(0.3)(ops.softmax(z)),
    "Identity": lambda z: layers.Identity()(layers.ActivityRegularization()(ops.softmax(z))),
    "Reshape": lambda z: layers.Reshape((4,))(ops.softmax(z)),
    "clip": lambda z: ops.clip(ops.softmax(z), 1e-7, 1 - 1e-7),
    "relu": lambda z: ops.relu(ops.softmax(z)),
    "times one": lambda z: ops.softmax(z) * 1.0,
    "cast": lambda z: ops.cast(ops.softmax(z), "float32"),
    "nested": lambda z: keras.Sequential([layers.Softmax(), layers.Dropout(0.1)])(z),
    "one position": lambda z: layers.Flatten()(layers.Softmax()(layers.Reshape((1, 1, 4))(z))),
    "pooled position": lambda z: layers.GlobalAveragePooling2D()(ops.softmax(layers.Reshape((1, 1, 4))(z))),
    "temperature": lambda z: ops.softmax(z / 2.0),
    "twice, the inner as attention": lambda z: ops.softmax(z * ops.softmax(z)),
}
KEPT = {
    "logits": lambda z: z,
    "scores": ops.relu,
    "attention": lambda z: z * ops.softmax(z),
    "gate": lambda z: z * ops.sigmoid(z),
    "dense after softmax": lambda z: layers.Dense(4)(ops.softmax(z)),
    "logarithm": lambda z: ops.log(ops.softmax(z)),
    "scaled logarithm": lambda z: ops.log_softmax(z) * 0.5,
    "tanh": ops.tanh,
}
REFUSED = {
    "sigmoid": ops.sigmoid,
    "hard sigmoid": layers.Activation("hard_sigmoid"),
    "sigmoid, then Dropout": lambda z: layers.Dropout(0.1)(ops.sigmoid(z)),
    "normalised sigmoid": lambda z: ops.sigmoid(z) / ops.sum(ops.sigmoid(z), -1, keepdims=True),
    "percent": lambda z: ops.softmax(z) * 100.0,
    "squared": lambda z: ops.square(ops.softmax(z)),
    "mean of two": lambda z: layers.Average()([ops.softmax(z), ops.softmax(-z)]),
    "hard clip": lambda z: ops.clip(ops.softmax(z), 0.2, 0.8),
    "mean over positions": lambda z: layers.GlobalAveragePooling1D()(
        ops.softmax(layers.Reshape((2, 4))(layers.Dense(8)(z)))
    ),
    "sparsemax": layers.Activation("sparsemax"),
}


@pytest.mark.parametrize("name", REMOVED)
def test_softmax_is_removed_and_the_probabilities_stay(name):
    model = network(REMOVED[name])
    graph = without_ending(Graph.from_keras(model), name)
    assert getattr(graph.layers[-1], "function", "") != "softmax"
    logits = graph.to_keras().predict(X, verbose=0)
    assert np.allclose(softmax(logits), model.predict(X, verbose=0), atol=1e-5)


@pytest.mark.parametrize("end", [layers.Activation("log_softmax"), ops.log_softmax])
def test_log_softmax_is_removed_too(end):
    model = network(end)
    graph = without_ending(Graph.from_keras(model), "mine")
    assert graph.layers[-1].kind == "dense"
    logits = graph.to_keras().predict(X, verbose=0)
    assert np.allclose(softmax(logits), np.exp(model.predict(X, verbose=0)), atol=1e-5)


@pytest.mark.parametrize("name", KEPT)
def test_scores_are_kept_as_they_are(name):
    graph = Graph.from_keras(network(KEPT[name]))
    assert without_ending(graph, name) is graph


@pytest.mark.parametrize("name", REFUSED)
def test_other_probabilities_are_refused(name):
    with pytest.raises(DataError, match="'mine' ends in .*logits"):
        choose_starts([network(REFUSED[name])], (), (3, 3, 1), 4, [], SearcherArgs())


def test_one_sigmoid_for_two_classes_is_refused_with_advice():
    with pytest.raises(DataError, match="two for two classes"):
        choose_starts([network(ops.sigmoid, 1)], (), (3, 3, 1), 2, [], SearcherArgs())


def test_functions_that_make_networks_end_in_softmax_too():
    def made(shape, outputs, preprocessing=()):
        return network(layers.Softmax(), outputs)

    ((name, graph),) = choose_starts([made], (), (3, 3, 1), 4, [], SearcherArgs())
    assert name == "made" and graph.layers[-1].kind == "dense"
    with pytest.raises(DataError, match="graph or a Keras model"):
        choose_starts([lambda *_, **__: None], (), (3, 3, 1), 4, [], SearcherArgs())
