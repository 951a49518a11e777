"""Proposers, which choose the next child: the `Situation` they are given, the `Proposal` they return."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any, Protocol

import numpy as np

from kmorph.graph import Graph
from kmorph.morphs import Limits, Morph
from kmorph.search.space import Space
from kmorph.search.strategy.observe import Observation


@dataclass(frozen=True)
class Situation:
    """All that a child is chosen from.

    Parameters
    ----------
    observations : sequence of Observation
        Those with a finite loss are learned from, and are possible parents.
    expected : Observation, optional
        A candidate in training that may be a parent as well, with the number that it will have. It is taken
        to come out as predicted.
    pending, failed : sequences of Observation, default=()
        Candidates in training, taken to come out as predicted, and those that failed; neither is proposed
        again.
    parents : collection of int, optional
        Model ids of the possible parents; None: all observed, and the expected one.
    limits : Limits
        Bounds of growth.
    kinds : tuple of str or Morph classes, optional
        How networks may grow; None: every way.
    space : Space
        Hyperparameters that may be changed, together with the architecture or alone.
    time_left : float, optional
        Seconds to the deadline; None: as long again as the lineages have trained.
    seconds : float, default=inf
        Time for the choice itself, fitting a surrogate not counted.
    """

    observations: Sequence[Observation]
    expected: Observation | None = None
    pending: Sequence[Observation] = ()
    failed: Sequence[Observation] = ()
    parents: Collection[int] | None = None
    limits: Limits = field(default_factory=Limits)
    kinds: tuple[str | type[Morph], ...] | None = None
    space: Space = field(default_factory=Space)
    time_left: float | None = None
    seconds: float = inf


@dataclass(frozen=True)
class Proposal:
    """A candidate to be trained from its parent's weights.

    Parameters
    ----------
    parent_id : int
    morphs : tuple of (Morph, int)
        Each with the seed of its new weights; empty: train the parent on.
    graph : Graph
        The child's structure.
    hyperparameters : mapping
        The parent's, or changed within the space.
    change : str
        In words.
    """

    parent_id: int
    morphs: tuple[tuple[Morph, int], ...]
    graph: Graph
    hyperparameters: Mapping[str, Any]
    change: str


class Proposer(Protocol):
    """Chooses the next child. A search calls it in its own thread, never twice at once."""

    def __call__(self, situation: Situation, rng: np.random.Generator) -> Proposal | None:
        """Return the choice, or None if nothing was measured yet or nothing untried is left.

        All randomness comes from `rng`: the same situation and generator give the same proposal, unless the
        situation limits the time.
        """
        ...
