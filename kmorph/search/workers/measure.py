"""Computed in a worker beside training: losses of a user's own, and metrics of finished models."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kmorph.graph import Graph
from kmorph.problem import Problem
from kmorph.problem.losses import OwnLoss
from kmorph.problem.packing import unpack_problem
from kmorph.search.workers.own_layers import unpack_layers
from kmorph.training.examples import Data
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
        ``is_per_example``, and ``constant``, the loss of the best constant output; or ``error``, a text.
    """
    _load(strategy)
    problem = unpack_problem(packed)
    assert problem is not None
    return {**_probe_loss(problem, codes[:PROBED]), **_probe_metric(problem, held_codes)}


def _probe_loss(problem: Problem, codes: np.ndarray) -> dict[str, Any]:
    target, name = problem.target, problem.loss.name
    shapes = []
    for n in (target.width + 1, target.width + 2):  # which no other axis has
        some = codes[np.arange(n) % len(codes)]
        outputs = np.random.default_rng(0).normal(size=(n, target.width)).astype(np.float32)
        try:
            arguments = _arguments(problem, some, outputs)
        except Exception as error:
            return {"error": f"loss={name} cannot be used: {error}"}
        try:
            shapes.append(_shape_of_losses(problem, some, outputs))
            has_gradient = _has_gradient(problem, some, outputs)
        except Exception as error:
            return {
                "error": f"loss={name}: called with {arguments} it raises {type(error).__name__}: {error}"
            }
        if shapes[-1] not in ((), (n,)):
            return {
                "error": f"loss={name} gives values of shape {shapes[-1]} for {n} examples: it must give one "
                "for each example, or one for the batch"
            }
    found = {"is_per_example": shapes[0] != (), "constant": 1.0}
    if target.is_numeric:
        found = {**found, **_probe_constant(problem, codes)}
    if "error" not in found and not has_gradient:
        return {
            "error": f"loss={name} has no gradient, so that nothing can be learned by it: let it compute "
            "with keras.ops, on floats, without rounding; a count of errors is an objective, not a loss"
        }
    return found


def _shape_of_losses(problem: Problem, codes: np.ndarray, outputs: np.ndarray) -> tuple[int, ...]:
    """The shape of a batch's losses; that of what a user's function gives, if it compares all with all."""
    from keras import ops

    tensors = _tensors(codes, outputs)
    if isinstance(problem.loss, OwnLoss):
        function, truth, scores = problem.loss.called_with(*tensors, problem.target)
        given = tuple(ops.convert_to_tensor(function(truth, scores)).shape)
        if len(codes) in given[1:]:
            return given
    return tuple(problem.loss.tensors(*tensors, problem.target).shape)


def _has_gradient(problem: Problem, codes: np.ndarray, outputs: np.ndarray) -> bool:
    """Return whether the loss of a batch changes with its outputs."""
    from keras import config, ops

    truth, found = _tensors(codes, outputs)

    def loss(outputs: Any) -> Any:
        return ops.mean(problem.loss.tensors(truth, outputs, problem.target))

    gradient = GRADIENTS[config.backend()](loss, found)
    return gradient is not None and bool(ops.any(ops.not_equal(gradient, 0.0)))


def _tensorflow_gradient(loss: Callable[[Any], Any], outputs: Any) -> Any:
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(outputs)
        value = loss(outputs)
    return tape.gradient(value, outputs)


def _jax_gradient(loss: Callable[[Any], Any], outputs: Any) -> Any:
    import jax

    return jax.grad(loss)(outputs)


def _torch_gradient(loss: Callable[[Any], Any], outputs: Any) -> Any:
    import torch

    value = loss(outputs.requires_grad_())
    return torch.autograd.grad(value, outputs, allow_unused=True)[0] if value.requires_grad else None


GRADIENTS = {"tensorflow": _tensorflow_gradient, "jax": _jax_gradient, "torch": _torch_gradient}


def _arguments(problem: Problem, codes: np.ndarray, outputs: np.ndarray) -> str:
    if not isinstance(problem.loss, OwnLoss):
        return f"codes of shape {codes.shape} and outputs of shape {outputs.shape}"
    _, truth, scores = problem.loss.called_with(*_tensors(codes, outputs), problem.target)
    return f"y_true of shape {tuple(truth.shape)} and y_pred of shape {tuple(scores.shape)}"


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
