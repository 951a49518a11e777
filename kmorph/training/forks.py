"""Backends in a forked process, where the threads that its parent had started do not exist.

TensorFlow and JAX would wait for them for ever, once they had computed something in the parent. So would
PyTorch's libraries, unless they compute in a single thread.
"""

from __future__ import annotations

import os
import sys

from kmorph.errors import BackendError

_inherited: set[str] = set()


def check_inherited(name: str) -> None:
    """Make a backend that the parent of this forked process had started work here, or refuse it.

    Does nothing in processes that were not forked, and to a backend that the parent had only imported.

    Parameters
    ----------
    name : str
        One of `kmorph.training.backend.BACKENDS`.

    Raises
    ------
    BackendError
        With advice. PyTorch is not refused, but computes in one thread from now on.
    """
    if name not in _inherited:
        return
    if name == "torch":
        sys.modules[name].set_num_threads(1)
        return
    raise BackendError(
        f"this process was forked from one in which {name} was running already, and would wait for ever for "
        f'threads that {name} has there: start processes with multiprocessing.get_context("spawn"), or train '
        f"and predict in the parent, or in forked processes alone"
    )


def _is_tensorflow_started() -> bool:
    module = sys.modules.get("tensorflow.python.eager.context")
    context = None if module is None else getattr(module, "_context", None)
    return context is not None and bool(getattr(context, "_initialized", True))


def _is_jax_started() -> bool:
    module = sys.modules.get("jax._src.xla_bridge")
    return module is not None and bool(getattr(module, "_backends", True))


def _is_torch_imported() -> bool:
    return "torch" in sys.modules  # nothing says whether its libraries have started threads


_STARTED = {"tensorflow": _is_tensorflow_started, "jax": _is_jax_started, "torch": _is_torch_imported}


def _look() -> None:
    _inherited.update(name for name, is_started in _STARTED.items() if is_started())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_look)
