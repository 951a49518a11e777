"""Looking at an estimator's search, and at the best model it found."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import sklearn.exceptions
from sklearn.base import BaseEstimator, clone

from kmorph.errors import DataError, KmorphError, SearchError
from kmorph.export import Views
from kmorph.files import UserPath, absolute_path
from kmorph.graph import Graph
from kmorph.graph.keras_bridge import predict
from kmorph.locks import ForkSafeLock
from kmorph.problem import EncodedInput, Input, Target
from kmorph.search.store.folder import RunFolder
from kmorph.search.store.history import FINE_TUNED, History
from kmorph.search.store.reader import ModelVersion, Searcher
from kmorph.tasks.encoding import with_encoder
from kmorph.tasks.fitting import KEPT_CHANGES, stored_input, stored_target
from kmorph.tasks.options import check_flag
from kmorph.tasks.pickling import kept_in_pickle
from kmorph.training.backend import backend_name, load_backend

if TYPE_CHECKING:
    import keras

SHARED = ("executor", "strategy", "callbacks", "loss", "optimizer", "objective")
"""Arguments that clones and copies use too, instead of copies of them.

The first stand for a running process. The others are never changed, and Keras' copies of them are not
complete: of `keras.losses.Huber` delta gets lost.
"""

_using_models = ForkSafeLock()
"""Held while an estimator builds its best model, and while that predicts on other backends than TensorFlow.

Under JAX, Keras moves a model's state in and out while it predicts, which a second thread must not see.
The lock belongs to no estimator, because estimators are copied and pickled.
"""
PREDICTION_BATCH = 256
MODELS = ("_loaded", "_averaged")  # attributes with Keras models, which copies and pickles do not have


class NotFittedError(KmorphError, sklearn.exceptions.NotFittedError):
    """An estimator that is asked for what only `fit` can give it."""


class Fitted(BaseEstimator):
    """The part of an estimator that reads its search from disk.

    An estimator belongs to a search, the one that it fitted last, and follows that when its folder is renamed
    aside. Before it is fitted, one with ``resume=True`` belongs to the search it first finds in `path`.
    """

    path: UserPath | None
    resume: bool
    views: bool
    encoder: UserPath | None

    def load_searcher(self) -> Searcher:
        """The search on disk: its history and its models.

        Raises
        ------
        NotFittedError
            If nothing was searched yet.
        """
        return self._searcher()

    @property
    def path_(self) -> Path:
        """Folder in which the estimator's search is now."""
        return self._searcher().path

    def _searcher(self) -> Searcher:
        fitted: Searcher | None = self.__dict__.get("_fitted")
        if fitted is not None:
            return fitted
        path, found = self.__dict__.get("_found", (None, None))
        if self.resume and self.path is not None:
            if found is not None and path == self.path:
                return found
            if History.exists(absolute_path(self.path, SearchError) / RunFolder.DATABASE):
                self._found = (self.path, Searcher(self.path))
                return self._found[1]
        advice = "call fit(x, y) first"
        if self.path is not None and not self.resume:
            folder = absolute_path(self.path, SearchError)
            if History.exists(folder / RunFolder.DATABASE):
                advice = f"the search in {folder} is opened with resume=True, or fit(x, y) begins a new one"
        raise NotFittedError(f"this {type(self).__name__} is not fitted yet: {advice}")

    def _belong_to(self, searcher: Searcher) -> None:
        """Read from this search from now on."""
        self._fitted = searcher
        for name in MODELS:
            self.__dict__.pop(name, None)

    def __sklearn_is_fitted__(self) -> bool:
        try:
            self._searcher()
        except (NotFittedError, SearchError):
            return False
        return True

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
    def fine_tuned_(self) -> dict[str, Any] | None:
        """What `fine_tune` made of the best model, None if nothing.

        A dict: ``model_id``; ``metric_value`` and ``loss`` on the validation part, as in `history`, and
        without fine-tuning ``frozen_metric_value`` and ``frozen_loss``; ``epochs``; ``seconds``.
        """
        about = self._searcher().meta(FINE_TUNED)
        return None if about is None else {name: value for name, value in about.items() if name != "file"}

    @property
    def best_graph(self) -> Graph:
        """The best model's graph, with its weights."""
        return self._searcher().load_best_model()

    def _input(self) -> Input:
        """Input of the search: turns examples into arrays.

        Raises
        ------
        SearchError
            If the search was made for examples of another kind.
        """
        searcher = self._searcher()
        found, own = stored_input(searcher), getattr(type(self), "input", Input)
        is_encoded = isinstance(found, EncodedInput) and found.noun == own.noun
        if not is_encoded and not isinstance(found, own):
            raise SearchError(
                f"the search in {searcher.path} is for {found.noun}, {type(self).__name__} for {own.noun}: "
                "open it with the estimator that made it"
            )
        if is_encoded:
            load_backend()
        return with_encoder(found, self.encoder, searcher.path)

    def _input_of(self, version: ModelVersion) -> Input:
        """Input that goes with a model: that of the search, or with the encoder fine-tuned."""
        found = self._input()
        if version.tuned is None or not isinstance(found, EncodedInput):
            return found
        return found.tuned_by(self._searcher().tuned_file(version.tuned))

    def _target(self) -> Target:
        """Target of the search: turns labels into codes, and outputs into labels."""
        return stored_target(self._searcher())

    def _views(self) -> Views | None:
        """Views over which predictions are averaged; None: there is the example itself alone.

        Raises
        ------
        DataError
            If `views` is neither True nor False, or the search does not know which views keep the label.
        """
        if not check_flag("views", self.views, auto=False):
            return None
        kinds = self._searcher().meta(KEPT_CHANGES)
        if kinds is None:
            raise DataError(
                "views=True: this search has not stored which changes of the examples keep their labels, as "
                "it was made by an earlier version; call fit with resume=True once"
            )
        return Views(self._input(), tuple(kinds))

    def _best(self) -> tuple[Input, Graph, keras.Model]:
        """The best graph, its input and its Keras model, which is kept until the search changes on disk."""
        load_backend()  # refuses a forked process in which it cannot work, too
        searcher = self._searcher()
        version = searcher.best_version()
        loaded = self._kept(version)
        if loaded is None:
            with _using_models.held():
                loaded = self._kept(version)
                if loaded is None:
                    graph = searcher.load_version(version)
                    loaded = graph, graph.to_keras()
                    self._loaded = (version, loaded)
        return self._input_of(version), *loaded

    def _predicting(self) -> tuple[Input, keras.Model]:
        """The best model and its input; where `views` is True, its mean over views of each example."""
        views = self._views()
        input, _, model = self._best()
        if views is None:
            return input, model
        with _using_models.held():
            known, averaging = self.__dict__.get("_averaged", (None, None))
            if known != (model, views):
                averaging = views.over(model)
                self._averaged = ((model, views), averaging)
        return input, averaging

    def _outputs(self, model: keras.Model, x: np.ndarray) -> np.ndarray:
        """Outputs of the best model, or of one that shares its layers; any number of threads may ask."""
        if backend_name() == "tensorflow":
            return predict(model, x, PREDICTION_BATCH)
        with _using_models.held():
            return predict(model, x, PREDICTION_BATCH)

    def _kept(self, version: ModelVersion) -> tuple[Graph, keras.Model] | None:
        """The model that was built last, if it is this one."""
        kept, loaded = self.__dict__.get("_loaded", (None, None))
        return loaded if kept == version else None

    # Copies.

    def __sklearn_clone__(self) -> Fitted:
        arguments = {
            name: value if name in SHARED else clone(value, safe=False)
            for name, value in self.get_params(deep=False).items()
        }
        new = type(self)(**arguments)
        for name in ("_metadata_request", "_sklearn_output_config"):  # what scikit-learn's own clones keep
            if name in self.__dict__:
                setattr(new, name, copy.deepcopy(self.__dict__[name]))
        return new

    def __copy__(self) -> Fitted:
        new = type(self).__new__(type(self))
        new.__dict__.update(self.__dict__)
        return new

    def __deepcopy__(self, memo: dict[int, Any]) -> Fitted:
        new = type(self).__new__(type(self))
        memo[id(self)] = new
        for name, value in self.__dict__.items():
            if name not in MODELS:
                new.__dict__[name] = value if name in SHARED else copy.deepcopy(value, memo)
        return new

    def __getstate__(self) -> dict[str, Any]:
        state = {name: value for name, value in super().__getstate__().items() if name not in MODELS}
        return kept_in_pickle(self, state, self.get_params(deep=False))
