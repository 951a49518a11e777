"""Checking what users pass to an estimator's constructor, before anything is trained."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kmorph import starts as known_starts
from kmorph.errors import DataError
from kmorph.graph import BatchNorm, Fork, Graph, GroupNorm, Layer, LayerNorm, Opaque
from kmorph.numeric import real_number, whole_number
from kmorph.problem.optimizers import OwnOptimizer
from kmorph.search.space import Choice, Range, Space
from kmorph.tasks.outputs import without_ending
from kmorph.training.plan import Hyperparameters

TRAINER_ARGS = ("max_iter_num", "max_no_improvement_num", "min_loss_dec", "lr")
SEARCHER_ARGS = ("trainer_args", "default_model_len", "default_model_width", "t_min")


@dataclass(frozen=True)
class TrainerArgs:
    """Caps on the training of one model, by their names in Auto-Keras 0.x.

    Parameters
    ----------
    max_iter_num : int or None, default=None
        Most epochs.
    max_no_improvement_num : int or None, default=None
        Epochs without a lower validation loss after which training ends.
    min_loss_dec : float, default=0.0
        What counts as lower.
    lr : float or None, default=None
        Learning rate.
    """

    max_iter_num: int | None = None
    max_no_improvement_num: int | None = None
    min_loss_dec: float = 0.0
    lr: float | None = None

    @classmethod
    def of(cls, values: Any) -> TrainerArgs:
        """Check a dict of trainer arguments.

        Raises
        ------
        DataError
            If a key is unknown or a value out of range.
        """
        _check_keys("trainer_args", values, TRAINER_ARGS)
        values = dict(values or {})
        for name in ("max_iter_num", "max_no_improvement_num"):
            values[name] = check_count(f"trainer_args[{name!r}]", values.get(name))
        for name in ("min_loss_dec", "lr"):
            values[name] = check_number(f"trainer_args[{name!r}]", values.get(name), above=name == "lr")
        values["min_loss_dec"] = values["min_loss_dec"] or 0.0
        return cls(**values)


@dataclass(frozen=True)
class SearcherArgs:
    """The `searcher_args` of Auto-Keras 0.x.

    Parameters
    ----------
    trainer_args : TrainerArgs
    default_model_len, default_model_width : int or None, default=None
        Depth per stage, and channels, of the starts.
    t_min : float or None, default=None
        Accepted for the sake of old scripts; kmorph's proposals know no temperature.
    """

    trainer_args: TrainerArgs = TrainerArgs()
    default_model_len: int | None = None
    default_model_width: int | None = None
    t_min: float | None = None

    @classmethod
    def of(cls, values: Any) -> SearcherArgs:
        """Check a dict of searcher arguments.

        Raises
        ------
        DataError
            If a key is unknown or a value out of range.
        """
        _check_keys("searcher_args", values, SEARCHER_ARGS)
        values = dict(values or {})
        for name in ("default_model_len", "default_model_width"):
            values[name] = check_count(f"searcher_args[{name!r}]", values.get(name))
        values["t_min"] = check_number("searcher_args['t_min']", values.get("t_min"))
        return cls(**{**values, "trainer_args": TrainerArgs.of(values.get("trainer_args"))})


def _check_keys(name: str, values: Any, known: Sequence[str]) -> None:
    if values is not None and not isinstance(values, dict):
        raise DataError(f"{name} must be a dict, got {type(values).__name__}")
    unknown = [key for key in values or {} if key not in known]
    if unknown:
        raise DataError(f"{name}: unknown key {unknown[0]!r}; known are {', '.join(known)}")


def check_count(name: str, value: Any, least: int = 1) -> int | None:
    """Convert None, or a whole number of at least `least`, to None or an int.

    Raises
    ------
    DataError
        If `value`, the argument called `name`, is anything else.
    """
    if value is None:
        return None
    with contextlib.suppress(TypeError):
        number = whole_number(value)
        if number >= least:
            return number
    raise DataError(f"{name} must be None or a whole number from {least}, got {value!r}")


def check_number(name: str, value: Any, above: bool = False) -> float | None:
    """Convert None, or a finite number of at least (or `above`) zero, to None or a Python number.

    Raises
    ------
    DataError
        If `value`, the argument called `name`, is anything else.
    """
    if value is None:
        return None
    # Fractions and whole numbers may be too large for a float.
    with contextlib.suppress(TypeError, OverflowError):
        number = real_number(value)
        if math.isfinite(number) and (number > 0 or (number == 0 and not above)):
            return number
    raise DataError(f"{name} must be None or a number {'above' if above else 'from'} 0, got {value!r}")


def check_flag(name: str, value: Any, auto: bool = True) -> bool | str:
    """Convert True or False to a bool; ``"auto"`` stays, if that is allowed.

    Raises
    ------
    DataError
        If `value`, the argument called `name`, is anything else.
    """
    if auto and isinstance(value, str) and value == "auto":
        return value
    if isinstance(value, bool | np.bool_):
        return bool(value)
    allowed = 'True, False or "auto"' if auto else "True or False"
    raise DataError(f"{name} must be {allowed}, got {value!r}")


def choose_starts(
    chosen: Any,
    defaults: Sequence[Any],
    input_shape: tuple[int, ...],
    outputs: int,
    preprocessing: Sequence[Layer | Fork],
    sizes: SearcherArgs,
    ending: Callable[[Graph, str], Graph] = without_ending,
    units: Callable[[Graph, str], Graph] = lambda graph, name: graph,
) -> tuple[tuple[str, Graph], ...]:
    """Names and graphs of the architectures that a search begins with.

    Parameters
    ----------
    chosen : None, or sequence of str, (str, dict), Graph, keras.Model or callable
        What the user gave as `starts`: a name, a name with its size (``("resnet", {"stem_stride": 1})``), or
        a network. A callable is called like ``kmorph.starts.cnn``.
    defaults : sequence of str or (str, dict)
        Starts used if `chosen` is None.
    input_shape, outputs, preprocessing
        Passed to each start. Graphs and Keras models are taken as they are, but for a softmax at their end
        (see `kmorph.tasks.outputs`).
    sizes : SearcherArgs
    ending : callable, default: `without_ending`
        Takes what is not trained off the end of a network with a name, or refuses it.
    units : callable, optional
        Converts the outputs of a Keras model, given with its name, to what the loss accepts.

    Raises
    ------
    DataError
        If a start is unknown, does not fit the data, or ends in probabilities other than softmax.
    """
    if isinstance(chosen, str) or not isinstance(chosen, Sequence | None):
        raise DataError(f"starts must be None or a list, such as ['resnet', 'cnn'], got {chosen!r}")
    if chosen is not None and not chosen:
        raise DataError("starts is empty; give at least one, or None for the default ones")
    common: dict[str, int] = {}
    if sizes.default_model_len is not None:
        common["depth"] = sizes.default_model_len
    if sizes.default_model_width is not None:
        common["width"] = sizes.default_model_width
    result = []
    for i, start in enumerate(chosen or defaults):
        if isinstance(start, Graph) or hasattr(start, "layers"):
            name, graph = getattr(start, "name", f"own network {i}"), start
        else:
            name, maker, size = _maker(start)
            # What the user says of all starts goes before our own sizes, not before those of one start.
            size = {**size, **common} if chosen is None else {**common, **size}
            try:
                graph = maker(input_shape, outputs, preprocessing=preprocessing, **size)
            except TypeError as error:
                raise DataError(f"start {name!r} cannot be made: {error}") from error
        is_keras = not isinstance(graph, Graph)
        graph = ending(_as_graph(graph, name), name)
        if graph.input_shape != input_shape or graph.output_shape != (outputs,):
            raise DataError(
                f"start {name!r} turns {graph.input_shape} into {graph.output_shape}, but the data needs "
                f"{input_shape} into ({outputs},)"
            )
        result.append((name, units(graph, name) if is_keras else graph))
    return tuple(result)


def _maker(start: Any) -> tuple[str, Callable[..., Graph], dict[str, Any]]:
    """Name, function and size of a start given by name, by name and size, or as a function."""
    start, size = start if isinstance(start, tuple | list) and len(start) == 2 else (start, {})
    if isinstance(start, str) and start not in known_starts.KINDS:
        raise DataError(f"unknown start {start!r}; known are {', '.join(known_starts.KINDS)}")
    maker = known_starts.KINDS[start] if isinstance(start, str) else start
    if not callable(maker) or not isinstance(size, dict):
        raise DataError(
            "a start must be a name, a pair of name and dict, a graph, a Keras model or a function, "
            f"got {start!r}"
        )
    size = {key: _plain_number(value) for key, value in size.items()}
    name = getattr(maker, "__name__", "start")
    if size:
        name += " (" + ", ".join(f"{key}={value}" for key, value in size.items()) + ")"
    return name, maker, size


def _as_graph(network: Any, name: str) -> Graph:
    if isinstance(network, Graph):
        return network
    if hasattr(network, "layers"):
        return Graph.from_keras(network)
    raise DataError(f"start {name!r} must be a graph or a Keras model, got {type(network).__name__}")


def _plain_number(value: Any) -> Any:
    """A number of NumPy's as Python's; anything else as it is."""
    with contextlib.suppress(TypeError, OverflowError):
        return real_number(value)
    return value


MANY = 20_000  # training examples from which a batch is larger
LARGE_BATCH = 128
UNNORMALISED = 0.25  # share of the learning rate for networks without normalisation (`docs/benchmarks.md`)
# Sizes of a batch between which the default learning rate is in proportion to it (Goyal et al., "Accurate,
# Large Minibatch SGD", 2017).
SCALED = (16, 256)


def rate_share_for(graph: Graph) -> float:
    """Share of the default learning rate for a network: less for a deep one that normalises nothing.

    The default is for networks with normalisation, as kmorph's own are. Without, training is unstable at it.
    """
    normalises = any(isinstance(layer, BatchNorm | LayerNorm | GroupNorm | Opaque) for layer in graph.layers)
    weighted = sum(layer.width() is not None for layer in graph.layers)
    return 1.0 if normalises or weighted < 2 else UNNORMALISED


def choose_hyperparameters(
    values: Any,
    trainer: TrainerArgs,
    n: int = 0,
    optimizer: OwnOptimizer | None = None,
    weight_decay: float = Hyperparameters.weight_decay,
    suited: Mapping[str, Any] | None = None,
    rate_share: float = 1.0,
) -> tuple[Hyperparameters, Space]:
    """The hyperparameters of training, and which of them the search may vary.

    Parameters
    ----------
    values : dict or None
        By name: a number, which is fixed; a pair (low, high), or (low, high, "log"), between which the search
        chooses; a list to choose from.
    trainer : TrainerArgs
    n : int, default=0
        Training examples: many allow a larger batch.
    optimizer : OwnOptimizer, optional
        The user's, whose learning rate is the default one, and which has a weight decay of its own.
    weight_decay : float, default=5e-4
        The default one.
    suited : dict, optional
        Defaults of the input by name, such as ``{"batch_size": 512}``; a batch size of the user's voids them.

    rate_share : float, default=1.0
        Factor of the default learning rate; see `rate_share_for`.

    Returns
    -------
    Hyperparameters, Space

    Raises
    ------
    DataError
        If a name is unknown, or a value is none of these or out of range.
    """
    defaults = Hyperparameters()
    fixed: dict[str, Any] = {} if trainer.lr is None else {"learning_rate": float(trainer.lr)}
    names = [field.name for field in dataclasses.fields(defaults) if field.name != "augment"]
    _check_keys("hyperparameters", values, names)
    if optimizer is not None and "weight_decay" in (values or {}):
        raise DataError(
            "hyperparameters['weight_decay'] belongs to kmorph's own optimizer: give it to yours, as "
            "keras.optimizers.AdamW(weight_decay=…)"
        )
    dimensions: dict[str, Range | Choice] = {}
    for name, value in (values or {}).items():
        if isinstance(value, tuple):
            dimensions[name] = _range(name, value)
        elif isinstance(value, list) or (isinstance(value, np.ndarray) and value.ndim == 1):
            choice = _choice(name, list(value))
            if len(choice.values) > 1:
                dimensions[name] = choice
            else:
                fixed[name] = choice.values[0]
        elif value is not None:
            fixed[name] = _check_hyperparameter(name, value)
    space, suited = Space(dimensions), {} if suited is None or "batch_size" in fixed else suited
    batch = fixed.get("batch_size", LARGE_BATCH if n >= MANY else defaults.batch_size)
    low, high = SCALED
    rate = rate_share * defaults.learning_rate * min(max(batch, low), high) / defaults.batch_size
    if optimizer is not None:
        rate = optimizer.learning_rate
        suited = {name: value for name, value in suited.items() if name != "learning_rate"}
    chosen = {"batch_size": batch, "learning_rate": rate, "weight_decay": weight_decay, **suited, **fixed}
    return space.nearest(dataclasses.replace(defaults, **chosen)), space


def _check_hyperparameter(name: str, value: Any) -> Any:
    """Convert one value of a hyperparameter to a Python number."""
    argument = f"hyperparameters[{name!r}]"
    if value is None:
        raise DataError(f"{argument}: None is no value to choose")
    if name == "batch_size":
        return check_count(argument, value)
    number = check_number(argument, value, above=name == "learning_rate")
    if name == "label_smoothing" and number is not None and number >= 1:
        raise DataError(f"{argument} must be below 1, got {value!r}")
    return number


def _range(name: str, value: tuple[Any, ...]) -> Range:
    argument = f"hyperparameters[{name!r}]"
    if len(value) not in (2, 3) or value[2:] not in ((), ("log",)):
        raise DataError(f'{argument}: a range is (low, high) or (low, high, "log"), got {value!r}')
    low, high = (_check_hyperparameter(name, bound) for bound in value[:2])
    if low >= high:
        raise DataError(f"{argument}: low must be below high, got {value!r}")
    if len(value) == 3 and low == 0:
        raise DataError(f"{argument}: a logarithmic range cannot begin at 0; give its smallest value above 0")
    return Range(low, high, log=len(value) == 3, whole=name == "batch_size")


def _choice(name: str, values: list[Any]) -> Choice:
    if not values:
        raise DataError(f"hyperparameters[{name!r}] is an empty list; give values to choose from")
    return Choice(tuple(_check_hyperparameter(name, value) for value in values))


def choose_morphs(chosen: Any) -> tuple[type, ...] | None:
    """The kinds of morphs that the user allows, as classes; None for all.

    Raises
    ------
    DataError
        If one is unknown.
    """
    if chosen is None:
        return None
    from kmorph import morphs

    by_name = {kind.__name__: kind for kind in morphs.KINDS}
    if isinstance(chosen, str) or not isinstance(chosen, Sequence):
        raise DataError(f"morphs must be None or a list, such as ['Widen', 'Deepen'], got {chosen!r}")
    names = [kind if isinstance(kind, str) else getattr(kind, "__name__", repr(kind)) for kind in chosen]
    unknown = [name for name in names if name not in by_name]
    if unknown:
        raise DataError(f"unknown morph {unknown[0]!r}; known are {', '.join(by_name)}")
    return tuple(by_name[name] for name in names)
