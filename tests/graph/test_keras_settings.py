"""Keras' global settings change nothing in the models that graphs become."""

import threading

import keras
import numpy as np
import pytest
from graph_samples import run_python
from keras import layers as L
from keras import ops
from keras_samples import functional

from kmorph import starts
from kmorph.graph import (
    Activation,
    ChannelScale,
    Conv,
    Dropout,
    Flatten,
    GlobalPool,
    Graph,
    GroupNorm,
    LayerNorm,
    Normalize,
    Pool,
    Rescale,
    Reshape,
    ZeroPadding,
)
from kmorph.graph.layers import affine

CUBE = (4, 4, 4)  # axes cannot be told apart by their lengths
SETTINGS = {
    "channels first": (keras.config.set_image_data_format, "channels_first"),
    "mixed_float16": (keras.config.set_dtype_policy, "mixed_float16"),
    "mixed_bfloat16": (keras.config.set_dtype_policy, "mixed_bfloat16"),
    "float64": (keras.config.set_dtype_policy, "float64"),
    "floatx float16": (keras.config.set_floatx, "float16"),
    "floatx float64": (keras.config.set_floatx, "float64"),
    "epsilon": (keras.config.set_epsilon, 0.5),
}
LAYERS = {
    "conv": [Conv(4, (3, 3)), Conv(8, (2, 2), groups=4), Conv(8, (3, 3), groups=2, padding="valid")],
    "pool": [Pool("max", (2, 2)), Pool("average", (2, 2), padding="same")],
    "global pool": [GlobalPool("max", keep_axes=True), GlobalPool()],
    "padding and flatten": [ZeroPadding((1, 0), (0, 1)), Flatten()],
    "reshape": [Reshape((16, 4)), Conv(3, (3,)), Pool("max", (2,)), GlobalPool()],
    "dropout": [Dropout(0.5), Dropout(0.5, spatial=True), Dropout(0.5, per_example=True)],
    "norm": [LayerNorm(), GroupNorm(2)],
    "scaling": [
        Rescale(1 / 3, 0.1),
        Normalize((100.1, 0.2, 0.3, 1e5), (7e4, 1e-4, 0.01, 1e9)),
        ChannelScale(),
        affine([1.0, 2.0, 3.0, 4.0], [0.0, 1.0, 2.0, 3.0], 4),
    ],
    "activations": [Activation("leaky_relu", slope=0.1), Activation("softmax")],
}
OPAQUE = {
    "UpSampling2D": lambda t: L.UpSampling2D(2)(t),
    "Resizing": lambda t: L.Resizing(6, 6)(t),
    "Cropping2D": lambda t: L.Cropping2D(1)(t),
    "Conv2DTranspose": lambda t: L.Conv2DTranspose(4, 3)(t),
    "adaptive pooling": lambda t: L.AdaptiveAveragePooling2D(2)(t),
    "image.resize": lambda t: ops.image.resize(t, (6, 6)),
    "Bidirectional": lambda t: L.Bidirectional(L.LSTM(3))(L.Reshape((16, 4))(t)),
    "normalize": lambda t: ops.normalize(t * 0.1),
}


@pytest.fixture(autouse=True)
def settings_restored():
    held = (keras.config.floatx(), keras.config.image_data_format(), keras.config.epsilon())
    policy = keras.config.dtype_policy()
    yield
    keras.config.set_floatx(held[0])
    keras.config.set_image_data_format(held[1])
    keras.config.set_epsilon(held[2])
    keras.config.set_dtype_policy(policy)


def chained(layers):
    return Graph(CUBE, layers, [[i] for i in range(len(layers))]).initialize(0)


def computed(graph):
    model = graph.to_keras()
    x = (np.random.default_rng(0).random((3, *graph.input_shape)) * 10).astype(np.float32)
    assert model.compute_dtype == "float32"
    return np.asarray(model(x, training=False)), model


def set_globally(name):
    function, value = SETTINGS[name]
    function(value)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", LAYERS)
def test_layers(name, setting):
    graph = chained(LAYERS[name])
    expected, _ = computed(graph)
    set_globally(setting)
    found, model = computed(graph)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert found.dtype == np.float32
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}
    assert {variable.dtype for layer in model.layers for variable in layer.weights} <= {"float32"}


@pytest.mark.parametrize("setting", ["channels first", "mixed_bfloat16", "float64", "epsilon"])
@pytest.mark.parametrize("name", OPAQUE)
def test_layers_kept_whole(name, setting):
    graph = Graph.from_keras(functional(OPAQUE[name], CUBE))
    expected, _ = computed(graph)
    set_globally(setting)
    found, _ = computed(graph)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16", "bfloat16", "float64"])
def test_models_of_other_policies_become_float32(policy):
    keras.config.set_dtype_policy(policy)
    gru = L.GRU(3, recurrent_initializer="glorot_uniform")  # the default one is not to be had in bfloat16
    model = functional(lambda t: L.Bidirectional(gru)(L.Dense(4, activation="relu")(t)), (5, 4))
    keras.config.set_dtype_policy("float32")
    graph = Graph.from_keras(model)
    found, rebuilt = computed(graph)
    assert found.dtype == np.float32
    inner = [layer for outer in rebuilt.layers for layer in outer._flatten_layers()]
    assert {layer.compute_dtype for layer in inner} == {"float32"}
    x = (np.random.default_rng(0).random((3, 5, 4)) * 10).astype(np.float32)
    np.testing.assert_allclose(found, np.asarray(model(x)).astype(np.float32), atol=0.05)


CHANNELS_FIRST = {
    "flatten": lambda t: L.Dense(3)(L.Flatten()(t)),
    "pooling": lambda t: L.GlobalAveragePooling2D()(t),
    "padding": lambda t: L.ZeroPadding2D(((1, 0), (0, 2)))(t),
    "dropout": lambda t: L.SpatialDropout2D(0.5)(t),
    "rescaling": lambda t: L.Rescaling(np.array([1.0, 2, 3, 4]))(t),
    "batch norm": lambda t: L.BatchNormalization(axis=1)(t),
    "adaptive": lambda t: L.AdaptiveMaxPooling2D(2)(t),
    "rgb_to_grayscale": lambda t: (
        ops.image.rgb_to_grayscale(t[:, :3]) if False else ops.image.resize(t, (2, 6))
    ),
}


@pytest.mark.parametrize("name", CHANNELS_FIRST)
def test_models_with_channels_first_mean_the_same_ever_after(name):
    keras.config.set_image_data_format("channels_first")
    model = functional(CHANNELS_FIRST[name], CUBE)
    x = (np.random.default_rng(0).random((3, *CUBE)) * 10).astype(np.float32)
    expected = np.asarray(model(x, training=False))
    graph = Graph.from_json(Graph.from_keras(model).to_json()).with_weights(Graph.from_keras(model).weights)
    for setting in ("channels_first", "channels_last"):
        keras.config.set_image_data_format(setting)
        found, _ = computed(graph)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5, err_msg=setting)


def test_settings_in_the_configuration_file(tmp_path):
    code = """
import json, os, sys
home = sys.argv[1]
text = {"image_data_format": "channels_first", "floatx": "float16", "epsilon": 0.5}
json.dump({**text, "backend": "tensorflow"}, open(home + "/keras.json", "w"))
os.environ["KERAS_HOME"] = home
import numpy as np, keras
from kmorph import starts
from kmorph.graph import Normalize
from kmorph.graph.keras_bridge import predict
keras.config.set_max_steps_per_epoch(1)
assert keras.config.floatx() == "float16" and keras.config.image_data_format() == "channels_first"
norm = Normalize((0.1, 0.2, 0.3), (1e-4, 0.1, 9.0))
graph = starts.cnn((8, 8, 3), 4, preprocessing=[norm]).initialize(seed=0)
np.save(home + "/y.npy", predict(graph.to_keras(), np.load(home + "/x.npy"), 2))
"""
    x = np.random.default_rng(0).random((5, 8, 8, 3), np.float32)
    np.save(tmp_path / "x.npy", x)
    run_python(code, tmp_path)
    norm = Normalize((0.1, 0.2, 0.3), (1e-4, 0.1, 9.0))
    graph = starts.cnn((8, 8, 3), 4, preprocessing=[norm]).initialize(seed=0)
    found = np.load(tmp_path / "y.npy")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, graph.to_keras().predict(x, verbose=0), rtol=1e-4, atol=1e-5)


def test_building_in_threads_leaves_the_settings_of_others_alone():
    keras.config.set_image_data_format("channels_first")
    keras.config.set_floatx("float64")
    graph = starts.cnn((8, 8, 3), 4).initialize(seed=0)
    stop, seen = threading.Event(), set()

    def watch():
        while not stop.wait(0.001):
            seen.add((keras.config.image_data_format(), keras.config.floatx()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    graph.to_keras()
    stop.set()
    watcher.join()
    assert seen <= {("channels_first", "float64")}
