"""Exported models, opened where kmorph is never imported."""

import os
from pathlib import Path

import numpy as np
import pytest
from graph_samples import residual, run_python, with_random_weights

from kmorph.errors import ExportError
from kmorph.export import FORMATS, export, wrap_classifier, write_keras, write_saved_model
from kmorph.graph import Activation, Dense, Graph, GraphBuilder
from kmorph.problem import SignalInput

SUFFIXES = {"keras": ".keras", "litert": ".tflite", "onnx": ".onnx", "saved_model": "", "torch": ""}
NAMES = ("ankle boot", "Stiefel, groß", "7")


@pytest.fixture(scope="module")
def graph():
    return with_random_weights(residual())


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (6, 8, 8, 2), dtype=np.uint8)


@pytest.fixture(scope="module")
def scores(graph, images):
    logits = np.asarray(graph.to_keras()(images.astype(np.float32)), np.float64)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.fixture
def data(tmp_path, images, scores):
    file = tmp_path / "data.npz"
    np.savez(file, x=images, scores=scores, labels=np.array(NAMES)[scores.argmax(axis=1)])
    return file


def test_wrap_classifier(graph, images, scores):
    model = wrap_classifier(graph)
    np.testing.assert_allclose(model.predict(images, verbose=0), scores, atol=1e-5)
    np.testing.assert_allclose(model.predict(images.astype(float), verbose=0), scores, atol=1e-5)
    assert all(type(layer).__module__.startswith("keras.") for layer in model.layers)


def test_other_outputs(graph, images):
    x = images.astype(np.float32)
    logits = np.asarray(wrap_classifier(graph, output="linear")(x))
    np.testing.assert_allclose(
        wrap_classifier(graph, output="sigmoid")(x), 1 / (1 + np.exp(-logits)), atol=1e-5
    )
    with pytest.raises(ExportError, match="softmax, sigmoid, linear"):
        wrap_classifier(graph, output="argmax")


def test_a_softmax_that_is_there_is_not_doubled(graph, scores, images):
    b = GraphBuilder.from_graph(graph)
    b.add(Activation(function="softmax"), weights={})
    np.testing.assert_allclose(wrap_classifier(b.build())(images.astype(np.float32)), scores, atol=1e-5)


def test_keras_file_without_kmorph(graph, tmp_path, data):
    file = export(graph, NAMES, tmp_path / "deep" / "model.keras")
    assert [path.name for path in file.parent.iterdir()] == ["model.keras"]
    run_python(
        "import sys, keras, numpy as np\n"
        "model = keras.models.load_model(sys.argv[1], safe_mode=True)\n"
        "data = np.load(sys.argv[2])\n"
        "np.testing.assert_allclose(model.predict(data['x'], verbose=0), data['scores'], atol=1e-5)\n"
        "assert 'kmorph' not in sys.modules\n",
        file,
        data,
    )


def test_saved_model_without_kmorph(graph, tmp_path, data, capfd):
    folder = export(graph, NAMES, tmp_path / "served", format="saved_model")
    assert folder == tmp_path / "served" / "1"
    written = capfd.readouterr()
    assert written.out == "" and "Assets written" not in written.err
    run_python(
        "import sys, numpy as np, tensorflow as tf\n"
        "loaded = tf.saved_model.load(sys.argv[1])\n"
        "data = np.load(sys.argv[2])\n"
        "images, labels = data['x'], data['labels'].astype(object)\n"
        "serve = loaded.signatures['serving_default']\n"
        "(spec,) = serve.structured_input_signature[1].values()\n"
        "assert (spec.name, spec.dtype, spec.shape.as_list()) == ('images', tf.float32, [None, 8, 8, 2])\n"
        "def check(result):\n"
        "    assert set(result) == {'scores', 'labels'}\n"
        "    assert result['scores'].dtype == tf.float32 and result['labels'].dtype == tf.string\n"
        "    np.testing.assert_allclose(result['scores'], data['scores'], atol=1e-5)\n"
        "    assert [text.decode() for text in result['labels'].numpy()] == labels.tolist()\n"
        "check(serve(images=tf.constant(images, tf.float32)))\n"
        "check(loaded.predict(tf.constant(images)))\n"
        "check(loaded.predict(tf.constant(images, tf.float32)))\n"
        "assert 'kmorph' not in sys.modules\n",
        folder,
        data,
    )


def test_versions_count_on(graph, tmp_path):
    small = with_random_weights(Graph((4,), [Dense(units=3)], [[0]]))
    assert write_saved_model(small, NAMES, tmp_path).name == "1"
    (tmp_path / "7").mkdir()
    (tmp_path / "notes").mkdir()
    assert write_saved_model(small, NAMES, str(tmp_path)).name == "8"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "7", "8", "notes"]


def test_writing_again_replaces_the_keras_file(graph, tmp_path):
    file = tmp_path / "model.keras"
    write_keras(graph, NAMES, file)
    before = file.stat().st_mtime_ns
    assert write_keras(graph, NAMES, str(file)) == file
    assert file.stat().st_mtime_ns > before
    assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]


def test_unknown_format(graph, tmp_path):
    with pytest.raises(ExportError, match=r"'tflite'.*keras, litert, onnx, saved_model"):
        export(graph, NAMES, tmp_path / "x", format="tflite")


@pytest.mark.parametrize("format", FORMATS)
def test_what_cannot_be_exported(graph, tmp_path, format):
    target = tmp_path / f"model{SUFFIXES[format]}"
    with pytest.raises(ExportError, match="no weights"):
        export(graph.without_weights(), NAMES, target, format)
    with pytest.raises(ExportError, match=r"2 class names .*\(3,\)"):
        export(graph, NAMES[:2], target, format)
    pixels = with_random_weights(Graph((8, 3), [Dense(units=3)], [[0]]))
    with pytest.raises(ExportError):
        export(pixels, NAMES, target, format)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["model", "model.h5", "model.tf"])
def test_keras_suffix(graph, tmp_path, name):
    with pytest.raises(ExportError, match=r"must end in .keras, for example 'model.keras'"):
        write_keras(graph, NAMES, tmp_path / name)


@pytest.mark.parametrize("name", [".", "/"])
def test_a_folder_instead_of_a_file(graph, name):
    with pytest.raises(ExportError, match=r"must end in .keras, for example 'model.keras'"):
        write_keras(graph, NAMES, name)


def test_targets_in_the_way(graph, tmp_path):
    (tmp_path / "folder.keras").mkdir()
    with pytest.raises(ExportError, match="it is a folder"):
        write_keras(graph, NAMES, tmp_path / "folder.keras")
    (tmp_path / "file").write_text("here")
    with pytest.raises(ExportError, match="it is a file"):
        write_saved_model(graph, NAMES, tmp_path / "file")
    for write, name in ((write_keras, "model.keras"), (write_saved_model, "model")):
        with pytest.raises(ExportError, match="choose another place"):
            write(graph, NAMES, tmp_path / "file" / name)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permissions do not bind this user")
@pytest.mark.parametrize("format", FORMATS)
def test_unwritable_folder(graph, tmp_path, format):
    tmp_path.chmod(0o500)
    with pytest.raises(ExportError, match="choose another place"):
        export(graph, NAMES, tmp_path / f"model{SUFFIXES[format]}", format)


def test_signals_of_unequal_length_are_prepared_as_the_docs_say():
    page = (Path(__file__).parents[2] / "docs" / "exports.md").read_text("utf-8")
    section = page.split("## Signals of unequal length")[1]
    names = {}
    exec(section.split("```python")[1].split("```")[0], names)
    rng = np.random.default_rng(0)
    for channels in (1, 3):
        signals = [rng.normal(size=(n, channels)).astype(np.float32) for n in (4, 9, 6, 8)]
        learned = SignalInput.learn(SignalInput.check(signals))
        longer = [*signals, np.ones((20, channels), np.float32)]
        np.testing.assert_array_equal(names["prepared"](longer, 9, channels), learned.encode(longer))
