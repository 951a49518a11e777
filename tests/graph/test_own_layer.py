"""Kinds of layers from outside the package: whatever ours can do, they can."""

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pytest
from graph_samples import with_random_weights
from own_layer_samples import MODULE, forget_own_layers, own_graph, own_layers

from kmorph import morphs
from kmorph.errors import GraphError, UnknownLayerError
from kmorph.graph import Activation, Channels, Conv, Dense, Graph, GraphBuilder, Layer, register_layer
from kmorph.graph.layers import BY_KIND, Parameter, registered_layers
from kmorph.morphs.ranges import ranges
from kmorph.surrogate import edit_distance


@pytest.fixture
def own(tmp_path):
    with own_layers(tmp_path) as module:
        yield module


@pytest.fixture
def graph(own):
    return with_random_weights(own_graph(own))


def outputs(graph, x):
    return graph.to_keras().predict(x, verbose=0)


def test_a_kind_is_known_when_its_module_was_imported(own):
    assert registered_layers() == (own.ScaledTanh, own.Mix, own.UnitNorm)
    assert register_layer(own.Mix) is own.Mix  # twice is once


# Files.


def test_round_trip(graph, tmp_path):
    again = Graph.load(graph.save(tmp_path / "graph.safetensors"))
    assert again == graph and again.fingerprint == graph.fingerprint
    assert all(np.array_equal(again.weights[key], graph.weights[key]) for key in graph.weights)
    assert graph.to_json()["modules"] == {"scaled_tanh": MODULE, "mix": MODULE, "unit_norm": MODULE}
    assert "modules" not in Graph((4,), [Dense(2)], [[0]]).to_json()


def test_without_the_import_a_file_says_what_to_import(graph, tmp_path):
    file = graph.save(tmp_path / "graph.safetensors")
    forget_own_layers()
    with pytest.raises(
        UnknownLayerError, match=rf"graph.safetensors: .*'scaled_tanh'.*`import {MODULE}` first"
    ):
        Graph.load(file)


def test_kinds_of_scripts_are_told_apart(graph):
    values = {**graph.to_json(), "modules": {"scaled_tanh": "__main__"}}
    forget_own_layers()
    with pytest.raises(UnknownLayerError, match="script or a notebook"):
        Graph.from_json(values)


HOSTILE_MODULES = {
    "a number": 5,
    "a list": [MODULE],
    "empty": "",
    "code": "os; import shutil",
    "a path": "../my_layers",
    "two lines": "my_layers\nimport os",
    "escape codes": "\x1b[2Jmy_layers",
    "letters of another alphabet": "mу_layers",
    "endless": "a" * 100_000,
}


@pytest.mark.parametrize("module", HOSTILE_MODULES.values(), ids=HOSTILE_MODULES)
def test_hostile_names_of_modules_are_not_repeated(graph, module):
    values = graph.to_json()
    forget_own_layers()
    for modules in ({"scaled_tanh": module}, module):
        with pytest.raises(GraphError, match="unknown kind of layer 'scaled_tanh'") as caught:
            Graph.from_json({**values, "modules": modules})
        assert not isinstance(caught.value, UnknownLayerError)
        assert str(caught.value).isprintable() and len(str(caught.value)) < 500


@pytest.mark.parametrize("kind", ["x" * 100_000, "a\x1b[2J", "Tanh", 3, None, ["tanh"]])
def test_hostile_names_of_kinds(kind):
    layer = {"kind": kind, "inputs": [0]}
    values = {"format": 1, "input_shape": [4], "layers": [layer], "modules": {str(kind): "os"}}
    with pytest.raises(GraphError, match="unknown kind of layer") as caught:
        Graph.from_json(values)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 500


def test_nothing_is_imported_by_a_name_in_a_file(graph, tmp_path, monkeypatch):
    values = graph.to_json()
    forget_own_layers()
    (tmp_path / "innocent.py").write_text("raise SystemExit('code was run')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UnknownLayerError, match="`import innocent` first"):
        Graph.from_json({**values, "modules": {"scaled_tanh": "innocent"}})
    assert "innocent" not in sys.modules


def test_fields_are_checked_like_those_of_ours(own):
    graph = Graph((4,), [own.ScaledTanh(1.0)], [[0]])
    for layer, words in (
        ({"kind": "scaled_tanh"}, "missing field 'slope'"),
        ({"kind": "scaled_tanh", "slope": "2"}, "wrong type"),
        ({"kind": "scaled_tanh", "slope": 2.0, "gain": 1}, "unknown field 'gain'"),
    ):
        with pytest.raises(GraphError, match=words):
            Graph.from_json({**graph.to_json(), "layers": [{**layer, "inputs": [0]}]})


def test_a_field_of_a_wrong_type_is_not_written(own, tmp_path):
    graph = Graph((4,), [own.ScaledTanh("2")], [[0]])
    with pytest.raises(GraphError, match="scaled_tanh: field 'slope' has a value of the wrong type, 2"):
        graph.save(tmp_path / "graph.safetensors")
    assert not (tmp_path / "graph.safetensors").exists()


def test_the_example_of_the_documentation(tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "morphs.md").read_text(encoding="utf-8")
    (code,) = [
        block for block in re.findall(r"```python\n(.*?)```", text, re.S) if "@register_layer" in block
    ]
    namespace = {"__name__": "documented"}
    try:
        exec(compile(code, "morphs.md", "exec", dont_inherit=True), namespace)
        graph = Graph((5,), [namespace["ScaledTanh"](scale=2.0)], [[0]]).initialize(0)
        assert Graph.load(graph.save(tmp_path / "graph.safetensors")) == graph
        x = np.linspace(-3, 3, 10, dtype=np.float32).reshape(2, 5)
        assert np.allclose(outputs(graph, x), 2 * np.tanh(x), atol=1e-6)
        assert ranges(graph)[1] == (-2, 2)
    finally:
        forget_own_layers()


# Keras, drawings, distances.


def test_the_keras_model_is_of_stock_layers_and_computes_the_same(graph, tmp_path):
    x = np.random.default_rng(0).normal(size=(3, 6, 6, 2)).astype(np.float32)
    graph.to_keras().save(tmp_path / "model.keras")
    forget_own_layers()
    model = keras.models.load_model(tmp_path / "model.keras")
    assert np.allclose(model.predict(x, verbose=0), outputs(graph, x), atol=1e-6)


def test_the_layer_computes_what_it_says(own):
    graph = with_random_weights(Graph((5,), [own.ScaledTanh(0.5)], [[0]]))
    x = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
    expected = graph.weights[0, "gain"] * np.tanh(0.5 * x)
    assert np.allclose(outputs(graph, x), expected, atol=1e-6)


def test_a_stock_keras_layer_is_read_as_the_kind_that_claims_it(own):
    model = keras.Sequential([keras.Input((4,)), keras.layers.UnitNormalization(), keras.layers.Dense(2)])
    assert type(Graph.from_keras(model).layers[0]) is own.UnitNorm
    forget_own_layers()
    assert Graph.from_keras(model).layers[0].kind == "opaque"


def test_drawing(graph, tmp_path):
    text = graph.draw(tmp_path / "graph.dot").read_text(encoding="utf-8")
    assert "scaled tanh 0.5" in text and "#d7f5dd" in text


def test_distance(own):
    def network(*layers):
        b = GraphBuilder((6, 6, 2))
        for layer in (Conv(filters=4, kernel=(3, 3)), *layers):
            b.add(layer)
        return b.build(b.add(Dense(3)))

    plain, activated, scaled = network(), network(Activation("tanh")), network(own.ScaledTanh(1.0))
    assert edit_distance(scaled, scaled) == 0
    # It costs what it says: as much as an activation.
    assert edit_distance(plain, scaled) == edit_distance(plain, activated)
    # Layers of a kind are nearer to one another than to others, and widths count by their ratio.
    assert edit_distance(scaled, network(own.ScaledTanh(2.0))) < edit_distance(scaled, activated)
    by_width = [edit_distance(network(own.Mix(8)), network(own.Mix(units))) for units in (8, 16, 32)]
    assert by_width[0] == 0 < by_width[1] < by_width[2]
    # Of one without a cost nothing is known: it is compared by the width of what it writes.
    assert edit_distance(plain, network(own.UnitNorm())) > edit_distance(plain, scaled)


# Morphs.


def test_morphs_find_places_by_what_the_layers_say(graph):
    found = {kind: list(morphs.sites(graph, kinds=[kind])) for kind in morphs.BY_KIND}
    for kind in ("deepen", "deepen_residual", "insert_gate", "insert_dropout", "replace_activation"):
        assert {1, 5} <= {morph.layer for morph in found[kind]}, kind  # behind both own activations
    assert {morph.layer for morph in found["widen"]} == {0, 2}  # the last convolution ends at a barrier
    assert {morph.layer for morph in found["insert_norm"]} == {0, 2, 4}
    assert ranges(graph)[2] == (-np.inf, np.inf)


@pytest.mark.parametrize("kind", [kind.kind for kind in morphs.KINDS if not kind.approximate])
def test_morphs_keep_the_function(graph, kind):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 6, 6, 2)).astype(np.float32)
    found = list(morphs.sites(graph, kinds=[kind]))
    if kind == "widen":
        found += [morphs.Widen(layer=m.layer, to=m.to, how="repeats") for m in found]
    elif len(found) > 3:
        found = [found[k] for k in rng.permutation(len(found))[:3]]
    expected = outputs(graph, x)
    for morph in found:
        child = morph.apply(graph, 1)
        assert child == morph.apply(graph.without_weights())
        assert np.allclose(outputs(child, x), expected, atol=2e-5), morph.describe()


def test_an_own_layer_is_pruned_by_its_own_weights(graph):
    pruned = morphs.Prune(layer=2, to=2).apply(graph, 0)
    kernel = graph.weights[2, "kernel"]
    kept = np.sort(np.argsort(-np.abs(kernel).sum(0))[:2])
    assert np.array_equal(pruned.weights[2, "kernel"], kernel[:, kept])
    assert pruned.layers[2].units == 2


# Registering.


def kind_of(base=Layer, frozen=True, register=True, **attributes):
    """Make a class as a user would write it, with some attributes other than they should be."""

    def output_shape(self, *inputs):
        return inputs[0]

    def to_keras(self, name, *inputs):
        raise NotImplementedError

    body = {"kind": "tried", "output_shape": output_shape, "to_keras": to_keras, **attributes}
    body = {name: value for name, value in body.items() if value is not None}
    body.setdefault("__annotations__", {})
    made = dataclass(frozen=True)(type("Tried", (base,), body)) if frozen else type("Tried", (base,), body)
    return register_layer(made) if register else made


MISTAKES = {
    "no dataclass": ({"frozen": False}, "frozen dataclass"),
    "no kind": ({"kind": None}, "a name of its own"),
    "the kind of another": ({"kind": "conv"}, "Conv has the kind 'conv' already"),
    "the input's name": ({"kind": "input"}, "a name of its own"),
    "a kind with spaces": ({"kind": "my layer"}, "a name of its own"),
    "no output_shape": ({"output_shape": None}, "must define output_shape"),
    "no to_keras": ({"to_keras": None}, "must define to_keras"),
    "an array": ({"__annotations__": {"values": np.ndarray}}, "field 'values' must be an int"),
    "a pair": ({"__annotations__": {"pair": tuple[int, int]}}, "field 'pair' must be an int"),
    "a hidden method": ({"__annotations__": {"flops": int}}, "'flops' has the name of something"),
    "a hidden key": ({"__annotations__": {"inputs": int}}, "'inputs' has the name of something"),
    "a size that is no field": ({"sizes": {"units": "width"}}, "sizes must say"),
    "an unknown measure": ({"__annotations__": {"units": int}, "sizes": {"units": "mass"}}, "sizes must say"),
    "a text as size": ({"__annotations__": {"units": str}, "sizes": {"units": "width"}}, "sizes must say"),
    "no cost": ({"edit_cost": 0}, "edit_cost must be"),
    "a text as cost": ({"edit_cost": "0.1"}, "edit_cost must be"),
    "a Keras class of another": ({"keras_classes": ("Dense",)}, "Dense is read as the kind 'dense' already"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_told_when_a_kind_is_registered(mistake):
    changes, words = MISTAKES[mistake]
    with pytest.raises(GraphError, match=words):
        kind_of(**changes)
    assert "tried" not in BY_KIND and not registered_layers()


@pytest.mark.parametrize("value", [3, int, Dense(2)])
def test_only_layers_are_registered(value):
    with pytest.raises(GraphError, match=r"expected a class derived from kmorph\.graph\.Layer"):
        register_layer(value)


def test_a_class_takes_the_place_of_its_earlier_self_only(own):
    first = kind_of(edit_cost=0.1)
    second = kind_of(edit_cost=0.2)
    assert BY_KIND["tried"] is second is not first
    with pytest.raises(GraphError, match="has the kind 'mix' already"):
        kind_of(kind="mix")
    derived = kind_of(base=Conv, kind="my_conv", output_shape=None, to_keras=None)
    assert derived(filters=3, kernel=(3, 3)).channels((4, 4, 2)) is Channels.MIX


@pytest.mark.parametrize("axes", [(), ("output",), ("inputs", "output"), (None, 0)])
def test_every_axis_of_a_weight_has_a_meaning(axes):
    with pytest.raises(GraphError, match="axes must have one entry for each of the 2 axes"):
        Parameter((3, 4), "zeros", axes)


def test_what_could_not_be_read_is_not_written(tmp_path):
    graph = Graph((4,), [kind_of(register=False)()], [[0]])
    with pytest.raises(GraphError, match="Tried is not registered: write @register_layer"):
        graph.save(tmp_path / "graph.safetensors")
    assert not (tmp_path / "graph.safetensors").exists()


def test_json_in_files_is_plain(graph):
    assert json.loads(json.dumps(graph.to_json())) == graph.to_json()
