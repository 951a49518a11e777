"""Graph files: round trips, and files that are damaged or hostile."""

import json
import pickle

import numpy as np
import pytest
from graph_samples import residual, with_random_weights
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from kmorph.errors import GraphError
from kmorph.graph import Graph
from kmorph.graph.file import HEADER_KEY


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    file = tmp_path_factory.mktemp("graph") / "good.safetensors"
    with_random_weights(residual()).save(file)
    return file.read_bytes()


def _write(file, structure, arrays=None):
    save_file(arrays or {}, file, metadata={HEADER_KEY: json.dumps(structure)})
    return file


@pytest.mark.parametrize("weights", [True, False])
def test_round_trip(tmp_path, weights):
    graph = with_random_weights(residual()) if weights else residual()
    file = graph.save(tmp_path / "graph.safetensors")
    again = Graph.load(file)
    assert again == graph and again.has_weights is weights
    if weights:
        assert all(np.array_equal(again.weights[key], graph.weights[key]) for key in graph.weights)
    assert [path.name for path in tmp_path.iterdir()] == ["graph.safetensors"]


def test_the_structure_alone_can_be_read(tmp_path):
    graph = with_random_weights(residual())
    again = Graph.load(graph.save(tmp_path / "graph.safetensors"), weights=False)
    assert again == graph and not again.has_weights


def test_saving_over_a_file_replaces_it(tmp_path):
    file = tmp_path / "graph.safetensors"
    residual().save(file)
    residual(5).save(str(file))
    assert Graph.load(str(file)) == residual(5)


def test_missing_file(tmp_path):
    with pytest.raises(GraphError, match=r"cannot read .*nothing.safetensors"):
        Graph.load(tmp_path / "nothing.safetensors")


def test_every_truncation_is_told(tmp_path, good):
    file = tmp_path / "cut.safetensors"
    for length in [0, 1, 7, 8, 9, 100, len(good) // 2, len(good) - 1]:
        file.write_bytes(good[:length])
        with pytest.raises(GraphError, match="cut.safetensors"):
            Graph.load(file)


class Bomb:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code from a file was run')",))


HOSTILE = {
    "garbage": b"\x00\xff" * 500,
    "text": b"hello " * 100,
    "pickle": pickle.dumps(Bomb()),
    "huge header": (2**40).to_bytes(8, "little") + b"{}",
    "header longer than the file": (1000).to_bytes(8, "little") + b"{}",
    "header is no JSON": (10).to_bytes(8, "little") + b"{{{{{{{{{{",
    "deeply nested": (200_000).to_bytes(8, "little") + b"[" * 200_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bytes(tmp_path, name):
    file = tmp_path / "bad.safetensors"
    file.write_bytes(HOSTILE[name])
    with pytest.raises(GraphError, match="bad.safetensors"):
        Graph.load(file)


def _layer(**values):
    return {"format": 1, "input_shape": [4], "layers": [{"inputs": [0], **values}], "has_weights": False}


OPAQUE = {
    "kind": "opaque",
    "module": "keras.layers",
    "class_name": "PReLU",
    "config": "{}",
    "input_shapes": [[4]],
    "shape": [4],
}
STRUCTURES = {
    "not an object": ([], "no format version"),
    "no format": ({"input_shape": [4], "layers": []}, "no format version"),
    "newer version": ({**_layer(kind="dense", units=2), "format": 99}, "format 99.*upgrade"),
    "layers is a number": ({"format": 1, "input_shape": [4], "layers": 3}, "must be lists"),
    "too many layers": ({"format": 1, "input_shape": [4], "layers": [0] * 20_000}, "must be lists"),
    "layer is a number": ({"format": 1, "input_shape": [4], "layers": [3]}, "layer 0"),
    "unknown kind": (_layer(kind="teleport"), "unknown kind of layer 'teleport'"),
    "kind is a list": (_layer(kind=[1]), "unknown kind"),
    "unknown field": (_layer(kind="dense", units=2, colour="red"), "unknown field 'colour'"),
    "missing field": (_layer(kind="dense"), "missing field 'units'"),
    "text for a number": (_layer(kind="dense", units="2"), "wrong type"),
    "bool for a number": (_layer(kind="dense", units=True), "wrong type"),
    "float for a number": (_layer(kind="dense", units=2.0), "wrong type"),
    "negative units": (_layer(kind="dense", units=-2), "positive whole number"),
    "endless list": (_layer(kind="normalize", mean=[0.0] * 70_000, variance=[1.0] * 70_000), "wrong type"),
    "nodes that are texts": (
        {**_layer(kind="flatten"), "layers": [{"kind": "flatten", "inputs": ["0"]}]},
        "node '0'",
    ),
    "huge shape": ({**_layer(kind="flatten"), "input_shape": [2**62]}, "input_shape"),
    "opaque of another module": (_layer(**{**OPAQUE, "module": "os"}), "module 'os'"),
    "opaque that looks like Keras": (_layer(**{**OPAQUE, "module": "keras_evil"}), "keras_evil"),
    "opaque Lambda": (_layer(**{**OPAQUE, "class_name": "Lambda"}), "Lambda runs code"),
    "opaque around another module": (
        _layer(
            **{**OPAQUE, "config": json.dumps({"layer": {"module": "subprocess", "class_name": "Popen"}})}
        ),
        "subprocess",
    ),
    "opaque config is no JSON": (_layer(**{**OPAQUE, "config": "{" * 10}), "not JSON"),
    "opaque with crooked weights": (_layer(**{**OPAQUE, "names": ["a"]}), "equally long"),
    "opaque with flat shapes": (_layer(**{**OPAQUE, "input_shapes": [4]}), "wrong type"),
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_wrong_structures(tmp_path, name):
    structure, words = STRUCTURES[name]
    with pytest.raises(GraphError, match=words):
        Graph.load(_write(tmp_path / "bad.safetensors", structure))


def test_foreign_safetensors(tmp_path):
    save_file({"a": np.zeros(3, np.float32)}, tmp_path / "other.safetensors")
    with pytest.raises(GraphError, match="kmorph did not write it"):
        Graph.load(tmp_path / "other.safetensors")


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"0/kernel": np.zeros((4, 2), np.float32)},
        {"0/kernel": np.zeros((4, 3), np.float32), "0/bias": np.zeros(2, np.float32)},
        {"0/kernel": np.zeros((4, 2), int), "0/bias": np.zeros(2, np.float32)},
        {"0/kernel": np.zeros((4, 2), np.float32), "zero/bias": np.zeros(2, np.float32)},
        {"0/kernel": np.zeros((4, 2), np.float32), "0/bias": np.zeros(2, np.float32), "1/x": np.zeros(1)},
    ],
)
def test_wrong_arrays(tmp_path, arrays):
    structure = {**_layer(kind="dense", units=2), "has_weights": True}
    with pytest.raises(GraphError, match="bad.safetensors"):
        Graph.load(_write(tmp_path / "bad.safetensors", structure, arrays))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_mutated_files_load_or_raise_graph_error(tmp_path, good, data):
    content = bytearray(good)
    # Most of a file is weights, where any change is just another number: aim at the header.
    last = len(content) - 1 if data.draw(st.booleans()) else int.from_bytes(good[:8], "little")
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, min(last, len(content) - 1)))
        change = data.draw(st.sampled_from(["set", "insert", "delete"]))
        value = data.draw(st.one_of(st.integers(0, 255), st.sampled_from(list(b'0123456789-{}[]",:.eE'))))
        if change == "set":
            content[at] = value
        elif change == "insert":
            content.insert(at, value)
        else:
            del content[at]
    file = tmp_path / "mutated.safetensors"
    file.write_bytes(content)
    try:
        graph = Graph.load(file)
    except GraphError:
        return
    assert isinstance(graph.n_parameters, int)
