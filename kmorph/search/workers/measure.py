"""Computed in a worker beside training: losses of a user's own, and metrics of finished models."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from kmorph.graph import Graph
from kmorph.problem import Problem
from kmorph.problem.losses import OwnLoss
from kmorph.problem.packing import unpack_problem
from kmorph.search.workers.own_layers import unpack_layers
from kmorph.training.examples import Data
from kmorph.training.gradients import gradient
from kmorph.training.memory import released

BATCH = 256
PROBED = 2000  # examples that a loss is tried on
ROUNDED = 1e-3  # largest rounding of numbers by float32, as a share of their deviation


def validation_losses(
    problem: Problem | bytes | None,
    data_folder: str,
    outputs: Sequence[np.ndarray],
    strategy: str | bytes | None = None,
) -> list[np.ndarray]:
    """Losses of the validation examples for outputs of networks, weighted; each of shape (n_val,).

    Parameters
    ----------
    problem : Problem or bytes
        Or as `kmorph.problem.packing.pack_problem` gave it.
    data_folder : str
        Where `Data` was saved.
    outputs : sequence of ndarray, each of shape (n_val, width)
    strategy : str or bytes, optional
        As in a `Job`.
    """
    if isinstance(problem, bytes):
        _load(strategy)
        problem = unpack_problem(problem)
    assert problem is not None
    data = Data.load(data_folder)
    y = np.asarray(data.y_val)
    return [problem.losses(y, array, data.weights_val) for array in outputs]


def metrics_of(
    files: Sequence[str],
    packed: bytes,
    data_folder: str,
    seconds: float,
    layers: tuple[bytes, ...] = (),
    strategy: str | bytes | None = None,
) -> dict[str, Any]:
    """Metrics of finished models on the validation examples, by their files, as many as the time allows.

    A model that fails is left out; if all do, the first one's error is raised.

    Parameters
    ----------
    files : sequence of str
        Of graphs; the first ones are measured first.
    packed : bytes
        The problem, as `kmorph.problem.packing.pack_problem` gave it.
    data_folder : str
    seconds : float
        None is begun later than this.
    layers : tuple of bytes, default=()
    strategy : str or bytes, optional
        Both as in a `Job`.
    """
    from kmorph.graph.keras_bridge import predict

    _load(strategy)
    unpack_layers(layers)
    begun, problem, data = time.time(), unpack_problem(packed), Data.load(data_folder)
    assert problem is not None
    found: dict[str, Any] = {}
    failed: list[Exception] = []
    for file in files:
        if found and time.time() - begun > seconds:
            break
        try:
            with released():
                outputs = predict(Graph.load(file).to_keras(), data.x_val, BATCH)
                found[file] = problem.measure(np.asarray(data.y_val), outputs, data.weights_val)
        except Exception as error:  # a damaged file, too little memory, a metric of the user's
            failed.append(error)
    if failed and not found:
        raise failed[0]
    return found


def _load(strategy: str | bytes | None) -> None:
    """Load Keras; a strategy function sets up TensorFlow's devices before anything else uses them."""
    from kmorph.training.backend import load_backend

    load_backend(devices=strategy is None)
    if strategy is not None:
        from kmorph.training.distribute import build_strategy

        build_strategy(strategy)


def probe(
    packed: bytes, codes: np.ndarray, held_codes: np.ndarray, strategy: str | bytes | None = None
) -> dict[str, Any]:
    """Try a user's loss and metric on outputs without meaning, before anything is trained.

    Parameters
    ----------
    packed : bytes
        The problem.
    codes : ndarray
        Of training examples, in random order: the loss is tried on them.
    held_codes : ndarray
        Of the examples that models are compared on: the metric is tried on them.
    strategy : str or bytes, optional
        As in a `Job`.

    Returns
    -------
    dict
        ``is_per_example`` and ``constant``, the loss of the best constant output, if the loss is the
        user's; or ``error``, a text.
    """
    _load(strategy)
    problem = unpack_problem(packed)
    assert problem is not None
    loss = problem.loss
    found = _probe_loss(problem, loss, codes[:PROBED]) if isinstance(loss, OwnLoss) else {}
    return {**found, **_probe_metric(problem, held_codes)}


def _probe_loss(problem: Problem, loss: OwnLoss, codes: np.ndarray) -> dict[str, Any]:
    from keras import ops

    target, where = problem.target, f"loss={loss.name}"
    shapes = []
    for n in (target.width + 1, target.width + 2):  # which no other axis has
        outputs = np.random.default_rng(0).normal(size=(n, target.width)).astype(np.float32)
        tensors = _tensors(codes[np.arange(n) % len(codes)], outputs)
        try:
            function, truth, scores = loss.called_with(*tensors, target)
        except Exception as error:
            return {"error": f"{where} cannot be used: {error}"}
        try:
            shape = tuple(ops.convert_to_tensor(function(truth, scores)).shape)
            has_gradient = _has_gradient(problem, *tensors)
        except Exception as error:
            numbers = not target.is_numeric and len(truth.shape) == 1
            hint = ". Give y as one-hot rows if it compares rows, as `np.eye(k)[y]`" * numbers
            return {
                "error": f"{where}: called with y_true of shape {tuple(truth.shape)} and y_pred of shape "
                f"{tuple(scores.shape)} it raises {type(error).__name__}: {_plain(error)}{hint}"
            }
        if shape[:1] not in ((), (n,)) or n in shape[1:]:
            return {
                "error": f"{where} gives values of shape {shape} for {n} examples: it must give one for each "
                "example, or one for the batch"
            }
        shapes.append(shape[:1])
    found = {"is_per_example": shapes[0] != (), "constant": 1.0}
    if target.is_numeric:
        found = {**found, **_probe_constant(problem, codes)}
    if "error" not in found and not has_gradient:
        return {
            "error": f"{where} has no gradient and cannot be minimised: compute it with keras.ops on floats, "
            "without rounding; to count errors, use objective="
        }
    return found


def _plain(error: Exception) -> str:
    """The words of an error without TensorFlow's names of operations."""
    return re.sub(r"\{\{.*?\}\}|\s*\[Op:.*|\s*name:\s*$", "", str(error)).strip().split("\n")[0]


def _has_gradient(problem: Problem, codes: Any, outputs: Any) -> bool:
    """Return whether the loss of a batch changes with the outputs; both arguments are tensors."""
    from keras import ops

    def loss(outputs: Any) -> Any:
        return ops.mean(problem.loss.tensors(codes, outputs, problem.target))

    found = gradient(loss, outputs)
    return found is not None and bool(ops.any(ops.not_equal(found, 0.0)))


def _tensors(codes: np.ndarray, outputs: np.ndarray) -> tuple[Any, Any]:
    from keras import ops

    codes = codes.astype(np.int32) if codes.dtype.kind == "i" else codes
    return ops.convert_to_tensor(codes), ops.convert_to_tensor(outputs)


def _probe_constant(problem: Problem, codes: np.ndarray) -> dict[str, Any]:
    """The loss of the best constant prediction of numbers."""
    target, name = problem.target, problem.loss.name
    truth = target.truth(codes)
    with np.errstate(over="ignore"):
        rounded = np.abs(truth.astype(np.float32) - truth).max() > ROUNDED * truth.std()
    if rounded:
        return {
            "error": f"loss={name} is called with numbers in the units of y, in float32, which does not hold "
            f"numbers such as {truth.flat[0]:.9g} precisely enough here: subtract an offset, or rescale y"
        }
    middles = (codes.mean(axis=0), np.median(codes, axis=0))
    try:
        tried = [
            problem.loss.arrays(codes, np.tile(middle, (len(codes), 1)), target).mean() for middle in middles
        ]
    except Exception as error:
        return {"error": f"loss={name}: called with {len(codes)} examples it raises {error!r}"}
    constant = float(min(tried))
    if not np.isfinite(constant):
        return {
            "error": f"loss={name} is {constant} where the mean of y is predicted for every example: rescale "
            "y, or choose another loss"
        }
    return {"constant": constant}


def _probe_metric(problem: Problem, codes: np.ndarray) -> dict[str, Any]:
    metric = problem.objective
    if metric.name == "loss":
        return {}
    outputs = np.random.default_rng(0).normal(size=(len(codes), problem.target.width)).astype(np.float32)
    scores = problem.target.scores(outputs)
    where = f"objective={metric.name}: called with the {len(codes)} labels that models are compared on, and "
    where += f"scores of shape {scores.shape},"
    try:
        value = metric(problem.target, codes, scores)
    except Exception as error:
        return {
            "error": f"{where} it raises {type(error).__name__}: {error}. A function gets probabilities (or "
            "numbers); for labels give a name or a scorer of scikit-learn's; for more examples of a class, "
            "validation_data"
        }
    if not np.isfinite(value):
        return {"error": f"{where} it gives {value}, which is no number"}
    return {}
