"""From predictions to a decision: confidence bounds."""

from __future__ import annotations

import numpy as np


def lower_confidence_bound(mean: np.ndarray, std: np.ndarray, beta: float) -> np.ndarray:
    """The most optimistic loss that is still credible; the candidate with the lowest is tried next.

    It is the upper confidence bound of the negated loss.

    Parameters
    ----------
    mean, std : arrays of shape (n,)
        Prediction of the loss, or of its logarithm.
    beta : float
        How much uncertainty counts; 0: not at all.

    Returns
    -------
    array of shape (n,)

    References
    ----------
    Srinivas et al., "Gaussian Process Optimization in the Bandit Setting", ICML 2010.
    """
    return mean - beta * std
