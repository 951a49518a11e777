"""Learning rate and weight averaging, as functions of the step."""

from __future__ import annotations

from kmorph.training.plan import Plan

AVERAGE_EVERY = 4  # steps between two updates of the averaged weights
WARM_UP = 10  # steps in which the learning rate rises to its peak


def learning_rate(plan: Plan, peak: float, step: int, progress: float) -> float:
    """Learning rate of a step: after a warm-up, constant in the stable phase and falling linearly otherwise.

    Parameters
    ----------
    plan : Plan
    peak : float
    step : int
        Number of the step, from 0.
    progress : float
        Share of the training that is over, from 0 to 1.
    """
    rate = peak * min(1.0, (step + 1) / WARM_UP)
    return rate if plan.phase == "stable" else rate * (1 - progress)


def average_decay(steps: float) -> float:
    """EMA decay at an update, chosen so that the average spans about the last tenth of training.

    Parameters
    ----------
    steps : float
        Steps so far, those of earlier trainings of the same weights included.
    """
    updates = steps / AVERAGE_EVERY
    return min(0.98, updates / (updates + 9))
