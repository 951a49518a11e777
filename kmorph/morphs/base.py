"""Base class of morphs, and the limits that a search sets."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from operator import index
from typing import Any, ClassVar, TypeVar

import numpy as np

from kmorph.errors import GraphError
from kmorph.graph import Activation, Graph, Layer
from kmorph.graph.fields import arguments_from_json, as_lists, field_types
from kmorph.morphs.edit import Edit, Like

M = TypeVar("M", bound="Morph")
Random = np.random.Generator | int | None


@dataclass(frozen=True)
class Limits:
    """Bounds on what `sites` offers; None: no bound.

    Parameters
    ----------
    max_parameters, max_flops, max_layers : int, optional
        Of the child.
    max_width : int, optional
        Filters of a convolution, or units of a dense layer, that a morph may make. A layer that is wider
        already does not stop morphs elsewhere.
    max_activations : int, optional
        Numbers in all nodes of the child together, for one example.
    max_growth : float, optional
        The child's number of parameters divided by the parent's.
    max_skips : int, default=256
        Largest number of sites offered for each kind of skip; the rest is left out by a choice that
        depends on the graph alone.
    """

    max_parameters: int | None = None
    max_flops: int | None = None
    max_layers: int | None = None
    max_width: int | None = None
    max_activations: int | None = None
    max_growth: float | None = None
    max_skips: int = 256

    @property
    def bounds_child(self) -> bool:
        """True if a child must be made to know whether it is allowed."""
        return any(
            bound is not None
            for bound in (
                self.max_parameters,
                self.max_flops,
                self.max_layers,
                self.max_width,
                self.max_activations,
                self.max_growth,
            )
        )

    def allow(self, parent: Graph, child: Graph) -> bool:
        """Return whether a child of `parent` keeps every bound."""
        if self.max_layers is not None and len(child.layers) > self.max_layers:
            return False
        if self.max_width is not None and _wide(child, self.max_width) - _wide(parent, self.max_width):
            return False
        if self.max_parameters is not None and child.n_parameters > self.max_parameters:
            return False
        if self.max_activations is not None and activations(child) > self.max_activations:
            return False
        if self.max_growth is not None and child.n_parameters > self.max_growth * parent.n_parameters:
            return False
        return self.max_flops is None or child.flops <= self.max_flops

    def exceeded_by(self, graph: Graph) -> bool:
        """Return whether the graph itself is over a bound, so that it has to shrink."""
        return (
            (self.max_parameters is not None and graph.n_parameters > self.max_parameters)
            or (self.max_flops is not None and graph.flops > self.max_flops)
            or (self.max_layers is not None and len(graph.layers) > self.max_layers)
        )


NO_LIMITS = Limits()


def activations(graph: Graph) -> int:
    """Numbers in all nodes of a graph together, for one example: what training it keeps in memory."""
    return sum(map(prod, graph.node_shapes))


@dataclass(frozen=True)
class Morph:
    """One change of a graph as a small frozen value; a kind is one subclass in one file.

    Subclasses define their fields (whole numbers, numbers, texts, tuples of these), `sites`, `change` and
    `describe`. Fields named ``layer`` are layer ids; ``source`` and ``target`` are node ids.
    """

    kind: ClassVar[str]
    exact_in_training: ClassVar[bool] = True
    """True if the child's loss in training mode (dropout aside) equals the parent's."""

    approximate: ClassVar[bool] = False
    """True if the child computes something else than its parent; such kinds shrink a graph."""

    needs_data: ClassVar[bool] = False
    """True if the morph should see a batch first (`calibrate`); `sites` offers it only when named."""

    def __post_init__(self) -> None:
        for name, hint in field_types(type(self)).items():
            value = getattr(self, name)
            if hint is int:
                object.__setattr__(self, name, _whole(self.kind, name, value, 0))
            elif hint == tuple[int, ...]:
                values = tuple(value) if isinstance(value, Iterable) else (value,)
                numbers = tuple(_whole(self.kind, name, number, 1) for number in values)
                object.__setattr__(self, name, numbers)

    @classmethod
    def sites(cls: type[M], graph: Graph, limits: Limits = NO_LIMITS) -> Iterator[M]:
        """Every value of this kind that fits the graph."""
        raise NotImplementedError

    def change(self, edit: Edit) -> None:
        """Make the change on an `Edit` of the parent; a `GraphError` says why it does not fit."""
        raise NotImplementedError

    def describe(self) -> str:
        """Short words for the user, such as ``widen layer 7 to 96``."""
        raise NotImplementedError

    def apply(self, graph: Graph, rng: Random = None) -> Graph:
        """The child; the parent is not changed.

        Parameters
        ----------
        graph : Graph
            With weights or without; the structure of the child is the same either way.
        rng : numpy.random.Generator or int, optional
            Where new weights come from; not used for a graph without weights.

        Raises
        ------
        GraphError
            If the morph does not fit the graph; the message names the place and the reason.
        """
        return self._run(graph, rng, "weights")

    def transport(
        self,
        parent: Graph,
        arrays: Mapping[tuple[int, str], np.ndarray],
        rng: Random = None,
        like: Like = "weights",
    ) -> dict[tuple[int, str], np.ndarray]:
        """Carry arrays that belong to the parent's weights over to the child's.

        The child's weights are ``w' = A w + c``. Averages of weights go the same way. Where A repeats a
        weight the child's gradient is shared among the copies, and where A splits one each part has the
        whole gradient; momentum, an average of gradients, follows them. New weights have none yet.

        Parameters
        ----------
        parent : Graph
        arrays : mapping from (layer id, name) to array
            Of the weights' shapes; weights without an array (running statistics) may be missing.
        rng : numpy.random.Generator or int, optional
            In the state in which `apply` got it.
        like : {"weights", "momentum", "second_moment"}
            Averages of weights, of gradients, or of squared gradients.

        Returns
        -------
        dict from (layer id, name) to array
            For the child's weights that training changes; for all, if `arrays` were like weights and had all.
        """
        filled = {
            (i, name): arrays[i, name] if (i, name) in arrays else np.zeros(parameter.shape, np.float32)
            for i in range(len(parent.layers))
            for name, parameter in parent.parameters(i).items()
        }
        child = self._run(parent.with_weights(filled), rng, like, parent)
        everything = like == "weights" and len(filled) == len(arrays)
        return {
            key: array
            for key, array in child.weights.items()
            if everything or child.parameters(key[0])[key[1]].trainable
        }

    def _run(self, graph: Graph, rng: Random, like: Like, origin: Graph | None = None) -> Graph:
        if not isinstance(graph, Graph):
            raise GraphError(f"{self.describe()}: expected a kmorph Graph, got {type(graph).__name__}")
        try:
            edit = Edit(graph, rng, like, origin)
            self.change(edit)
            return edit.build()
        except GraphError as error:
            raise GraphError(f"{self.describe()}: {error}") from None

    def to_json(self) -> dict[str, Any]:
        """Plain values: the kind and every field."""
        values: dict[str, Any] = {"kind": self.kind}
        for field in dataclasses.fields(self):
            values[field.name] = as_lists(getattr(self, field.name))
        return values

    @classmethod
    def from_json(cls: type[M], values: Any) -> M:
        """Rebuild a value of this kind; unknown, missing and mistyped fields are errors.

        Raises
        ------
        GraphError
            If the values are not those of a morph of this kind.
        """
        if not isinstance(values, dict) or values.get("kind") != cls.kind:
            raise GraphError(f"not the description of a morph of kind {cls.kind!r}: {str(values)[:80]}")
        fields = {name: value for name, value in values.items() if name != "kind"}
        return cls(**arguments_from_json(cls, cls.kind, fields))


def layer_at(graph: Graph, layer: int) -> Any:
    """The layer with this id, or a `GraphError` that says which ids there are."""
    if not 0 <= layer < len(graph.layers):
        raise GraphError(f"there is no layer {layer}; the graph has layers 0 to {len(graph.layers) - 1}")
    return graph.layers[layer]


def _whole(kind: str, name: str, value: Any, least: int) -> int:
    """The value as a Python int; numpy's are taken, too."""
    try:
        number = index(value)
    except TypeError:
        number = -1
    if number < least or isinstance(value, bool):
        raise GraphError(f"{kind}: {name} must be a whole number from {least}, got {value!r}")
    return number


def _wide(graph: Graph, most: int) -> set[int]:
    return {width for layer in graph.layers if (width := layer.width()) is not None and width > most}


def function_of(layer: Layer) -> str:
    """Name of the function of an `Activation`; empty for any other layer."""
    return layer.function if isinstance(layer, Activation) else ""
