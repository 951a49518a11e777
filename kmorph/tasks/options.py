"""Checking what users pass to an estimator's constructor, before anything is trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kmorph import starts as known_starts
from kmorph.errors import DataError
from kmorph.graph import Activation, Graph, GraphBuilder, Layer
from kmorph.search.space import Choice, Range, Space
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
        for name in ("max_iter_num", "max_no_improvement_num"):
            check_count(f"trainer_args[{name!r}]", (values or {}).get(name))
        for name in ("min_loss_dec", "lr"):
            check_number(f"trainer_args[{name!r}]", (values or {}).get(name), above=name == "lr")
        return cls(**(values or {}))


@dataclass(frozen=True)
class SearcherArgs:
    """What Auto-Keras 0.x knew as `searcher_args`.

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
            check_count(f"searcher_args[{name!r}]", values.get(name))
        check_number("searcher_args['t_min']", values.get("t_min"))
        return cls(**{**values, "trainer_args": TrainerArgs.of(values.get("trainer_args"))})


def _check_keys(name: str, values: Any, known: Sequence[str]) -> None:
    if values is not None and not isinstance(values, dict):
        raise DataError(f"{name} must be a dict, got {type(values).__name__}")
    unknown = [key for key in values or {} if key not in known]
    if unknown:
        raise DataError(f"{name}: unknown key {unknown[0]!r}; known are {', '.join(known)}")


def check_count(name: str, value: Any, least: int = 1) -> None:
    """Check that a value is None or a whole number of at least `least`."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
        raise DataError(f"{name} must be None or a whole number from {least}, got {value!r}")


def check_number(name: str, value: Any, above: bool = False) -> None:
    """Check that a value is None or a finite number, of at least (or `above`) zero."""
    if value is None:
        return
    fits = isinstance(value, int | float) and not isinstance(value, bool) and value == value
    if not fits or value < 0 or value == float("inf") or (above and value == 0):
        raise DataError(f"{name} must be None or a number {'above' if above else 'from'} 0, got {value!r}")


def choose_starts(
    chosen: Any,
    defaults: Sequence[Any],
    input_shape: tuple[int, ...],
    outputs: int,
    preprocessing: Sequence[Layer],
    sizes: SearcherArgs,
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
        Passed to each start. Graphs and Keras models are taken as they are, but for a softmax at their end.
    sizes : SearcherArgs

    Raises
    ------
    DataError
        If a start is unknown or does not fit the data.
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
        if isinstance(start, Graph):
            name, graph = f"own network {i}", _without_softmax(start)
        elif hasattr(start, "layers"):
            name, graph = start.name, _without_softmax(Graph.from_keras(start))
        else:
            name, maker, size = _maker(start)
            # What the user says of all starts goes before our own sizes, not before those of one start.
            size = {**size, **common} if chosen is None else {**common, **size}
            try:
                graph = maker(input_shape, outputs, preprocessing=preprocessing, **size)
            except TypeError as error:
                raise DataError(f"start {name!r} cannot be made: {error}") from error
        if graph.input_shape != input_shape or graph.output_shape != (outputs,):
            raise DataError(
                f"start {name!r} turns {graph.input_shape} into {graph.output_shape}, but the data needs "
                f"{input_shape} into ({outputs},)"
            )
        result.append((name, graph))
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
    name = getattr(maker, "__name__", "start")
    if size:
        name += " (" + ", ".join(f"{key}={value}" for key, value in size.items()) + ")"
    return name, maker, size


def _without_softmax(graph: Graph) -> Graph:
    """Searches train on logits: a softmax at the end is left out, the exported model gets it back."""
    last = graph.layers[-1]
    if not (isinstance(last, Activation) and last.function == "softmax") or len(graph.layers) == 1:
        return graph
    return GraphBuilder.from_graph(graph).build(graph.inputs[-1][0])


MANY = 20_000  # training examples from which a batch is larger
LARGE_BATCH = 128
# Sizes of a batch between which the default learning rate is in proportion to it (Goyal et al., "Accurate,
# Large Minibatch SGD", 2017).
SCALED = (16, 256)


def choose_hyperparameters(values: Any, trainer: TrainerArgs, n: int = 0) -> tuple[Hyperparameters, Space]:
    """The hyperparameters of training, and which of them the search may vary.

    Parameters
    ----------
    values : dict or None
        By name: a number, which is fixed; a pair (low, high), or (low, high, "log"), between which the search
        chooses; a list to choose from.
    trainer : TrainerArgs
    n : int, default=0
        Training examples: many allow a larger batch.

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
    dimensions: dict[str, Range | Choice] = {}
    for name, value in (values or {}).items():
        if isinstance(value, tuple):
            dimensions[name] = _range(name, value)
        elif isinstance(value, list):
            dimensions[name] = _choice(name, value)
        elif value is not None:
            _check_hyperparameter(name, value)
            fixed[name] = value
    space = Space(dimensions)
    batch = fixed.get("batch_size", LARGE_BATCH if n >= MANY else defaults.batch_size)
    low, high = SCALED
    rate = defaults.learning_rate * min(max(batch, low), high) / defaults.batch_size
    chosen = {"batch_size": batch, "learning_rate": rate, **fixed}
    return space.nearest(dataclasses.replace(defaults, **chosen)), space


def _check_hyperparameter(name: str, value: Any) -> None:
    told = f"hyperparameters[{name!r}]"
    if value is None:
        raise DataError(f"{told}: None is no value to choose")
    if name == "batch_size":
        check_count(told, value)
    check_number(told, value, above=name in ("learning_rate", "batch_size"))
    if name == "label_smoothing" and value >= 1:
        raise DataError(f"{told} must be below 1, got {value!r}")


def _range(name: str, value: tuple[Any, ...]) -> Range:
    told = f"hyperparameters[{name!r}]"
    if len(value) not in (2, 3) or value[2:] not in ((), ("log",)):
        raise DataError(f'{told}: a range is (low, high) or (low, high, "log"), got {value!r}')
    low, high = value[:2]
    _check_hyperparameter(name, low)
    _check_hyperparameter(name, high)
    if low >= high:
        raise DataError(f"{told}: low must be below high, got {value!r}")
    if len(value) == 3 and low == 0:
        raise DataError(f"{told}: a logarithmic range cannot begin at 0; give its smallest value above 0")
    return Range(low, high, log=len(value) == 3, whole=name == "batch_size")


def _choice(name: str, values: list[Any]) -> Choice:
    if not values:
        raise DataError(f"hyperparameters[{name!r}] is an empty list; give values to choose from")
    for value in values:
        _check_hyperparameter(name, value)
    return Choice(tuple(values))


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


def refuse_unsupported(**arguments: tuple[Any, Callable[[Any], bool], str]) -> None:
    """Say at once what this version cannot do, rather than ignore it.

    Raises
    ------
    DataError
    """
    for name, (value, is_supported, what) in arguments.items():
        if not is_supported(value):
            raise DataError(f"{name}={value!r}: {what}")
