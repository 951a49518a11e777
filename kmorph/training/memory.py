"""Detect out-of-memory errors, and release what a training run left behind."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Iterator
from typing import Any

from kmorph.locks import ForkSafeLock

CLASSES = ("ResourceExhaustedError", "OutOfMemoryError")  # of TensorFlow, of PyTorch
# Words of the frameworks, XLA, CUDA's libraries and C++ for it, in errors of general classes.
PHRASES = (
    "out of memory",
    "resource_exhausted",
    "oom when allocating",
    "failed to allocate memory",
    "can't allocate memory",
    "alloc_failed",
    "bad_alloc",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error of any backend means that memory ran out."""
    if isinstance(error, MemoryError) or type(error).__name__ in CLASSES:
        return True
    # The frameworks' own errors do not all derive from RuntimeError; users' ValueErrors do not count.
    native = isinstance(error, RuntimeError) or type(error).__module__.startswith(
        ("tensorflow", "jax", "torch")
    )
    return native and any(phrase in str(error).lower() for phrase in PHRASES)


@contextlib.contextmanager
def released() -> Iterator[None]:
    """Release what was compiled inside the block, once it is not used any more.

    Compiled functions and their variables refer to each other in circles; they are large but few, so Python's
    collector would come too late. And TensorFlow never forgets the gradient function of a use of
    `tf.custom_gradient`, as in swish, nor the graph that it was traced in. Where several threads train, the
    last one that ends releases what belongs to all.
    """
    global _users
    with _lock.held():
        if not _users:
            _kept.clear()
            _kept.update(_gradients())
        _users += 1
    try:
        yield
    finally:
        with _lock.held():
            _users = max(0, _users - 1)
            if not _users:
                gradients = _gradients()
                for name in set(gradients) - _kept:
                    if name.startswith("CustomGradient"):
                        del gradients[name]
        gc.collect()


_lock = ForkSafeLock()
_users = 0  # threads that train; the gradients registered before the first of them are kept
_kept: set[str] = set()


def _forked() -> None:
    """Forget the threads that train: none of them exists in a child."""
    global _users
    _users = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def _gradients() -> dict[str, Any]:
    """TensorFlow's registry of gradient functions, empty where there is none."""
    ops = sys.modules.get("tensorflow.python.framework.ops")
    return getattr(getattr(ops, "gradient_registry", None), "_registry", {})
