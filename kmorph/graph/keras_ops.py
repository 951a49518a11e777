"""What operations of ``keras.ops`` mean as layers of a graph."""

from __future__ import annotations

from typing import Any

import numpy as np

from kmorph.graph.layers import (
    FUNCTIONS,
    Activation,
    Add,
    Concat,
    GlobalPool,
    Layer,
    Multiply,
    Reshape,
    Shape,
    affine,
)

SAME_NUMBERS = ("Reshape", "Squeeze", "ExpandDims")
MERGING: dict[str, type[Layer]] = {"Add": Add, "Multiply": Multiply}
REDUCTIONS = {"Mean": "average", "Max": "max"}
ACTIVATIONS = {
    # Names of ops without settings, as in ``keras.src.ops``: "HardSilu" for "hard_silu".
    **{
        name.title().replace("_", ""): name for name in FUNCTIONS if name not in ("leaky_relu", "elu", "gelu")
    },
    "Exp": "exponential",
}

Step = tuple[Layer, int]
"""A layer, and the position of the input it reads and replaces; a merging layer reads all inputs."""


def steps_of(operation: Any, constants: list[Any], inputs: list[Shape], output: Shape) -> list[Step]:
    """The layers that do what an operation does, one after the other.

    Parameters
    ----------
    operation : keras.Operation
    constants : list
        The arguments in their order; None where one is a tensor.
    inputs : list of shapes
        Shapes of the tensors among them, without the batch axis.
    output : tuple of int
        Shape of the result, without the batch axis.

    Returns
    -------
    list of (Layer, int)
        To be added in this order; the last one writes the result. Empty where the operation changes nothing.

    Raises
    ------
    NotImplementedError
        If no layers mean the same.
    """
    name = type(operation).__name__
    constant = [values for values in constants if values is not None]
    if name in ("Add", "Multiply", "Subtract", "Divide", "TrueDivide", "Negative"):
        return _arithmetic(name, constants, inputs)
    if constant:
        raise NotImplementedError
    shape = inputs[0]
    axes = getattr(operation, "axis", None)
    if name in ACTIVATIONS and (name != "Softmax" or axes in (-1, len(shape))):
        return [(Activation(function=ACTIVATIONS[name]), 0)]
    if name == "LeakyRelu":
        return [(Activation(function="leaky_relu", slope=float(operation.negative_slope)), 0)]
    if name == "Elu" and operation.alpha == 1.0:
        return [(Activation(function="elu"), 0)]
    if name == "Gelu" and not operation.approximate:
        return [(Activation(function="gelu"), 0)]
    if name == "Square":
        return [(Multiply(), 0)]
    if name == "Concatenate" and axes in (-1, len(shape)):
        return [(Concat(), 0)]
    if name in SAME_NUMBERS:
        return [(Reshape(shape=output), 0)]
    if name == "Cast" and operation.dtype == "float32":
        return []
    if name in REDUCTIONS and axes is not None and 2 <= len(shape) <= 4:
        axes = (axes,) if isinstance(axes, int) else axes
        if sorted(axis % (len(shape) + 1) for axis in axes) == list(range(1, len(shape))):
            return [(GlobalPool(function=REDUCTIONS[name], keep_axes=bool(operation.keepdims)), 0)]
    raise NotImplementedError


def _arithmetic(name: str, constants: list[Any], inputs: list[Shape]) -> list[Step]:
    """Addition and its relatives, of two nodes or of a node and numbers."""
    channels = inputs[0][-1]
    negative = affine(-1.0, 0.0, channels)
    if name == "Negative":
        return [(negative, 0)]
    if len(inputs) == 2:
        if name == "Subtract":
            return [(negative, 1), (Add(), 0)]
        if name in MERGING:
            return [(MERGING[name](), 0)]
        raise NotImplementedError
    node_first = constants[0] is None
    value = np.asarray(constants[1] if node_first else constants[0], float)
    if name == "Add":
        return [(affine(1.0, value, channels), 0)]
    if name == "Multiply":
        return [(affine(value, 0.0, channels), 0)]
    if name == "Subtract":
        return [(affine(1.0, -value, channels) if node_first else affine(-1.0, value, channels), 0)]
    if node_first and np.all(value != 0):
        return [(affine(1.0 / value, 0.0, channels), 0)]
    raise NotImplementedError
