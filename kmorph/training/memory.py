"""Telling that a device or the machine ran out of memory."""

from __future__ import annotations

CLASSES = ("ResourceExhaustedError", "OutOfMemoryError")  # of TensorFlow, of PyTorch
# How the frameworks, XLA, CUDA's libraries and C++ say it in errors of general classes.
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
    """Whether an error says that memory ran out, in the words of any backend."""
    if isinstance(error, MemoryError) or type(error).__name__ in CLASSES:
        return True
    # The frameworks' own errors do not all derive from RuntimeError; users' ValueErrors do not count.
    native = isinstance(error, RuntimeError) or type(error).__module__.startswith(
        ("tensorflow", "jax", "torch")
    )
    return native and any(phrase in str(error).lower() for phrase in PHRASES)
