"""Bounds of growth, lowered when a candidate was too large for the memory."""

from __future__ import annotations

import logging
from dataclasses import replace
from math import inf

from kmorph.graph import Graph
from kmorph.morphs import Limits
from kmorph.morphs.base import activations
from kmorph.search.candidate import Result

logger = logging.getLogger("kmorph.search")

SHRINK = 0.8  # largest size that is still tried, of one that was too large
# Workers that died, one after the other, before that is taken for a lack of memory: anybody may end one once.
DEATHS = 2


class Bounds:
    """Bounds of growth, learned from candidates for which memory did not suffice.

    Weights and activations both take memory. A failure does not show which of them was too much; but sizes
    that were trained before are known to fit.

    Parameters
    ----------
    limits : Limits
        Those that the user set.
    """

    def __init__(self, limits: Limits) -> None:
        self._given = limits
        self._trained = (0, 0)  # parameters and activations of the largest networks that were
        self._failed: tuple[float, float] = (inf, inf)  # … of the smallest that there was no memory for
        self._deaths = 0

    @property
    def limits(self) -> Limits:
        """The user's limits, lowered where memory ran out."""
        least = [
            None if failed == inf else max(trained, int(SHRINK * failed))
            for failed, trained in zip(self._failed, self._trained, strict=True)
        ]
        given = self._given
        return replace(
            given,
            max_parameters=_lower(given.max_parameters, least[0]),
            max_activations=_lower(given.max_activations, least[1]),
        )

    def note_trained(self, graph: Graph) -> None:
        """Note a network that there was memory for."""
        parameters, numbers = self._trained
        self._trained = max(parameters, graph.n_parameters), max(numbers, activations(graph))
        self._deaths = 0

    def note_failure(self, graph: Graph, result: Result) -> None:
        """Lower the bounds if a candidate failed for lack of memory, or seems to have."""
        died = result.cause == "died"
        self._deaths += died
        if result.cause != "memory" and not (died and self._deaths >= DEATHS):
            return
        parameters, numbers = self._failed
        if graph.n_parameters > self._trained[0]:
            parameters = min(parameters, graph.n_parameters)
        if activations(graph) > self._trained[1]:
            numbers = min(numbers, activations(graph))
        self._failed = parameters, numbers
        logger.warning(
            "memory ran out for a network of %s parameters; from now on: %s", graph.n_parameters, self.limits
        )


def _lower(given: int | None, learned: int | None) -> int | None:
    return min((bound for bound in (given, learned) if bound is not None), default=None)
