"""A limit on disk space: how large models may be, and whose weights go when space is short.

What counts is what a search writes: its history, its models, and the copy of the data and other files of the
fit under way. A model whose weights are dropped keeps its record and its structure;
`kmorph.search.store.rebuild` makes an approximation of it.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from math import inf, isfinite

from kmorph.errors import DataError, SearchError
from kmorph.graph import Graph
from kmorph.search.store.folder import RunFolder
from kmorph.search.store.models import Models
from kmorph.search.store.record import ModelRecord

logger = logging.getLogger("kmorph.search")

BYTES = 4  # of a weight
MODELS = 16  # so many of the largest size fit: those that are never dropped, and those being written
COPIES = 3  # of a candidate's weights at once: as it begins, as it ends, and that while it is written
HEADER = 2**16  # bytes for the structure of a model
RESERVE = 2**20  # bytes for the history and small files


def fit_disk(
    starts: tuple[tuple[str, Graph], ...], max_parameters: int | None, limit: int, data: int
) -> tuple[tuple[tuple[str, Graph], ...], int]:
    """Starts, and the most parameters of a model, that a limit on disk space allows.

    Parameters
    ----------
    starts : tuple of (str, Graph)
    max_parameters : int or None
        As the user has it.
    limit : int
        Bytes that a search may occupy.
    data : int
        Bytes that the data takes while it runs.

    Raises
    ------
    DataError
        If there is no room for any start.
    """
    room = (limit - data - RESERVE) // MODELS - HEADER
    smallest = min(graph.n_parameters for _, graph in starts)
    if room < BYTES * smallest:
        raise DataError(
            f"max_disk={limit:,} bytes is too little: while it runs, a search keeps a copy of the data "
            f"({data:,} bytes) and room for {MODELS} models beside it, which begin with {smallest:,} "
            f"parameters; give at least {data + RESERVE + MODELS * (BYTES * smallest + HEADER):,}"
        )
    most = min(room // BYTES, max_parameters or room)
    return tuple(start for start in starts if start[1].n_parameters <= max(most, smallest)), most


class DiskLimit:
    """Keeps the folder of a search below a size by dropping the weights of poor models.

    Parameters
    ----------
    folder : RunFolder
    models : Models
        Of the search; its `weightless` is updated.
    limit : int or None
        Bytes; None: no limit.
    """

    def __init__(self, folder: RunFolder, models: Models, limit: int | None) -> None:
        self.folder, self.models, self.limit = folder, models, limit

    def make_room(self, graph: Graph, beside: int, keep: Collection[int | None]) -> None:
        """Drop weights until a candidate can be trained and written.

        Parameters
        ----------
        graph : Graph
            The candidate.
        beside : int
            Bytes that are written with it, as its predictions for the validation data.
        keep : collection of int
            Ids of models that must not be touched.

        Raises
        ------
        SearchError
            If nothing is left to be dropped.
        """
        if self.limit is None:
            return
        needed = COPIES * (BYTES * graph.n_parameters + HEADER) + beside
        with self.folder.translated_errors():
            used = self.folder.size()
        droppable = self._poorest_first(keep)
        while used + needed > self.limit:
            if not droppable:
                raise SearchError(
                    f"max_disk={self.limit:,} bytes is too little to go on: {used:,} are used, {needed:,} "
                    "more are needed, and only models that must stay are left; give more, or set "
                    "max_parameters"
                )
            used -= self._drop(droppable.pop(0))

    def _poorest_first(self, keep: Collection[int | None]) -> list[ModelRecord]:
        with_weights = [
            record
            for model_id, record in self.models.records.items()
            if model_id not in self.models.weightless and model_id not in keep
        ]

        def merit(record: ModelRecord) -> tuple[bool, float]:
            loss = inf if record.loss is None or not isfinite(record.loss) else record.loss
            return record.parent_id is None, -loss

        return sorted(with_weights, key=merit)  # starts last: from them all others can be rebuilt

    def _drop(self, record: ModelRecord) -> int:
        """Replace a model's file by its structure; returns the bytes that became free."""
        file = self.folder.model_file(record.model_id)
        with self.folder.translated_errors():
            before = file.stat().st_size
            structure = self.models.structures[record.model_id].save(
                self.folder.scratch / "dropped.safetensors"
            )
            freed = before - structure.stat().st_size
            structure.replace(file)
            outputs = self.folder.outputs_file(record.model_id)
            if outputs.exists():
                freed += outputs.stat().st_size
                outputs.unlink()
        self.models.weightless.add(record.model_id)
        logger.info("model %s: weights dropped, %s bytes", record.model_id, f"{freed:,}")
        return freed
