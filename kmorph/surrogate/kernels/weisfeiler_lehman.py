"""Covariance of architectures by the neighbourhoods their layers stand in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from math import floor
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.gaussian_process.kernels import Hyperparameter

from kmorph.graph import Graph
from kmorph.surrogate.encoding import TOKENS, encode, octaves
from kmorph.surrogate.kernels.base import PointKernel, Recent, remembered
from kmorph.surrogate.trained_graph import Point, graph_of

ROUNDS = 3
"""Relabellings; after h of them a label tells the layers within h steps upstream and downstream."""


class _Labels(NamedTuple):
    """Counts of labels in a graph after one relabelling: labels (k,), int64, and counts (k,), float64.

    Arrays, not a dict, which would take five times the memory, for each of hundreds of graphs.
    """

    labels: np.ndarray
    counts: np.ndarray

    def pairs(self) -> Iterable[tuple[int, float]]:
        """Label and count, one after the other."""
        return zip(self.labels.tolist(), self.counts.tolist(), strict=True)


_counts: Recent[list[_Labels]] = Recent()


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
        """Hyperparameters that scikit-learn optimises."""
        return Hyperparameter("decay", "numeric", self.decay_bounds)

    def _matrix(self, X: list[Point], Y: list[Point] | None, derive: bool) -> tuple[np.ndarray, Any]:
        if Y is None:
            common, left = _products_within(X)
            right = left
        else:
            common, left, right = _products(X, Y)
        powers = self.decay ** np.arange(ROUNDS + 1)
        norm, other_norm = powers @ left, powers @ right
        scale = 1 / np.sqrt(norm[:, None] * other_norm)
        covariance = np.tensordot(powers, common, 1) * scale
        if Y is None:
            np.fill_diagonal(covariance, 1.0)
        if not derive:
            return covariance, None
        slopes = np.arange(ROUNDS + 1) * powers  # d decay^h / d log(decay)
        mean = ((slopes @ left / norm)[:, None] + slopes @ right / other_norm) / 2
        return covariance, np.tensordot(slopes, common, 1) * scale - covariance * mean


# n_h(g)·n_h(g') of pairs, (ROUNDS + 1, n, m), and of each with itself, (ROUNDS + 1, n): all that depends on
# the graphs, none of it on the decay.


@partial(remembered, most=1)
def _products_within(points: Sequence[Point]) -> tuple[np.ndarray, np.ndarray]:
    common, squares, _ = _products(points, points)
    return common, squares


def _products(X: Sequence[Point], Y: Sequence[Point]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    known = _index(Y)
    counts = _label_counts(X)
    common = [
        (_sparse([rounds[h] for rounds in counts], columns) @ transposed).toarray()
        for h, (columns, transposed) in enumerate(zip(known.columns, known.transposed, strict=True))
    ]
    return np.array(common), _squares(counts), known.squares


class _Index(NamedTuple):
    """Label counts of m graphs: a column for each label, by round; counts (labels, m); their squares."""

    columns: list[dict[int, int]]
    transposed: list[csr_matrix]
    squares: np.ndarray


@remembered
def _index(points: Sequence[Point]) -> _Index:
    counts = _label_counts(points)
    columns: list[dict[int, int]] = [{} for _ in range(ROUNDS + 1)]
    for rounds in counts:
        for known, row in zip(columns, rounds, strict=True):
            for label in row.labels.tolist():
                known.setdefault(label, len(known))
    transposed = [
        _sparse([rounds[h] for rounds in counts], known).T.tocsr() for h, known in enumerate(columns)
    ]
    return _Index(columns, transposed, _squares(counts))


def _sparse(counts: list[_Labels], columns: dict[int, int]) -> csr_matrix:
    """One row of counts for each graph; labels without a column are left out."""
    rows = [[(columns[label], value) for label, value in row.pairs() if label in columns] for row in counts]
    cells = np.array([cell for row in rows for cell in row], float).reshape(-1, 2)
    ends = np.cumsum([0] + [len(row) for row in rows])
    return csr_matrix((cells[:, 1], cells[:, 0].astype(np.int32), ends), shape=(len(counts), len(columns)))


def _squares(counts: list[list[_Labels]]) -> np.ndarray:
    return np.array([[row.counts @ row.counts for row in rounds] for rounds in counts], float).T.reshape(
        ROUNDS + 1, -1
    )


def _label_counts(points: Sequence[Point]) -> list[list[_Labels]]:
    """n_0 … n_ROUNDS of each of m graphs, computed once for each structure."""
    keys = [encode(graph_of(point)).key for point in points]
    graphs = {key: graph_of(point) for key, point in zip(keys, points, strict=True)}
    found = dict(zip(graphs, _counts.of(graphs, lambda new: map(_count_labels, new)), strict=True))
    return [found[key] for key in keys]


def _count_labels(graph: Graph) -> list[_Labels]:
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
        labels_met, shares_met = np.array(list(counts), np.int64), np.array(list(counts.values()))
        result.append(_Labels(labels_met, shares_met))
    return result


def _soft_bins(width: float) -> list[tuple[int, float]]:
    """The two nearest multiples of half an octave with shares that add up to one."""
    position = 2 * width
    low = floor(position)
    share = position - low
    return [(low, 1 - share), (low + 1, share)] if share else [(low, 1.0)]
