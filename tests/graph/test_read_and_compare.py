"""Reading Keras models: what would be read wrong is read right or refused, never silently another network."""

import re

import keras
import ml_dtypes
import numpy as np
import pytest
from graph_samples import residual, with_random_weights
from keras import layers as L
from keras import ops
from keras_samples import functional, kinds, randomize

from kmorph.errors import GraphError
from kmorph.graph import Graph, Pool, keras_comparison
from kmorph.graph.layers import BY_KIND
from kmorph.graph.layers import Dense as DenseLayer


def read(model, scale=1.0):
    """Read a model and compare the graph with it."""
    graph = Graph.from_keras(randomize(model))
    shape, dtype = model.inputs[0].shape[1:], model.inputs[0].dtype
    x = (np.random.default_rng(5).random((4, *shape)) * scale).astype(dtype)
    expected = np.asarray(model(x, training=False))
    np.testing.assert_allclose(np.asarray(graph.to_keras()(x)), expected, rtol=1e-4, atol=1e-5)
    return graph


# Nested models with several inputs: Keras takes dicts in the order of their keys.


def inner(order="ab", nested=False):
    inputs = {name: keras.Input((6,), name=name) for name in "abc"}
    a, b, c = (L.Dense(6)(tensor) for tensor in inputs.values())
    if nested:
        return keras.Model(
            {"z": inputs["a"], "y": [inputs["b"], inputs["c"]]}, L.Subtract()([a, L.Add()([b, c])])
        )
    return keras.Model({name: inputs[name] for name in order}, L.Subtract()([a, b]))


def listed():
    a, b = keras.Input((6,), name="a"), keras.Input((6,), name="b")
    return keras.Model([a, b], L.Subtract()([L.Dense(6)(a), L.Dense(6)(b)]))


def outer(call):
    def layers(t):
        return call(L.Dense(6)(t), L.Dense(6)(t))

    return functional(layers, (6,))


CALLS = {
    "in the model's order": lambda p, q: inner()({"a": p, "b": q}),
    "in another order": lambda p, q: inner()({"b": q, "a": p}),
    "made and called in another order": lambda p, q: inner("ba")({"b": q, "a": p}),
    "a list for a dict": lambda p, q: inner()([p, q]),
    "a list": lambda p, q: listed()([p, q]),
    "a dict for a list": lambda p, q: listed()({"b": q, "a": p}),
    "a list in a dict": lambda p, q: inner(nested=True)({"z": p, "y": [q, p]}),
}


@pytest.mark.parametrize("name", CALLS)
def test_nested_models_with_several_inputs(name):
    read(outer(CALLS[name]))


@pytest.mark.parametrize("order", ["uv", "vu"])
def test_nested_model_with_a_dict_of_outputs(order):
    t = keras.Input((6,))
    outputs = {"u": L.Dense(6)(t), "v": L.Dense(6)(t)}
    model = keras.Model(t, {name: outputs[name] for name in order})
    read(outer(lambda p, q: L.Subtract()([model(p)["u"], q])))


def test_dict_of_one_input_and_one_output():
    t = keras.Input((6,), name="image")
    model = randomize(keras.Model({"image": t}, {"digit": L.Dense(3)(t)}))
    graph = Graph.from_keras(model)
    x = np.random.default_rng(0).random((4, 6), np.float32)
    np.testing.assert_allclose(graph.to_keras()(x), model({"image": x})["digit"], atol=1e-6)


# Settings of operations and layers.

SETTINGS = {
    "max, initial": lambda t: ops.max(t, axis=(1, 2), initial=0.6),
    "max of negative numbers, initial": lambda t: ops.max(-t - 1.0, axis=(1, 2), initial=0.0),
    "amax": lambda t: ops.amax(t, axis=(1, 2)),
    "mean, keepdims": lambda t: ops.mean(t, axis=(1, 2), keepdims=True),
    "celu": lambda t: ops.celu(t - 0.3, 0.5),
    "elu": lambda t: ops.elu(t - 0.3, 0.5),
    "softmax over rows": lambda t: ops.softmax(t, axis=1),
    "flip": lambda t: ops.flip(t, axis=2),
    "relu, all settings": lambda t: L.ReLU(max_value=0.3, negative_slope=0.1)(t - 0.3),
    "normalization, inverted": lambda t: L.Normalization(mean=[1.0, 2, 3], variance=[1.0, 2, 3], invert=True)(
        t
    ),
    "normalization over rows": lambda t: L.Normalization(axis=1, mean=[1.0] * 4, variance=[1.0, 2, 3, 4])(t),
    "rescaling by channel": lambda t: L.Rescaling([-1.0, 2.0, 0.0], [1.0, 0.0, 3.0])(t),
    "reshape that mixes examples": lambda t: ops.mean(ops.reshape(t, (-1, 4, 3)), axis=1),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_are_kept_or_refused(name):
    try:
        read(functional(SETTINGS[name], (4, 4, 3)))
    except GraphError as error:
        assert name == "reshape that mixes examples", error


INTEGERS = {
    "mean": (lambda t: ops.mean(t, axis=(1, 2)), None),
    "cast": (lambda t: L.Dense(3)(L.GlobalMaxPooling2D()(ops.cast(t, "float32"))), None),
    "divide": (lambda t: t / 255, None),
    "rescaling": (lambda t: L.Conv2D(2, 3)(L.Rescaling(1 / 255)(t)), None),
    "max pooling": (lambda t: L.Conv2D(2, 3)(ops.cast(L.MaxPooling2D(1)(t), "float32")), None),
    "add": (lambda t: ops.cast(t + 1, "float32"), "uint8"),
    "subtract": (lambda t: ops.cast(3 - t, "float32"), "uint8"),
    "multiply": (lambda t: ops.cast(t * 2, "float32"), "uint8"),
    "negative": (lambda t: ops.cast(-t, "float32"), "uint8"),
    "square": (lambda t: ops.cast(ops.square(t), "float32"), "uint8"),
    "Add": (lambda t: ops.cast(L.Add()([t, t]), "float32"), "layer 'add"),
    "Multiply": (lambda t: ops.cast(L.Multiply()([t, t]), "float32"), "layer 'multiply"),
    "Subtract": (
        lambda t: ops.cast(L.Subtract()([t, ops.flip(t, axis=1)]), "float32"),
        "layer 'subtract",
    ),
}


@pytest.mark.parametrize("name", INTEGERS)
def test_whole_numbers_that_wrap_around_are_refused(name):
    function, refused = INTEGERS[name]
    tensor = keras.Input((4, 4, 3), dtype="uint8")
    model = keras.Model(tensor, function(tensor))
    if refused is None:
        read(model, scale=256)
    else:
        with pytest.raises(GraphError, match=f"{refused}(?s:.*)float32"):
            Graph.from_keras(model)


@pytest.mark.parametrize("dtype", ["int32", "float32", "uint8"])
def test_ids_are_valid_ones(dtype):
    tensor = keras.Input((6,), dtype=dtype)
    read(keras.Model(tensor, L.Flatten()(L.Embedding(7, 3)(tensor))), scale=7)


def test_fixed_batch_size():
    tensor = keras.Input((6,), batch_size=3)
    graph = Graph.from_keras(randomize(keras.Model(tensor, L.Dense(2)(tensor))))
    assert kinds(graph) == ["dense"]


def test_delicate_models_are_not_refused():
    """Sensitive to rounding, or with infinite results and results that are no numbers."""
    read(functional(lambda t: ops.sin(1e3 * L.Dense(4)(t)), (4,)), scale=1e-4)
    Graph.from_keras(functional(lambda t: ops.log(t), (4,)))
    Graph.from_keras(functional(lambda t: ops.exp(ops.exp(t)), (4,)))
    Graph.from_keras(functional(lambda t: 1e-30 * L.Dense(4)(t), (4,)))


def test_quantised_layers_are_refused():
    model = functional(lambda t: L.Dense(16)(t), (16,))
    model.quantize("int8")
    with pytest.raises(GraphError, match="'dense.*quantised"):
        Graph.from_keras(model)


def test_arguments_in_nested_lists_are_refused():
    def layers(t):
        state = L.Dense(3)(L.Flatten()(t))
        return L.LSTM(3)(t, [state, state])

    with pytest.raises(GraphError, match="'lstm.*tensors"):
        Graph.from_keras(functional(layers, (5, 4)))


def test_a_model_that_cannot_be_run_is_refused():
    tensor = keras.Input((4,))
    model = keras.Model(tensor, L.Dense(2)(tensor))

    def failing(inputs):
        raise ValueError("out of order")

    model.layers[1].call = failing
    with pytest.raises(GraphError, match="cannot be run on random input(?s:.*)failing"):
        Graph.from_keras(model)


def test_the_layer_that_was_read_wrong_is_named(monkeypatch):
    class Wrong(Pool):
        @classmethod
        def from_keras(cls, layer, *inputs):
            return [(Pool("average", tuple(layer.pool_size)), {})]

    monkeypatch.setitem(BY_KIND, "pool", Wrong)

    def layers(t):
        t = L.Conv2D(3, 3, name="first")(t)
        return L.Dense(2, name="last")(L.Flatten()(L.MaxPooling2D(2, name="culprit")(t)))

    with pytest.raises(GraphError, match="layer 'culprit' \\(MaxPooling2D\\)"):
        Graph.from_keras(functional(layers))


def test_every_kind_of_fault_is_seen_in_low_precision(monkeypatch):
    class Wrong(DenseLayer):
        @classmethod
        def from_keras(cls, layer, *inputs):
            return [(DenseLayer(layer.units), {"kernel": np.array(layer.kernel)[::-1], "bias": layer.bias})]

    tensor = keras.Input((4,))
    model = randomize(keras.Model(tensor, L.Dense(2, dtype="mixed_bfloat16")(tensor)))
    Graph.from_keras(model)
    monkeypatch.setitem(BY_KIND, "dense", Wrong)
    with pytest.raises(GraphError, match="computes something else"):
        Graph.from_keras(model)


@pytest.mark.parametrize("where", ["inside", "at the end"])
def test_layers_that_compute_across_the_batch_are_refused(where):
    inputs = keras.Input((4,))
    turned = keras.ops.flip(inputs, axis=0) if where == "inside" else inputs
    outputs = keras.layers.Dense(3)(turned)
    outputs = keras.layers.Softmax(axis=0)(outputs) if where == "at the end" else outputs
    with pytest.raises(GraphError, match="gives an example another output when it is alone in its batch"):
        Graph.from_keras(keras.Model(inputs, outputs))


def test_large_inputs_go_one_by_one(monkeypatch):
    monkeypatch.setattr(keras_comparison, "CHUNK", 10)
    read(functional(lambda t: L.Dense(2)(t), (20,)))


# Numbers and arrays that are not Python's or NumPy's own.

SCALARS = {
    "filters": (lambda: L.Conv2D(np.int64(4), 3), "conv"),
    "window": (lambda: L.Conv2D(4, (np.int64(3), 3), strides=(np.int32(2),) * 2), "conv"),
    "rate": (lambda: L.Dropout(np.float32(0.5)), "dropout"),
    "momentum": (
        lambda: L.BatchNormalization(momentum=np.float64(0.9), epsilon=np.float32(0.01)),
        "batch_norm",
    ),
    "slope": (lambda: L.LeakyReLU(np.float32(0.1)), "activation"),
    "scale": (lambda: L.Rescaling(np.float32(1 / 255), np.array(2)), "rescale"),
    "shape": (lambda: L.Reshape(tuple(np.array([4, 64]))), "reshape"),
    "padding": (lambda: L.ZeroPadding2D(((np.int64(1), 0), (0, np.int8(2)))), "zero_padding"),
    "pool size": (lambda: L.MaxPooling2D((np.int64(2), np.int16(2))), "pool"),
    "keepdims": (lambda: L.GlobalMaxPooling2D(keepdims=np.bool_(True)), "global_pool"),
    "bias": (lambda: L.Dense(4, use_bias=np.bool_(False)), "dense"),
    "multiplier": (lambda: L.DepthwiseConv2D(3, depth_multiplier=np.int64(2)), "conv"),
}


@pytest.mark.parametrize("name", SCALARS)
def test_numbers_of_numpy_make_ordinary_layers(name):
    make, kind = SCALARS[name]
    graph = read(functional(make()))
    assert kinds(graph) == [kind]
    again = Graph.from_json(graph.to_json())
    assert again == graph and repr(again.layers) == repr(graph.layers)
    assert not re.search(r"np\.|numpy", repr(graph.layers))


@pytest.mark.parametrize("dtype", ["float16", "float64", "bfloat16", "float8_e4m3fn", "float8_e5m2"])
def test_weights_of_any_float_dtype(dtype, tmp_path):
    graph = with_random_weights(residual())
    kind = getattr(ml_dtypes, dtype, dtype)
    other = graph.with_weights({key: array.astype(kind) for key, array in graph.weights.items()})
    loaded = Graph.load(other.save(tmp_path / "graph.safetensors"))
    for key, array in loaded.weights.items():
        np.testing.assert_array_equal(array, graph.weights[key].astype(kind).astype(array.dtype))
    loaded.to_keras()


@pytest.mark.parametrize("dtype", ["int4", "int32", "complex64"])
def test_weights_that_are_no_floats_are_refused(dtype):
    graph = with_random_weights(residual())
    kind = getattr(ml_dtypes, dtype, dtype)
    with pytest.raises(GraphError, match="must hold floats"):
        graph.with_weights({key: array.astype(kind) for key, array in graph.weights.items()})
