"""Models and candidates as the surrogate sees them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kmorph.graph import Graph
from kmorph.search.candidate import Candidate
from kmorph.search.store.models import Models
from kmorph.search.store.record import ModelRecord
from kmorph.search.strategy.planning import Planner
from kmorph.surrogate.subset import representative
from kmorph.surrogate.trained_graph import TrainedGraph

MOST_OBSERVED = 500
"""Most models that the surrogate learns from: with more, proposals would take ever more time and memory."""


@dataclass(frozen=True)
class Observation:
    """One model of a search, or a candidate in training.

    Parameters
    ----------
    model_id : int
        Any number if it is not yet measured.
    parent_id : int or None
    graph : Graph
    loss : float or None
        Validation loss; None for a candidate still in training, or failed.
    lineage_examples : float
        Examples that its lineage had seen when the loss was measured, or is to have seen.
    examples_per_second : float
    hyperparameters : mapping, default={}
    path : sequence of (model_id, images), default=()
        Models of the lineage from the start on, itself included if measured, with the examples the lineage
        had seen at the end of each.
    """

    model_id: int
    parent_id: int | None
    graph: Graph
    loss: float | None
    lineage_examples: float
    examples_per_second: float = 0.0
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    path: tuple[tuple[int, float], ...] = ()

    def as_point(self) -> TrainedGraph:
        """The same for the surrogate's kernels."""
        graph = self.graph.without_weights()
        return TrainedGraph(graph, self.hyperparameters, self.lineage_examples, self.path)


class Observer:
    """Turns the models of a search, and its candidates, into observations.

    Parameters
    ----------
    models : Models
        Of the search; they are read whenever observations are asked for.
    planner : Planner
        Predicts how many examples a candidate will see, and how fast.
    """

    def __init__(self, models: Models, planner: Planner) -> None:
        self.models, self.planner = models, planner
        # Shared by the paths of all descendants: paths are as many as models, and as long as lineages.
        self._steps: dict[int, tuple[int, float]] = {}

    def observations(self) -> list[Observation]:
        """Models of the stable phase that the surrogate learns from and may grow, at most `MOST_OBSERVED`."""
        stable = self.models.stable()
        chosen = representative(np.array([record.loss for record in stable], float), MOST_OBSERVED)
        return with_positive_losses([self.observation(stable[i]) for i in chosen])

    def observation(self, record: ModelRecord) -> Observation:
        """A measured model."""
        return Observation(
            model_id=record.model_id,
            parent_id=record.parent_id,
            graph=self.models.structures[record.model_id],
            loss=record.loss,
            lineage_examples=record.lineage_examples,
            examples_per_second=record.examples_per_second,
            hyperparameters=record.hyperparameters,
            path=tuple(self._step(ancestor) for ancestor in reversed(self.models.lineage(record))),
        )

    def _step(self, record: ModelRecord) -> tuple[int, float]:
        step = record.model_id, float(record.lineage_examples)
        return self._steps.setdefault(record.model_id, step)

    def expected(self, candidate: Candidate, model_id: int) -> Observation:
        """A candidate in training as a parent to be, so that its children can be chosen meanwhile.

        Parameters
        ----------
        candidate : Candidate
        model_id : int
            Number that it will have.
        """
        (unmeasured,) = self.unmeasured([candidate])
        path = (*unmeasured.path, (model_id, float(unmeasured.lineage_examples)))
        return dataclasses.replace(unmeasured, model_id=model_id, path=path)

    def unmeasured(self, candidates: Iterable[Candidate]) -> list[Observation]:
        """Candidates in training, or that failed; their losses are not known."""
        found = []
        for candidate in candidates:
            parent = candidate.parent
            images = self.planner.expected_images(candidate.plan, candidate.graph)
            found.append(
                Observation(
                    model_id=-1,
                    parent_id=parent.model_id if parent else None,
                    graph=candidate.graph,
                    loss=None,
                    lineage_examples=images + (parent.lineage_examples if parent else 0),
                    examples_per_second=self.planner.speed(candidate.graph),
                    hyperparameters=candidate.plan.hyperparameters.to_dict(),
                    path=self.observation(parent).path if parent else (),
                )
            )
        return found


def with_positive_losses(observations: list[Observation]) -> list[Observation]:
    """The same observations, with losses above zero: the surrogate works on their logarithms.

    A user's loss may be anything. Where one is not above zero, all are raised alike: the lowest comes to lie
    a tenth of their spread above it, which keeps their order.
    """
    known = np.array([o.loss for o in observations if o.loss is not None and np.isfinite(o.loss)])
    if not len(known) or known.min() > 0:
        return observations
    raised = max(0.1 * float(known.std()), 1e-3 * abs(float(known.min())), 1e-9) - float(known.min())
    return [o if o.loss is None else dataclasses.replace(o, loss=o.loss + raised) for o in observations]
