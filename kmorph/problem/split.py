"""Which examples are trained on and which are held back to judge the candidates."""

from __future__ import annotations

from typing import Any

import numpy as np

from kmorph.errors import DataError


def stratified_split(codes: Any, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Divide examples into training and validation, with the classes in equal proportions in both.

    The same arguments always give the same division. Every class stays in training; a class with a single
    example is only there. scikit-learn's ``train_test_split`` fails on such classes, hence our own.

    Parameters
    ----------
    codes : array-like of shape (n,)
        Class numbers, 0 or more.
    fraction : float
        Part of the examples that goes to validation, above 0 and below 1.
    seed : int
        Seed of the choice.

    Returns
    -------
    (train_idx, val_idx) : two numpy.ndarray, int64
        Sorted positions; together every position once. Neither is empty.

    Raises
    ------
    DataError
        If ``fraction`` is out of range, or no class has two examples, so that nothing can be held back.
    """
    classes = np.asarray(codes)
    if classes.ndim != 1 or classes.dtype.kind not in "iu" or (classes.size and classes.min() < 0):
        raise DataError(
            f"codes has shape {classes.shape} and dtype {classes.dtype}; expected class numbers (n,), 0 or "
            "more."
        )
    if not 0.0 < fraction < 1.0:
        raise DataError(f"fraction is {fraction!r}; expected a number above 0 and below 1, such as 0.1.")
    counts = np.bincount(classes)
    if counts.max(initial=0) < 2:
        raise DataError(
            f"None of the {len(classes)} examples shares its class with another, so none can be held back "
            "for validation. Give at least two examples of a class, or give validation data."
        )
    rng = np.random.default_rng(seed)
    held_back = _allot(counts, fraction, rng)
    shuffled = rng.permutation(len(classes))
    # Grouped by class, the shuffled order kept inside each.
    grouped = shuffled[np.argsort(classes[shuffled], kind="stable")]
    begins = np.cumsum(counts) - counts
    val = np.sort(
        np.concatenate([grouped[begin : begin + size] for begin, size in zip(begins, held_back, strict=True)])
    )
    in_training = np.ones(len(classes), bool)
    in_training[val] = False
    return np.flatnonzero(in_training).astype(np.int64), val.astype(np.int64)


def _allot(counts: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """Number of examples of each class to hold back: shares rounded down, the rest by largest remainder."""
    limits = np.maximum(counts - 1, 0)
    total = min(max(1, round(fraction * int(counts.sum()))), int(limits.sum()))
    shares = fraction * counts
    sizes = np.minimum(np.floor(shares).astype(np.int64), limits)
    tie_break = rng.permutation(len(counts))
    while (missing := total - int(sizes.sum())) > 0:
        open_classes = np.flatnonzero(sizes < limits)
        order = np.lexsort((tie_break[open_classes], (sizes - shares)[open_classes]))
        sizes[open_classes[order[:missing]]] += 1
    return sizes


def validation_fraction(n: int) -> float:
    """Share of n examples held out to compare models: 15 %, at least 200 if that is few, at most 5,000."""
    return min(0.3, min(5000, max(0.15 * n, 200)) / n)


def holdout(strata: np.ndarray | None, n: int, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The plan of a search's data: positions that are trained on, and that models are compared on.

    Parameters
    ----------
    strata : ndarray of int, shape (n,), or None
        Groups that both parts have in proportion.
    n : int
        Number of examples.
    fraction : float
        Part that is held back.
    seed : int
    """
    return stratified_split(np.zeros(n, np.int64) if strata is None else strata, fraction, seed)
