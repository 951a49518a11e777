"""Insert dropout."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kmorph.graph import Dropout, Graph, Role
from kmorph.morphs.base import NO_LIMITS, Limits, Morph, layer_at
from kmorph.morphs.edit import Edit

RATE = 0.25


@dataclass(frozen=True)
class InsertDropout(Morph):
    """Dropout after a layer; exact at inference only.

    Parameters
    ----------
    layer : int
    rate : float
        Share of numbers set to zero in training.

    References
    ----------
    Srivastava et al., "Dropout", JMLR 2014.
    """

    kind = "insert_dropout"
    exact_in_training = False

    layer: int
    rate: float

    @classmethod
    def sites(cls, graph: Graph, limits: Limits = NO_LIMITS) -> Iterator[InsertDropout]:
        """After every activation that no dropout follows, but not the output."""
        for i, layer in enumerate(graph.layers[:-1]):
            readers = [graph.layers[reader].role() for _, reader in graph.adjacency[i + 1]]
            if layer.role() in (Role.ACTIVATION, Role.IDENTITY) and Role.DROPOUT not in readers:
                yield cls(layer=i, rate=RATE)

    def change(self, edit: Edit) -> None:
        layer_at(edit.graph, self.layer)
        edit.redirect(self.layer + 1, edit.add(Dropout(rate=self.rate), self.layer + 1))

    def describe(self) -> str:
        return f"dropout {self.rate:g} after layer {self.layer}"
