"""Which measurements stand for all of them."""

from __future__ import annotations

import numpy as np


def representative(losses: np.ndarray, most: int) -> np.ndarray:
    """Indices, in their order, of measurements to learn from if there are too many.

    A third are the best, where the next proposals will be; a third are the latest, which are like those to
    come; the others are spread evenly over the rest, so that the whole range stays known.

    Parameters
    ----------
    losses : array of shape (n,)
        In the order of measuring.
    most : int

    Returns
    -------
    array of int, of shape (min(n, most),)
    """
    every = np.arange(len(losses))
    if len(losses) <= most:
        return every
    keep = np.union1d(np.argsort(losses, kind="stable")[: most // 3], every[-(most // 3) :])
    rest = np.setdiff1d(every, keep)
    return np.union1d(keep, rest[np.linspace(0, len(rest) - 1, most - len(keep)).astype(int)])
