"""Covariance of architectures by their edit distance."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.gaussian_process.kernels import Hyperparameter

from kmorph.graph import Graph
from kmorph.surrogate.distance import distances
from kmorph.surrogate.encoding import encode
from kmorph.surrogate.kernels.base import PointKernel, Recent, gaussian, remembered
from kmorph.surrogate.landmarks import Landmarks, default_landmarks
from kmorph.surrogate.trained_graph import Point, graph_of

_MOST_LANDMARKS = 64  # twice as many as the surrogate measures from; they change while a search goes on


class EditDistanceKernel(PointKernel):
    """Gaussian kernel on how far architectures are from landmark architectures.

    ``φ(g) = (d(g, g_1), …, d(g, g_m)) / √m`` for landmarks g_i, and
    ``k(g, h) = exp(-|φ(g) - φ(h)|² / 2 l²)``: a Gaussian kernel on vectors, hence positive definite, which
    exp(-d²) itself is not. By the triangle inequality |φ(g) - φ(h)| ≤ d(g, h).

    Parameters
    ----------
    length_scale : float, default=2.0
        l, in the unit of `edit_distance`: about one convolution.
    length_scale_bounds : pair of float or "fixed", default=(0.2, 50.0)
    landmarks : Landmarks or sequence of Graph, default=None
        None: built-in ones.

    References
    ----------
    Balcan, Blum and Srebro, "A theory of learning with similarity functions", Machine Learning 72, 2008
    (landmarks); Jin, Song and Hu, "Auto-Keras", KDD 2019 (edit distance of networks in a Gaussian process).
    """

    def __init__(
        self,
        length_scale: float = 2.0,
        length_scale_bounds: tuple[float, float] | str = (0.2, 50.0),
        landmarks: Landmarks | Sequence[Graph] | None = None,
    ) -> None:
        self.length_scale = length_scale
        self.length_scale_bounds = length_scale_bounds
        self.landmarks = landmarks

    @property
    def hyperparameter_length_scale(self) -> Hyperparameter:
        """Hyperparameters that scikit-learn optimises."""
        return Hyperparameter("length_scale", "numeric", self.length_scale_bounds)

    def _matrix(self, X: list[Point], Y: list[Point] | None, derive: bool) -> tuple[np.ndarray, Any]:
        landmarks = self.landmarks
        if landmarks is None:
            landmarks = default_landmarks()
        elif not isinstance(landmarks, Landmarks):
            landmarks = Landmarks(landmarks)
        here = embed(X, landmarks)
        there = here if Y is None else embed(Y, landmarks)
        return gaussian(cdist(here, there, "sqeuclidean"), self.length_scale, derive)


@remembered
def embed(points: Sequence[Point], landmarks: Landmarks) -> np.ndarray:
    """φ for each of n points, (n, m)."""
    graphs = {encode(graph).key: graph for graph in map(graph_of, points)}
    columns = [_distances(landmark, graphs) for landmark in landmarks.graphs]
    place = {key: i for i, key in enumerate(graphs)}
    rows = [place[encode(graph_of(point)).key] for point in points]
    return np.array(columns).T[rows] / np.sqrt(len(columns))


def _distances(landmark: Graph, graphs: dict[int, Graph]) -> list[float]:
    """From a landmark to each of n graphs given by their keys; each pair is computed once."""
    known = _distances_from(encode(landmark).key)
    return known.of(graphs, lambda new: distances(landmark, new).tolist())


@lru_cache(_MOST_LANDMARKS)
def _distances_from(key: int) -> Recent[float]:
    """Distances from the landmark with this key, as far as they are known."""
    return Recent()
