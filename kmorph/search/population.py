"""The models of a search, and what the surrogate is told of them."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from kmorph.errors import GraphError
from kmorph.graph import Graph
from kmorph.graph.file import load_structure
from kmorph.search.planning import Planner
from kmorph.search.propose import Observation
from kmorph.search.record import Record, best_record, discarded_seconds
from kmorph.search.settings import Candidate
from kmorph.surrogate.subset import representative

logger = logging.getLogger("kmorph.search")

MOST_OBSERVED = 500
"""Models that the surrogate learns from: with ever more, proposals would take ever more time and memory."""


class Population:
    """The models that a search has trained.

    Attributes
    ----------
    records : dict of int to Record
        By model id.
    structures : dict of int to Graph
        By model id; without weights. Models whose file is damaged have none.
    weightless : set of int
        Ids of models whose weights are gone: dropped to keep a limit on disk space, or damaged.
    failed_seconds : float
        Time that went into candidates which failed.
    """

    def __init__(self) -> None:
        self.failed_seconds = 0.0
        self.records: dict[int | None, Record] = {}
        self.structures: dict[int, Graph] = {}
        self.weightless: set[int] = set()
        self._steps: dict[int | None, tuple[int, float]] = {}

    @classmethod
    def read(cls, records: Iterable[Record], file_of: Callable[[int], Path]) -> Population:
        """The models of an earlier run; those whose files were damaged meanwhile are not built on.

        Parameters
        ----------
        records : iterable of Record
        file_of : callable
            The file of a model, by its id.
        """
        models = cls()
        for record in records:
            assert record.model_id is not None
            try:
                graph, has_weights = load_structure(file_of(record.model_id))
            except GraphError as error:
                logger.warning("model %s is not built on: %s", record.model_id, error)
                models.add_damaged(record)
                continue
            models.add(record, graph)
            if not has_weights:
                models.weightless.add(record.model_id)
        return models

    def __len__(self) -> int:
        return len(self.records)

    def add(self, record: Record, graph: Graph) -> None:
        """Take in a model that was recorded."""
        self.structures[self._add_record(record)] = graph.without_weights()

    def add_damaged(self, record: Record) -> None:
        """Take in a model whose file cannot be read: it is told of, and not built on."""
        self.weightless.add(self._add_record(record))

    def _add_record(self, record: Record) -> int:
        assert record.model_id is not None
        self.records[record.model_id] = record
        # The very same in the paths of all descendants: paths are as many as models, and as long as lineages.
        self._steps[record.model_id] = record.model_id, float(record.lineage_images)
        return record.model_id

    def lineage(self, record: Record) -> list[Record]:
        """A record and its ancestors, back to the start."""
        line = [record]
        while line[-1].parent_id is not None:
            line.append(self.records[line[-1].parent_id])
        return line

    def stable(self) -> list[Record]:
        """Models whose losses compare, for none was settled; if all were, those."""
        measured = [
            record
            for model_id, record in self.records.items()
            if record.loss is not None and model_id in self.structures
        ]
        return [record for record in measured if record.phase == "stable"] or measured

    def growable(self) -> list[Record]:
        """Those of the stable models that still have their weights."""
        return [record for record in self.stable() if record.model_id not in self.weightless]

    def best_stable(self) -> Record | None:
        """The lineage that is worth settling: that with the lowest loss."""
        return best_record(self.growable(), "loss")

    def best(self, objective: str) -> Record | None:
        """The best of the models that have their weights."""
        return best_record(
            (record for record in self.records.values() if record.model_id not in self.weightless), objective
        )

    def discarded_seconds(self) -> float:
        """Time that went into failures, and into stable models which the best does not build on."""
        stable = [record for record in self.records.values() if record.phase == "stable"]
        return self.failed_seconds + discarded_seconds(stable, self.best_stable())

    def observations(self) -> list[Observation]:
        """What the surrogate learns from and may grow: at most `MOST_OBSERVED` models of the stable phase."""
        stable = self.stable()
        chosen = representative(np.array([record.loss for record in stable], float), MOST_OBSERVED)
        return [self.observation(stable[i]) for i in chosen]

    def observation(self, record: Record) -> Observation:
        """A measured model for the surrogate."""
        assert record.model_id is not None and record.loss is not None
        return Observation(
            model_id=record.model_id,
            parent_id=record.parent_id,
            graph=self.structures[record.model_id],
            loss=record.loss,
            lineage_images=record.lineage_images,
            images_per_second=record.images_per_second,
            hyperparameters=record.hyperparameters,
            path=tuple(self._steps[ancestor.model_id] for ancestor in reversed(self.lineage(record))),
        )

    def expected(self, candidate: Candidate, model_id: int, planner: Planner) -> Observation:
        """A candidate in training as a parent to be, so that its children can be chosen meanwhile.

        Parameters
        ----------
        candidate : Candidate
        model_id : int
            Number that it will have.
        planner : Planner
        """
        (unmeasured,) = self.unmeasured([candidate], planner)
        path = (*unmeasured.path, (model_id, float(unmeasured.lineage_images)))
        return dataclasses.replace(unmeasured, model_id=model_id, path=path)

    def unmeasured(self, candidates: Iterable[Candidate], planner: Planner) -> list[Observation]:
        """Candidates in training, or that failed, for the surrogate; their losses are not known.

        Parameters
        ----------
        candidates : iterable of Candidate
        planner : Planner
            Tells how many examples each is expected to be trained on, and how fast.
        """
        found = []
        for candidate in candidates:
            parent = candidate.parent
            images = planner.expected_images(candidate.plan, candidate.graph)
            found.append(
                Observation(
                    model_id=-1,
                    parent_id=parent.model_id if parent else None,
                    graph=candidate.graph,
                    loss=None,
                    lineage_images=images + (parent.lineage_images if parent else 0),
                    images_per_second=planner.speed(candidate.graph),
                    hyperparameters=candidate.plan.hyperparameters.to_dict(),
                    path=self.observation(parent).path if parent else (),
                )
            )
        return found
