"""The Gaussian process that predicts a candidate's loss from those already measured.

==========  ==========  ================================================================================
symbol      shape       meaning
==========  ==========  ================================================================================
x           (n,)        candidates: architecture, hyperparameters, images seen by the lineage, lineage
y           (n,)        log validation cross-entropy
m(x)        (n,)        prior mean of y but for a constant: ``-SLOPE · log(images) - CAPACITY · log₂(FLOPs)``
z           (n,)        ``(y - m(x) - center) / spread``, what the process is fitted to
k           (n, n)      ``k_budget + k_arch + k_hyper + k_edit · k_hyper + k_lineage + White``
k_arch      (n, n)      ``k_edit · k_size + k_size + k_WL``
==========  ==========  ================================================================================
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Kernel, WhiteKernel

from kmorph.graph import Graph
from kmorph.surrogate.kernels import (
    BudgetKernel,
    EditDistanceKernel,
    HyperparameterKernel,
    LineageKernel,
    SizeKernel,
    WeisfeilerLehmanKernel,
)
from kmorph.surrogate.kernels.size import size_octaves
from kmorph.surrogate.kernels.training import log_budget
from kmorph.surrogate.landmarks import choose_landmarks, default_landmarks
from kmorph.surrogate.subset import representative
from kmorph.surrogate.trained_graph import TrainedGraph

SLOPE = 0.3
"""Prior for how log cross-entropy falls with the logarithm of the examples seen."""

CAPACITY = 0.035
"""Prior for its fall with each octave of FLOPs; below the 0.05 of Kaplan et al., arXiv:2001.08361.

Not of parameters: a dense layer after global pooling has many and hardly any FLOPs, and on few images such
layers overfit.
"""

PRIOR_SPREAD = 0.3
_PRIOR_WEIGHT = 3  # observations that the prior spread counts for

FIXED_BELOW = 5
"""With fewer observations no parameter is learned."""

PRIOR_WIDTH = 0.7
"""Standard deviation of the priors on the logarithms of the kernel's parameters, around their defaults."""

JITTER = 1e-8  # on the diagonal, so that rounding does not make it singular
_LEARN_FROM = 300  # most observations that parameters are learned from
_STEPS = 25
_BLOCK = 100  # candidates predicted at once
_MOST_LANDMARKS = 32
_REFIT_GROWTH = 1.2  # parameters are learned anew when there are so many times the observations
_ALWAYS_BELOW = 15
_LEAST_RANGE = 0.05  # between quartiles: models that hardly differ are no reason to call one diverged
_FAILED_NOISE = 1.0  # variance, in units of z, that a failed candidate's made-up value is blurred with


def default_kernel(graphs: Sequence[Graph] = ()) -> Kernel:
    """The covariance of `Surrogate`, with landmarks chosen among these graphs and the built-in ones."""
    landmarks = choose_landmarks([*graphs, *default_landmarks().graphs], _MOST_LANDMARKS)

    # Ten units of edit distance: a family of networks shares how it profits from size.
    return (
        _scaled(0.2, BudgetKernel())
        + _scaled(0.3, EditDistanceKernel(10.0, landmarks=landmarks)) * SizeKernel()
        + _scaled(0.1, SizeKernel())
        + _scaled(0.2, WeisfeilerLehmanKernel())
        + _scaled(0.2, HyperparameterKernel())
        + _scaled(0.1, EditDistanceKernel(landmarks=landmarks)) * HyperparameterKernel()
        + _scaled(0.1, LineageKernel())
        + WhiteKernel(0.05, (1e-4, 2.0))
    )


def _scaled(variance: float, kernel: Kernel) -> Kernel:
    return Amplitude(variance, (1e-3, 1e2)) * kernel


class Amplitude(ConstantKernel):
    """A constant, for sequences only: scikit-learn's own takes longer to find out what it was given."""

    def __call__(self, X: Sequence[Any], Y: Sequence[Any] | None = None, eval_gradient: bool = False) -> Any:
        """Covariances, (n, m), all the same; see `ConstantKernel`."""
        if eval_gradient:
            return super().__call__(X, Y, eval_gradient)
        return np.full((len(X), len(X if Y is None else Y)), self.constant_value)

    def diag(self, X: Sequence[Any]) -> np.ndarray:
        """Variances, (n,)."""
        return np.full(len(X), self.constant_value)


class Surrogate:
    """Predicts the log validation cross-entropy of candidates.

    Kernel parameters are the mode of their posterior: marginal likelihood times log-normal priors around
    defaults, so that few observations move them little and many move them freely.

    Parameters
    ----------
    kernel : sklearn.gaussian_process.kernels.Kernel, default=None
        Covariance on `TrainedGraph`; its parameters are the defaults that priors are centred on. None:
        `default_kernel` with landmarks among the first graphs observed.

    Attributes
    ----------
    kernel_ : Kernel
        With the parameters learned.
    n_observations_ : int
        Losses fitted to, failures not counted.
    """

    def __init__(self, kernel: Kernel | None = None) -> None:
        self.kernel = kernel

    def fit(
        self, candidates: Sequence[TrainedGraph], losses: Sequence[float], failed: Sequence[TrainedGraph] = ()
    ) -> Surrogate:
        """Learn from what was measured; call again with all of it when there is more.

        Parameters
        ----------
        candidates : sequence of TrainedGraph, of length n
        losses : sequence of float, of length n
            Validation cross-entropy. Those that are not finite, or not above zero, count as failed.
        failed : sequence of TrainedGraph, default=()
            Taken for worse than most, with much noise: they warn of their neighbourhood without bending the
            rest.

        Returns
        -------
        Surrogate
            Itself.

        Raises
        ------
        ValueError
            If there is no usable loss, or their number is not that of the candidates.
        """
        if len(candidates) != len(losses):
            raise ValueError(f"{len(candidates)} candidates but {len(losses)} losses")
        values = np.asarray(losses, float)
        usable = np.isfinite(values) & (values > 0)
        if not usable.any():
            raise ValueError("the surrogate needs at least one finite loss above zero")
        good = [candidate for candidate, ok in zip(candidates, usable, strict=True) if ok]
        bad = [*failed, *(candidate for candidate, ok in zip(candidates, usable, strict=True) if not ok)]

        residual = np.log(values[usable]) - _trend(good)
        low, high = np.percentile(residual, [25, 75])
        # A diverged network has a loss, but how far it lies beyond Tukey's fence says nothing more.
        residual = np.minimum(residual, high + 1.5 * max(high - low, _LEAST_RANGE))
        self._center = residual.mean()
        squares = ((residual - self._center) ** 2).sum() + _PRIOR_WEIGHT * PRIOR_SPREAD**2
        self._spread = np.sqrt(squares / (len(good) + _PRIOR_WEIGHT))
        z = (residual - self._center) / self._spread
        points = [*good, *bad]
        targets = np.concatenate([z, np.full(len(bad), max(1.0, np.percentile(z, 75)))])
        noise = np.where(np.arange(len(points)) < len(good), JITTER, _FAILED_NOISE)

        if self._must_learn(len(good)):
            self._learn(good, z)
        self._fits += 1
        self.n_observations_ = len(good)
        self._condition(points, targets, noise)
        return self

    def _condition(self, points: list[TrainedGraph], targets: np.ndarray, noise: np.ndarray) -> None:
        """Take in what is known, the kernel given (Rasmussen and Williams, algorithm 2.1)."""
        covariance = self.kernel_(points)
        covariance[np.diag_indices(len(points))] += noise
        # Variance of measuring, in units of z: what the White parts of the kernel add up to.
        values = self.kernel_.get_params()
        self._noise = sum(value for name, value in values.items() if name.endswith("noise_level"))
        self._points, self._targets, self._target_noise = points, targets, noise
        self._factor = cholesky(covariance, lower=True, overwrite_a=True, check_finite=False)
        self._weights = cho_solve((self._factor, True), targets, check_finite=False)

    def predict(self, candidates: Sequence[TrainedGraph]) -> tuple[np.ndarray, np.ndarray]:
        """Log validation cross-entropy to be expected.

        Parameters
        ----------
        candidates : sequence of TrainedGraph, of length n

        Returns
        -------
        mean, std : arrays of shape (n,)
            `std` is that of the loss without the noise of measuring it.
        """
        if not len(candidates):
            return np.empty(0), np.empty(0)
        mean, explained = self._posterior(candidates)
        variance = self.kernel_.diag(candidates) - self._noise - (explained**2).sum(axis=0)
        return mean, np.sqrt(np.maximum(variance, 0.0)) * self._spread

    def predict_mean(self, candidates: Sequence[TrainedGraph]) -> np.ndarray:
        """The mean of `predict` alone, (n,); much faster for many candidates."""
        if not len(candidates):
            return np.empty(0)
        mean = self._covariances(candidates) @ self._weights * self._spread + self._center
        return mean + _trend(candidates)

    def advantage(
        self, candidates: Sequence[TrainedGraph], reference: TrainedGraph
    ) -> tuple[np.ndarray, np.ndarray]:
        """Expected log loss of candidates, less that of a reference.

        Much of what is unknown, such as how far longer training gets, is unknown for all candidates alike.
        It does not matter for a choice among them, and is not in this standard deviation.

        Parameters
        ----------
        candidates : sequence of TrainedGraph, of length n
        reference : TrainedGraph

        Returns
        -------
        mean, std : arrays of shape (n,)
            Of f(candidate) - f(reference), without the noise of measuring; below zero is better.
        """
        if not len(candidates):
            return np.empty(0), np.empty(0)
        points = [reference, *candidates]
        mean, explained = self._posterior(points)
        # Called with two arguments a kernel gives no noise of measuring; its diagonal has it.
        with_reference = self.kernel_(points, points[:1])[:, 0] - explained.T @ explained[:, 0]
        variance = self.kernel_.diag(points) - self._noise - (explained**2).sum(axis=0)
        squares = variance + variance[0] - 2 * with_reference
        same = np.array([candidate == reference for candidate in candidates])
        std = np.where(same, 0.0, np.sqrt(np.maximum(squares[1:], 0.0)) * self._spread)
        return mean[1:] - mean[0], std

    def with_pending(self, pending: Sequence[TrainedGraph]) -> Surrogate:
        """The process after these candidates, whose losses are awaited, come out as expected.

        Nothing is learned from them but that their neighbourhood is no longer unknown (the "kriging believer"
        of Ginsbourger, Le Riche and Carraro, 2010).

        Returns
        -------
        Surrogate
            A new one, with the same kernel.
        """
        if not pending:
            return self
        mean, _ = self.predict(pending)
        fantasy = Surrogate(self.kernel)
        fantasy.__dict__.update(self.__dict__)
        z = (mean - _trend(pending) - self._center) / self._spread
        fantasy._condition(
            [*self._points, *pending],
            np.concatenate([self._targets, z]),
            np.concatenate([self._target_noise, np.full(len(z), JITTER)]),
        )
        return fantasy

    def _posterior(self, points: Sequence[TrainedGraph]) -> tuple[np.ndarray, np.ndarray]:
        """Means (n,), and L⁻¹ k(known, points), whose products are the covariance explained by what is known.

        Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, algorithm 2.1.
        """
        covariance = self._covariances(points)
        mean = covariance @ self._weights * self._spread + self._center + _trend(points)
        return mean, solve_triangular(self._factor, covariance.T, lower=True, check_finite=False)

    def _covariances(self, points: Sequence[TrainedGraph]) -> np.ndarray:
        """k(points, known), a block at a time: a kernel's parts take several times what their sum does."""
        blocks = [points[i : i + _BLOCK] for i in range(0, len(points), _BLOCK)]
        return np.concatenate([self.kernel_(block, self._points) for block in blocks])

    def _must_learn(self, n: int) -> bool:
        learned = getattr(self, "_learned_from", 0)
        if not learned:
            return True
        more = n != learned and (n < _ALWAYS_BELOW or n >= _REFIT_GROWTH * learned)
        # In a long search they are always as many, but not the same.
        return more or self._fits >= max(learned, _ALWAYS_BELOW)

    def _learn(self, candidates: list[TrainedGraph], z: np.ndarray) -> None:
        """Find the kernel's parameters, from at most `_LEARN_FROM` observations."""
        prior = self.kernel if self.kernel is not None else default_kernel([c.graph for c in candidates])
        self._learned_from, self._fits = len(candidates), 0
        if len(candidates) < FIXED_BELOW:
            self.kernel_ = prior
            return
        chosen = representative(z, _LEARN_FROM)
        process = GaussianProcessRegressor(prior, alpha=JITTER, optimizer=_posterior_mode(prior.theta))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.kernel_ = process.fit([candidates[i] for i in chosen], z[chosen]).kernel_


def _trend(candidates: Sequence[TrainedGraph]) -> np.ndarray:
    """m(x), (n,)."""
    return -SLOPE * log_budget(candidates) - CAPACITY * size_octaves(candidates)[:, 0]


def _posterior_mode(center: np.ndarray) -> Callable[..., tuple[np.ndarray, float]]:
    """An optimizer for `GaussianProcessRegressor` that adds normal priors around `center`."""

    def optimize(objective: Any, initial: np.ndarray, bounds: np.ndarray) -> tuple[np.ndarray, float]:
        def negative_log_posterior(theta: np.ndarray) -> tuple[float, np.ndarray]:
            value, slope = objective(theta, eval_gradient=True)
            off = (theta - center) / PRIOR_WIDTH
            return value + 0.5 * off @ off, slope + off / PRIOR_WIDTH

        found = minimize(
            negative_log_posterior,
            initial,
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options={"maxiter": _STEPS},
        )
        return found.x, found.fun

    return optimize
