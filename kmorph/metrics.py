"""The metrics of Auto-Keras 0.x by their names; `MlpModule` and `CnnModule` take these and all others."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np


class Accuracy:
    """Share of examples whose class is predicted."""

    objective: ClassVar[str] = "accuracy"

    @classmethod
    def compute(cls, prediction: Any, target: Any) -> float:
        """Measure predictions.

        Parameters
        ----------
        prediction, target : array-like
            One-hot rows or probabilities, shape (n, classes), or class numbers, shape (n,).
        """
        found, truth = (
            array.argmax(axis=1) if array.ndim > 1 else array
            for array in map(np.asarray, (prediction, target))
        )
        return float(np.mean(found == truth))


class MSE:
    """Mean squared error."""

    objective: ClassVar[str] = "mse"

    @classmethod
    def compute(cls, prediction: Any, target: Any) -> float:
        """Measure predictions; both arrays have the same shape."""
        found, truth = (np.asarray(array, np.float64) for array in (prediction, target))
        return float(np.mean((found - truth) ** 2))


__all__ = ["MSE", "Accuracy"]
