"""Kernels on graphs and candidates, as scikit-learn expects kernels to be."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, WhiteKernel
from surrogate.samples import STARTS, candidates, child_of, family, mixture

from kmorph.surrogate import (
    BudgetKernel,
    EditDistanceKernel,
    HyperparameterKernel,
    LineageKernel,
    SizeKernel,
    TrainedGraph,
    WeisfeilerLehmanKernel,
    distances,
    edit_distance,
)
from kmorph.surrogate.encoding import structure_key
from kmorph.surrogate.kernels.edit import embed
from kmorph.surrogate.landmarks import Landmarks, choose_landmarks, default_landmarks

KERNELS = [
    EditDistanceKernel(),
    EditDistanceKernel(1.5, (0.1, 9.0), STARTS),
    WeisfeilerLehmanKernel(),
    HyperparameterKernel(),
    BudgetKernel(),
    SizeKernel(),
    LineageKernel(),
    LineageKernel(3e3, (1e2, 1e6)),
    ConstantKernel(0.5) * EditDistanceKernel() * HyperparameterKernel() + LineageKernel() + WhiteKernel(0.1),
]
every = pytest.mark.parametrize("kernel", KERNELS, ids=str)


@pytest.fixture(scope="module")
def points():
    rng = np.random.default_rng(0)
    return candidates(rng, mixture(rng, 24))


@every
def test_the_scikit_learn_contract(kernel, points):
    twin = clone(kernel)
    assert twin is not kernel and twin == kernel
    assert not kernel.requires_vector_input
    covariance = twin(points)
    assert covariance.shape == (len(points), len(points))
    np.testing.assert_array_equal(covariance, kernel(points))
    np.testing.assert_allclose(kernel.diag(points), np.diag(covariance), rtol=1e-12)
    np.testing.assert_allclose(covariance, covariance.T, rtol=1e-12)
    assert len(kernel.theta) == len(kernel.bounds) == kernel.n_dims
    moved = kernel.clone_with_theta(kernel.theta + 0.1)
    np.testing.assert_allclose(moved.theta, kernel.theta + 0.1)
    with pytest.raises(ValueError):
        EditDistanceKernel()(points, points, eval_gradient=True)


@every
def test_the_same_function_at_fit_and_at_predict(kernel, points):
    noise = np.diag([0.1] * 24) if "White" in str(kernel) else 0
    together = kernel(points) - noise
    np.testing.assert_allclose(kernel(points, points[:7]), together[:, :7], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(kernel(points[3:4], points), together[3:4], rtol=1e-9, atol=1e-12)


@every
def test_gradients(kernel, points):
    points = points[:8]
    _, gradient = kernel(points, eval_gradient=True)
    assert gradient.shape == (8, 8, kernel.n_dims)
    for k in range(kernel.n_dims):
        step = np.zeros(kernel.n_dims)
        step[k] = 1e-5
        up, down = (kernel.clone_with_theta(kernel.theta + sign * step)(points) for sign in (1, -1))
        np.testing.assert_allclose(gradient[:, :, k], (up - down) / 2e-5, rtol=1e-5, atol=1e-8)


@every
def test_positive_semi_definite_on_random_sets(kernel):
    rng = np.random.default_rng(1)
    pool = candidates(rng, mixture(rng, 60))
    for _ in range(200):
        chosen = rng.choice(len(pool), int(rng.integers(2, 13)), replace=True)
        theta = kernel.theta + rng.normal(0, 0.5, kernel.n_dims)
        covariance = kernel.clone_with_theta(theta)([pool[i] for i in chosen])
        assert np.linalg.eigvalsh(covariance)[0] >= -1e-8


@pytest.mark.parametrize("kernel", KERNELS[:3], ids=str)
def test_graphs_and_candidates_are_the_same(kernel, points):
    np.testing.assert_array_equal(kernel(points), kernel([point.graph for point in points]))


@pytest.mark.parametrize("kernel", [EditDistanceKernel(), WeisfeilerLehmanKernel()], ids=str)
def test_inside_scikit_learns_process(kernel):
    rng = np.random.default_rng(2)
    graphs = family(rng, 90)
    rng.shuffle(graphs)
    target = np.log([len(graph.layers) for graph in graphs])
    process = GaussianProcessRegressor(ConstantKernel(1.0) * kernel, alpha=1e-2, normalize_y=True)
    process.fit(graphs[:60], target[:60])
    np.testing.assert_allclose(process.predict(graphs[:60]), target[:60], atol=0.1)
    assert np.corrcoef(process.predict(graphs[60:]), target[60:])[0, 1] > 0.8


def test_near_is_more_alike_than_far():
    rng = np.random.default_rng(3)
    child = child_of(STARTS[0], rng)
    for kernel in (EditDistanceKernel(), WeisfeilerLehmanKernel()):
        near, far = kernel([STARTS[0]], [child, STARTS[1]])[0]
        assert 1 > near > far >= 0


def test_ten_percent_wider_is_nearer_than_four_times_wider():
    from kmorph.graph import Conv, Dense, GlobalPool, Graph

    def net(width):
        return Graph(
            (8, 8, 1),
            [Conv(filters=width, kernel=(3, 3)), GlobalPool(), Dense(units=3)],
            [[0], [1], [2]],
        )

    for kernel in (EditDistanceKernel(), WeisfeilerLehmanKernel()):
        bit, much = kernel([net(40)], [net(44), net(160)])[0]
        assert 1 > bit > much


def test_the_embedding_shortens_distances():
    rng = np.random.default_rng(4)
    graphs = mixture(rng, 12)
    rows = embed(graphs, default_landmarks())
    for i in range(12):
        for j in range(i):
            assert np.linalg.norm(rows[i] - rows[j]) <= edit_distance(graphs[i], graphs[j]) + 0.02


def test_landmarks():
    rng = np.random.default_rng(5)
    graphs = family(rng, 20)
    chosen = choose_landmarks([*graphs, *graphs], 8)
    assert len(set(chosen.key)) == 8
    assert chosen.graphs[0] == graphs[0]
    assert copy.deepcopy(chosen) is chosen
    assert pickle.loads(pickle.dumps(chosen)) == chosen
    assert default_landmarks().key == Landmarks(default_landmarks().graphs).key
    assert len(set(default_landmarks().key)) == len(default_landmarks().graphs)
    with pytest.raises(ValueError, match="at least one"):
        Landmarks([])


def test_lineages_share_what_they_share():
    graph, kernel = STARTS[0], LineageKernel(1e3)
    parent = TrainedGraph(graph, images=4e3, path=((0, 1e3), (1, 4e3)))
    child = TrainedGraph(graph, images=9e3, path=((0, 1e3), (1, 4e3), (2, 9e3)))
    proposed = TrainedGraph(graph, {"a": 1}, images=9e3, path=((0, 1e3), (1, 4e3)))
    cousin = TrainedGraph(graph, images=5e3, path=((0, 1e3), (3, 5e3)))
    other = TrainedGraph(graph, images=5e3, path=((4, 5e3),))
    points = [parent, child, proposed, cousin, other]
    shared = np.expm1(kernel(points)) * 1e3
    np.testing.assert_allclose(shared[0], [4e3, 4e3, 4e3, 1e3, 0], atol=1e-6)
    np.testing.assert_allclose(shared[1], [4e3, 9e3, 4e3, 1e3, 0], atol=1e-6)
    np.testing.assert_allclose(np.diag(shared), [4e3, 9e3, 9e3, 5e3, 5e3])


def test_hyperparameters_are_compared_in_decades():
    def at(**values):
        return TrainedGraph(STARTS[0], values)

    base = at(lr=0.1, augment=True, name="sgd")
    others = [
        at(lr=0.1, augment=True, name="sgd"),
        at(lr=0.05, augment=True, name="sgd"),
        at(lr=0.01, augment=True, name="sgd"),
        at(lr=0.01, augment=True, name="adam"),
        at(lr=0.01, name="adam"),
    ]
    values = HyperparameterKernel()([base], others)[0]
    assert values[0] == 1
    assert (np.diff(values) < 0).all()


def test_candidates_are_no_sequences():
    for name in ("__getitem__", "__iter__", "__array__", "__len__"):
        assert not hasattr(TrainedGraph, name)
    point = TrainedGraph(STARTS[0], {"b": [1, {"c": 2}], "a": 0.5})
    assert point.hyperparameters == (("a", 0.5), ("b", '[1, {"c": 2}]'))
    assert point == TrainedGraph(STARTS[0], point.hyperparameters)
    assert hash(point) == hash(TrainedGraph(STARTS[0], {"a": 0.5, "b": [1, {"c": 2}]}))


def test_each_pair_is_computed_once(monkeypatch):
    """Across clones, landmark sets and copies of a graph."""
    from kmorph.surrogate.kernels import edit

    pairs = []

    def counted(landmark, graphs):
        pairs.extend((structure_key(landmark), structure_key(graph)) for graph in graphs)
        return distances(landmark, graphs)

    monkeypatch.setattr(edit, "distances", counted)
    edit._distances_from.cache_clear()
    rng = np.random.default_rng(6)
    graphs = family(rng, 12)
    for some in (graphs[:5], graphs[3:9]):
        kernel = EditDistanceKernel(landmarks=choose_landmarks(some, 4))
        kernel(graphs)
        clone(kernel)(graphs, [copy.deepcopy(graph) for graph in graphs])
    assert len(pairs) == len(set(pairs)) > 0
