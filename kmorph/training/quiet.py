"""Loading TensorFlow without its start-up messages."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

MOST_PARTS = 4  # operations, or parts of a batch, that are computed side by side


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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


def load_tensorflow(threads: int | None = None, devices: bool = True) -> None:
    """Import TensorFlow and start its devices quietly; GPU memory is taken as it is needed.

    A TensorFlow that is loaded already is left as its user set it up.

    Parameters
    ----------
    threads : int, optional
        Processor cores that it should keep busy. They rather do operations side by side than share one:
        those of small networks are too short for that. None: TensorFlow's own choice.
    devices : bool, default=True
        False: devices can still be set up differently, and start when first used.
    """
    if "tensorflow" in sys.modules:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with without_native_messages():
        import tensorflow as tf

        if threads is not None:
            parts = min(threads, MOST_PARTS)
            tf.config.threading.set_inter_op_parallelism_threads(parts)
            tf.config.threading.set_intra_op_parallelism_threads(-(-threads // parts))
        let_memory_grow(tf.config)
        if devices:
            tf.constant(0.0)
    tf.get_logger().setLevel("ERROR")


def let_memory_grow(config: Any) -> None:
    """Have GPU memory taken as it is needed, rather than all at once (`config` is `tf.config`)."""
    for device in config.list_physical_devices("GPU"):
        config.experimental.set_memory_growth(device, True)
