"""Keras' backend: which one is chosen, and loading it without its start-up messages."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kmorph.errors import BackendError
from kmorph.training.forks import check_inherited

BACKENDS = ("tensorflow", "jax", "torch")
"""Keras' backends that kmorph trains with; each is the name of its package, too."""

MOST_PARTS = 4  # operations, or parts of a batch, that TensorFlow computes side by side


def backend_name() -> str:
    """Keras' backend: what a loaded Keras uses, else what it is going to use once it is loaded."""
    if "keras" in sys.modules:
        import keras

        return keras.config.backend()
    if os.environ.get("KERAS_BACKEND"):
        return os.environ["KERAS_BACKEND"]
    folder = Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser()
    try:
        name = json.loads((folder / "keras.json").read_text(encoding="utf-8"))["backend"]
    except (OSError, ValueError, LookupError, TypeError):
        return BACKENDS[0]
    return str(name)


def require_backend() -> str:
    """The name of Keras' backend, if it is installed; loads nothing.

    Raises
    ------
    BackendError
        If kmorph cannot train with the backend that is chosen, or it is not installed.
    """
    name = backend_name()
    known = ", ".join(BACKENDS)
    if name not in BACKENDS:
        raise BackendError(
            f"Keras' backend is {name!r}, with which kmorph cannot train: set the environment variable "
            f"KERAS_BACKEND to one of {known} before Keras is imported"
        )
    if name not in sys.modules and not _is_installed(name):
        others = [other for other in BACKENDS if _is_installed(other)]
        instead = (
            f"set the environment variable KERAS_BACKEND={others[0]} to use that, which is installed"
            if others
            else f"install another of {known} and name it in the environment variable KERAS_BACKEND"
        )
        raise BackendError(
            f"Keras' backend is {name!r}, which is not installed: run `pip install {name}`, or {instead}"
        )
    return name


def _is_installed(name: str) -> bool:
    spec = find_spec(name)
    return spec is not None and spec.origin is not None  # a folder of that name has none


def load_backend(threads: int | None = None, devices: bool = True) -> str:
    """Import Keras and its backend quietly, and start its devices; GPU memory is taken as it is needed.

    A backend that is loaded already is left as its user set it up.

    Parameters
    ----------
    threads : int, optional
        Processor cores that it should keep busy. TensorFlow's operations rather run side by side than share
        cores: those of small networks are too short for that; without a GPU its optimiser of graphs is left
        out. None: the backend's own choice.
    devices : bool, default=True
        False: TensorFlow's devices can still be set up differently, and start when first used.

    Returns
    -------
    str
        One of `BACKENDS`.

    Raises
    ------
    BackendError
        See `require_backend` and `kmorph.training.forks.check_inherited`.
    """
    name = require_backend()
    check_inherited(name)
    if name in sys.modules and "keras" in sys.modules:
        return name
    with without_native_messages():
        if name not in sys.modules:
            LOADERS[name](threads, devices)
        import_module("keras")
    return name


def _load_tensorflow(threads: int | None, devices: bool) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    if threads is not None:
        parts = min(threads, MOST_PARTS)
        tf.config.threading.set_inter_op_parallelism_threads(parts)
        tf.config.threading.set_intra_op_parallelism_threads(-(-threads // parts))
        if not tf.config.list_physical_devices("GPU"):
            # Grappler takes a tenth of what a model costs beside its training, and speeds up no step on CPUs.
            tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    let_memory_grow(tf.config)
    if devices:
        tf.constant(0.0)
    tf.get_logger().setLevel("ERROR")


def let_memory_grow(config: Any) -> None:
    """Have GPU memory taken as it is needed, rather than all at once (`config` is `tf.config`)."""
    for device in config.list_physical_devices("GPU"):
        config.experimental.set_memory_growth(device, True)


def _load_jax(threads: int | None, devices: bool) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    import jax

    jax.devices()


def _load_torch(threads: int | None, devices: bool) -> None:
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    torch.zeros(1)


LOADERS: dict[str, Callable[[int | None, bool], None]] = {
    "tensorflow": _load_tensorflow,
    "jax": _load_jax,
    "torch": _load_torch,
}


@contextlib.contextmanager
def without_native_messages() -> Iterator[None]:
    """Drop what native code writes to standard error meanwhile.

    TensorFlow's libraries write before they look at ``TF_CPP_MIN_LOG_LEVEL``.
    """
    try:
        sys.stderr.flush()
        kept = os.dup(2)
    except (OSError, ValueError, AttributeError):
        yield  # no standard error that could be redirected, as under some servers
        return
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)
