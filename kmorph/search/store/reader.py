"""Reading a search from its folder, while it runs or long after."""

from __future__ import annotations

import contextlib
import warnings
from typing import Any

from kmorph.errors import SearchError
from kmorph.files import UserPath, absolute_path
from kmorph.graph import Graph
from kmorph.numeric import whole_number
from kmorph.search.store.folder import RunFolder
from kmorph.search.store.history import PINNED, History
from kmorph.search.store.ranking import best_record, discarded_seconds
from kmorph.search.store.rebuild import has_weights, load_or_rebuild
from kmorph.search.store.record import ModelRecord


class Searcher:
    """A search on disk; every look reads what is there now.

    Parameters
    ----------
    path : path-like
        Folder of the search.

    Raises
    ------
    SearchError
        If the folder holds no search, or it cannot be read.
    """

    def __init__(self, path: UserPath) -> None:
        self.path = absolute_path(path, SearchError)
        self._database = self.path / RunFolder.DATABASE
        if not History.exists(self._database):
            raise SearchError(
                f"{self.path} holds no search: there is no {RunFolder.DATABASE} in it. Give the folder that "
                "was the estimator's `path`"
            )

    @property
    def history(self) -> list[dict[str, Any]]:
        """One dict a model, in the order of their ids."""
        return [record.to_dict() for record in self.records()]

    @property
    def failures(self) -> list[dict[str, Any]]:
        """One dict a candidate that failed, with its ``reason``."""
        with History.open(self._database, readonly=True) as history:
            return [record.to_dict() for record in history.failures()]

    @property
    def discarded_share(self) -> float:
        """Part of the time, from 0 to 1, that went into candidates which the best model does not build on."""
        with History.open(self._database, readonly=True) as history:
            models, failures = history.records(), history.failures()
        failed = sum(record.seconds for record in failures)
        spent = failed + sum(record.seconds for record in models)
        if not spent:
            return 0.0
        number = self.get_best_model_id() if models else None
        best = next((record for record in models if record.model_id == number), None)
        return (failed + discarded_seconds(models, best)) / spent

    def records(self) -> list[ModelRecord]:
        """The records behind `history`."""
        with History.open(self._database, readonly=True) as history:
            return history.records()

    def meta(self, key: str, default: Any = None) -> Any:
        """What the search noted of its task under `key`."""
        with History.open(self._database, readonly=True) as history:
            return history.get_meta(key, default)

    def get_best_model_id(self) -> int:
        """Id of the best model: the one that `final_fit` made, else that with the best metric.

        Raises
        ------
        SearchError
            If no model was trained yet.
        """
        with History.open(self._database, readonly=True) as history:
            pinned, records = history.get_meta(PINNED), history.records()
            objective = history.get_meta("objective", "accuracy")
        lost: list[int] = []
        while True:
            best = next((record for record in records if record.model_id == pinned), None)
            best = best or best_record(records, objective)
            if best is None:
                what = (
                    f"no readable model: the files of {_ranges(lost)} are damaged" if lost else "no model yet"
                )
                raise SearchError(f"the search in {self.path} has {what}")
            if has_weights(self.path, best.model_id):
                break
            lost.append(best.model_id)
            records.remove(best)
        if lost:
            warnings.warn(
                f"the best model of the search in {self.path} cannot be read any more: instead of "
                f"{_ranges(lost)} the best one is now {best.model_id}",
                stacklevel=2,
            )
        return best.model_id

    def load_model_by_id(self, model_id: int) -> Graph:
        """The graph of a model, with its weights.

        Weights that were dropped to keep ``max_disk`` are replaced by what the nearest ancestor has, with
        a warning; see `kmorph.search.store.rebuild.load_or_rebuild`.

        Raises
        ------
        SearchError
            If there is no such model, its file cannot be read, or its weights were dropped and no ancestor
            has any.
        """
        records = {record.model_id: record for record in self.records()}
        number = None
        with contextlib.suppress(TypeError):
            number = whole_number(model_id)
        if number is None or number not in records:
            raise SearchError(f"there is no model {model_id!r}; the ids are {_ranges(list(records))}")
        return load_or_rebuild(self.path, records, number)

    def load_best_model(self) -> Graph:
        """The graph of the best model, with its weights."""
        return self.load_model_by_id(self.get_best_model_id())

    def __repr__(self) -> str:
        return f"<Searcher {str(self.path)!r}: {len(self.records())} models>"


def load_searcher(path: UserPath) -> Searcher:
    """Open a search from its path alone.

    Parameters
    ----------
    path : path-like
        The folder that was the estimator's `path`.

    Returns
    -------
    Searcher

    Raises
    ------
    SearchError
        If the folder holds no search, or it cannot be read.
    """
    return Searcher(path)


def _ranges(ids: list[int]) -> str:
    numbers = sorted(ids)
    if not numbers:
        return "none yet"
    return f"{numbers[0]} to {numbers[-1]}" if len(numbers) > 1 else str(numbers[0])
