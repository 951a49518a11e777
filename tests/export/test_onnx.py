"""ONNX files, run by onnxruntime and compared with Keras."""

import builtins
import errno
import json
import os
import runpy

import numpy as np
import pytest
from graph_samples import residual, run_python, with_random_weights
from keras_samples import functional
from morphs.cases import draw, parents
from morphs.random_graphs import batch, random_graph, random_weights
from own_layer_samples import own_graph, own_layers
from sklearn.datasets import load_digits

from kmorph import ImageClassifier, morphs, starts
from kmorph.data.labels import LabelCodec
from kmorph.errors import ExportError
from kmorph.export import Views, export, onnx_layers, wrap, write_onnx
from kmorph.export.placing import write_placed
from kmorph.export.text_core import write_text_core
from kmorph.graph import Activation, Conv, Dense, Flatten, Graph, GraphBuilder, chain
from kmorph.graph.layers import FUNCTIONS, KINDS
from kmorph.problem import Classes, ImageInput, LabelSets, Numbers, TextInput

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

NAMES = ("ankle boot", "Stiefel, groß", "7")
CLASSES = Classes(LabelCodec(NAMES, "column", "object"))


def run(file, x):
    """The outputs of a file, by name."""
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (examples,) = session.get_inputs()
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {examples.name: x.astype(np.float32)}), strict=True))


def assert_equal(graph, file, x, target=CLASSES, views=None):
    """The file gives what Keras gives; returns its outputs."""
    expected = np.asarray(wrap(graph, target, views)(x.astype(np.float32)))
    outputs = run(file, x)
    scores = outputs["values" if target.is_numeric else "scores"]
    np.testing.assert_allclose(scores, expected, atol=1e-4 * np.abs(expected).max(), rtol=0)
    return outputs


@pytest.mark.parametrize("seed", range(24))
def test_random_graphs(seed, tmp_path):
    rng = np.random.default_rng(seed)
    graph = random_weights(random_graph(rng), rng, np.float32)
    target = Numbers((0.0,) * 3, (1.0,) * 3, flat=False)  # no softmax that could hide a difference
    file = write_onnx(graph, target, tmp_path / "model.onnx")
    assert_equal(graph, file, batch(graph, rng), target)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_function(function, tmp_path):
    graph = with_random_weights(
        Graph((5, 4), [Dense(6), Activation(function), Flatten(), Dense(3)], [[0], [1], [2], [3]])
    )
    assert_equal(
        graph, write_onnx(graph, NAMES, tmp_path / "m.onnx"), 4 * batch(graph, np.random.default_rng(0))
    )


@pytest.mark.parametrize("name", starts.KINDS)
@pytest.mark.parametrize("shape", [(12,), (16, 2), (12, 12, 1), (8, 8, 8, 1)])
def test_every_start(name, shape, tmp_path):
    if len(shape) == 1 and name not in ("mlp", "bag"):
        pytest.skip("needs positions")
    graph = with_random_weights(getattr(starts, name)(shape, 3))
    assert_equal(graph, write_onnx(graph, NAMES, tmp_path / "m.onnx"), batch(graph, np.random.default_rng(0)))


def test_every_kind_is_written():
    assert set(onnx_layers.WRITERS) == {*KINDS}


@pytest.fixture(scope="module")
def graph():
    return with_random_weights(residual())


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (6, 8, 8, 2), dtype=np.uint8)


def test_outputs_and_metadata(graph, images, tmp_path):
    file = export(graph, NAMES, tmp_path / "deep" / "model.onnx", "onnx")
    assert [path.name for path in file.parent.iterdir()] == ["model.onnx"]
    outputs = assert_equal(graph, file, images)
    assert outputs["labels"].tolist() == np.array(NAMES)[outputs["scores"].argmax(axis=1)].tolist()
    model = onnx.load(file)
    onnx.checker.check_model(model, full_check=True)
    assert {entry.key: json.loads(entry.value) for entry in model.metadata_props} == {"classes": list(NAMES)}
    (given,) = model.graph.input
    assert given.name == "images" and [d.dim_value for d in given.type.tensor_type.shape.dim] == [0, 8, 8, 2]
    assert run(file, images[:1])["labels"].shape == (1,)


def test_labels_of_sets(graph, images, tmp_path):
    target = LabelSets((None, 1.0, None, None), "<i8")  # a label that all examples had
    outputs = assert_equal(graph, write_onnx(graph, target, tmp_path / "m.onnx"), images, target)
    expected = np.where(outputs["scores"] >= 0.5, np.array(target.names), "")
    assert np.array_equal(outputs["labels"], expected) and (expected[:, 1] == "1").all()


def test_numbers_in_their_units(graph, images, tmp_path):
    target = Numbers((3.0, -5.0, 1000.0), (2.0, 1.0, 0.5), flat=False)
    outputs = assert_equal(graph, write_onnx(graph, target, tmp_path / "m.onnx"), images, target)
    assert [*outputs] == ["values"]


@pytest.mark.parametrize("kinds", [(), ("shift",), ("shift", "flip")])
def test_means_over_views(graph, images, tmp_path, kinds):
    views = Views(ImageInput((8, 8, 2), (100.0, 100.0), (5000.0, 5000.0)), kinds)
    file = write_onnx(graph, CLASSES, tmp_path / "m.onnx", views)
    assert_equal(graph, file, images, CLASSES, views)


def test_texts(tmp_path):
    texts = [
        "The cat, sat on THE mat!",
        "",
        "über  die Katze\n",
        "a\x0bb c.d",
        "unknown words here and there now",
    ]
    for split in ("whitespace", "character"):
        input = TextInput(("the", "cat", "the cat", "a", "e", "t h", "die", "über die"), 5, 4, split)
        graph = with_random_weights(starts.bag(input.shape, 3, preprocessing=input.front()))
        file = export(graph, CLASSES, tmp_path / split / "topics.onnx", "onnx", None, input)
        assert sorted(path.name for path in file.parent.iterdir()) == ["topics.onnx", "topics.text"]
        encode = runpy.run_path(str(file.parent / "topics.text" / "encode_texts.py"))["encode"]
        assert np.array_equal(encode(texts), input.encode(texts))
        assert_equal(graph, file, encode(texts))
        write_onnx(graph, CLASSES, file, input=input)  # once more, over what is there


def test_encoding_needs_no_kmorph(tmp_path):
    write_text_core(tmp_path, TextInput(("b",), 2, 1))
    code = (
        "import sys, runpy\n"
        "print(runpy.run_path(sys.argv[1])['encode'](['a B']).tolist(), 'kmorph' in sys.modules)"
    )
    assert run_python(code, tmp_path / "encode_texts.py").split() == ["[[1.0,", "2.0,", "1.0]]", "False"]


@pytest.mark.parametrize("kind", [kind.kind for kind in morphs.KINDS])
def test_children_of_every_morph(kind, tmp_path):
    _, graph, x, sites = next(parents(kind, dtype=np.float32))
    rng = np.random.default_rng(0)
    child = draw(sites, rng, 1)[0].apply(graph, rng)
    target = Numbers((0.0,) * 3, (1.0,) * 3, flat=False)
    assert_equal(child, write_onnx(child, target, tmp_path / "model.onnx"), x, target)


def test_an_estimator_exports_what_it_predicts(tmp_path):
    x, y = load_digits(return_X_y=True)
    x = x.reshape(-1, 8, 8, 1).astype(np.uint8)
    clf = ImageClassifier(
        path=tmp_path / "digits", seed=0, verbose=False, max_models=1, views=True,
        starts=[("cnn", {"width": 8})], searcher_args={"trainer_args": {"max_iter_num": 1}},
    ).fit(x[:500], y[:500])  # fmt: skip
    outputs = run(clf.export(tmp_path / "digits.onnx", "onnx"), x[500:700])
    np.testing.assert_allclose(outputs["scores"], clf.predict_proba(x[500:700]), atol=1e-5)
    assert outputs["labels"].tolist() == [str(label) for label in clf.predict(x[500:700])]
    with pytest.raises(ExportError, match="unknown option 'quick'"):
        clf.export(tmp_path / "digits.onnx", "onnx", quick=True)


def test_layers_without_onnx(tmp_path):
    import keras

    graph = Graph.from_keras(functional(lambda x: keras.layers.UpSampling2D()(x)))
    b = GraphBuilder.from_graph(graph)
    graph = b.build(chain(b, b.last, [Flatten(), Dense(3)])).initialize(0)
    with pytest.raises(ExportError, match=r"UpSampling2D \(layer 0\)"):
        write_onnx(graph, NAMES, tmp_path / "new" / "model.onnx")
    with own_layers(tmp_path) as module:
        own = own_graph(module).initialize(0)
        with pytest.raises(ExportError, match=r"scaled tanh 0.5 \(layer 1\), mix"):
            write_onnx(own, [str(i) for i in range(own.output_shape[0])], tmp_path / "new" / "model.onnx")
    assert not (tmp_path / "new").exists()


def test_a_file_that_differs_is_not_written(graph, tmp_path, monkeypatch):
    def wrong(g, layer, weights, nodes):
        return onnx_layers._conv(g, layer, {**weights, "kernel": weights["kernel"] * 1.01}, nodes)

    file = write_onnx(graph, NAMES, tmp_path / "model.onnx")
    before = file.read_bytes()
    monkeypatch.setitem(onnx_layers.WRITERS, Conv, wrong)
    with pytest.raises(ExportError, match="onnxruntime, differs from the network"):
        write_onnx(graph, NAMES, file)
    assert file.read_bytes() == before and [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_a_full_disk_leaves_what_was_there(tmp_path):
    def write(temporary):
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    file = tmp_path / "model.onnx"
    file.write_text("earlier")
    with pytest.raises(ExportError, match="No space left on device; choose another place"):
        write_placed(file, write)
    assert file.read_text() == "earlier" and [*tmp_path.iterdir()] == [file]


def test_what_is_refused(graph, tmp_path, monkeypatch):
    with pytest.raises(ExportError, match=r"must end in .onnx, for example 'model.onnx'"):
        write_onnx(graph, NAMES, tmp_path / "model.pb")
    with pytest.raises(ExportError, match="unknown option 'int8' of the format 'onnx', which has none"):
        export(graph, NAMES, tmp_path / "model.onnx", "onnx", int8=True)
    with pytest.raises(ExportError, match="surrogate"):
        write_onnx(graph, ("a", "b", "\ud800"), tmp_path / "model.onnx")
    real = builtins.__import__

    def without_onnx(name, *args, **kwargs):
        if name == "onnx":
            raise ModuleNotFoundError("No module named 'onnx'", name="onnx")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_onnx)
    with pytest.raises(ExportError, match=r"pip install 'kmorph\[onnx\]'"):
        write_onnx(graph, NAMES, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.environ.get("KERAS_BACKEND") is not None, reason="this is about the other backends")
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends_need_no_tensorflow(backend, graph, tmp_path):
    pytest.importorskip(backend)
    graph.save(tmp_path / "graph.safetensors")
    run_python(
        "import os, sys\n"
        f"os.environ['KERAS_BACKEND'] = {backend!r}\n"
        "import kmorph\n"
        "from kmorph.export import write_onnx\n"
        "write_onnx(kmorph.Graph.load(sys.argv[1]), ['a', 'b', 'c'], sys.argv[2])\n"
        "assert 'tensorflow' not in sys.modules\n",
        tmp_path / "graph.safetensors",
        tmp_path / "model.onnx",
    )
