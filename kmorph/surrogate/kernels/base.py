"""Base of the kernels on graphs and trained graphs."""

from __future__ import annotations

import functools
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
from sklearn.gaussian_process.kernels import GenericKernelMixin, Kernel

from kmorph.graph import Graph
from kmorph.surrogate.trained_graph import Point

T = TypeVar("T")

MOST_RECENT = 500


class PointKernel(GenericKernelMixin, Kernel):
    """A positive definite function of pairs of graphs or candidates, with one parameter to learn.

    Called as scikit-learn calls its kernels. A subclass computes `_matrix`; what is expensive is cached by
    module-level functions, since scikit-learn deep-copies what a kernel holds.
    """

    def __call__(
        self, X: Sequence[Point], Y: Sequence[Point] | None = None, eval_gradient: bool = False
    ) -> Any:
        """Covariances of X and Y (default: X).

        Parameters
        ----------
        X, Y : sequences of Graph or TrainedGraph, of lengths n and m
        eval_gradient : bool, default=False
            Whether the derivative to the logarithm of the parameter is wanted too; only without Y.

        Returns
        -------
        array of shape (n, m), and with `eval_gradient` another of shape (n, n, 1), or (n, n, 0) if fixed
        """
        if eval_gradient and Y is not None:
            raise ValueError("the gradient can only be evaluated when Y is None")
        covariance, derivative = self._matrix(list(X), None if Y is None else list(Y), eval_gradient)
        if not eval_gradient:
            return covariance
        if self.hyperparameters[0].fixed:
            return covariance, np.empty((*covariance.shape, 0))
        return covariance, derivative[:, :, None]

    def diag(self, X: Sequence[Point]) -> np.ndarray:
        """Variances, (n,); the diagonal of ``self(X)``."""
        return np.ones(len(X))

    def is_stationary(self) -> bool:
        """Never: graphs cannot be shifted."""
        return False

    def __repr__(self) -> str:
        name = self.hyperparameters[0].name
        return f"{type(self).__name__}({name}={getattr(self, name):.3g})"

    def _matrix(self, X: list[Point], Y: list[Point] | None, derive: bool) -> tuple[np.ndarray, Any]:
        """Covariances (n, m), and their derivatives to the log-parameter if `derive`, else anything."""
        raise NotImplementedError


def gaussian(squared: np.ndarray, length_scale: float, derive: bool) -> tuple[np.ndarray, Any]:
    """``exp(-squared / 2 l²)`` and, if wanted, its derivative to log l.

    Parameters
    ----------
    squared : array of shape (n, m)
        Squared distances.
    length_scale : float
    derive : bool

    Returns
    -------
    array of shape (n, m), and another or None
    """
    covariance = np.exp(squared * (-0.5 / length_scale**2))
    return covariance, covariance * squared / length_scale**2 if derive else None


class Recent(Generic[T]):
    """Values computed once for each structure, as long as it is among those asked for last.

    Room for `MOST_RECENT`, or for twice as many as were ever asked for at once: a search that goes on for a
    week looks at a million structures, and hardly ever again at one from an hour ago.
    """

    def __init__(self) -> None:
        self._values: OrderedDict[int, T] = OrderedDict()
        self._most = MOST_RECENT
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._values)

    def of(self, graphs: Mapping[int, Graph], compute: Callable[[list[Graph]], Iterable[T]]) -> list[T]:
        """The values of some graphs, which are given by the keys of their structures.

        Parameters
        ----------
        graphs : mapping of int to Graph
        compute : callable
            The values of a list of graphs, in their order; asked for those that are not known.

        Returns
        -------
        list
            In the order of the mapping.
        """
        with self._lock:
            self._most = max(self._most, 2 * len(graphs))
            new = [key for key in graphs if key not in self._values]
            if new:
                self._values.update(zip(new, compute([graphs[key] for key in new]), strict=True))
            for key in graphs:
                self._values.move_to_end(key)
            found = [self._values[key] for key in graphs]
            while len(self._values) > self._most:
                self._values.popitem(last=False)
        return found


def remembered(compute: Callable[..., T], most: int = 3) -> Callable[..., T]:
    """Keep the last values of a function of a sequence of points and of further hashable arguments.

    scikit-learn calls a kernel with the same list over and over. Points are told apart by their identity;
    what is kept holds them, so that no other object can take it.
    """
    values: OrderedDict[Any, tuple[list[Point], T]] = OrderedDict()
    lock = threading.Lock()

    @functools.wraps(compute)
    def lookup(points: Sequence[Point], *arguments: Hashable) -> T:
        key = (tuple(map(id, points)), *arguments)
        with lock:
            if key in values:
                values.move_to_end(key)
                return values[key][1]
        value = compute(points, *arguments)
        with lock:
            values[key] = list(points), value
            while len(values) > most:
                values.popitem(last=False)
        return value

    return lookup
