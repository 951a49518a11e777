"""Targets that cannot be written, or that others write to at the same time; what is compared before."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from graph_samples import run_python, with_random_weights

from kmorph.errors import ExportError
from kmorph.export import FORMATS, export, write_keras, write_saved_model
from kmorph.export.compare import check_equal
from kmorph.graph import Dense, Graph
from kmorph.graph.layers.opaque import Opaque

NAMES = ("鞋", "b", "c")


@pytest.fixture(scope="module")
def graph():
    return with_random_weights(Graph((4,), [Dense(units=3)], [[0]]))


def test_folders_of_others_stay(graph, tmp_path):
    for name, content in (("7", "weights"), ("notes", "mine"), (".writing-old", "half")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "saved_model.pb").write_text(content)
    (tmp_path / "config").write_text("mine")
    assert write_saved_model(graph, NAMES, tmp_path).name == "8"
    assert (tmp_path / "7" / "saved_model.pb").read_text() == "weights"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".writing-old", "7", "8", "config", "notes"]


@pytest.mark.skipif(sys.platform != "linux", reason="there is no such folder")
@pytest.mark.parametrize("write", [write_keras, write_saved_model])
def test_file_systems_that_take_no_files(graph, write):
    with pytest.raises(ExportError, match="cannot write (to )?/proc.*choose another place"):
        write(graph, NAMES, "/proc/kmorph/model.keras")


FULL_DISK = """
import resource, sys
from pathlib import Path
from kmorph import starts
from kmorph.errors import ExportError
from kmorph.export import export
graph = starts.mlp((4,), 3, width=200, depth=1).initialize(0)
folder = Path(sys.argv[1])
export(graph, "abc", folder / "first.keras", "keras")  # what is loaded and cached meanwhile takes no disk
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
for format in ("keras", "saved_model"):
    try:
        export(graph, "abc", folder / "full.keras", format)
    except ExportError as error:
        assert "choose another place" in str(error), error
    else:
        raise AssertionError(format)
    print(sorted(path.name for path in folder.glob("**/*")))
"""


@pytest.mark.slow
def test_full_disk(tmp_path):
    first, second = run_python(FULL_DISK, tmp_path).splitlines()
    assert (first, second) == ("['first.keras']", "['first.keras', 'full.keras']")
    assert not list((tmp_path / "full.keras").iterdir())


AT_ONCE = """
import sys, time
from pathlib import Path
from kmorph import starts
from kmorph.export import export
graph = starts.mlp((4,), 3, width=8, depth=1).initialize(int(sys.argv[2]))
folder = Path(sys.argv[1])
folder.joinpath("ready", sys.argv[2]).touch()
while len(list(folder.joinpath("ready").iterdir())) < 2:
    time.sleep(0.01)
for _ in range(3):
    export(graph, "abc", folder / "model", "saved_model")
"""


@pytest.mark.slow
def test_two_processes_at_once(tmp_path):
    import tensorflow as tf

    (tmp_path / "ready").mkdir()
    processes = [subprocess.Popen([sys.executable, "-c", AT_ONCE, tmp_path, str(i)]) for i in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [str(i) for i in range(1, 7)]
    for folder in (tmp_path / "model").iterdir():
        assert "serving_default" in tf.saved_model.load(str(folder)).signatures


NAMES_OF = {
    "keras": "model.keras",
    "litert": "model.tflite",
    "onnx": "model.onnx",
    "saved_model": "model",
    "torch": "model",
}
PACKAGES = {"litert": "ai_edge_litert", "onnx": "onnxruntime", "torch": "torch"}


@pytest.fixture(params=FORMATS)
def format(request):
    if request.param in PACKAGES:
        pytest.importorskip(PACKAGES[request.param])
    return request.param


def test_an_opaque_layer(tmp_path, format):
    import keras

    inputs = keras.Input((4,))
    outputs = keras.layers.Dense(3)(keras.layers.EinsumDense("ab,bc->ac", 4)(inputs))
    graph = Graph.from_keras(keras.Model(inputs, outputs))
    assert any(isinstance(layer, Opaque) for layer in graph.layers)
    target = tmp_path / NAMES_OF[format]
    if format in ("onnx", "torch"):
        with pytest.raises(ExportError, match="EinsumDense"):
            export(graph, NAMES, target, format)
        assert not target.exists()
    else:
        assert export(graph, NAMES, target, format).exists()


def test_an_operation_in_front_of_the_last_layer(tmp_path):
    import keras

    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.ops.arctan(inputs)))
    graph = Graph.from_keras(model)
    assert isinstance(graph.layers[-2], Opaque)
    for format in ("keras", "saved_model"):
        assert export(graph, NAMES, tmp_path / NAMES_OF[format], format).exists()


def test_what_differs_is_not_written(graph, tmp_path, monkeypatch, format):
    from kmorph.export import compare

    def wrong(*arguments):
        scores, features = compare.outputs_of(*arguments)
        return scores * 1.001, features

    place = format if format == "saved_model" else f"{format}_file"
    monkeypatch.setattr(f"kmorph.export.{place}.outputs_of", wrong)
    with pytest.raises(ExportError, match="differs from the network by .*nothing was written"):
        export(graph, NAMES, tmp_path / NAMES_OF[format], format)
    assert not [path for path in tmp_path.glob("**/*") if path.is_file()]


def test_what_keras_does_not_load_is_not_written(graph, tmp_path, monkeypatch):
    import keras

    def refuse(file, safe_mode):
        raise ValueError("unknown class 'Mine'")

    monkeypatch.setattr(keras.models, "load_model", refuse)
    with pytest.raises(ExportError, match=re.escape("unknown class 'Mine'. Register")):
        write_keras(graph, NAMES, tmp_path / "model.keras")
    assert not list(tmp_path.iterdir())


def test_weights_that_are_not_finite(graph, tmp_path):
    weights = {key: np.full_like(array, np.nan) for key, array in graph.weights.items()}
    with pytest.raises(ExportError, match="weights if they are not finite"):
        write_keras(graph.with_weights(weights), NAMES, tmp_path / "model.keras")
    assert not list(Path(tmp_path).iterdir())


ON_JAX = """
import os, sys
os.environ["KERAS_BACKEND"] = "jax"
import numpy as np
from graph_samples import with_random_weights
from kmorph.export import write_keras
from kmorph.graph import Dense, GlobalPool, GraphBuilder
from kmorph.problem import TextInput
texts = TextInput.learn(np.array(["the sea is blue", "une mer bleue"], object))
b = GraphBuilder(texts.shape)
for layer in [*texts.front(), GlobalPool()]:
    b.add(layer)
graph = with_random_weights(b.build(b.add(Dense(units=3))))
assert write_keras(graph, "abc", sys.argv[1], input=texts).exists()
"""


@pytest.mark.slow
def test_texts_on_a_backend_that_reads_none(tmp_path, monkeypatch):
    pytest.importorskip("jax")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]), prepend=os.pathsep)
    run_python(ON_JAX, tmp_path / "texts.keras")


@pytest.mark.parametrize("found", [[1.0, 2.0], [1.00005, 2.0], np.float32([1, 2])])
def test_equal_numbers(found):
    check_equal([1.0, 2.0], found, "the file")
    check_equal(np.zeros(2), np.full(2, 1e-43), "the file")


@pytest.mark.parametrize("found", [[1.0, 2.001], [1.0, np.nan], [[1.0, 2.0]], [1.0, np.inf]])
def test_other_numbers(found):
    with pytest.raises(ExportError, match="the file .*nothing was written"):
        check_equal([1.0, 2.0], found, "the file")
