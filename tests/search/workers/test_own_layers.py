"""Kinds of layers that a program registered: in its workers, and in the folders of its searches."""

import pickle
import sys
import threading
from dataclasses import dataclass

import keras
import numpy as np
import pytest
from graph_samples import run_python, with_random_weights
from own_layer_samples import MODULE, forget_own_layers, own_graph, own_layers
from sklearn.datasets import load_digits

from kmorph import Graph, ImageClassifier, load_searcher
from kmorph.errors import SearchError
from kmorph.graph import Layer, register_layer
from kmorph.graph.layers import BY_KIND, registered_layers
from kmorph.search.workers.own_layers import pack_layers, unpack_layers

IN_A_WORKER = """
import pickle, sys
from pathlib import Path
from kmorph.graph import Graph
from kmorph.graph.layers import BY_KIND, layer_from_json
from kmorph.search.workers.own_layers import pack_layers, unpack_layers

unpack_layers(pickle.loads(Path(sys.argv[1]).read_bytes()))
graph = Graph.load(sys.argv[2])
graph.save(sys.argv[3])
for values in ({"kind": "scaled_tanh"}, {"kind": "scaled_tanh", "slope": "1"}):
    try:
        layer_from_json(values)
    except ValueError as error:
        print(error)
assert layer_from_json({"kind": "scaled_tanh", "slope": 1}).start == "ones"
unpack_layers(pack_layers())  # a worker may send jobs of its own
assert "my_layers" not in sys.modules and Graph.load(sys.argv[2]) == graph
"""


@pytest.fixture
def own(tmp_path):
    with own_layers(tmp_path) as module:
        yield module


def test_a_process_that_cannot_import_the_module_knows_the_kinds(own, tmp_path):
    graph = with_random_weights(own_graph(own))
    packed, before, after = (
        tmp_path / name for name in ("packed", "before.safetensors", "after.safetensors")
    )
    packed.write_bytes(pickle.dumps(pack_layers()))
    lines = run_python(IN_A_WORKER, packed, graph.save(before), after).splitlines()
    assert "missing field 'slope'" in lines[0] and "wrong type" in lines[1]
    assert Graph.load(after) == graph and before.read_bytes() == after.read_bytes()


def test_packing_is_repeatable_and_leaves_no_trace(own):
    import cloudpickle

    assert pack_layers() == pack_layers() and len(pack_layers()) == 3
    assert not cloudpickle.list_registry_pickle_by_value()


def test_in_the_same_process_the_classes_stay(own):
    unpack_layers(pack_layers())
    assert registered_layers() == (own.ScaledTanh, own.Mix, own.UnitNorm)


def test_ours_are_never_replaced(own):
    import cloudpickle

    class Other(Layer):
        kind = "conv"

    conv = BY_KIND["conv"]
    unpack_layers((cloudpickle.dumps((Other, {})),))
    assert BY_KIND["conv"] is conv


def test_a_class_that_cannot_be_sent_is_named(own):
    lock = threading.Lock()

    @register_layer
    @dataclass(frozen=True)
    class Locked(Layer):
        kind = "locked"

        def output_shape(self, *inputs):
            with lock:
                return inputs[0]

        def to_keras(self, name, *inputs):
            raise NotImplementedError

    with pytest.raises(SearchError, match=r"'locked' cannot be sent to a worker \(TypeError.*lock"):
        pack_layers()


def test_a_search_in_a_worker_process_and_its_folder(own, tmp_path):
    x, y = load_digits(return_X_y=True)
    x, y = x.reshape(-1, 8, 8).astype(np.uint8)[:200], y[:200]
    start = own_graph(own, (8, 8, 1), 10)
    caps = {"searcher_args": {"trainer_args": {"max_iter_num": 1}}}
    clf = ImageClassifier(
        path=tmp_path / "search", max_models=3, starts=[start], verbose=False, seed=0, **caps
    ).fit(x, y)
    assert [entry["state"] for entry in clf.history] == ["done"] * 3 and not clf.failures
    searcher = load_searcher(clf.path_)
    parent, child = (searcher.load_model_by_id(number) for number in range(2))
    assert own.ScaledTanh(0.5) in parent.layers and own.ScaledTanh(0.5) in child.layers
    assert parent != child and child.has_weights
    clf.final_fit(x, y, trainer_args={"max_iter_num": 1})
    exported = clf.export_keras_model(tmp_path / "best.keras")
    probabilities = clf.predict_proba(x[:20])

    forget_own_layers()
    sys.modules.pop(MODULE)
    model = keras.models.load_model(exported, safe_mode=True)
    assert np.allclose(model.predict(x[:20, ..., None], verbose=0), probabilities, atol=1e-5)
    searcher = load_searcher(clf.path_)
    assert len(searcher.history) == 3  # what is not in the networks can be read
    words = f"kind of layer '.*' is not part of kmorph: `import {MODULE}` first"
    for read in (searcher.load_best_model, lambda: searcher.load_model_by_id(0), searcher.get_best_model_id):
        with pytest.raises(SearchError, match=words):
            read()
    before = sorted((file, file.stat().st_mtime_ns) for file in clf.path_.rglob("*.safetensors"))
    with pytest.raises(SearchError, match=words):
        ImageClassifier(path=clf.path_, resume=True, max_models=4, verbose=False, **caps).fit(x, y)
    assert before == sorted((file, file.stat().st_mtime_ns) for file in clf.path_.rglob("*.safetensors"))

    with own_layers(tmp_path):
        assert load_searcher(clf.path_).load_best_model().has_weights
