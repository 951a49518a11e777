"""What random changes need of each backend and `keras.ops` has no quick form of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def integers(n: Any, low: int, high: int, seed: Any) -> Any:
    """Stateless random whole numbers from `low` to `high` - 1, int32 of shape (n, 1).

    Parameters
    ----------
    n : int or scalar tensor
    low, high : int
    seed : array of int32, shape (2,)
        A tensor in a compiled step, an ndarray for PyTorch. The numbers differ between backends.
    """
    return _of_backend()[0](n, low, high, seed)


def normal(shape: Any, seed: Any) -> Any:
    """Stateless random numbers of a standard normal distribution, float32; `seed` as in `integers`."""
    return _of_backend()[1](shape, seed)


def gather(batch: Any, *places: Any) -> Any:
    """Each example's values at its own places along the first axes behind that of the examples.

    Parameters
    ----------
    batch : tensor, shape (n, *positions, ...)
    *places : tensor of int, shape (n, size)
        For each of these axes.
    """
    return _of_backend()[2](batch, *places)


def _of_backend() -> tuple[Callable[..., Any], ...]:
    from keras import config

    return BACKENDS[config.backend()]


def _tensorflow_integers(n: Any, low: int, high: int, seed: Any) -> Any:
    import tensorflow as tf

    return tf.random.stateless_uniform((n, 1), seed, low, high, tf.int32)


def _tensorflow_normal(shape: Any, seed: Any) -> Any:
    import tensorflow as tf

    return tf.random.stateless_normal(shape, seed)


def _tensorflow_gather(batch: Any, *places: Any) -> Any:
    import tensorflow as tf

    for axis, place in enumerate(places, 1):
        batch = tf.gather(batch, place, axis=axis, batch_dims=1)
    return batch


def _jax_key(seed: Any) -> Any:
    import jax

    return jax.random.fold_in(jax.random.key(seed[0]), seed[1])


def _jax_integers(n: int, low: int, high: int, seed: Any) -> Any:
    import jax

    return jax.random.randint(_jax_key(seed), (n, 1), low, high)


def _jax_normal(shape: Any, seed: Any) -> Any:
    import jax

    return jax.random.normal(_jax_key(seed), shape)


def _torch_integers(n: int, low: int, high: int, seed: np.ndarray) -> Any:
    from keras import ops

    # Drawn on the host: a generator on a device would have to be seeded anew at every step.
    values = np.random.default_rng(seed.astype(np.uint32)).integers(low, high, (n, 1), np.int32)
    return ops.convert_to_tensor(values)


def _torch_normal(shape: Any, seed: np.ndarray) -> Any:
    from keras import ops

    return ops.convert_to_tensor(
        np.random.default_rng(seed.astype(np.uint32)).standard_normal(tuple(shape), np.float32)
    )


def _index(batch: Any, *places: Any) -> Any:
    from keras import ops

    rank = len(places)
    index = [ops.reshape(ops.arange(len(batch), dtype="int32"), (-1, *[1] * rank))]
    for axis, place in enumerate(places):
        shape = [place.shape[1] if i == axis else 1 for i in range(rank)]
        index.append(ops.reshape(place, (-1, *shape)))
    return batch[tuple(index)]


BACKENDS: dict[str, tuple[Callable[..., Any], ...]] = {
    "tensorflow": (_tensorflow_integers, _tensorflow_normal, _tensorflow_gather),
    "jax": (_jax_integers, _jax_normal, _index),
    "torch": (_torch_integers, _torch_normal, _index),
}
