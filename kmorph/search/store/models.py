"""The models of a search in memory: records, structures, and whose weights are gone."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from math import isfinite
from pathlib import Path

from kmorph.errors import GraphError, SearchError, UnknownLayerError
from kmorph.graph import Graph
from kmorph.graph.file import load_structure
from kmorph.problem.metrics import LOSS, Objective
from kmorph.search.store.ranking import best_record, discarded_seconds
from kmorph.search.store.record import ModelRecord

logger = logging.getLogger("kmorph.search")


class Models:
    """The models that a search has trained.

    Attributes
    ----------
    records : dict of int to ModelRecord
        By model id.
    structures : dict of int to Graph
        By model id; without weights. Models whose file is damaged have none.
    weightless : set of int
        Ids of models whose weights are gone: dropped to keep a limit on disk space, or damaged.
    successors : dict of int to int
        Larger models that stand for smaller ones, which they were grown from by a planned step.
    failed_seconds : float
        Time that went into candidates which failed.
    """

    def __init__(self) -> None:
        self.failed_seconds = 0.0
        self.records: dict[int, ModelRecord] = {}
        self.structures: dict[int, Graph] = {}
        self.weightless: set[int] = set()
        self.successors: dict[int, int] = {}

    @classmethod
    def read(cls, records: Iterable[ModelRecord], file_of: Callable[[int], Path]) -> Models:
        """The models of an earlier run; those whose files were damaged meanwhile are not built on.

        Parameters
        ----------
        records : iterable of ModelRecord
        file_of : callable
            The file of a model, by its id.

        Raises
        ------
        SearchError
            If one has a kind of layer that this program has not registered.
        """
        models = cls()
        for record in records:
            try:
                graph, has_weights = load_structure(file_of(record.model_id))
            except UnknownLayerError as error:
                raise SearchError(f"the search cannot go on: {error}") from error
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

    def add(self, record: ModelRecord, graph: Graph) -> None:
        """Take in a recorded model and its structure."""
        self.records[record.model_id] = record
        self.structures[record.model_id] = graph.without_weights()

    def add_damaged(self, record: ModelRecord) -> None:
        """Take in a model whose file cannot be read: its record counts, but nothing is built on it."""
        self.records[record.model_id] = record
        self.weightless.add(record.model_id)

    def lineage(self, record: ModelRecord) -> list[ModelRecord]:
        """A record and its ancestors, back to the start."""
        line = [record]
        while line[-1].parent_id is not None:
            line.append(self.records[line[-1].parent_id])
        return line

    def starts(self) -> list[ModelRecord]:
        """Those without a parent."""
        return [record for record in self.records.values() if record.parent_id is None]

    def stable(self) -> list[ModelRecord]:
        """Models whose losses compare, for none was settled; if all were, those."""
        measured = [
            record
            for model_id, record in self.records.items()
            if record.loss is not None and isfinite(record.loss) and model_id in self.structures
        ]
        return [record for record in measured if record.phase == "stable"] or measured

    def growable(self) -> list[ModelRecord]:
        """Those of the stable models that still have their weights."""
        return [record for record in self.stable() if record.model_id not in self.weightless]

    def best_stable(self) -> ModelRecord | None:
        """The lineage that is worth settling: that with the lowest loss, or its successor."""
        growable = {record.model_id: record for record in self.growable()}
        best = best_record(growable.values(), LOSS)
        while best is not None and self.successors.get(best.model_id) in growable:
            best = growable[self.successors[best.model_id]]
        return best

    def best(self, objective: Objective) -> ModelRecord | None:
        """The best of the models that have their weights."""
        return best_record(
            (record for record in self.records.values() if record.model_id not in self.weightless), objective
        )

    def discarded_seconds(self) -> float:
        """Time that went into failures, and into stable models which the best does not build on."""
        stable = [record for record in self.records.values() if record.phase == "stable"]
        return self.failed_seconds + discarded_seconds(stable, self.best_stable())
