"""Checks of what comes with the examples: their weights, and whether they are the same as last time."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from kmorph.errors import DataError
from kmorph.numeric import as_array

_SAMPLED_BYTES = 1 << 20
_MIN_ROWS = 8


def check_sample_weight(weight: Any, n: int) -> np.ndarray | None:
    """Check the weights of examples.

    Parameters
    ----------
    weight : array-like of shape (n,) or None
        Weight of each example in the loss; ``None``: all alike.
    n : int
        Number of examples.

    Returns
    -------
    numpy.ndarray of shape (n,), float32, or None
        ``None`` if ``weight`` is ``None``.

    Raises
    ------
    DataError
        If weights are no numbers, of another length, negative, NaN, infinite, or all zero.
    """
    if weight is None:
        return None
    try:
        array = as_array(weight)
    except (ValueError, TypeError, RuntimeError) as error:
        raise DataError(
            f"sample_weight cannot be made into one array ({error}); expected numbers ({n},)."
        ) from error
    if array.dtype.kind not in "biuf":
        raise DataError(f"sample_weight has dtype {array.dtype}; expected numbers of shape ({n},).")
    if array.shape != (n,):
        raise DataError(
            f"sample_weight has shape {array.shape}; expected ({n},), one number for each example."
        )
    with np.errstate(over="ignore"):
        weights = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise DataError("sample_weight holds NaN or infinity; expected finite numbers, 0 or more.")
    if not np.isfinite(weights).all():
        raise DataError(f"sample_weight contains {array.max()}, which overflows float32; scale it down.")
    if weights.min(initial=0.0) < 0:
        raise DataError(f"sample_weight holds {weights.min()}; expected numbers, 0 or more.")
    if not weights.any():
        raise DataError("sample_weight is zero everywhere; expected at least one number above 0.")
    return weights


def fingerprint(x: np.ndarray, y: Any) -> str:
    """Return a short hash of data, by which a resumed search notices that it was given other data.

    It covers shape and dtype of ``x``, about one megabyte of it taken evenly from all rows, and all labels.
    It serves against mistakes, not against an adversary.

    Parameters
    ----------
    x : numpy.ndarray of shape (n, ...)
        The examples, as `check_images` returns them.
    y : array-like of shape (n, ...)
        The labels.

    Returns
    -------
    str
        32 hexadecimal digits.
    """
    digest = hashlib.blake2b(digest_size=16)
    row_bytes = x.nbytes // max(1, len(x))
    n_rows = max(_MIN_ROWS, _SAMPLED_BYTES // max(1, row_bytes))
    rows = np.unique(np.linspace(0, len(x) - 1, min(n_rows, len(x))).astype(np.int64))
    labels = np.asarray(y)
    digest.update(f"{x.shape} {x.dtype.str} {labels.shape} {labels.dtype.str}\n".encode())
    for row in rows:
        digest.update(np.ascontiguousarray(x[row]).tobytes())
    if labels.dtype == object:
        digest.update("\0".join(repr(label) for label in labels.reshape(-1)).encode("utf-8", "surrogatepass"))
    else:
        digest.update(np.ascontiguousarray(labels).tobytes())
    return digest.hexdigest()
