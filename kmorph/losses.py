"""The losses of Auto-Keras 0.x by their names; `MlpModule` and `CnnModule` take these and all others."""

from __future__ import annotations

from typing import Any


def classification_loss(y_true: Any, y_pred: Any) -> Any:
    """Cross-entropy of one-hot rows.

    Parameters
    ----------
    y_true, y_pred : tensor of Keras' backend, shape (n, classes)
        Rows of zeros and ones; probabilities.

    Returns
    -------
    tensor, shape (n,)
    """
    from keras import losses

    return losses.categorical_crossentropy(y_true, y_pred)


def regression_loss(y_true: Any, y_pred: Any) -> Any:
    """Squared error, the mean over outputs; arguments and result as for `classification_loss`."""
    from keras import losses

    return losses.mean_squared_error(y_true, y_pred)


__all__ = ["classification_loss", "regression_loss"]
