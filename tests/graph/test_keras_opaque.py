"""Keras layers that the graph does not know, and models that are refused."""

import keras
import numpy as np
import pytest
from keras import layers as L
from keras import ops
from keras_samples import functional, kinds, round_trip

from kmorph.errors import GraphError
from kmorph.graph import Graph, Opaque

# Kept whole.

OPAQUE = {
    "LSTM": ((5, 4), lambda t: L.LSTM(3)(t)),
    "Bidirectional": ((5, 4), lambda t: L.Bidirectional(L.GRU(3, return_sequences=True))(t)),
    "MultiHeadAttention": ((5, 4), lambda t: L.MultiHeadAttention(2, 3)(t, t)),
    "Dot": ((5, 4), lambda t: L.Dot(axes=1)([t, L.ReLU()(t)])),
    "PReLU": ((8, 4), lambda t: L.PReLU()(t)),
    "UpSampling2D": ((4, 4, 3), lambda t: L.UpSampling2D(2)(t)),
    "Conv2DTranspose": ((4, 4, 3), lambda t: L.Conv2DTranspose(2, 3, strides=2)(t)),
    "Embedding": ((6,), lambda t: L.Embedding(20, 3, mask_zero=True)(t)),
    "SpectralNormalization": ((4, 4, 3), lambda t: L.SpectralNormalization(L.Conv2D(2, 3))(t)),
    "BatchNormalization": ((4, 5, 3), lambda t: L.BatchNormalization(axis=1)(t)),
    "LayerNormalization": ((4, 5), lambda t: L.LayerNormalization(axis=(1, 2))(t)),
    "SimpleRNN": ((5, 4), lambda t: L.SimpleRNN(3)(L.Dropout(0.1)(L.Dense(4, activation="relu")(t)))),
    "GaussianNoise": ((4,), lambda t: L.GaussianNoise(0.5)(t)),
    "Softmax": ((4, 5), lambda t: L.Softmax(axis=1)(t)),
    "RandomFlip": ((4, 4, 3), lambda t: L.RandomFlip()(t)),
}


@pytest.mark.parametrize("name", OPAQUE)
def test_unknown_layers_are_kept_whole(name, tmp_path):
    shape, function = OPAQUE[name]
    graph = round_trip(functional(function, shape))
    (opaque,) = [layer for layer in graph.layers if isinstance(layer, Opaque)]
    assert opaque.class_name == name
    assert Graph.load(graph.save(tmp_path / "graph.safetensors")) == graph
    assert graph.initialize(0).to_keras().count_params() == graph.n_parameters


def test_opaque_layer_is_called_and_trained_as_it_was():
    norm = L.BatchNormalization(axis=1)
    graph = round_trip(functional(lambda t: norm(t, training=False)))
    assert graph.layers[0].class_name == "BatchNormalization" and graph.layers[0].inference
    frozen = L.PReLU(trainable=False)
    assert not round_trip(functional(frozen)).to_keras().trainable_weights


@pytest.mark.parametrize("kind", [L.Resizing, L.CenterCrop])
def test_layers_behind_a_resizing_are_not_trained_in_a_call(kind):
    model = functional(lambda t: L.Dropout(0.5)(L.BatchNormalization()(kind(3, 3)(t))), (4, 4, 2))
    built = Graph.from_keras(model).to_keras()
    assert Graph.from_keras(built) == Graph.from_keras(model)
    x = np.random.default_rng(0).normal(3.0, 2.0, (5, 4, 4, 2)).astype(np.float32)
    before = built.get_weights()
    np.testing.assert_allclose(ops.convert_to_numpy(built(x)), built.predict(x, verbose=0), atol=1e-5)
    assert all(np.array_equal(a, b) for a, b in zip(before, built.get_weights(), strict=True))


def test_opaque_layer_does_not_fit_other_inputs():
    graph = round_trip(functional(lambda t: L.LSTM(3)(t), (5, 4)))
    with pytest.raises(GraphError, match="was made for nodes of shapes"):
        Graph((5, 6), graph.layers, graph.inputs)


def test_masks_are_sent_along_again():
    def layers(t):
        return L.LSTM(4)(L.LSTM(3, return_sequences=True)(L.Embedding(20, 3, mask_zero=True)(t)))

    model = functional(layers, (6,))
    again = Graph.from_keras(model).to_keras()
    x = np.array([[3, 4, 5, 0, 0, 0], [1, 2, 3, 4, 5, 6]], np.float32)
    np.testing.assert_allclose(again(x), model(x), atol=1e-6)


def test_stock_activation_without_a_kind_leaves_the_convolution_known():
    graph = round_trip(functional(L.Conv2D(3, 3, activation="celu")))
    assert kinds(graph) == ["conv", "opaque"]


# Refused, by name.


@keras.saving.register_keras_serializable("kmorph_tests")
class Doubled(L.Layer):
    def call(self, inputs):
        return inputs * 2


class Dense(L.Dense):
    """A user's own layer with the name of a stock one."""


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__(name="mine")
        self.dense = L.Dense(2)

    def call(self, inputs):
        return self.dense(inputs)


class Overridden(keras.Model):
    def call(self, inputs, training=None, mask=None):
        return super().call(inputs) * 2


def _shared(t):
    dense = L.Dense(4, name="twin")
    return L.Add()([dense(t), dense(L.ReLU()(t))])


def _shared_model(t):
    inner = keras.Sequential([keras.Input((4,)), L.Dense(4, name="inside")], name="inner")
    return inner(inner(t))


def _several_outputs(t):
    sequence, state = L.GRU(3, return_sequences=True, return_state=True, name="both")(t)
    return L.Concatenate()([L.Flatten()(sequence), state])


def _two_inputs():
    a, b = keras.Input((4,)), keras.Input((4,))
    return keras.Model([a, b], L.Add()([a, b]))


def _two_outputs():
    a = keras.Input((4,))
    return keras.Model(a, [L.Dense(2)(a), L.Dense(3)(a)])


REFUSED = {
    "not a model": (lambda: 3, "expected a keras.Model, got int"),
    "two inputs": (_two_inputs, "2 inputs"),
    "two outputs": (_two_outputs, "2 outputs"),
    "unknown size": (lambda: functional(L.Conv2D(2, 3), (None, None, 3)), r"\(None, None, 3\)"),
    "text": (lambda: keras.Sequential([keras.Input((), dtype="string"), L.TextVectorization()]), "text"),
    "subclassed": (Subclassed, "'mine' .*code of its own"),
    "overridden": (
        lambda: (lambda i: Overridden(i, L.Dense(2)(i), name="over"))(keras.Input((4,))),
        "'over' .*code of its own",
    ),
    "custom layer": (lambda: functional(Doubled(name="doubled")), "'doubled' .*not one of Keras"),
    "custom layer of a stock name": (lambda: functional(Dense(3, name="fake")), "'fake' .*not one of Keras"),
    "Lambda": (lambda: functional(L.Lambda(lambda t: t * 2, name="twice")), "'twice' .*Lambda"),
    "custom activation": (lambda: functional(L.Dense(3, activation=lambda t: t * 2, name="odd")), "'odd'"),
    "shared layer": (lambda: functional(_shared, (4,)), "'twin' .*more than once"),
    "shared model": (lambda: functional(_shared_model, (4,)), "'inside' .*more than once"),
    "several outputs": (lambda: functional(_several_outputs, (5, 4)), "'both' .*2 tensors"),
    "split": (lambda: functional(lambda t: ops.split(t, 2)[0], (4,)), "'split.*2 tensors"),
    "training=True": (
        lambda: functional(lambda t: L.Dropout(0.5, name="mc")(t, training=True)),
        "'mc' .*True",
    ),
    "extra argument": (
        lambda: functional(
            lambda t: L.MultiHeadAttention(1, 2, name="att")(t, t, use_causal_mask=True), (5, 4)
        ),
        "'att' .*use_causal_mask",
    ),
    "constant": (
        lambda: functional(lambda t: ops.matmul(t, np.eye(4, dtype="float32"))),
        "'matmul.*constants",
    ),
    "no layer at all": (
        lambda: functional(lambda t: ops.cast(t, "float32")),
        "does not depend on the input",
    ),
    "mask": (
        lambda: functional(lambda t: L.LSTM(3, name="masked")(t, mask=ops.greater(t[:, :, 0], 0.0)), (5, 4)),
        "'(get_item|greater|masked)",
    ),
}


@pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`")
@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(name):
    make, words = REFUSED[name]
    model = make()
    with pytest.raises(GraphError, match=words):
        Graph.from_keras(model)
