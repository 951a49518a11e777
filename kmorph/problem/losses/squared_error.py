"""Squared error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kmorph.problem.losses.base import Loss

if TYPE_CHECKING:
    from kmorph.problem.targets.base import Target


class SquaredError(Loss):
    """Squared error of the codes, the mean over outputs: for standardised numbers 1 for the best constant."""

    name = "squared_error"

    def tensors(self, codes: Any, outputs: Any, target: Target, smoothing: float = 0.0) -> Any:
        """Losses of a batch; see `Loss.tensors`."""
        from keras import ops

        return ops.mean(ops.square(outputs - codes), axis=-1)

    def arrays(self, codes: np.ndarray, outputs: np.ndarray, target: Target) -> np.ndarray:
        """Losses of examples; see `Loss.arrays`."""
        difference = outputs.astype(np.float64) - codes
        with np.errstate(over="ignore"):
            return np.asarray((difference**2).mean(axis=1), np.float32)
