"""Covariance by how a candidate is trained: hyperparameters, examples seen, lineage."""

from __future__ import annotations

from collections.abc import Sequence
from math import copysign, log10
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.gaussian_process.kernels import Hyperparameter

from kmorph.surrogate.encoding import encode, stable_hash
from kmorph.surrogate.kernels.base import PointKernel, gaussian, remembered
from kmorph.surrogate.trained_graph import Point, TrainedGraph, as_trained

SMALLEST = 1e-6
"""Numbers below count as nearly zero; between two such numbers there are no decades."""

ABSENT = 3.0  # coordinate of a value that is not a number: that of 0.001

Column = tuple[np.ndarray, np.ndarray]


class HyperparameterKernel(PointKernel):
    """Gaussian kernel on hyperparameters, with numbers compared in decades.

    A number v has the coordinate ``sign(v) · log10(1 + |v| / SMALLEST)``. Two texts that differ are one unit
    apart, and so are a number and a text, or a value and none; squared distances of all names add up.

    Parameters
    ----------
    length_scale : float, default=1.0
        In decades.
    length_scale_bounds : pair of float or "fixed", default=(0.1, 30.0)
    """

    def __init__(
        self, length_scale: float = 1.0, length_scale_bounds: tuple[float, float] | str = (0.1, 30.0)
    ) -> None:
        self.length_scale = length_scale
        self.length_scale_bounds = length_scale_bounds

    @property
    def hyperparameter_length_scale(self) -> Hyperparameter:
        """Hyperparameters that scikit-learn optimises."""
        return Hyperparameter("length_scale", "numeric", self.length_scale_bounds)

    def _matrix(self, X: list[Point], Y: list[Point] | None, derive: bool) -> tuple[np.ndarray, Any]:
        here = _columns(X)
        there = here if Y is None else _columns(Y)
        squared = np.zeros((len(X), len(X if Y is None else Y)))
        for name in {*here, *there}:
            numbers, codes = here.get(name) or _absent(len(X))
            other_numbers, other_codes = there.get(name) or _absent(squared.shape[1])
            squared += (numbers[:, None] - other_numbers) ** 2 + (codes[:, None] != other_codes)
        return gaussian(squared, self.length_scale, derive)


@remembered
def _columns(points: Sequence[Point]) -> dict[str, Column]:
    """For each name its numbers and codes of what else the values are, both (n,)."""
    candidates = [as_trained(point) for point in points]
    columns: dict[str, Column] = {}
    for i, candidate in enumerate(candidates):
        for name, value in candidate.hyperparameters:
            if name not in columns:
                columns[name] = _absent(len(points))
            numbers, codes = columns[name]
            if isinstance(value, int | float) and not isinstance(value, bool):
                numbers[i] = copysign(log10(1 + abs(value) / SMALLEST), value)
                codes[i] = 1
            else:
                codes[i] = stable_hash(f"{type(value).__name__} {value}")
    return columns


def _absent(n: int) -> Column:
    return np.full(n, ABSENT), np.zeros(n, np.int64)


class BudgetKernel(PointKernel):
    """Gaussian kernel on the logarithm of the examples seen, plus a straight line in it.

    ``k = exp(-(u - v)² / 2 l²) + u v`` with ``u = log((images + OFFSET) / CENTER)``. Losses fall like a
    power of the examples seen (Hestness et al., arXiv:1712.00409), which is a line in the logarithms; the
    line is what extrapolates.

    Parameters
    ----------
    length_scale : float, default=2.0
        In natural logarithms of the examples seen.
    length_scale_bounds : pair of float or "fixed", default=(0.3, 30.0)
    """

    OFFSET = 1e3
    CENTER = 3e4

    def __init__(
        self, length_scale: float = 2.0, length_scale_bounds: tuple[float, float] | str = (0.3, 30.0)
    ) -> None:
        self.length_scale = length_scale
        self.length_scale_bounds = length_scale_bounds

    @property
    def hyperparameter_length_scale(self) -> Hyperparameter:
        """Hyperparameters that scikit-learn optimises."""
        return Hyperparameter("length_scale", "numeric", self.length_scale_bounds)

    def diag(self, X: Sequence[Point]) -> np.ndarray:
        """Variances, (n,)."""
        return 1 + log_budget(X) ** 2

    def _matrix(self, X: list[Point], Y: list[Point] | None, derive: bool) -> tuple[np.ndarray, Any]:
        u = log_budget(X)
        v = u if Y is None else log_budget(Y)
        covariance, derivative = gaussian((u[:, None] - v) ** 2, self.length_scale, derive)
        return covariance + u[:, None] * v, derivative


@remembered
def log_budget(points: Sequence[Point]) -> np.ndarray:
    """The coordinate u of `BudgetKernel` for each of n points, (n,)."""
    images = np.array([as_trained(point).images for point in points])
    return np.log((images + BudgetKernel.OFFSET) / BudgetKernel.CENTER)


class LineageKernel(PointKernel):
    """Brownian covariance on the tree of lineages: how much training two candidates have in common.

    ``k(a, b) = τ(images seen before the lineages part)`` with ``τ(t) = log(1 + t / scale)``. It is a sum
    over segments of training, Σ (τ(end) - τ(begin)) · [in a] · [in b], hence positive definite. A child
    inherits its parent's level and drifts from it the more, the longer it trains on. Starts have nothing in
    common.

    Parameters
    ----------
    scale : float, default=1e4
        Examples; training beyond that counts by its logarithm.
    scale_bounds : pair of float or "fixed", default="fixed"

    References
    ----------
    Felsenstein, "Phylogenies and the comparative method", The American Naturalist 125, 1985.
    """

    def __init__(self, scale: float = 1e4, scale_bounds: tuple[float, float] | str = "fixed") -> None:
        self.scale = scale
        self.scale_bounds = scale_bounds

    @property
    def hyperparameter_scale(self) -> Hyperparameter:
        """Hyperparameters that scikit-learn optimises, unless fixed."""
        return Hyperparameter("scale", "numeric", self.scale_bounds)

    def diag(self, X: Sequence[Point]) -> np.ndarray:
        """Variances, (n,)."""
        segments = _segments(X)
        lengths = np.diff(np.log1p(segments.spans / self.scale)).ravel()
        return np.bincount(segments.owners, lengths, minlength=len(X))

    def _matrix(self, X: list[Point], Y: list[Point] | None, derive: bool) -> tuple[np.ndarray, Any]:
        here = _segments(X)
        there = here if Y is None else _segments(Y)
        # Only segments that occur on both sides count.
        place = np.minimum(np.searchsorted(there.known, here.names), max(len(there.known) - 1, 0))
        met = there.known[place] == here.names if len(there.known) else np.zeros(len(place), bool)
        cells = here.owners[met], place[met]

        def summed(values: np.ndarray) -> np.ndarray:
            """Σ value · [in a] · [in b] over segments, (n, m)."""
            mine = csr_matrix((values[met], cells), shape=(len(X), len(there.known)))
            return (mine @ there.members).toarray()

        spans = here.spans / self.scale
        covariance = summed(np.diff(np.log1p(spans)).ravel())
        # d τ / d log(scale) = -(t / scale) / (1 + t / scale)
        return covariance, summed(np.diff(-spans / (1 + spans)).ravel()) if derive else None


class _Segments(NamedTuple):
    """Pieces of training behind n candidates.

    ``owners``, ``names`` (s,) and ``spans`` (s, 2): whose each is, what it is called, from where to where;
    ``known`` (k,): the names, sorted; ``members`` (k, n): which candidates each belongs to.
    """

    owners: np.ndarray
    names: np.ndarray
    spans: np.ndarray
    known: np.ndarray
    members: csr_matrix


@remembered
def _segments(points: Sequence[Point]) -> _Segments:
    rows = [
        (i, hash(segment), *segment[1:])
        for i, point in enumerate(points)
        for segment in _segments_of(as_trained(point))
    ]
    owners, names, begins, ends = zip(*rows, strict=True) if rows else ((), (), (), ())
    known, place = np.unique(np.array(names, np.int64), return_inverse=True)
    members = csr_matrix((np.ones(len(rows)), (place, owners)), shape=(len(known), len(points)))
    return _Segments(
        np.array(owners, np.int64), known[place], np.array([begins, ends], float).T, known, members
    )


def _segments_of(candidate: TrainedGraph) -> list[tuple[Any, float, float]]:
    """Pieces of training: (whose, from, to), in examples of the lineage."""
    segments: list[tuple[Any, float, float]] = []
    before = 0.0
    for model, images in candidate.path:
        if images > before:
            segments.append((model, before, images))
            before = images
    if candidate.images > before:
        # Training that is only proposed belongs to this candidate alone, or to one that equals it.
        who = (candidate.path, encode(candidate.graph).key, stable_hash(repr(candidate.hyperparameters)))
        segments.append((who, before, candidate.images))
    return segments
