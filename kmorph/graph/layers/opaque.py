"""A Keras layer of a kind that the graph does not know, kept whole."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from inspect import signature
from typing import TYPE_CHECKING, Any

import numpy as np

from kmorph.errors import GraphError
from kmorph.graph.layers.base import Channels, Layer, Parameter, Shape, Weights

if TYPE_CHECKING:
    import keras

LARGEST_CONFIG = 2**20  # characters
RUN_CODE = frozenset({"Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"})
"""Stock classes that run code or read files named in their configuration; never built."""

SINGLE = 2.0**-23  # machine epsilon of float32
ROUNDINGS = (
    16  # relative to the machine epsilon, how much results may differ that are computed in fewer digits
)

CALLS = ("one", "list", "arguments")


UNAFFECTED = ("Resizing", "CenterCrop")
"""Layers of Keras' that do the same in training, but have ``training=True`` as a default.

Keras hands that on to all layers behind them where a model is called without that argument: its batch norms
would take the statistics of the batch.
"""


@dataclass(frozen=True)
class Opaque(Layer):
    """A stock Keras layer, or operation of ``keras.ops``, that has no kind of its own.

    It is built, trained, saved and exported like any other layer; morphs do not reach through it, so its
    inputs keep their shapes. Weights are named ``<position>.<Keras name>`` in Keras' order.

    Parameters
    ----------
    module, class_name : str
        Where Keras finds the class: ``keras`` or a module in it, and a name there.
    config : str
        JSON of what the Keras object's ``get_config()`` gave, without its name.
    input_shapes : tuple of shapes
        The nodes it reads.
    shape : tuple of int
        The node it writes.
    names : tuple of str, default=()
        Name of each weight.
    shapes : tuple of shapes, default=()
        Shape of each weight.
    fixed : tuple of bool, default=()
        For each weight whether training never changes it.
    call : {"one", "list", "arguments"}, default="one"
        How the inputs are handed over: a single tensor, a list of tensors, or one argument each.
    inference : bool, default=False
        Whether it is called with ``training=False``; see `BatchNorm`.

    Raises
    ------
    GraphError
        If the class is not from Keras, would run code from the configuration, or the fields do not fit
        together.
    """

    kind = "opaque"
    arity = (1, 4096)

    module: str
    class_name: str
    config: str
    input_shapes: tuple[Shape, ...]
    shape: Shape
    names: tuple[str, ...] = ()
    shapes: tuple[Shape, ...] = ()
    fixed: tuple[bool, ...] = ()
    call: str = "one"
    inference: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not len(self.names) == len(self.shapes) == len(self.fixed):
            raise self.error("names, shapes and fixed must be equally long")
        if self.call not in CALLS:
            raise self.error(f"call must be one of {', '.join(CALLS)}, got {self.call!r}")
        try:
            config = json.loads(self.config[: LARGEST_CONFIG + 1])
        except (ValueError, RecursionError):
            raise self.error("config is not JSON, or too long") from None
        if not isinstance(config, dict):
            raise self.error("config must be a JSON object")
        reason = _danger({"module": self.module, "class_name": self.class_name, "config": config})
        if reason:
            raise self.error(reason)

    def output_shape(self, *inputs: Shape) -> Shape:
        if inputs != self.input_shapes:
            raise self.error(f"was made for nodes of shapes {self.input_shapes}, got {inputs}")
        return self.shape

    def parameters(self, *inputs: Shape) -> dict[str, Parameter]:
        weights = zip(self.names, self.shapes, self.fixed, strict=True)
        return {
            f"{position}.{name}": Parameter(
                shape, _initial(name, shape), (None,) * len(shape), trainable=not fixed
            )
            for position, (name, shape, fixed) in enumerate(weights)
        }

    def channels(self, *inputs: Shape) -> Channels:
        return Channels.BARRIER

    def call_arguments(self) -> dict[str, Any]:
        return {"training": False} if self.inference or self.class_name in UNAFFECTED else {}

    def at_inference(self) -> Layer:
        return self if self.class_name in UNAFFECTED else self.with_(inference=True)

    def call_keras(self, built: keras.layers.Layer, inputs: list[Any]) -> Any:
        """Apply the Keras object as the model it came from did."""
        arguments = self.call_arguments() if hasattr(built, "weights") else {}
        if self.call == "list":
            return built(inputs, **arguments)
        return built(*inputs, **arguments)

    def to_keras(self, name: str, *inputs: Shape) -> keras.layers.Layer:
        import keras

        values = {
            "module": self.module,
            "class_name": self.class_name,
            "config": {**self._dtype(), **json.loads(self.config), "name": name},
            "registered_name": None,
        }
        try:
            built = keras.saving.deserialize_keras_object(values, safe_mode=True)
        except Exception as error:  # Keras raises whatever the layer's constructor raises
            raise self.error(f"Keras cannot rebuild it from its configuration: {error}") from error
        if not isinstance(built, keras.Operation):
            raise self.error("is not a Keras layer or operation")
        return built

    def _dtype(self) -> dict[str, str]:
        """The dtype to build with, where the class takes one: what `read` kept wins over it."""
        import keras

        kind = getattr(keras.layers, self.class_name, None)
        if not self.module.startswith("keras.layers") or kind is None:
            return {}  # an operation, whose dtype is an argument like any other
        parameters = signature(kind.__init__).parameters.values()
        takes = any(p.name == "dtype" or p.kind == p.VAR_KEYWORD for p in parameters)
        return {"dtype": "float32"} if takes else {}

    def keras_variables(self, built: keras.layers.Layer) -> dict[str, Any]:
        variables = getattr(built, "weights", [])  # operations have none
        return {f"{position}.{_stem(variable)}": variable for position, variable in enumerate(variables)}

    @classmethod
    def read(cls, operation: Any, call: str, *inputs: Shape) -> tuple[Layer, Weights]:
        """Describe a Keras layer or operation, after trying that it can be rebuilt.

        Parameters
        ----------
        operation : keras.Layer or keras.Operation
        call : {"one", "list", "arguments"}
        *inputs : shapes

        Raises
        ------
        GraphError
            If it is not stock, or rebuilt from its configuration it would not be the same; names the layer.
        """
        import keras

        where = f"layer {operation.name!r} ({type(operation).__name__})"
        if not type(operation).__module__.startswith("keras."):
            raise GraphError(
                f"{where} is not one of Keras' own layers: a model made with it would not load without your "
                "code. Build it from stock layers or keras.ops"
            )
        try:
            values = keras.saving.serialize_keras_object(operation)
            config = _kept_settings(operation, values["config"])
            layer = cls(
                module=values["module"],
                class_name=values["class_name"],
                config=json.dumps(config, sort_keys=True, separators=(",", ":")),
                input_shapes=inputs,
                shape=(),
                call=call,
                trainable=getattr(operation, "trainable", True),
            )
            built = layer.to_keras(operation.name)
            output = layer.call_keras(built, [keras.KerasTensor((None, *shape)) for shape in inputs])
            variables = layer.keras_variables(built).values()
            layer = layer.with_(
                shape=tuple(int(size) for size in output.shape[1:]),
                names=tuple(_stem(variable) for variable in variables),
                shapes=tuple(tuple(variable.shape) for variable in variables),
                fixed=tuple(not variable.trainable for variable in variables),
            )
            arrays = [np.asarray(variable, np.float32) for variable in getattr(operation, "weights", [])]
            weights = dict(zip(layer.parameters(*inputs), arrays, strict=True))
            for variable, array in zip(variables, arrays, strict=True):
                variable.assign(array)
            same = layer._agrees(built, operation)
        except Exception as error:  # whatever a layer's own methods raise
            raise GraphError(f"{where} cannot be rebuilt from its configuration: {error}") from error
        if not same:
            raise GraphError(f"{where}, rebuilt from its configuration and weights, computes something else")
        return layer, weights

    def _agrees(self, built: Any, original: Any) -> bool:
        """Return whether both compute the same from one random example."""
        from keras import ops

        rng = np.random.default_rng(0)
        example = [rng.random((1, *shape), np.float32) for shape in self.input_shapes]
        quiet = self.with_(inference=True)
        new, old = (ops.convert_to_numpy(quiet.call_keras(layer, example)) for layer in (built, original))
        # Layers that compute in fewer digits are rebuilt in float32.
        off = ROUNDINGS * precision_of(original)
        return np.allclose(
            new, old.astype(np.float32), rtol=max(1e-4, off), atol=max(1e-5, off), equal_nan=True
        )

    def describe(self) -> str:
        return self.class_name

    def family(self) -> str:
        return self.kind + self.class_name  # each class of Keras is a kind of its own


def precision_of(operation: Any) -> float:
    """Machine epsilon of the least precise dtype that a layer, or one inside it, computes in."""
    layers = operation._flatten_layers() if hasattr(operation, "weights") else []
    dtypes = {"float16": 2.0**-10, "bfloat16": 2.0**-7}
    return max((dtypes.get(layer.compute_dtype, SINGLE) for layer in layers), default=SINGLE)


def _kept_settings(operation: Any, config: dict[str, Any]) -> dict[str, Any]:
    """The configuration to keep: in float32, and complete, so that no global setting fills gaps later.

    Layers of whole numbers, such as one that looks up categories, keep their dtype.
    """
    import keras

    config = {name: value for name, value in config.items() if name not in ("name", "trainable")}
    names = ["data_format", "epsilon"]
    if not isinstance(operation, keras.Layer):
        names.append("dtype")
    else:
        if keras.backend.is_float_dtype(operation.compute_dtype):
            config.pop("dtype", None)
        config = _in_float32(config)
    global_settings = {"data_format": keras.config.image_data_format(), "epsilon": keras.config.epsilon()}
    parameters = signature(type(operation).__init__).parameters
    for name in names:
        if name in parameters and config.get(name) is None:
            value = getattr(operation, name, None)
            value = global_settings.get(name) if value is None else value
            if isinstance(value, str | float):
                config[name] = value
    return config


def _in_float32(value: Any) -> Any:
    """A configuration in which inner layers follow the policy float32 instead of another one of floats."""
    if isinstance(value, list | tuple):
        return [_in_float32(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.get("class_name") == "DTypePolicy" and "float" in str(value.get("config", {}).get("name")):
        return {**value, "config": {**value["config"], "name": "float32"}}
    return {name: _in_float32(item) for name, item in value.items()}


def _stem(variable: Any) -> str:
    """A variable's name without the number that Keras appends to names it makes up."""
    return re.sub(r"_\d+$", "", variable.name)


def _initial(name: str, shape: Shape) -> str:
    """Initialiser of a weight of which only name and shape are known."""
    if len(shape) > 1:
        return "glorot_uniform"
    return "ones" if any(word in name for word in ("gamma", "scale", "variance")) else "zeros"


def _danger(values: Any) -> str | None:
    """Why building a Keras object from this configuration could run foreign code, or None."""
    stack = [values]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            module = value.get("module") or "keras"
            if not isinstance(module, str) or not f"{module}.".startswith("keras."):
                return f"names the module {module!r}; only classes of Keras itself are built"
            if value.get("class_name") in RUN_CODE or value.get("class_name") == "__lambda__":
                return (
                    f"{value['class_name']} runs code or reads files of its own and cannot be kept in a graph"
                )
            stack.extend(value.values())
        elif isinstance(value, list):
            stack.extend(value)
    return None
