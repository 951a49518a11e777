"""Keras models of the user's own as starts for numbers: what they give, in standardised numbers."""

import keras
import numpy as np
import pytest
from keras import layers as L
from sklearn.datasets import load_digits

from kmorph.errors import DataError
from kmorph.graph import Graph, Normalize
from kmorph.problem.targets import Numbers

X, VALUE = load_digits(return_X_y=True)
X = X.reshape(-1, 8, 8, 1).astype(np.uint8)
TWO = np.stack([1000 + 50 * VALUE, X.sum((1, 2, 3))], axis=1).astype(float)


def fitted(y, activation=None, bias=True):
    """A model whose last dense layer was fitted by least squares; `activation` follows it."""
    rows = y.reshape(len(y), -1)
    model = keras.Sequential([keras.Input((8, 8, 1)), L.Flatten(), L.Dense(rows.shape[1], use_bias=bias)])
    inputs = np.concatenate([X.reshape(len(X), -1), np.ones((len(X), 1)) * bias], axis=1)
    solution = np.linalg.lstsq(inputs, rows, rcond=None)[0].astype(np.float32)
    model.layers[-1].set_weights([solution[:-1], solution[-1]][: 1 + bias])
    if activation is not None:
        model.add(L.Activation(activation))
    return model


def both(model, y):
    """What the model gives, and what its graph gives in the user's units."""
    target = Numbers.learn(y)
    graph = target.adapted(Graph.from_keras(model), "mine", X, target.encode(y))
    found = [np.asarray(m(X.astype(np.float32))) for m in (model, graph.to_keras())]
    return found[0], target.scores(found[1]), graph


@pytest.mark.parametrize(
    ("y", "activation", "bias"),
    [
        (VALUE, None, True),
        (TWO, None, True),
        (VALUE, None, False),
        (VALUE, "relu", True),
        (VALUE, "softplus", True),
    ],
)
def test_a_trained_model_keeps_what_it_gives(y, activation, bias):
    given, adapted, _ = both(fitted(y.astype(float), activation, bias), y.astype(float))
    np.testing.assert_allclose(adapted, given, rtol=1e-4, atol=1e-3 * np.abs(y).max())


def test_a_frozen_end_is_left_as_it_is():
    model = fitted(TWO)
    model.layers[-1].trainable = False
    given, adapted, graph = both(model, TWO)
    np.testing.assert_allclose(adapted, given, rtol=1e-3)
    assert isinstance(graph.layers[-1], Normalize) and not graph.layers[-2].trainable


def test_a_model_that_is_not_trained_begins_at_the_mean():
    model = keras.Sequential([keras.Input((8, 8, 1)), L.Rescaling(1 / 16), L.Flatten(), L.Dense(2)])
    given, adapted, graph = both(model, TWO)
    assert graph == Graph.from_keras(model)
    assert np.abs(adapted.mean(axis=0) - TWO.mean(axis=0)).max() < 3 * TWO.std(axis=0).max()


@pytest.mark.parametrize(("activation", "bounds"), [("tanh", "-1 to 1"), ("sigmoid", "0 to 1")])
def test_an_end_that_cannot_give_such_numbers_is_refused(activation, bounds):
    y = VALUE.astype(float)
    with pytest.raises(DataError, match=f"can only predict numbers from {bounds}, because"):
        both(fitted(y, activation), y)
    given, adapted, _ = both(fitted(y / 9, activation), y / 9)
    np.testing.assert_allclose(adapted, given, atol=1e-4)
