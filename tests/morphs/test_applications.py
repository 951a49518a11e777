"""Networks of keras.applications grow like our own: everywhere, and exactly."""

import keras
import numpy as np
import pytest

from kmorph import morphs
from kmorph.graph import BatchNorm, Conv, Dense, Graph, Opaque

NAMES = ("MobileNetV2", "ResNet50V2", "EfficientNetB0", "DenseNet121")


def imported(name: str) -> Graph:
    """The application with random weights and random batch norm statistics, its output being logits."""
    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, name)(
        weights=None, input_shape=(32, 32, 3), classes=10, classifier_activation=None
    )
    graph = Graph.from_keras(model)
    rng = np.random.default_rng(0)
    weights = dict(graph.weights)
    for i, layer in enumerate(graph.layers):
        if isinstance(layer, BatchNorm):
            for key in [key for key in weights if key[0] == i]:
                noise = rng.uniform(0.7, 1.3, weights[key].shape).astype(np.float32)
                weights[key] = noise if key[1] in ("gamma", "moving_variance") else noise - 1
    return graph.with_weights(weights)


@pytest.fixture(scope="module", params=NAMES)
def network(request):
    return request.param, imported(request.param)


def test_no_layer_is_opaque(network):
    name, graph = network
    assert not any(isinstance(layer, Opaque) for layer in graph.layers), name


def test_every_convolution_and_dense_layer_widens_in_every_stage(network):
    name, graph = network
    sites = {site.layer for site in morphs.sites(graph, kinds=["widen"])}
    trained = [i for i, layer in enumerate(graph.layers) if isinstance(layer, Conv | Dense)]
    # A depthwise convolution grows with what it reads, and the last layer has one output per class.
    depthwise = {i for i in trained if isinstance(graph.layers[i], Conv) and graph.layers[i].groups > 1}
    assert set(trained) - sites - depthwise == {trained[-1]}
    spaces = {graph.node_shapes[i + 1][:-1] for i in trained[:-1]}
    assert {graph.node_shapes[i + 1][:-1] for i in sites} == spaces


def test_children_compute_what_the_parent_does(network):
    name, graph = network
    rng = np.random.default_rng(1)
    x = rng.uniform(0, 255, (4, 32, 32, 3)).astype(np.float32)
    expected = graph.to_keras()(x, training=False).numpy()
    scale = max(1.0, float(np.abs(expected).max()))
    by_kind: dict[str, list] = {}
    for site in morphs.sites(graph):
        by_kind.setdefault(site.kind, []).append(site)
    required = {"widen", "deepen", "add_skip", "concat_skip", "enlarge_kernel", "branch", "insert_gate"}
    assert set(by_kind) >= required
    # All kinds at once, each somewhere else: compiling such networks takes seconds.
    child = graph
    grown = []
    for kind in sorted(by_kind):
        offered = list(morphs.sites(child, kinds=[kind]))
        morph = offered[rng.integers(len(offered))]
        child = morph.apply(child, rng)
        grown.append(morph.describe())
    found = child.to_keras()(x, training=False).numpy()
    assert np.abs(found - expected).max() <= 1e-5 * scale, grown
    assert child.n_parameters > graph.n_parameters
