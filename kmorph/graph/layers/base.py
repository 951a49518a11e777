"""What every layer description has in common."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import Enum
from inspect import signature
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar, get_type_hints

import numpy as np

from kmorph.errors import GraphError
from kmorph.numeric import real_number, whole_number

if TYPE_CHECKING:
    import keras

Shape = tuple[int, ...]
Weights = dict[str, np.ndarray]

MAX_SIZE = 2**31  # no axis of a tensor or kernel is longer; stops absurd files early


class Channels(Enum):
    """How the channels (last axis) of a layer's output depend on those of its inputs.

    Morphs that change the number of channels follow this when they rewrite the layers downstream.
    """

    MIX = "every output channel reads every input channel through a weight (convolution, dense)"
    KEEP = "output channel i depends on channel i of each input alone (activation, pooling, addition)"
    GROUP = "each output channel reads one group of input channels (grouped convolution)"
    CONCAT = "the channels of the inputs stand one after the other"
    FLATTEN = "positions and channels become channels"
    BARRIER = "channels cannot be followed through"


@dataclass(frozen=True)
class Parameter:
    """One weight array of a layer.

    Parameters
    ----------
    shape : tuple of int
    initial : {"he_normal", "glorot_uniform", "zeros", "ones"}
        How a fresh value is drawn.
    inputs, outputs : int or None
        The axis that runs over the layer's input channels, and the one over its output channels.
    trainable : bool, default=True
        False for statistics such as a running mean.
    """

    shape: Shape
    initial: str
    inputs: int | None = None
    outputs: int | None = None
    trainable: bool = True

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """Draw a fresh float32 array of `shape`."""
        if self.initial == "zeros":
            return np.zeros(self.shape, np.float32)
        if self.initial == "ones":
            return np.ones(self.shape, np.float32)
        fan_in, fan_out = prod(self.shape[:-1]), prod(self.shape[:-2]) * self.shape[-1]
        if self.initial == "he_normal":
            return (rng.standard_normal(self.shape) * np.sqrt(2.0 / max(fan_in, 1))).astype(np.float32)
        bound = np.sqrt(6.0 / max(fan_in + fan_out, 1))
        return rng.uniform(-bound, bound, self.shape).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A frozen description of what turns one or more nodes into one node; no weights inside.

    A kind of layer is one subclass in one file: its fields, `output_shape`, `parameters` and its Keras
    layer. The class is registered by its line in ``kmorph/graph/layers/__init__.py``.

    Parameters
    ----------
    trainable : bool, default=True
        Whether training changes the layer's weights.
    """

    kind: ClassVar[str]
    keras_classes: ClassVar[tuple[str, ...]] = ()
    """Names of the Keras classes that `from_keras` understands."""

    keras_names: ClassVar[dict[str, str]] = {}
    """What Keras calls a weight, where its name differs from ours."""

    arity: ClassVar[tuple[int, int]] = (1, 1)
    """Smallest and largest number of inputs."""

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
        """How output channels depend on input channels, for inputs of these shapes."""
        return Channels.KEEP

    def to_keras(self, name: str, *inputs: Shape) -> keras.layers.Layer:
        """The stock Keras layer, not yet built; `stock_layer` makes it."""
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
        """Plain values: the kind and every field that differs from its default."""
        values: dict[str, Any] = {"kind": self.kind}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value != field.default:
                values[field.name] = _lists(value)
        return values

    def describe(self) -> str:
        """A short text for drawings and messages, such as ``conv 3×3, 32``."""
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


_FIELD_TYPES: dict[
    type, dict[str, Any]
] = {}  # evaluating annotations is slow, and layers are made by thousands


def field_types(kind: type[Layer]) -> dict[str, Any]:
    """The type of each field of a kind of layer, by name."""
    if kind not in _FIELD_TYPES:
        hints = get_type_hints(kind)
        _FIELD_TYPES[kind] = {field.name: hints[field.name] for field in dataclasses.fields(kind)}
    return _FIELD_TYPES[kind]


def as_python(value: Any, hint: Any) -> Any:
    """A field's value with Python's numbers for NumPy's; a value of another type stays as it is."""
    if type(value) is hint:
        return value
    try:
        if hint is int:
            return whole_number(value)
        if hint is float:
            return real_number(value)
    except TypeError:
        return value
    if hint is bool and isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, tuple) and value:
        return tuple([as_python(item, hint.__args__[0]) for item in value])
    return value


def _lists(value: Any) -> Any:
    """Tuples as lists, all the way down."""
    return [_lists(item) for item in value] if isinstance(value, tuple) else value


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
