"""Covariance of architectures by the neighbourhoods their layers stand in."""

from __future__ import annotations

from math import floor
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.gaussian_process.kernels import Hyperparameter

from kmorph.graph import Graph
from kmorph.surrogate.candidate import Point, graph_of
from kmorph.surrogate.encoding import TOKENS, encode, octaves
from kmorph.surrogate.kernels.base import PointKernel

ROUNDS = 3
"""Relabellings; after h of them a label tells the layers within h steps upstream and downstream."""

_MOST_GRAPHS = 20_000
_counts: dict[int, list[dict[int, float]]] = {}


class WeisfeilerLehmanKernel(PointKernel):
    """Share of layer neighbourhoods that two architectures have in common.

    With n_h(g) the counts of labels after h relabellings, ``K(g, h) = Σ_h decay^h n_h(g)·n_h(h)`` and
    ``k(g, h) = K(g, h) / √(K(g, g) K(h, h))``. A label tells a layer's kind and fields, but not its width;
    that is counted in bins of half an octave, with shares in the two nearest, so that +10 % is near and ×4
    is far.

    Parameters
    ----------
    decay : float, default=0.5
        Weight of larger neighbourhoods.
    decay_bounds : pair of float or "fixed", default=(0.01, 10.0)

    References
    ----------
    Shervashidze et al., "Weisfeiler-Lehman Graph Kernels", JMLR 12, 2011; Ru et al., "Interpretable Neural
    Architecture Search via Bayesian Optimisation with Weisfeiler-Lehman Kernels", ICLR 2021.
    """

    def __init__(self, decay: float = 0.5, decay_bounds: tuple[float, float] | str = (0.01, 10.0)) -> None:
        self.decay = decay
        self.decay_bounds = decay_bounds

    @property
    def hyperparameter_decay(self) -> Hyperparameter:
        """What scikit-learn learns."""
        return Hyperparameter("decay", "numeric", self.decay_bounds)

    def _matrix(self, X: list[Point], Y: list[Point] | None, derive: bool) -> tuple[np.ndarray, Any]:
        here = [_label_counts(graph_of(point)) for point in X]
        there = here if Y is None else [_label_counts(graph_of(point)) for point in Y]
        total, slope = np.zeros((2, len(here), len(there)))
        squares = np.zeros((2, len(here) + len(there)))  # K(g, g) of all points, and its derivative
        for h in range(ROUNDS + 1):
            columns: dict[int, int] = {}
            a = _sparse([counts[h] for counts in here], columns)
            b = a if Y is None else _sparse([counts[h] for counts in there], columns)
            a.resize(len(here), len(columns))
            weight = self.decay**h
            common = weight * (a @ b.T).toarray()
            total += common
            slope += h * common
            own = [np.asarray(counts.multiply(counts).sum(axis=1)).ravel() for counts in (a, b)]
            squares += weight * np.concatenate(own) * np.array([[1], [h]])
        norm = 1 / np.sqrt(squares[0])
        relative = squares[1] / squares[0]
        left, right = slice(len(here)), slice(len(here), None)
        scale = norm[left, None] * norm[right]
        covariance = total * scale
        mean = (relative[left, None] + relative[right]) / 2
        if Y is None:
            np.fill_diagonal(covariance, 1.0)
        return covariance, slope * scale - covariance * mean


def _sparse(counts: list[dict[int, float]], columns: dict[int, int]) -> csr_matrix:
    """One row of counts for each graph; labels get columns as they are met."""
    indices = [columns.setdefault(label, len(columns)) for row in counts for label in row]
    ends = np.cumsum([0] + [len(row) for row in counts])
    values = np.array([value for row in counts for value in row.values()], float)
    return csr_matrix((values, indices, ends), shape=(len(counts), len(columns)))


def _label_counts(graph: Graph) -> list[dict[int, float]]:
    """n_0 … n_ROUNDS of a graph, computed once for each structure."""
    key = encode(graph).key
    if key not in _counts:
        if len(_counts) >= _MOST_GRAPHS:
            _counts.clear()
        _counts[key] = _count_labels(graph)
    return _counts[key]


def _count_labels(graph: Graph) -> list[dict[int, float]]:
    tokens = [TOKENS.of_input(graph.input_shape)]
    tokens += map(TOKENS.of_layer, graph.layers, graph.node_shapes[1:])
    readers: list[list[int]] = [[] for _ in tokens]
    for i, nodes in enumerate(graph.inputs):
        for node in nodes:
            readers[node].append(i + 1)
    sources = [(), *graph.inputs]
    bins = [_soft_bins(octaves(token)) for token in tokens]
    labels = [int(TOKENS.rests[token]) for token in tokens]
    result = []
    for h in range(ROUNDS + 1):
        if h:
            labels = [
                hash(
                    (
                        label,
                        tuple(sorted([labels[node] for node in sources[i]])),
                        tuple(sorted([labels[node] for node in readers[i]])),
                    )
                )
                for i, label in enumerate(labels)
            ]
        counts: dict[int, float] = {}
        for label, shares in zip(labels, bins, strict=True):
            for place, share in shares:
                binned = hash((label, place))
                counts[binned] = counts.get(binned, 0.0) + share
        result.append(counts)
    return result


def _soft_bins(width: float) -> list[tuple[int, float]]:
    """The two nearest multiples of half an octave with shares that add up to one."""
    position = 2 * width
    low = floor(position)
    share = position - low
    return [(low, 1 - share), (low + 1, share)] if share else [(low, 1.0)]
