"""Base class of layer descriptions."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from inspect import signature
from math import inf, prod, sqrt
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from kmorph.errors import GraphError
from kmorph.graph.fields import arguments_from_json, as_lists, as_python, field_types

if TYPE_CHECKING:
    import keras

Shape = tuple[int, ...]
Weights = dict[str, np.ndarray]
Range = tuple[float, float]
"""The smallest and the largest value that a node can hold."""

ANY: Range = (-inf, inf)

MAX_SIZE = 2**31  # no axis of a tensor or kernel is longer; stops absurd files early


class Channels(Enum):
    """Dependence of the channels (last axis) of a layer's output on those of its inputs.

    Morphs that change the number of channels follow this when they rewrite the layers downstream.
    """

    MIX = "every output channel reads every input channel through a weight (convolution, dense)"
    KEEP = "output channel i depends on channel i of each input alone (activation, pooling, addition)"
    GROUP = "each output channel reads one group of input channels (grouped convolution)"
    CONCAT = "the channels of the inputs stand one after the other"
    FLATTEN = "positions and channels become channels"
    BARRIER = "channels cannot be followed through"


class Role(Enum):
    """Purpose of a layer in a network. It decides beside which layers morphs make their changes."""

    ACTIVATION = "a nonlinear function: new layers fit behind it"
    GATE = "an activation whose values weigh others, such as sigmoid: nothing is inserted behind it"
    IDENTITY = "an activation that changes nothing"
    SUM = "the sum of its inputs"
    PRODUCT = "the product of its inputs"
    FEATURES = "one vector for all positions, such as global pooling gives"
    BATCH_NORM = "normalisation by the statistics of a batch"
    DROPOUT = "noise in training alone"
    GAIN = "a learned factor for each channel"
    LOOKUP = "vectors found by numbers that are no quantities"
    SCALING = "constants that bring the numbers of the input to a common scale"
    OTHER = "none of these"


ACTIVATIONS = frozenset({Role.ACTIVATION, Role.GATE, Role.IDENTITY})

MEASURES = ("width", "kernel", "window", "stride", "groups", "rate")
"""Sizes by which layers of one kind are compared; see `Layer.sizes`."""


EMBEDDING_SPREAD = 0.05  # standard deviation of a fresh table of vectors

AXES = frozenset({"input", "output", None})


@dataclass(frozen=True)
class Parameter:
    """One weight array of a layer.

    Parameters
    ----------
    shape : tuple of int
    initial : {"he_normal", "glorot_uniform", "zeros", "ones", "embedding"}
        How a fresh value is drawn.
    axes : tuple of {"input", "output", None}
        Meaning of each axis: the layer's input channels, its output channels, or None for neither. Morphs
        that change the number of channels resize the matching axes.
    trainable : bool, default=True
        False for statistics such as a running mean.
    """

    shape: Shape
    initial: str
    axes: tuple[str | None, ...]
    trainable: bool = True

    def __post_init__(self) -> None:
        if len(self.axes) != len(self.shape) or not {*self.axes} <= AXES:
            raise GraphError(
                f"axes must have one entry for each of the {len(self.shape)} axes, 'input', 'output' or "
                f"None, got {self.axes!r}"
            )

    @property
    def spread(self) -> float:
        """Standard deviation of fresh normal values ("he_normal"), or the bound of uniform ones."""
        fan_in = max(prod(self.shape[:-1]), 1)
        if self.initial == "he_normal":
            return sqrt(2.0 / fan_in)
        return sqrt(6.0 / (fan_in + prod(self.shape[:-2]) * self.shape[-1]))

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """Draw a fresh float32 array of `shape`."""
        if self.initial == "zeros":
            return np.zeros(self.shape, np.float32)
        if self.initial == "ones":
            return np.ones(self.shape, np.float32)
        if self.initial == "embedding":
            return (rng.standard_normal(self.shape) * EMBEDDING_SPREAD).astype(np.float32)
        if self.initial == "he_normal":
            return (rng.standard_normal(self.shape) * self.spread).astype(np.float32)
        return rng.uniform(-self.spread, self.spread, self.shape).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A frozen description of what turns one or more nodes into one node; no weights inside.

    A kind of layer is one frozen dataclass in one file. It must define `kind`, `output_shape` and `to_keras`;
    everything else that networks, morphs and distances have to know of it has a default here. Fields are
    numbers, texts, and tuples of them. Kinds of kmorph are listed in ``kmorph/graph/layers/registry.py``,
    others are registered with `register_layer`.

    Parameters
    ----------
    trainable : bool, default=True
        Whether training changes the layer's weights.
    """

    kind: ClassVar[str]
    """Name in files: small letters, digits and underscores."""

    keras_classes: ClassVar[tuple[str, ...]] = ()
    """Names of the Keras classes that `from_keras` understands."""

    keras_names: ClassVar[dict[str, str]] = {}
    """Keras' names of weights, where they differ from ours."""

    arity: ClassVar[tuple[int, int]] = (1, 1)
    """Smallest and largest number of inputs."""

    commutative: ClassVar[bool] = False
    """True if the inputs may change places."""

    colour: ClassVar[str] = "#ffffff"
    """Fill colour in drawings."""

    edit_cost: ClassVar[float | None] = None
    """Distance between two networks of which one has such a layer more: about 1 for a 3×3 convolution, 0.5
    for a pointwise one, 0.15 for an activation. None: 0.7, and layers of the kind are compared by the width
    of what they write, for nothing is known of their fields."""

    sizes: ClassVar[Mapping[str, str]] = {}
    """Which fields are sizes, compared by their ratio, and of what: one of `MEASURES`. A "kernel" is a window
    of weights, and is added to `edit_cost`; "window" is one without. Layers that differ in another field are
    as far apart whatever its values are. For kinds with an `edit_cost`."""

    trainable: bool = True

    def __post_init__(self) -> None:
        """Convert numbers of NumPy to Python's; subclasses check the values afterwards."""
        for name, hint in field_types(type(self)).items():
            value = getattr(self, name)
            converted = as_python(value, hint)
            if converted is not value:
                object.__setattr__(self, name, converted)

    def output_shape(self, *inputs: Shape) -> Shape:
        """Shape of the node written, from the shapes of the nodes read (no batch axis).

        Raises
        ------
        GraphError
            If the layer does not fit inputs of these shapes.
        """
        raise NotImplementedError

    def parameters(self, *inputs: Shape) -> dict[str, Parameter]:
        """The layer's weights by name, in the order in which Keras lists them."""
        return {}

    def flops(self, *inputs: Shape) -> int:
        """Multiply-adds for one example."""
        return 0

    def channels(self, *inputs: Shape) -> Channels:
        """Dependence of output channels on input channels, for inputs of these shapes."""
        return Channels.BARRIER

    def role(self) -> Role:
        """Purpose of the layer; see `Role`."""
        return Role.OTHER

    def width(self) -> int | None:
        """Number of output channels, if a field sets it, so that it can be widened; else None."""
        return None

    def channel_groups(self) -> int:
        """Number of groups into which input and output channels are cut, where `channels` says GROUP."""
        return 1

    def resized(self, old: int, new: int, outputs: int) -> Layer:
        """The layer that reads `new` channels where this one reads `old`, and writes `outputs`.

        A kind whose fields depend on numbers of channels changes them here.
        """
        return self

    def value_range(self, *inputs: Range) -> Range:
        """Between which numbers the values written lie, in training and at inference, whatever the weights.

        Parameters
        ----------
        *inputs : (float, float)
            The range of each node read.
        """
        return ANY

    def to_keras(self, name: str, *inputs: Shape) -> keras.layers.Layer:
        """The stock Keras layer, not yet built; `stock_layer` makes it.

        Only stock layers, here and in `call_keras`: models load where kmorph and the kind are not installed.
        """
        raise NotImplementedError

    def to_keras_weights(self, weights: Weights) -> list[np.ndarray]:
        """The arrays in the order and shape in which the Keras layer holds them."""
        return list(weights.values())

    def call_arguments(self) -> dict[str, Any]:
        """Keyword arguments with which the Keras layer is called, beside its inputs."""
        return {}

    def call_keras(self, built: keras.layers.Layer, inputs: list[Any]) -> Any:
        """Apply the Keras layer to Keras tensors."""
        return built(inputs if len(inputs) > 1 else inputs[0], **self.call_arguments())

    def keras_variables(self, built: keras.layers.Layer) -> dict[str, Any]:
        """The variables of a built Keras layer by our names of the weights."""
        ours = {theirs: name for name, theirs in self.keras_names.items()}
        return {ours.get(variable.name, variable.name): variable for variable in built.weights}

    def at_inference(self) -> Layer:
        """The layer as it is when it is called with ``training=False``."""
        return self

    @classmethod
    def from_keras(cls, layer: keras.layers.Layer, *inputs: Shape) -> list[tuple[Layer, Weights]]:
        """Describe a Keras layer as a chain of kmorph layers with their weights.

        Most give a chain of one; a convolution with an activation gives two. Regularisers, constraints and
        initialisers are not kept: they are settings of a training, not of the network.

        Raises
        ------
        NotImplementedError
            If no chain means the same; the layer is then kept whole as an `Opaque` one.
        """
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        """Plain values: the kind and every field that differs from its default.

        Raises
        ------
        GraphError
            If a field has a value of the wrong type, because such a file could not be read back.
        """
        values: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value != field.default:
                values[field.name] = as_lists(value)
        arguments_from_json(type(self), self.kind, values)
        return {"kind": self.kind, **values}

    def describe(self) -> str:
        """A short text for drawings and messages, such as ``conv 3×3, 32``."""
        return self.kind

    def family(self) -> str:
        """Name under which distances between networks count the layer; layers of two names never match."""
        return self.kind

    def error(self, message: str) -> GraphError:
        """A `GraphError` that names this layer."""
        return GraphError(f"{self.describe()}: {message}")

    def with_(self, **changes: Any) -> Any:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)


def stock_layer(class_name: str, **settings: Any) -> keras.layers.Layer:
    """Make a layer of Keras that computes in float32, channels last, whatever Keras' global settings are.

    Both settings are given to each layer by name. Setting the global ones for the time of building would
    change what other threads build meanwhile.

    Parameters
    ----------
    class_name : str
        A name in ``keras.layers``.
    **settings
        Arguments of the layer.
    """
    import keras

    kind = getattr(keras.layers, class_name)
    if "data_format" in signature(kind.__init__).parameters:
        settings["data_format"] = "channels_last"
    return kind(dtype="float32", **settings)


def need_positive(owner: str, **values: int | tuple[int, ...]) -> None:
    """Check that sizes are whole numbers from 1 to `MAX_SIZE`."""
    for name, value in values.items():
        numbers = value if isinstance(value, tuple) else (value,)
        for number in numbers:
            if type(number) is not int or not 0 < number <= MAX_SIZE:
                raise GraphError(f"{owner}: {name} must be a positive whole number, got {value!r}")


def need_rank(layer: Layer, shape: Shape, rank: int) -> None:
    """Check that a node has `rank` spatial axes and channels."""
    if len(shape) != rank + 1:
        raise layer.error(
            f"needs an input with {rank} spatial axes and channels last, got a node of shape {shape}"
        )


def window_size(size: int, window: int, stride: int, padding: str, dilation: int = 1) -> int:
    """Length of an axis after a window slides over it, as Keras counts it (0 or less: does not fit)."""
    if padding == "same":
        return -(-size // stride)
    return (size - dilation * (window - 1) - 1) // stride + 1


def as_window(owner: str, rank: int, strides: tuple[int, ...]) -> tuple[int, ...]:
    """Fill in strides or dilations left empty, and check their number."""
    strides = tuple(strides) or (1,) * rank
    if len(strides) != rank:
        raise GraphError(f"{owner}: expected {rank} numbers, got {strides}")
    need_positive(owner, strides=strides)
    return strides
