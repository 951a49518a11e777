"""LiteRT files, run by LiteRT and compared with Keras; a conversion takes seconds, so tests share them."""

import builtins
import json
import os
import runpy

import keras
import numpy as np
import pytest
from graph_samples import residual, run_python, with_random_weights
from keras_samples import functional
from morphs.random_graphs import batch, random_graph, random_weights
from own_layer_samples import own_graph, own_layers

from kmorph import ImageClassifier, starts
from kmorph.datasets import FASHION_MNIST_PACKAGE, load_fashion_mnist
from kmorph.errors import ExportError
from kmorph.export import Views, child, export, wrap, write_litert
from kmorph.export.compare import check_close
from kmorph.export.litert_layers import for_litert
from kmorph.graph import (
    Activation,
    ChannelScale,
    Concat,
    Conv,
    Dense,
    Flatten,
    Graph,
    GraphBuilder,
    GroupNorm,
    LayerNorm,
    Pool,
    chain,
)
from kmorph.graph.layers import FUNCTIONS
from kmorph.problem import ImageInput, Numbers, TextInput

interpreter = pytest.importorskip("ai_edge_litert.interpreter")

NAMES = ("ankle boot", "Stiefel, groß", "7")
NUMBERS = Numbers((0.0,) * 3, (1.0,) * 3, flat=False)  # no softmax that could hide a difference
IMAGES = ImageInput((8, 8, 2), (100.0, 100.0), (5000.0, 5000.0))


def run(file, x):
    """The outputs of a file by name, after a look at its operations."""
    opened = interpreter.Interpreter(model_path=str(file))
    operations = {operation["op_name"] for operation in opened._get_ops_details()}
    assert not [name for name in operations if name.startswith("Flex")]
    signature = opened.get_signature_runner("serving_default")
    (name,) = signature.get_input_details()
    return signature(**{name: x.astype(np.float32)})


def assert_equal(graph, file, x, target=NUMBERS, views=None):
    expected = np.asarray(wrap(graph, target, views)(x.astype(np.float32)))
    (scores,) = run(file, x).values()
    np.testing.assert_allclose(scores, expected, atol=1e-4 * np.abs(expected).max(), rtol=0)


@pytest.fixture(scope="module")
def graph():
    return with_random_weights(residual())


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (6, 8, 8, 2), dtype=np.uint8)


def exported(graph, tmp_path):
    """Write a graph and compare."""
    assert_equal(
        graph, write_litert(graph, NUMBERS, tmp_path / "model.tflite"), batch(graph, np.random.default_rng(1))
    )


def test_every_function(tmp_path):
    b = GraphBuilder((5, 4))
    hidden = b.add(Dense(6))
    b.add(Concat(), *(b.add(Activation(function), hidden) for function in FUNCTIONS))
    exported(
        with_random_weights(b.build(chain(b, b.last, [LayerNorm(), GroupNorm(6), Flatten(), Dense(3)]))),
        tmp_path,
    )


def three_dimensional():
    """What LiteRT has no operation for in three dimensions."""
    b = GraphBuilder((7, 6, 5, 2))
    layers = [
        Conv(4, (2, 3, 2), dilation=(2, 1, 2)),
        Conv(8, (3, 2, 1), groups=4, strides=(2, 1, 1)),
        ChannelScale(),
        Pool("average", (2, 3, 2), (1, 2, 1), "same"),
        Pool("max", (2, 2, 3), (1, 1, 2), "same"),
        Conv(8, (1, 2, 2), groups=8, padding="valid"),
        Pool("max", (2, 1, 2), padding="valid"),
        Flatten(),
        Dense(3),
    ]
    return with_random_weights(b.build(chain(b, 0, layers)))


def test_three_dimensions(tmp_path):
    exported(three_dimensional(), tmp_path)


@pytest.mark.parametrize("seed", range(20))
def test_rewritten_layers_compute_the_same(seed):
    rng = np.random.default_rng(seed)
    graph = random_weights(random_graph(rng, rank=3 - (seed % 4 == 0)), rng, np.float32)
    x = batch(graph, rng).astype(np.float32)
    expected = np.asarray(graph.to_keras()(x))
    rewritten = np.asarray(for_litert(graph).to_keras()(x))
    np.testing.assert_allclose(rewritten, expected, atol=1e-5 * np.abs(expected).max(), rtol=0)


@pytest.mark.parametrize("seed", [0, 1])
def test_random_graphs(seed, tmp_path):
    rng = np.random.default_rng(seed)
    exported(random_weights(random_graph(rng, rank=2), rng, np.float32), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 40))
def test_more_random_graphs(seed, tmp_path):
    rng = np.random.default_rng(seed)
    exported(random_weights(random_graph(rng), rng, np.float32), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", starts.KINDS)
@pytest.mark.parametrize("shape", [(12,), (16, 2), (12, 12, 1), (8, 8, 8, 1)])
def test_every_start(name, shape, tmp_path):
    if len(shape) == 1 and name not in ("mlp", "bag"):
        pytest.skip("needs positions")
    graph = with_random_weights(getattr(starts, name)(shape, 3))
    exported(graph, tmp_path)


def test_outputs_and_labels(graph, images, tmp_path):
    file = export(graph, NAMES, tmp_path / "deep" / "model.tflite", "litert")
    assert sorted(path.name for path in file.parent.iterdir()) == ["model.labels.json", "model.tflite"]
    assert json.loads((file.parent / "model.labels.json").read_text(encoding="utf-8")) == list(NAMES)
    expected = np.asarray(wrap(graph, _target(graph))(images.astype(np.float32)))
    outputs = run(file, images)
    assert [*outputs] == ["scores"]
    np.testing.assert_allclose(outputs["scores"], expected, atol=1e-5)
    np.testing.assert_allclose(run(file, images[:1])["scores"], expected[:1], atol=1e-5)


def _target(graph):
    from kmorph.export.wrap import checked_target

    return checked_target(graph, NAMES)


def test_numbers_as_means_over_views(graph, images, tmp_path):
    target, views = (
        Numbers((3.0, -5.0, 1000.0), (2.0, 1.0, 0.5), flat=False),
        Views(IMAGES, ("shift", "flip")),
    )
    file = write_litert(graph, target, tmp_path / "model.tflite", views)
    assert [path.name for path in tmp_path.iterdir()] == ["model.tflite"]  # no labels
    assert [*run(file, images)] == ["values"]
    assert_equal(graph, file, images, target, views)


def test_texts(tmp_path):
    input = TextInput(("the", "cat", "the cat", "mat"), 5, 4)
    graph = with_random_weights(starts.bag(input.shape, 3, preprocessing=input.front()))
    file = write_litert(graph, NUMBERS, tmp_path / "topics.tflite", input=input)
    encode = runpy.run_path(str(tmp_path / "topics.text" / "encode_texts.py"))["encode"]
    assert_equal(graph, file, encode(["The cat, sat on THE mat!", ""]))


@pytest.mark.parametrize("measured", [False, True])
def test_bytes(measured, tmp_path):
    rng = np.random.default_rng(0)
    graph = with_random_weights(
        starts.cnn((16, 16, 1), 3, preprocessing=ImageInput((16, 16, 1), (128.0,), (5000.0,)).front())
    )
    x = rng.integers(0, 256, (100, 16, 16, 1), dtype=np.uint8)
    options = {"examples": x} if measured else {}
    file = export(graph, NUMBERS, tmp_path / "model.tflite", "litert", int8=True, **options)
    weights = 4 * graph.n_parameters
    assert file.stat().st_size < 0.4 * weights + 20_000
    expected = np.asarray(graph.to_keras()(x.astype(np.float32)))
    assert np.abs(run(file, x)["values"] - expected).max() < 0.1 * np.ptp(expected)
    types = {tensor["dtype"] for tensor in interpreter.Interpreter(model_path=str(file)).get_tensor_details()}
    assert np.int8 in types


@pytest.mark.slow
@pytest.mark.skipif(not FASHION_MNIST_PACKAGE.exists(), reason="apt-get install dataset-fashion-mnist")
def test_bytes_lose_no_more_than_three_thousandths(tmp_path):
    (x, y), (x_test, y_test) = load_fashion_mnist()
    clf = ImageClassifier(
        path=tmp_path / "run", seed=0, verbose=False, max_models=1, starts=[("cnn", {"width": 16})],
        searcher_args={"trainer_args": {"max_iter_num": 3}},
    ).fit(x[:10_000], y[:10_000])  # fmt: skip
    accuracy = clf.score(x_test, y_test)
    for options in ({}, {"examples": x[:200]}):
        file = clf.export(tmp_path / "model.tflite", "litert", int8=True, **options)
        found = run(file, x_test.reshape(-1, 28, 28, 1))["scores"].argmax(axis=1)
        assert np.mean(found == y_test) >= accuracy - 0.003


def test_bytes_that_cost_too_much():
    expected = np.random.default_rng(0).normal(size=(20, 3))
    check_close(expected, expected * 1.01, "it")
    with pytest.raises(ExportError, match="rounded to bytes, it computes something else"):
        check_close(expected, -expected, "it")
    with pytest.raises(ExportError, match="nan%"):
        check_close(expected, expected * np.nan, "it")


def headed(layer, shape):
    """A graph with a layer from Keras, that kmorph has no kind for, in it."""
    b = GraphBuilder.from_graph(Graph.from_keras(functional(layer, shape)))
    return b.build(chain(b, b.last, [Flatten(), Dense(3)])).initialize(0)


def test_layers_without_a_kind(tmp_path):
    exported(headed(keras.layers.UpSampling2D(), (4, 4, 2)), tmp_path)
    (tmp_path / "model.tflite").unlink()
    with pytest.raises(ExportError, match=r"no builtin operations for LSTM \(layer 0\)"):
        write_litert(headed(keras.layers.LSTM(3), (4, 2)), NUMBERS, tmp_path / "model.tflite")
    with pytest.raises(ExportError, match=r"Erfinv \(layer 0\)"):
        write_litert(headed(keras.ops.erfinv, (4, 2)), NUMBERS, tmp_path / "new" / "model.tflite")
    assert not list(tmp_path.iterdir())


def test_own_kinds_of_layers(tmp_path):
    with own_layers(tmp_path) as module:
        exported(with_random_weights(own_graph(module)), tmp_path)
    (tmp_path / "model.tflite").unlink()
    with (
        own_layers(tmp_path) as module,
        pytest.raises(ExportError, match=r"one of scaled tanh 0.5 \(layer 0\)"),
    ):
        layers = [module.ScaledTanh(0.5), Flatten(), Dense(3)]  # its gain, over one axis of positions, fails
        b = GraphBuilder((4, 8))
        write_litert(with_random_weights(b.build(chain(b, 0, layers))), NUMBERS, tmp_path / "model.tflite")
    assert not (tmp_path / "model.tflite").exists()


def test_what_is_refused(graph, images, tmp_path, monkeypatch):
    file = tmp_path / "model.tflite"
    with pytest.raises(ExportError, match=r"must end in .tflite, for example 'model.tflite'"):
        write_litert(graph, NAMES, tmp_path / "model.lite")
    with pytest.raises(
        ExportError, match="unknown option 'int4' of the format 'litert', which has int8, examples"
    ):
        export(graph, NAMES, file, "litert", int4=True)
    with pytest.raises(ExportError, match="int8 must be True or False, got 'yes'"):
        write_litert(graph, NAMES, file, int8="yes")
    with pytest.raises(ExportError, match="examples are for int8=True"):
        write_litert(graph, NAMES, file, examples=images)
    with pytest.raises(ExportError, match=r"examples have shape \(6, 8, 8\)"):
        write_litert(graph, NAMES, file, int8=True, examples=images[..., 0])
    real = builtins.__import__

    def without_litert(name, *args, **kwargs):
        if name.startswith("ai_edge_litert"):
            raise ModuleNotFoundError("No module named 'ai_edge_litert'", name="ai_edge_litert")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_litert)
    with pytest.raises(ExportError, match=r"pip install 'kmorph\[litert\]'"):
        write_litert(graph, NAMES, file)
    assert not list(tmp_path.iterdir())


def test_work_in_a_child(monkeypatch):
    def backend(least):
        if least > 1:
            raise ExportError(f"{least} is too much")
        return least, os.getpid(), os.environ["KERAS_BACKEND"]

    monkeypatch.setattr(child, "backend_name", lambda: "jax")
    number, process, name = child.in_tensorflow(backend, 1)
    assert (number, name) == (1, "tensorflow") and process != os.getpid()
    with pytest.raises(ExportError, match="2 is too much"):
        child.in_tensorflow(backend, 2)
    monkeypatch.setattr(child, "find_spec", lambda name: None)
    with pytest.raises(ExportError, match="pip install tensorflow"):
        child.in_tensorflow(backend, 1)


@pytest.mark.slow
def test_a_child_that_dies(monkeypatch):
    monkeypatch.setattr(child, "backend_name", lambda: "jax")
    with pytest.raises(ExportError, match="process with TensorFlow .* failed"):
        child.in_tensorflow(os._exit, 1)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends(backend, graph, tmp_path):
    pytest.importorskip(backend)
    graph.save(tmp_path / "graph.safetensors")
    run_python(
        "import os, sys\n"
        f"os.environ['KERAS_BACKEND'] = {backend!r}\n"
        "import kmorph\n"
        "from kmorph.export import write_litert, write_saved_model\n"
        "graph = kmorph.Graph.load(sys.argv[1])\n"
        "write_litert(graph, ['a', 'b', 'c'], sys.argv[2])\n"
        "assert write_saved_model(graph, ['a', 'b', 'c'], sys.argv[3]).name == '1'\n"
        "assert 'tensorflow' not in sys.modules\n",
        tmp_path / "graph.safetensors",
        tmp_path / "model.tflite",
        tmp_path / "served",
    )
