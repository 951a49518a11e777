"""Computed in a worker beside training: losses of a user's own, and metrics of finished models."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from kmorph.graph import Graph
from kmorph.problem import Problem
from kmorph.problem.packing import unpack_problem
from kmorph.search.workers.own_layers import unpack_layers
from kmorph.training.examples import Data
from kmorph.training.memory import released

BATCH = 256
PROBED = 2000  # validation examples that a loss and a metric are tried on


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


def probe(packed: bytes, codes: np.ndarray, strategy: str | bytes | None = None) -> dict[str, Any]:
    """Try a user's loss and metric on outputs without meaning, before anything is trained.

    Parameters
    ----------
    packed : bytes
        The problem.
    codes : ndarray
        Of training examples, in random order.
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
    return {**_probe_loss(problem, codes[:PROBED]), **_probe_metric(problem, codes)}


def _probe_loss(problem: Problem, codes: np.ndarray) -> dict[str, Any]:
    from keras import ops

    target, name = problem.target, problem.loss.name
    some = codes[: max(2, min(4, len(codes)))]
    some = some.astype(np.int32) if some.dtype.kind == "i" else some
    outputs = np.random.default_rng(0).normal(size=(len(some), target.width)).astype(np.float32)
    try:
        values = problem.loss.tensors(ops.convert_to_tensor(some), ops.convert_to_tensor(outputs), target)
        shape = tuple(values.shape)
    except Exception as error:
        truth = tuple(np.shape(ops.convert_to_numpy(target.truth_tensor(ops.convert_to_tensor(some)))))
        return {
            "error": f"loss={name}: called with y_true of shape {truth} and y_pred of shape {outputs.shape} "
            f"it raises {type(error).__name__}: {error}"
        }
    if shape not in ((), (len(some),)):
        return {
            "error": f"loss={name} gives values of shape {shape} for {len(some)} examples: it must give one "
            "for each example, or one for the batch"
        }
    is_per_example = shape != ()
    constant = 1.0
    if target.is_numeric and is_per_example:
        middles = (codes.mean(axis=0), np.median(codes, axis=0))
        tried = [
            problem.loss.arrays(codes, np.tile(middle, (len(codes), 1)).astype(np.float32), target).mean()
            for middle in middles
        ]
        constant = float(min(tried))
    return {"is_per_example": is_per_example, "constant": constant}


def _probe_metric(problem: Problem, codes: np.ndarray) -> dict[str, Any]:
    metric = problem.objective
    if metric.name == "loss":
        return {}
    outputs = np.random.default_rng(0).normal(size=(len(codes), problem.target.width)).astype(np.float32)
    scores = problem.target.scores(outputs)
    try:
        value = metric(problem.target, codes, scores)
    except Exception as error:
        return {
            "error": f"objective={metric.name}: called with {len(codes)} labels and scores of shape "
            f"{scores.shape} it raises {type(error).__name__}: {error}"
        }
    if not np.isfinite(value):
        return {
            "error": f"objective={metric.name} gives {value} for outputs without meaning, which is no number"
        }
    return {}
