"""The race: a child is compared with its parent after a part of its training time."""

from __future__ import annotations

import numpy as np

RACE = 1 / 3
"""Part of its time after which a child is compared with its parent."""

BEHIND = 2.0
"""Standard errors of the mean difference by which a child must be worse to be stopped."""

LEAST_RACE = 5.0
"""Least training time for which a race pays, as a multiple of the time of an evaluation: a race costs one."""

FIRST_EVALUATION = 0.7
"""Least seconds that an evaluation is expected to take, compiling included, before one was measured."""


def shortfall(losses: np.ndarray, rival: np.ndarray) -> str | None:
    """Return the reason to stop a child whose parent, trained for less, is better by more than chance.

    Parameters
    ----------
    losses, rival : ndarray, shape (n_val,)
        Of the child and of its parent, for the same validation examples, times the weights of these.

    Returns
    -------
    str or None
        None if the child may go on.
    """
    if not is_behind(losses, rival):
        return None
    behind, error = _difference(losses, rival)
    return f"stopped after a third of its time: validation loss {behind:.3f} ± {error:.3f} above its parent's"


def is_behind(losses: np.ndarray, rival: np.ndarray) -> bool:
    """Return whether the mean of these losses is higher than that of others by more than chance.

    Parameters
    ----------
    losses, rival : ndarray, shape (n_val,)
        For the same examples.
    """
    behind, error = _difference(losses, rival)
    return behind > BEHIND * error


def _difference(losses: np.ndarray, rival: np.ndarray) -> tuple[float, float]:
    """Mean difference and its standard error."""
    behind = losses - rival
    return float(behind.mean()), float(behind.std() / np.sqrt(len(behind)))
