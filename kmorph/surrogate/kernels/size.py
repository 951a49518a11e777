"""Covariance of architectures by how large they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.gaussian_process.kernels import Hyperparameter

from kmorph.surrogate.kernels.base import PointKernel, gaussian, remembered
from kmorph.surrogate.trained_graph import Point, graph_of

CENTER = np.array([22.0, 16.0])
"""Octaves of a middling network: 4 million multiply-adds, 65,000 parameters."""


class SizeKernel(PointKernel):
    """Gaussian kernel on the logarithms of FLOPs and of the number of parameters, plus a plane in them.

    ``k = exp(-|s - t|² / 2 l²) + s · t / 4`` with s in octaves from `CENTER`. What a layer costs depends on
    the resolution it works at, which the edit distance does not see; and growing leads to where nothing was
    measured, which takes a plane to extrapolate.

    Parameters
    ----------
    length_scale : float, default=2.0
        In octaves.
    length_scale_bounds : pair of float or "fixed", default=(0.2, 50.0)
    """

    def __init__(
        self, length_scale: float = 2.0, length_scale_bounds: tuple[float, float] | str = (0.2, 50.0)
    ) -> None:
        self.length_scale = length_scale
        self.length_scale_bounds = length_scale_bounds

    @property
    def hyperparameter_length_scale(self) -> Hyperparameter:
        """Hyperparameters that scikit-learn optimises."""
        return Hyperparameter("length_scale", "numeric", self.length_scale_bounds)

    def diag(self, X: Sequence[Point]) -> np.ndarray:
        """Variances, (n,)."""
        return 1 + (size_octaves(X) ** 2).sum(axis=1) / 4

    def _matrix(self, X: list[Point], Y: list[Point] | None, derive: bool) -> tuple[np.ndarray, Any]:
        here = size_octaves(X)
        there = here if Y is None else size_octaves(Y)
        covariance, slope = gaussian(cdist(here, there, "sqeuclidean"), self.length_scale, derive)
        return covariance + here @ there.T / 4, slope


@remembered
def size_octaves(points: Sequence[Point]) -> np.ndarray:
    """FLOPs and parameters in octaves from `CENTER`, (n, 2)."""
    graphs = [graph_of(point) for point in points]
    sizes = [(graph.flops, graph.n_parameters) for graph in graphs]
    return np.log2(np.array(sizes, float).reshape(-1, 2) + 1) - CENTER
