"""Keras' backend: which one is chosen, and loading it without its start-up messages."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kmorph.errors import BackendError
from kmorph.locks import ForkSafeLock
from kmorph.training.forks import check_inherited
from kmorph.training.quiet import open_streams, without_native_messages

BACKENDS = ("tensorflow", "jax", "torch")
"""Keras' backends that kmorph trains with; each is the name of its package, too."""

MOST_PARTS = 4  # operations, or parts of a batch, that TensorFlow computes side by side


def backend_name() -> str:
    """Keras' backend: what a loaded Keras uses, else what it is going to use once it is loaded."""
    if _is_loaded("keras"):
        import keras

        return keras.config.backend()
    if os.environ.get("KERAS_BACKEND"):
        return os.environ["KERAS_BACKEND"]
    try:
        name = json.loads((_keras_home() / "keras.json").read_text(encoding="utf-8"))["backend"]
    except (OSError, ValueError, LookupError, TypeError):
        return BACKENDS[0]
    return str(name)


def _keras_home() -> Path:
    """The folder of Keras' settings, found as Keras finds it: without a home folder it is another one."""
    folder = os.environ.get("KERAS_HOME")
    if not folder:
        home = os.path.expanduser("~")
        folder = os.path.join(home if os.access(home, os.W_OK) else "/tmp", ".keras")
    return Path(os.path.expanduser(folder))


def _is_loaded(name: str) -> bool:
    """Return whether a module is imported to its end; another thread may have only begun."""
    module = sys.modules.get(name)
    return module is not None and not getattr(getattr(module, "__spec__", None), "_initializing", False)


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
    if _is_loaded(name) and _is_loaded("keras"):
        return name
    if _abandoned:
        raise BackendError(
            "this process was forked while another thread loaded Keras, whose loading nobody completes here: "
            "load it before processes are forked (import keras), or start them with the method spawn"
        )
    with _loading.held(), _noted(), open_streams(), without_native_messages():
        if name not in sys.modules:
            LOADERS[name](threads, devices)
        # What another thread has begun to import, without the lock, is waited for.
        import_module(name)
        import_module("keras")
    return name


_loading = ForkSafeLock()
_loader: int | None = None  # the thread that loads a backend
_abandoned = False  # whether this process was forked while another thread of its parent did so


@contextlib.contextmanager
def _noted() -> Iterator[None]:
    """Note that this thread loads a backend."""
    global _loader
    before, _loader = _loader, threading.get_ident()
    try:
        yield
    finally:
        _loader = before


def _forked() -> None:
    global _abandoned, _loader
    _abandoned = _abandoned or _loader not in (None, threading.get_ident())
    _loader = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def _load_tensorflow(threads: int | None, devices: bool) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if "tensorflow" not in sys.modules and find_spec("triton") is not None:
        # PyTorch's exports import it, and after TensorFlow that ends the process (Triton 3.8).
        with contextlib.suppress(ImportError):
            import_module("triton")
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


def has_gpu() -> bool:
    """Return whether the loaded backend computes on an accelerator rather than on the CPU."""
    name = backend_name()
    if name == "tensorflow":
        import tensorflow as tf

        return bool(tf.config.list_logical_devices("GPU"))
    if name == "jax":
        import jax

        return jax.default_backend() != "cpu"
    import torch

    return torch.cuda.is_available()


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
