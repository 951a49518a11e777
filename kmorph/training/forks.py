"""Backends in a forked process: what its parent had started does not work there.

TensorFlow's and JAX's threads do not exist in a forked child, which would wait for them for ever. A backend
that was imported before the fork, but had computed nothing, starts in the child as usual.
"""

from __future__ import annotations

import os
import sys

from kmorph.errors import BackendError

_inherited: set[str] = set()


def require_not_inherited(name: str) -> None:
    """Refuse a backend that this process' parent had started before it forked this process.

    Parameters
    ----------
    name : str
        One of `kmorph.training.backend.BACKENDS`.

    Raises
    ------
    BackendError
        With what to do instead.
    """
    if name in _inherited:
        raise BackendError(
            f"this process was forked from one in which {name} was running already, and {name} would wait here "
            f'for ever for its threads: start processes with multiprocessing.get_context("spawn"), or train and '
            f"predict in the parent, or in forked processes alone"
        )


def _is_tensorflow_started() -> bool:
    module = sys.modules.get("tensorflow.python.eager.context")
    context = None if module is None else getattr(module, "_context", None)
    return context is not None and bool(getattr(context, "_initialized", True))


def _is_jax_started() -> bool:
    module = sys.modules.get("jax._src.xla_bridge")
    return module is not None and bool(getattr(module, "_backends", True))


_STARTED = {"tensorflow": _is_tensorflow_started, "jax": _is_jax_started}


def _look() -> None:
    _inherited.update(name for name, is_started in _STARTED.items() if is_started())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_look)
