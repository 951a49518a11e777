"""Reading and writing Keras models."""

import keras
import numpy as np
import pytest
from graph_samples import residual, run_python, with_random_weights
from keras import layers as L
from keras_samples import functional, kinds, randomize, round_trip

from kmorph.errors import GraphError
from kmorph.graph import BatchNorm, Conv, Dropout, Graph, GraphBuilder, Normalize, Rescale
from kmorph.graph.keras_bridge import get_weights, set_weights

# Our own models.


def test_our_own_models():
    graph = with_random_weights(residual())
    again = Graph.from_keras(graph.to_keras())
    assert again == graph
    assert all(np.array_equal(again.weights[key], graph.weights[key]) for key in graph.weights)


def test_weights_false_gives_fresh_ones():
    graph = residual().initialize(0)
    fresh = get_weights(graph.to_keras(weights=False), graph)
    assert not np.array_equal(fresh.weights[1, "kernel"], graph.weights[1, "kernel"])
    bias = fresh.weights[1, "bias"]
    assert not bias.any()


def test_set_and_get_weights():
    graph = with_random_weights(residual())
    model = graph.to_keras(weights=False)
    set_weights(model, graph)
    read = get_weights(model, graph.without_weights())
    assert all(np.array_equal(read.weights[key], graph.weights[key]) for key in graph.weights)
    model.get_layer("conv_1").bias.assign(np.zeros(4))
    assert np.array_equal(read.weights[1, "bias"], graph.weights[1, "bias"])


def test_weights_of_another_model_are_refused():
    graph = residual().initialize(0)
    with pytest.raises(GraphError, match="made of another graph"):
        get_weights(keras.Sequential([keras.Input((4,)), L.Dense(3)]), graph)
    with pytest.raises(GraphError, match="'kernel' has shape"):
        set_weights(residual(5).to_keras(), graph)
    b = GraphBuilder((8, 8, 2))
    b.add(Conv(filters=4, kernel=(3, 3)))
    other = b.build(b.add(Conv(filters=4, kernel=(3, 3), bias=False)))
    b.replace(2, Conv(filters=4, kernel=(3, 3)))
    with pytest.raises(GraphError, match=r"has the weights \['kernel'\], expected \['bias', 'kernel'\]"):
        get_weights(other.to_keras(), b.build(2))


def test_trainable_is_kept():
    b = GraphBuilder((8, 4))
    b.add(Conv(filters=4, kernel=(3,), trainable=False))
    b.add(BatchNorm(trainable=False))
    graph = b.build(b.add(Conv(filters=2, kernel=(3,)))).initialize(0)
    model = graph.to_keras()
    assert len(model.trainable_weights) == 2
    assert Graph.from_keras(model) == graph


def test_model_loads_in_safe_mode_without_kmorph(tmp_path):
    graph = with_random_weights(residual())
    x = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 2)).astype(np.float32)
    model = graph.to_keras()
    model.save(tmp_path / "model.keras")
    np.savez(tmp_path / "data.npz", x=x, y=np.asarray(model(x)))
    run_python(
        "import sys, keras, numpy as np\n"
        "model = keras.models.load_model(sys.argv[1], safe_mode=True)\n"
        "data = np.load(sys.argv[2])\n"
        "np.testing.assert_allclose(model.predict(data['x'], verbose=0), data['y'], atol=1e-5)\n"
        "assert 'kmorph' not in sys.modules\n",
        tmp_path / "model.keras",
        tmp_path / "data.npz",
    )


# Models that users bring.


def test_sequential():
    model = keras.Sequential(
        [
            keras.Input((16, 3)),
            L.Conv1D(8, 3, padding="causal", dilation_rate=2, activation="gelu"),
            L.SeparableConv1D(6, 3, activation="relu"),
            L.LayerNormalization(),
            L.GlobalMaxPooling1D(),
            L.Dense(5, activation="softmax"),
        ]
    )
    assert "opaque" not in kinds(round_trip(model))


def test_sequential_built_by_its_first_call():
    model = keras.Sequential([L.Dense(4, activation="relu"), L.Dense(2)])
    with pytest.raises(GraphError, match=r"keras.Input"):
        Graph.from_keras(model)
    model.build((None, 3))
    assert len(round_trip(model).layers) == 3


def test_nested_models_are_inlined():
    encoder = keras.Sequential([L.Conv2D(4, 3), L.BatchNormalization()], name="encoder")
    head = functional(lambda t: L.Dense(2)(L.Flatten()(t)), (6, 6, 4))
    graph = round_trip(functional(lambda t: head(L.ReLU()(encoder(t)))))
    assert kinds(graph) == ["conv", "batch_norm", "activation", "flatten", "dense"]


def test_nested_model_with_several_inputs_and_outputs():
    a, b = keras.Input((4,)), keras.Input((4,))
    inner = keras.Model([a, b], [L.Add()([a, b]), L.Multiply()([a, b])])

    def outer(t):
        x, y = inner([L.Dense(4)(t), L.Dense(4)(t)])
        return L.Concatenate()([y, x])

    assert kinds(round_trip(functional(outer, (3,)))) == ["dense", "dense", "multiply", "add", "concat"]


def test_training_false_is_kept_and_reaches_into_nested_models():
    """How it trains is Keras' own affair then: equal models behave equally."""
    inner = keras.Sequential([L.Conv2D(4, 3), L.BatchNormalization(), L.Dropout(0.5), L.BatchNormalization()])

    def outer(t):
        t = L.Dropout(0.5)(inner(t, training=False))
        return L.BatchNormalization()(L.BatchNormalization()(t, training=False))

    graph = round_trip(functional(outer))
    norms = [layer for layer in graph.layers if isinstance(layer, BatchNorm)]
    assert [layer.inference for layer in norms] == [True, True, True, False]
    assert sum(isinstance(layer, Dropout) for layer in graph.layers) == 2


def test_training_of_a_model_read_is_that_of_the_original():
    def layers(t):
        t = L.BatchNormalization()(L.Conv2D(4, 3)(t), training=False)
        return L.BatchNormalization(trainable=False)(L.BatchNormalization()(t))

    model = randomize(functional(layers))
    again = Graph.from_keras(model).to_keras()
    x = np.random.default_rng(0).random((4, 8, 8, 4), np.float32)
    np.testing.assert_allclose(again(x, training=True), model(x, training=True), atol=1e-5)
    for new, old in zip(again.weights, model.weights, strict=True):
        np.testing.assert_allclose(np.asarray(new), np.asarray(old), atol=1e-6)


def test_trainable_of_a_nested_model_is_kept():
    inner = keras.Sequential([L.Conv2D(4, 3), L.BatchNormalization()])
    inner.trainable = False
    graph = round_trip(functional(lambda t: L.Conv2D(2, 3)(inner(t))))
    assert [layer.trainable for layer in graph.layers] == [False, False, True]


def test_dropout_of_whole_examples():
    graph = round_trip(functional(L.Dropout(0.5, noise_shape=(None, 1, 1, 1))))
    assert graph.layers == (Dropout(rate=0.5, per_example=True),)
    out = np.asarray(graph.to_keras()(np.ones((64, 8, 8, 4), np.float32), training=True)).reshape(64, -1)
    assert {tuple(np.unique(row)) for row in out} == {(0.0,), (2.0,)}


def test_rescaling_and_normalization():
    def layers(t):
        t = L.Rescaling([1 / 2, 1 / 3, 1 / 4, 1.0], offset=-1.0)(L.Rescaling(1 / 255)(t))
        return L.Normalization(mean=[1.0, 2, 3, 4], variance=[1.0, 2, 3, 4])(t)

    graph = round_trip(functional(layers))
    assert [type(layer) for layer in graph.layers] == [Rescale, Normalize, Normalize]


def test_layers_without_weights_may_be_called_often():
    relu = L.ReLU()
    graph = round_trip(functional(lambda t: L.Add()([relu(t), relu(L.Dense(4)(t))])))
    assert kinds(graph).count("activation") == 2


def test_layers_shared_with_another_model_are_no_hindrance():
    tensor = keras.Input((4,))
    hidden = L.Dense(3)(tensor)
    keras.Model(tensor, L.Dense(2)(hidden))
    assert kinds(round_trip(keras.Model(tensor, L.Dense(5)(hidden)))) == ["dense", "dense"]


def test_model_of_an_inner_tensor():
    whole = functional(lambda t: L.Dense(2)(L.ReLU(name="cut")(L.Dense(3)(t))), (4,))
    assert kinds(round_trip(keras.Model(whole.input, whole.get_layer("cut").output))) == [
        "dense",
        "activation",
    ]
    assert kinds(round_trip(keras.Model(whole.get_layer("cut").input, whole.output))) == [
        "activation",
        "dense",
    ]


# The networks of keras.applications.


@pytest.mark.parametrize(
    ("name", "layers"),
    [("MobileNetV2", 155), ("ResNet50V2", 191), ("EfficientNetB0", 271), ("DenseNet121", 428)],
)
def test_applications(name, layers):
    application = getattr(keras.applications, name)
    model = application(weights=None, input_shape=(32, 32, 3), classes=10, classifier_activation=None)
    graph = round_trip(model)
    assert "opaque" not in kinds(graph)
    assert len(graph.layers) == layers
    assert graph.layers[-1].kind == "dense"
