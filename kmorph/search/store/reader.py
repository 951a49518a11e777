"""Reading a search from its folder, while it runs or long after."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from kmorph.errors import SearchError
from kmorph.files import UserPath, absolute_path
from kmorph.graph import Graph
from kmorph.numeric import whole_number
from kmorph.presets.tuned import Tuned
from kmorph.problem.metrics import Objective
from kmorph.search.store.folder import RunFolder, translated_errors
from kmorph.search.store.history import FINE_TUNED, PINNED, History
from kmorph.search.store.home import Home
from kmorph.search.store.ranking import best_record, discarded_seconds
from kmorph.search.store.rebuild import has_weights, load_or_rebuild
from kmorph.search.store.record import ModelRecord


class ModelVersion(NamedTuple):
    """A model as it is at a moment: `final_fit` may replace it, and then the time of its file differs.

    Where its encoder was fine-tuned with it, `tuned` is the name of their file.
    """

    search_id: str
    model_id: int
    modified: int
    tuned: str | None = None


class Searcher:
    """A search on disk; every look reads what is there now.

    It belongs to the search that is in the folder when it is made, and follows that when its folder is
    renamed aside because another search begins under the same path. It can be pickled.

    Parameters
    ----------
    path : path-like
        Folder of the search.

    Raises
    ------
    SearchError
        If the folder holds no search, or it cannot be read. Every later look raises it if the search cannot
        be found any more, because its folder was moved elsewhere or deleted.
    """

    def __init__(self, path: UserPath) -> None:
        folder = absolute_path(path, SearchError)
        if not History.exists(folder / RunFolder.DATABASE):
            raise SearchError(
                f"{folder} holds no search: there is no {RunFolder.DATABASE} in it. Give the folder that "
                "was the estimator's `path`"
            )
        self.home = Home.of(folder.resolve())

    @property
    def path(self) -> Path:
        """Folder in which the search is now, absolute."""
        return self.home.folder()

    @property
    def search_id(self) -> str:
        """Identity of the search; see `kmorph.search.store.history.History.search_id`."""
        return self.home.search_id

    @property
    def history(self) -> list[dict[str, Any]]:
        """One dict a model, in the order of their ids."""
        return [record.to_dict() for record in self.records()]

    @property
    def failures(self) -> list[dict[str, Any]]:
        """One dict a candidate that failed, with its ``reason``."""

        def read(folder: Path) -> list[dict[str, Any]]:
            with _opened(folder) as history:
                return [record.to_dict() for record in history.failures()]

        return self.home.read(read)

    @property
    def discarded_share(self) -> float:
        """Part of the time, from 0 to 1, that went into candidates which the best model does not build on."""

        def read(folder: Path) -> float:
            with _opened(folder) as history:
                models, failures = history.records(), history.failures()
            failed = sum(record.seconds for record in failures)
            spent = failed + sum(record.seconds for record in models)
            if not spent:
                return 0.0
            best = _best(folder)[0] if models else None
            return (failed + discarded_seconds(models, best)) / spent

        return self.home.read(read)

    def records(self) -> list[ModelRecord]:
        """The records behind `history`."""
        return self.home.read(_records)

    def meta(self, key: str, default: Any = None) -> Any:
        """Value that the search stored under `key`, or `default`."""

        def read(folder: Path) -> Any:
            with _opened(folder) as history:
                return history.get_meta(key, default)

        return self.home.read(read)

    def get_best_model_id(self) -> int:
        """Id of the best model: the one that `final_fit` made, else that with the best metric.

        Raises
        ------
        SearchError
            If no model was trained yet.
        """
        return self.best_version().model_id

    def best_version(self) -> ModelVersion:
        """The best model, and when its file was last written."""

        def read(folder: Path) -> tuple[ModelVersion, list[int]]:
            tuned = _tuned(folder)
            if tuned is not None:
                return ModelVersion(self.search_id, *tuned), []
            best, lost = _best(folder)
            with translated_errors(folder):
                modified = RunFolder.model_path(folder, best.model_id).stat().st_mtime_ns
            return ModelVersion(self.search_id, best.model_id, modified), lost

        version, lost = self.home.read(read)
        if lost:
            warnings.warn(
                f"the best model of the search in {self.path} cannot be read any more: instead of "
                f"{_ranges(lost)} the best one is now {version.model_id}",
                stacklevel=3,
            )
        return version

    def load_model_by_id(self, model_id: int) -> Graph:
        """The graph of a model, with its weights.

        Weights that were dropped to keep ``max_disk`` are replaced by what the nearest ancestor has, with
        a warning; see `kmorph.search.store.rebuild.load_or_rebuild`.

        Raises
        ------
        SearchError
            If there is no such model, its file cannot be read, its weights were dropped and no ancestor has
            any, or it has a kind of layer that must be imported first.
        """
        try:
            number: int | None = whole_number(model_id)
        except TypeError:
            number = None

        def read(folder: Path) -> Graph:
            records = {record.model_id: record for record in _records(folder)}
            if number is None or number not in records:
                raise SearchError(f"there is no model {model_id!r}; the ids are {_ranges(list(records))}")
            return load_or_rebuild(folder, records, number)

        return self.home.read(read)

    def load_best_model(self) -> Graph:
        """The graph of the best model, with its weights."""
        return self.load_version(self.best_version())

    def load_version(self, version: ModelVersion) -> Graph:
        """The graph of a model as it is in a version, with its weights."""
        if version.tuned is None:
            return self.load_model_by_id(version.model_id)
        return Tuned.load(self.tuned_file(version.tuned)).head

    def tuned_file(self, name: str) -> Path:
        """The file with a fine-tuned encoder."""
        return RunFolder.tuned_path(self.path, name)

    def __repr__(self) -> str:
        return f"<Searcher {str(self.path)!r}: {len(self.records())} models>"


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[History]:
    """The history in a folder, as it is at one moment."""
    with History.open(folder / RunFolder.DATABASE, readonly=True) as history, history.snapshot():
        yield history


def _records(folder: Path) -> list[ModelRecord]:
    with _opened(folder) as history:
        return history.records()


def _best(folder: Path) -> tuple[ModelRecord, list[int]]:
    """The best model with a readable file, and the ids of better ones whose files are damaged."""
    with _opened(folder) as history:
        pinned, records = history.get_meta(PINNED), history.records()
        objective = Objective.from_json(history.get_meta("objective", "accuracy"))
    lost: list[int] = []
    while True:
        best = next((record for record in records if record.model_id == pinned), None)
        best = best or best_record(records, objective)
        if best is None:
            what = f"no readable model: the files of {_ranges(lost)} are damaged" if lost else "no model yet"
            raise SearchError(f"the search in {folder} has {what}")
        if has_weights(folder, best.model_id):
            return best, lost
        lost.append(best.model_id)
        records.remove(best)


def _tuned(folder: Path) -> tuple[int, int, str] | None:
    """Model id, time and name of the fine-tuned model's file, if there is one."""
    with _opened(folder) as history:
        about = history.get_meta(FINE_TUNED)
    if about is None:
        return None
    about = about if isinstance(about, dict) else {}
    file = RunFolder.tuned_path(folder, about.get("file", ""))
    try:
        return whole_number(about.get("model_id")), file.stat().st_mtime_ns, file.name
    except TypeError as error:
        raise SearchError(f"the history of the search in {folder} is damaged: {error}") from error
    except OSError:
        warnings.warn(
            f"the fine-tuned encoder {file} is gone: predictions are those of the frozen one. Call fine_tune "
            "again",
            stacklevel=4,
        )
        return None


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
