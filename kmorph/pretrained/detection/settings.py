"""Keras as detectors need it: loaded, in float32, with channels last."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import numpy as np

from kmorph.training.backend import load_backend


@contextlib.contextmanager
def stock_settings() -> Iterator[None]:
    """Load Keras, and have it forget the user's dtype policy, floatx and data format meanwhile.

    KerasHub's layers read these where they are built. They belong to the whole process: another thread that
    builds layers meanwhile gets the stock ones, too.
    """
    load_backend()
    from keras import config

    policy, floatx, data_format = config.dtype_policy(), config.floatx(), config.image_data_format()
    try:
        config.set_floatx("float32")
        config.set_dtype_policy("float32")
        config.set_image_data_format("channels_last")
        yield
    finally:
        config.set_floatx(floatx)
        config.set_dtype_policy(policy)
        config.set_image_data_format(data_format)


@contextlib.contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """Seed Keras; the random numbers of Python and NumPy go on afterwards where they were."""
    if seed is None:
        yield
        return
    import keras

    before, before_numpy = random.getstate(), np.random.get_state()
    try:
        keras.utils.set_random_seed(seed)
        yield
    finally:
        random.setstate(before)
        np.random.set_state(before_numpy)
