"""Points of the surrogate's input space: an architecture, its hyperparameters, and how long it is trained."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from kmorph.errors import GraphError
from kmorph.graph import Graph


@dataclass(frozen=True)
class TrainedGraph:
    """An architecture together with its training; a point of the surrogate's input space.

    It is neither sequence nor array, so that scikit-learn takes a list of them as it is.

    Parameters
    ----------
    graph : Graph
        Its weights are not looked at.
    hyperparameters : mapping or sequence of (name, value), default=()
        Kept as a tuple of pairs, sorted by name.
    images : float, default=0.0
        Examples that the whole lineage has seen when the loss is measured.
    path : sequence of (model_id, images), default=()
        The models of the lineage from its start on, with the examples that the lineage had seen at the end
        of each. The last one is the network itself if it was measured, its parent if it is only proposed.

    Examples
    --------
    >>> from kmorph.graph import Dense, Graph
    >>> TrainedGraph(Graph((4,), [Dense(3)], [[0]]), {"learning_rate": 0.1}, images=500).hyperparameters
    (('learning_rate', 0.1),)
    """

    graph: Graph
    hyperparameters: Any = ()
    images: float = 0.0
    path: tuple[tuple[int, float], ...] = field(default=())

    def __post_init__(self) -> None:
        pairs = self.hyperparameters
        pairs = pairs.items() if isinstance(pairs, Mapping) else pairs
        pairs = tuple(sorted((str(name), _hashable(value)) for name, value in pairs))
        object.__setattr__(self, "hyperparameters", pairs)
        object.__setattr__(self, "images", float(self.images))
        if not _is_path(self.path):  # hundreds of children share their parent's, which may be long
            path = tuple((model, float(images)) for model, images in self.path)
            object.__setattr__(self, "path", path)


def _is_path(value: Any) -> bool:
    """Return whether a path needs no conversion."""
    return type(value) is tuple and all(
        type(step) is tuple and len(step) == 2 and type(step[1]) is float for step in value
    )


Point: TypeAlias = Graph | TrainedGraph
"""A point that kernels take; the training of a bare graph is not known."""


def graph_of(point: Point) -> Graph:
    """The architecture of a point."""
    return point.graph if isinstance(point, TrainedGraph) else checked_graph(point)


def checked_graph(value: Any) -> Graph:
    """The value itself, if it is a graph.

    Raises
    ------
    GraphError
        If it is anything else.
    """
    if isinstance(value, Graph):
        return value
    raise GraphError(
        f"expected a kmorph.Graph, got {type(value).__name__}; "
        "Graph.from_keras(model) makes one of a Keras model"
    )


def as_trained(point: Point) -> TrainedGraph:
    """The point as a `TrainedGraph`; a bare graph gets no hyperparameters, examples or path."""
    return point if isinstance(point, TrainedGraph) else TrainedGraph(point)


def _hashable(value: Any) -> Any:
    """Numbers and texts as they are; lists and mappings as their JSON."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return json.dumps(value, sort_keys=True, default=str)
