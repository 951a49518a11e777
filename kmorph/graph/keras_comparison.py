"""Comparing a Keras model with the graph read from it, on examples: what was read wrong is refused.

Reading relies on the meaning of each layer and operation. An overlooked setting, or arguments that Keras
takes in another order, would silently give a network that computes something else; a few examples reveal it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kmorph.errors import GraphError
from kmorph.graph.layers.opaque import ROUNDINGS, SINGLE, precision_of

if TYPE_CHECKING:
    import keras

    from kmorph.graph.graph import Graph

TOLERANCE = 1e-4  # share of an example's largest output; sums in another order differ by far less
SENSITIVITY = 30  # times what a change of the input by one rounding makes of the output
CHUNK = 2**20  # numbers of input that are computed at once: very large images go one by one
WIDE = 255  # largest whole number tried where the dtype is wider than a byte: as in images


def compare(model: keras.Model, graph: Graph, nodes: list[tuple[Any, int]]) -> None:
    """Compare a model with the graph read from it, at inference.

    Examples are drawn by a fixed seed: random ones in two scales, for inputs of whole numbers also the
    extremes, for layers that look up ids such as `Embedding` valid ids. Copies that differ by one rounding
    show how sensitive the model is; more than that, and than float32 explains, is refused.

    Parameters
    ----------
    model : keras.Model
        The model that was read; one input, one output.
    graph : Graph
    nodes : list of (KerasTensor, int)
        Tensors of the model and the nodes of the graph that stand for them, to find what differs.

    Raises
    ------
    GraphError
        If the two differ, and then the message names the first layer that does; if the model cannot be run,
        or mixes the examples of a batch.
    """
    from kmorph.graph.keras_bridge import build_nodes, functional, set_weights, to_keras

    precision = precision_of(model)
    examples = _examples(model, precision)
    try:
        expected = _run(model, examples, model)
    except Exception as error:  # whatever the model's layers raise
        raise GraphError(
            f"model {model.name!r} cannot be run on random input, so kmorph cannot check that it reads the "
            f"model right: {error}"
        ) from error
    if model.inputs[0].shape[0] is None:
        (mixed,) = _differences(expected, _run(model, examples, model, alone=True), precision)
        if mixed is not None:
            raise GraphError(
                f"model {model.name!r} gives an example another output when it is alone in its batch "
                f"(outputs differ by {mixed}): kmorph cannot represent layers that mix examples of a batch"
            )
    (difference,) = _differences(expected, _run(to_keras(graph), examples, model), precision)
    if difference is None:
        return
    import keras

    tensors = [tensor for tensor, _ in nodes]
    where = "one of its layers"
    if tensors:
        ours = build_nodes(graph)
        whole = functional(ours[0], ours, "kmorph")
        set_weights(whole, graph)
        found = _run(whole, examples, model)
        original = _run(keras.Model(model.inputs, tensors), examples, model)
        for tensor, old, new in zip(tensors, original, [found[node] for _, node in nodes], strict=True):
            if _differences([old], [new], precision) != [None]:
                operation = tensor._keras_history.operation
                where = f"layer {operation.name!r} ({type(operation).__name__})"
                break
    advice = " or cast the input to float32 first" if "int" in model.inputs[0].dtype else ""
    raise GraphError(
        f"model {model.name!r}, read as a graph, computes something else: outputs differ by {difference}, "
        f"starting at {where}. kmorph cannot keep this use of it: build that part from other layers{advice}"
    )


def _run(
    model: keras.Model, examples: np.ndarray, original: keras.Model, alone: bool = False
) -> list[np.ndarray]:
    """The outputs for examples, as arrays; a batch size that the original fixes is kept.

    Parameters
    ----------
    alone : bool, default=False
        Run each example in a batch of its own.
    """
    import keras

    fixed = original.inputs[0].shape[0]
    size = fixed or (1 if alone else max(1, CHUNK // max(1, examples[0].size)))
    parts = []
    for start in range(0, len(examples), size):
        batch = examples[start : start + size]
        held = len(batch)
        if fixed:
            batch = np.resize(batch, (fixed, *batch.shape[1:]))
        values: Any = keras.ops.convert_to_tensor(batch, dtype=model.inputs[0].dtype)
        if not isinstance(model, keras.Sequential):
            values = keras.tree.pack_sequence_as(model.input, [values])
        outputs = keras.tree.flatten(model(values, training=False))
        parts.append([keras.ops.convert_to_numpy(output)[:held] for output in outputs])
    return [np.concatenate(same).astype(np.float64) for same in zip(*parts, strict=True)]


def _differences(expected: list[np.ndarray], found: list[np.ndarray], precision: float) -> list[str | None]:
    """For each output a text on the first example where it differs beyond tolerance, or None."""
    return [_difference(old, new, precision) for old, new in zip(expected, found, strict=True)]


def _difference(expected: np.ndarray, found: np.ndarray, precision: float) -> str | None:
    if expected.shape != found.shape:
        return f"shape, {found.shape[1:]} rather than {expected.shape[1:]}"
    half = len(expected) // 2
    share = max(TOLERANCE, ROUNDINGS * precision)
    for i in range(len(expected)):
        old, new = expected[i], found[i]
        finite = np.isfinite(old)
        if precision > SINGLE:
            new = np.where(finite, new, old)  # float16 overflows where float32 does not
        if not np.array_equal(
            np.where(finite, 0.0, old), np.where(np.isfinite(new), 0.0, new), equal_nan=True
        ):
            return "values that are infinite or not numbers"
        if not finite.any():
            continue
        size = np.abs(old[finite]).max()
        twin = expected[(i + half) % len(expected)]
        noise = np.abs(twin[finite] - old[finite]).max()
        noise = noise if np.isfinite(noise) else 0.0
        off = np.abs(new[finite] - old[finite]).max()
        if off > share * size + SENSITIVITY * noise:
            return f"up to {off:.3g} where they reach {size:.3g}"
    return None


def _examples(model: keras.Model, precision: float) -> np.ndarray:
    """Examples for a model's input, and behind them as many that are the same but for a rounding."""
    rng = np.random.default_rng(0)
    dtype, shape = model.inputs[0].dtype, tuple(model.inputs[0].shape[1:])
    ids = _number_of_ids(model)
    if ids is not None:
        return np.tile(rng.integers(0, ids, (2, *shape)), (2, *[1] * len(shape)))
    if "float" in dtype:
        examples = np.stack([rng.random(shape), 50 * rng.standard_normal(shape)])
        return np.concatenate([examples, examples * (1 + precision)]).astype(np.float32)
    if dtype == "bool":
        return np.tile(rng.integers(0, 2, (2, *shape)), (2, *[1] * len(shape)))
    limits = np.iinfo(dtype)
    low, high = max(limits.min, -WIDE - 1), min(limits.max, WIDE)
    drawn = [rng.integers(low, high + 1, shape), rng.integers(0, 2, shape)]
    examples = np.stack([*drawn, np.full(shape, low), np.full(shape, high)])
    return np.concatenate([examples, examples])


def _number_of_ids(model: keras.Model) -> int | None:
    """Number of ids that every embedding of a model knows; None without embeddings."""
    import keras

    counts = [
        layer.input_dim if isinstance(layer, keras.layers.Embedding) else layer.num_tokens
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.Embedding | keras.layers.CategoryEncoding)
    ]
    return min(counts, default=None)
