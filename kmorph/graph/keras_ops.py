"""Operations of ``keras.ops`` as layers of a graph."""

from __future__ import annotations

from inspect import signature
from typing import Any

import numpy as np

from kmorph.errors import GraphError
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

ARITHMETIC = ("Add", "Multiply", "Subtract", "Divide", "TrueDivide", "Negative", "Square")
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

UNDERSTOOD = (
    "self",
    "name",
    "axis",
    "keepdims",
    "negative_slope",
    "alpha",
    "approximate",
    "dtype",
    "newshape",
)
"""Settings of operations that `steps_of` looks at, or that the shape of the result implies."""

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
    _refuse_other_settings(operation)
    if name in ARITHMETIC and name != "Square":
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


def need_floats(operation: Any, dtype: str) -> None:
    """Refuse arithmetic whose result is of a dtype of whole numbers.

    Raises
    ------
    GraphError
        If large results would wrap around, where those of a graph do not.
    """
    name = type(operation).__name__
    if name in ARITHMETIC and "int" in dtype:
        raise GraphError(
            f"layer {operation.name!r} ({name}) computes in {dtype}, where large results wrap around; graphs "
            'compute in float32: cast the inputs first, keras.ops.cast(x, "float32")'
        )


def _refuse_other_settings(operation: Any) -> None:
    """Raise NotImplementedError if a setting is not understood, unless it has its default."""
    for name, parameter in signature(type(operation).__init__).parameters.items():
        if name in UNDERSTOOD or parameter.default is parameter.empty:
            continue
        value = getattr(operation, name, parameter.default)
        if value is not parameter.default and value != parameter.default:
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
