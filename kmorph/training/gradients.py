"""The gradient of a function, by whichever backend Keras has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def gradient(function: Callable[[Any], Any], x: Any) -> Any:
    """Differentiate a function that returns a scalar.

    Parameters
    ----------
    function : callable (tensor) -> scalar tensor
    x : tensor of Keras' backend

    Returns
    -------
    tensor or None
        Of the shape of `x`; None if the backend finds no path from `x` to the result.
    """
    from keras import config

    return BACKENDS[config.backend()](function, x)


def _by_tensorflow(function: Callable[[Any], Any], x: Any) -> Any:
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(x)
        value = function(x)
    return tape.gradient(value, x)


def _by_jax(function: Callable[[Any], Any], x: Any) -> Any:
    import jax

    return jax.grad(function)(x)


def _by_torch(function: Callable[[Any], Any], x: Any) -> Any:
    import torch

    x = x.detach().requires_grad_()
    value = function(x)
    return torch.autograd.grad(value, x, allow_unused=True)[0] if value.requires_grad else None


BACKENDS = {"tensorflow": _by_tensorflow, "jax": _by_jax, "torch": _by_torch}
