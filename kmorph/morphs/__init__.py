"""Morphs: changes of a graph that keep what it computes, by which networks grow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from kmorph.errors import GraphError
from kmorph.graph import Graph
from kmorph.morphs.add_skip import AddSkip
from kmorph.morphs.base import NO_LIMITS, Limits, Morph
from kmorph.morphs.branch import Branch
from kmorph.morphs.concat_skip import ConcatSkip
from kmorph.morphs.deepen import Deepen
from kmorph.morphs.deepen_residual import DeepenResidual
from kmorph.morphs.edit import Like
from kmorph.morphs.enlarge_kernel import EnlargeKernel
from kmorph.morphs.insert_dropout import InsertDropout
from kmorph.morphs.insert_gate import InsertGate
from kmorph.morphs.insert_norm import InsertNorm
from kmorph.morphs.prune import Prune
from kmorph.morphs.remove_block import RemoveBlock
from kmorph.morphs.replace_activation import ReplaceActivation
from kmorph.morphs.widen import Widen

KINDS: tuple[type[Morph], ...] = (
    Deepen,
    Widen,
    AddSkip,
    ConcatSkip,
    DeepenResidual,
    EnlargeKernel,
    Branch,
    InsertGate,
    InsertNorm,
    InsertDropout,
    ReplaceActivation,
    Prune,
    RemoveBlock,
)
BY_KIND = {kind.kind: kind for kind in KINDS}

__all__ = [
    "BY_KIND",
    "KINDS",
    "AddSkip",
    "Branch",
    "ConcatSkip",
    "Deepen",
    "DeepenResidual",
    "EnlargeKernel",
    "InsertDropout",
    "InsertGate",
    "InsertNorm",
    "Limits",
    "Morph",
    "Prune",
    "RemoveBlock",
    "ReplaceActivation",
    "Widen",
    "chain",
    "from_json",
    "sites",
    "to_json",
    "transport",
]


def sites(
    graph: Graph,
    limits: Limits | None = None,
    kinds: Iterable[str | type[Morph]] | None = None,
) -> Iterator[Morph]:
    """Every morph that fits a graph and whose child keeps the limits.

    Parameters
    ----------
    graph : Graph
    limits : Limits, optional
    kinds : iterable of str or Morph classes, optional
        Which kinds; default: all that keep the function and need no data. Approximate ones are offered
        when named here, or when the graph itself is over a limit.

    Yields
    ------
    Morph

    Raises
    ------
    GraphError
        If a kind is unknown.
    """
    limits = limits or NO_LIMITS
    chosen = _chosen(graph, limits, kinds)
    structure = graph.without_weights()
    return (
        morph
        for kind in chosen
        for morph in kind.sites(structure, limits)
        if not limits.bounds_child or kind.approximate or limits.allow(structure, morph.apply(structure))
    )


def _chosen(
    graph: Graph, limits: Limits, kinds: Iterable[str | type[Morph]] | None
) -> tuple[type[Morph], ...]:
    if kinds is None:
        shrink = limits.exceeded_by(graph)
        return tuple(kind for kind in KINDS if not kind.needs_data and (shrink or not kind.approximate))
    chosen = []
    for kind in (kinds,) if isinstance(kinds, str) else kinds:
        name = kind if isinstance(kind, str) else getattr(kind, "kind", kind)
        if name not in BY_KIND:
            raise GraphError(f"unknown kind of morph {name!r}; known are {', '.join(BY_KIND)}")
        chosen.append(BY_KIND[name])
    return tuple(chosen)


def chain(graph: Graph, steps: Iterable[tuple[Morph, int]]) -> Graph:
    """Apply morphs one after the other, each with its seed.

    Parameters
    ----------
    graph : Graph
    steps : iterable of (Morph, int)

    Returns
    -------
    Graph
        Equal steps on equal graphs give equal weights, bit for bit.
    """
    for morph, seed in steps:
        graph = morph.apply(graph, np.random.default_rng(seed) if graph.has_weights else None)
    return graph


def transport(
    graph: Graph,
    steps: Iterable[tuple[Morph, int]],
    arrays: Mapping[tuple[int, str], np.ndarray],
    like: Like = "weights",
) -> dict[tuple[int, str], np.ndarray]:
    """Carry averages of weights, momentum or second moments through a chain; see `Morph.transport`.

    Parameters
    ----------
    graph : Graph
        With weights.
    steps : iterable of (Morph, int)
        As for `chain`.
    arrays : mapping from (layer id, name) to array
    like : {"weights", "momentum", "second_moment"}

    Returns
    -------
    dict from (layer id, name) to array
        For the last child.
    """
    carried = dict(arrays)
    for morph, seed in steps:
        carried = morph.transport(graph, carried, np.random.default_rng(seed), like)
        graph = morph.apply(graph, np.random.default_rng(seed))
    return carried


def to_json(morph: Morph, seed: int) -> dict[str, Any]:
    """A morph and the seed of its new weights as plain JSON values."""
    return {**morph.to_json(), "seed": int(seed)}


def from_json(values: Any) -> tuple[Morph, int]:
    """Rebuild the morph and the seed that `to_json` was given.

    Raises
    ------
    GraphError
        If the kind is unknown, or a field is unknown, missing or of the wrong type.
    """
    if not isinstance(values, dict):
        raise GraphError(f"a morph must be a JSON object, got {type(values).__name__}")
    kind = BY_KIND.get(values["kind"]) if isinstance(values.get("kind"), str) else None
    if kind is None:
        raise GraphError(f"unknown kind of morph {values.get('kind')!r}; known are {', '.join(BY_KIND)}")
    seed = values.get("seed")
    if type(seed) is not int or not 0 <= seed < 2**128:
        raise GraphError(f"{kind.kind}: the seed must be a whole number from 0, got {seed!r}")
    return kind.from_json({name: value for name, value in values.items() if name != "seed"}), seed
