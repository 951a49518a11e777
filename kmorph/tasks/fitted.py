"""Looking at an estimator's search, and at the best model it found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import sklearn.exceptions
from sklearn.base import BaseEstimator

from kmorph.data.labels import LabelCodec
from kmorph.errors import KmorphError, SearchError
from kmorph.files import UserPath, absolute_path
from kmorph.graph import Graph
from kmorph.locks import ForkSafeLock
from kmorph.search.store.folder import RunFolder
from kmorph.search.store.history import History
from kmorph.search.store.reader import Searcher
from kmorph.training.backend import load_backend

if TYPE_CHECKING:
    import keras


using_models = ForkSafeLock()
"""Held while an estimator builds its best model, and while that predicts.

Under JAX, Keras empties a model's variables while it predicts, and so those of a model that shares them.
The lock belongs to no estimator, because estimators are copied and pickled.
"""


class NotFittedError(KmorphError, sklearn.exceptions.NotFittedError):
    """An estimator that is asked for what only `fit` can give it."""


class Fitted(BaseEstimator):
    """The part of an estimator that reads its search from disk."""

    path: UserPath | None
    resume: bool
    path_: Path

    def load_searcher(self) -> Searcher:
        """The search on disk: its history and its models.

        Raises
        ------
        NotFittedError
            If nothing was searched yet.
        """
        return self._searcher()

    def _searcher(self) -> Searcher:
        if hasattr(self, "path_"):
            return Searcher(self.path_)
        if (
            self.resume
            and self.path is not None
            and History.exists(absolute_path(self.path, SearchError) / RunFolder.DATABASE)
        ):
            return Searcher(self.path)
        raise NotFittedError(f"this {type(self).__name__} is not fitted yet: call fit(x, y) first")

    @property
    def history(self) -> list[dict[str, Any]]:
        """One dict a model, in the order of their ids; empty if nothing was searched yet."""
        try:
            return self._searcher().history
        except NotFittedError:
            return []

    @property
    def failures(self) -> list[dict[str, Any]]:
        """One dict a candidate that failed, with its ``reason``."""
        try:
            return self._searcher().failures
        except NotFittedError:
            return []

    def get_best_model_id(self) -> int:
        """Id of the best model."""
        return self._searcher().get_best_model_id()

    @property
    def best_graph(self) -> Graph:
        """The best model's graph, with its weights."""
        return self._searcher().load_best_model()

    def _codec(self, searcher: Searcher) -> LabelCodec:
        return LabelCodec.from_json(searcher.meta("labels"))

    def _best(self) -> tuple[Graph, keras.Model]:
        """The best graph and its compiled model, kept until the search changes on disk."""
        # One thread builds the model, those that ask at the same time wait for it.
        with using_models.held():
            return self._kept_or_built()

    def _kept_or_built(self) -> tuple[Graph, keras.Model]:
        searcher = self._searcher()
        best = searcher.get_best_model_id()
        file = RunFolder.model_path(searcher.path, best)
        key = (file, file.stat().st_mtime_ns)
        if getattr(self, "_loaded", (None,))[0] != key:
            load_backend()
            graph = searcher.load_model_by_id(best)
            self._loaded = (key, graph, graph.to_keras())
        return self._loaded[1], self._loaded[2]

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_loaded"}
