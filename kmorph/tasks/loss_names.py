"""Names of losses, checked before any data is read."""

from __future__ import annotations

from typing import Any

from kmorph.errors import BackendError, DataError, did_you_mean
from kmorph.training.backend import load_backend

FAMILIAR = (
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_hinge",
    "cosine_similarity",
    "dice",
    "hinge",
    "huber",
    "kl_divergence",
    "log_cosh",
    "mae",
    "mape",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "mean_squared_logarithmic_error",
    "mse",
    "msle",
    "poisson",
    "sparse_categorical_crossentropy",
    "squared_hinge",
    "tversky",
)
"""Losses of Keras that are accepted without asking Keras, which takes seconds to load."""


def check_loss_name(loss: Any) -> None:
    """Check that Keras knows a loss, if it is given by its name.

    Raises
    ------
    DataError
        If Keras does not.
    """
    if not isinstance(loss, str) or loss in FAMILIAR:
        return
    try:
        load_backend(devices=False)
    except BackendError:
        return  # the workers of an executor may have what this process lacks
    from keras import losses

    try:
        losses.get(loss)
    except (TypeError, ValueError):
        raise DataError(
            f"loss={loss!r} is no loss of Keras{did_you_mean(loss, FAMILIAR)}. Give a name such as "
            "'mae', a keras.losses.Loss or a function (y_true, y_pred)"
        ) from None
