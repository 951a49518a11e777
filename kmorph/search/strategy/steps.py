"""Networks too small for the time are widened to the size that it affords: in steps, or before training."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import ceil, log, sqrt

import numpy as np

from kmorph.errors import GraphError
from kmorph.graph import Graph
from kmorph.morphs import Limits, Morph, Widen
from kmorph.morphs.layout import layouts
from kmorph.morphs.widen import STEP
from kmorph.search.strategy.observe import Observation
from kmorph.search.strategy.proposal import Proposal
from kmorph.search.strategy.propose import MAX_GROWTH

LEAST_STEP = 2.0
"""Least growth of FLOPs that is worth a step: what is nearer to its size is left as it is."""

MOST_STEP = 16.0
"""Largest growth of FLOPs in one step, four times the width. What is still smaller then is grown once more.

Several smaller steps leave less time for the size that counts (`docs/benchmarks.md`, starts too small).
"""

MOST_STEPS = 3
EPOCHS_TO_STEP = 40.0
"""Epochs of the larger network that the time must be worth for a start to be trained before it is widened.

With fewer, the larger one from new weights ends as well or better (`docs/benchmarks.md`, starts too small).
"""
ROUNDS = 8  # of the search for a factor of the widths


def steps_to(flops: int, affordable: int | None) -> int:
    """Number of steps that lead from so many FLOPs to those that the time affords, at most `MOST_STEPS`."""
    ratio = (affordable or 0) / max(flops, 1)
    return 0 if ratio < LEAST_STEP else min(MOST_STEPS, ceil(log(ratio) / log(MOST_STEP)))


def planned_step(
    parent: Observation,
    affordable: int,
    limits: Limits,
    kinds: Collection[str | type[Morph]] | None,
    rng: np.random.Generator,
) -> Proposal | None:
    """The next step of a network on its way to the size that the time affords.

    All of its layers are widened by the same factor: as many steps as are left have equal factors.

    Parameters
    ----------
    parent : Observation
    affordable : int
        FLOPs to grow to.
    limits : Limits
    kinds : collection of str or Morph classes, optional
        How networks may grow; None: every way.
    rng : numpy.random.Generator
        Gives the seeds of new weights.

    Returns
    -------
    Proposal or None
        None if the network is large enough, or cannot be widened.
    """
    steps = steps_to(parent.graph.flops, affordable)
    if not steps or not _may_widen(kinds):
        return None
    ratio = min((affordable / parent.graph.flops) ** (1 / steps), MOST_STEP)
    morphs, child = widened(parent.graph, ratio * parent.graph.flops, limits)
    if not is_step(parent.graph.flops, child.flops):
        return None
    seeds = rng.integers(2**32, size=len(morphs)).tolist()
    return Proposal(
        parent_id=parent.model_id,
        morphs=tuple(zip(morphs, seeds, strict=True)),
        graph=child,
        hyperparameters=parent.hyperparameters,
        change=f"widen all layers: {child.flops / parent.graph.flops:.1f} times the FLOPs",
    )


def widened_starts(
    starts: Sequence[tuple[str, Graph]],
    affordable: int,
    limits: Limits,
    kinds: Collection[str | type[Morph]] | None,
) -> tuple[tuple[tuple[str, Graph], ...], dict[str, float]]:
    """Starts as wide as the time affords, for those without weights that are too small for it.

    Parameters
    ----------
    starts : sequence of (str, Graph)
    affordable : int
        FLOPs of a network that suits the time.
    limits, kinds
        As for `planned_step`.

    Returns
    -------
    starts : tuple of (str, Graph)
    growth : dict of str to float
        By the name of each that was widened: its FLOPs, as a multiple of what they were.
    """
    result, growth = [], {}
    for name, graph in starts:
        if not graph.has_weights and steps_to(graph.flops, affordable) and _may_widen(kinds):
            _, wider = widened(graph, affordable, limits)
            if is_step(graph.flops, wider.flops):
                growth[name] = wider.flops / graph.flops
                graph = wider
        result.append((name, graph))
    return tuple(result), growth


def _may_widen(kinds: Collection[str | type[Morph]] | None) -> bool:
    return kinds is None or Widen in kinds or Widen.kind in kinds


def is_step(flops: int, child_flops: int) -> bool:
    """Return whether a child is so much larger that it came out of a step: what is proposed grows by less."""
    return child_flops > MAX_GROWTH * flops


def widened(graph: Graph, flops: float, limits: Limits) -> tuple[tuple[Morph, ...], Graph]:
    """The widest version of a graph, all its layers widened alike, that has no more FLOPs than given.

    Returns
    -------
    morphs : tuple of Morph
        They lead from the graph to it; empty if it is too large whatever is widened.
    child : Graph
    """
    best: tuple[tuple[Morph, ...], Graph] = (), graph
    low, high = 1.0, 2 * max(flops / max(graph.flops, 1), 1.0)  # FLOPs grow about as much as widths, or more
    for _ in range(ROUNDS):
        factor = sqrt(low * high)
        morphs, child = _widened_by(graph, factor)
        if child.flops <= flops and limits.allow(graph, child):
            low, best = factor, (morphs, child)
        else:
            high = factor
    return best


def _widened_by(graph: Graph, factor: float) -> tuple[tuple[Morph, ...], Graph]:
    """Every layer that can be widened, by a factor."""
    morphs: list[Morph] = []
    widths = [layer.width() for layer in graph.layers]
    for i, width in enumerate(widths):
        now = graph.layers[i].width()
        if width is None or now is None:
            continue
        try:
            step = min(layouts(graph).growable(i).values())
            morph = Widen(layer=i, to=now + step * round((_whole(factor * width) - now) / step))
            graph = morph.apply(graph)
        except GraphError:  # it cannot grow, or has grown with another
            continue
        morphs.append(morph)
    return tuple(morphs), graph


def _whole(width: float) -> int:
    """The nearest width that processors like: a multiple of 8, but for small ones."""
    return STEP * round(width / STEP) if width >= 4 * STEP else round(width)
