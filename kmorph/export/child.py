"""Work that needs TensorFlow, whatever Keras' backend is in this process."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import ParamSpec, TypeVar

from kmorph.errors import ExportError
from kmorph.training.backend import backend_name, load_backend

P = ParamSpec("P")
R = TypeVar("R")


def in_tensorflow(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a function where Keras' backend is TensorFlow: here, or else in a child process.

    Keras has one backend a process, so that a search on JAX or PyTorch cannot use TensorFlow's converters in
    its own. The child sees no GPU, which the parent's backend may have taken whole.

    Parameters
    ----------
    function : callable
        Arguments and result are pickled if there is a child; so is what it raises.

    Raises
    ------
    ExportError
        If TensorFlow is not installed, or the child cannot be started or dies.
    """
    if backend_name() == "tensorflow":
        load_backend()
        return function(*args, **kwargs)
    if find_spec("tensorflow") is None:
        raise ExportError(
            f"this format is written by TensorFlow, which is not installed; Keras uses {backend_name()!r} "
            "here. Install it beside that (pip install tensorflow), or write a .keras file or ONNX"
        )
    from loky.process_executor import BrokenProcessPool, ProcessPoolExecutor

    environment = {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    try:
        pool = ProcessPoolExecutor(max_workers=1, env=environment)
        try:
            return pool.submit(in_tensorflow, function, *args, **kwargs).result()
        finally:
            pool.shutdown(kill_workers=True)
    except (BrokenProcessPool, OSError, AssertionError) as error:  # daemonic processes assert
        raise ExportError(
            f"the process with TensorFlow that writes this format failed ({type(error).__name__}: {error}): "
            "open the search in a process with KERAS_BACKEND=tensorflow, and export there"
        ) from error
