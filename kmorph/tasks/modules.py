"""Modules, as in Auto-Keras 0.x: a search for data and a loss of the user's own."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from kmorph import losses
from kmorph.data.labels import LabelCodec, as_dense, as_label_array
from kmorph.data.loaders import is_loader
from kmorph.errors import DataError
from kmorph.files import UserPath
from kmorph.graph import Graph
from kmorph.problem import (
    ArrayInput,
    Classes,
    ImageInput,
    Numbers,
    SignalInput,
    Target,
    VolumeInput,
    YesNo,
)
from kmorph.problem.metrics import NUMBER_METRICS
from kmorph.problem.own import name_of
from kmorph.problem.targets import learn_labels
from kmorph.search import load_searcher
from kmorph.search.store.reader import Searcher
from kmorph.tasks.arguments import check_arguments
from kmorph.tasks.estimator import Estimator
from kmorph.tasks.options import check_count
from kmorph.tasks.reading import Reading

if TYPE_CHECKING:
    import keras

DAY = 24 * 60 * 60.0
OF_NUMBERS = (
    "squared_error",
    "absolute_error",
    "absolute_percentage",
    "logarithmic",
    "mse",
    "mae",
    "mape",
    "msle",
    "huber",
    "log_cosh",
    "poisson",
    "regression_loss",
)
"""Parts of the names of losses that compare numbers."""


class _Search(Estimator):
    """The estimator behind a module."""

    width: int | None = None
    compares_numbers: bool | None = None

    def _learn_target(self, y: Any, n: int) -> Target:
        return target_of(y, n, self.width, self.compares_numbers)


class _ArraySearch(_Search):
    _task = "arrays"
    input = ArrayInput


class _SignalSearch(_Search):
    _task = "signal_arrays"
    input = SignalInput


class _ImageSearch(_Search):
    _task = "image_arrays"
    input = ImageInput


class _VolumeSearch(_Search):
    _task = "volume_arrays"
    input = VolumeInput


class Module:
    """Base of the modules; see `MlpModule`."""

    searches: ClassVar[dict[int | None, type[_Search]]]
    """Estimators by the number of axes of an example; None: any other number."""

    def __init__(
        self,
        loss: Any,
        metric: Any,
        searcher_args: dict[str, Any] | None = None,
        path: UserPath | None = None,
        verbose: bool = False,
        **arguments: Any,
    ) -> None:
        self.loss, self.metric = loss, metric
        self.searcher_args, self.path, self.verbose = searcher_args, path, verbose
        self.arguments = arguments
        self._estimator: _Search | None = None

    def fit(
        self,
        n_output_node: int,
        input_shape: Sequence[int],
        train_data: Any,
        test_data: Any = None,
        time_limit: float | None = DAY,
    ) -> Module:
        """Search for a good network.

        Parameters
        ----------
        n_output_node : int
            Outputs of the network: classes, labels or numbers. 1 with labels 0 and 1 is a sigmoid.
        input_shape : sequence of int
            Of an example; the number of examples may stand in front.
        train_data : tuple (x, y), or loader
            Labels are one-hot rows, class numbers, rows of zeros and ones, or numbers.
        test_data : tuple (x, y), or loader, optional
            What models are compared on; None: a part of the training data.
        time_limit : float, default=86400
            Seconds.

        Returns
        -------
        self

        Raises
        ------
        DataError
            If data or arguments cannot be used, or do not go together.
        SearchError
            If the folder cannot be used, or not a single model could be trained.
        """
        width = check_count("n_output_node", n_output_node)
        if width is None:
            raise DataError("n_output_node must be a whole number from 1, got None")
        begun = time.time()
        arguments = check_arguments(self._new(_Search), time_limit)
        with Reading(arguments, self.path, self.verbose) as reading:
            x, y, weights = reading.examples(*_pair("train_data", train_data), name="train_data")
            estimator = self._estimator_for(_shape(input_shape, x))
            estimator.width, estimator.compares_numbers = width, _compares_numbers(self.loss, self.metric)
            left = None if arguments.time_limit is None else arguments.time_limit - (time.time() - begun)
            self._estimator = estimator
            estimator.fit(x, y, left, reading.validation(test_data), weights)
        return self

    def _estimator_for(self, shape: tuple[int, ...]) -> _Search:
        kind = self.searches.get(len(shape), self.searches.get(None))
        if kind is None:
            raise DataError(
                f"{type(self).__name__} takes examples of one to three axes and channels last, such as "
                f"(28, 28, 1); input_shape is {shape}. MlpModule takes any shape"
            )
        return self._new(kind)

    def final_fit(
        self,
        train_data: Any,
        test_data: Any = None,
        trainer_args: dict[str, Any] | None = None,
        retrain: bool = False,
        time_limit: float | None = None,
    ) -> Module:
        """Train the best model on; see `ImageClassifier.final_fit`."""
        x, y = _pair("train_data", train_data)
        x_test, y_test = (None, None) if test_data is None else _pair("test_data", test_data)
        self._fitted().final_fit(x, y, x_test, y_test, trainer_args, retrain, time_limit)
        return self

    def predict(self, x: Any) -> np.ndarray:
        """Labels of examples in the form that they had in `fit`, or numbers."""
        return self._fitted().predict(x)

    def predict_proba(self, x: Any) -> np.ndarray:
        """What the network gives: probabilities, or numbers in the user's units, shape (n, n_output_node)."""
        return self._fitted()._scores(x)

    def evaluate(self, x: Any, y: Any = None) -> float:
        """Accuracy for labels, mean squared error for numbers; without `y`, `x` is a pair or a loader."""
        if y is None and isinstance(x, tuple | list):
            x, y = _pair("x", x)
        return self._fitted().evaluate(x, y)

    @property
    def best_graph(self) -> Graph:
        """The best model's graph, with its weights."""
        return self._fitted().best_graph

    @property
    def history(self) -> list[dict[str, Any]]:
        """One dict a model; see `ImageClassifier.history`."""
        return self._fitted().history

    @property
    def path_(self) -> Any:
        """Folder in which the search is now."""
        return self._fitted().path_

    def load_searcher(self) -> Searcher:
        """The search, as `kmorph.load_searcher` opens it."""
        if self._estimator is None and self.path is not None:
            return load_searcher(self.path)
        return self._fitted().load_searcher()

    def load_best_model(self) -> Graph:
        """The graph of the best model, with its weights."""
        return self.load_searcher().load_best_model()

    def transform(self, x: Any) -> np.ndarray:
        """Features of examples: what the last layer reads, shape (n, features)."""
        return self._fitted().transform(x)

    def feature_extractor(self, layer: int | None = None) -> keras.Model:
        """The best model up to one of its nodes; see `ImageClassifier.feature_extractor`."""
        return self._fitted().feature_extractor(layer)

    def export(self, target: UserPath, format: str = "keras", **options: Any) -> Any:
        """Write the best model in a form that needs no kmorph; see `ImageClassifier.export`."""
        return self._fitted().export(target, format, **options)

    def export_keras_model(self, file: UserPath) -> Any:
        """Write the best model as a ``.keras`` file."""
        return self.export(file)

    def _new(self, kind: type[_Search]) -> _Search:
        is_standard = any(self.loss is loss for loss in (losses.classification_loss, losses.regression_loss))
        given: dict[str, Any] = {
            "path": self.path,
            "verbose": self.verbose,
            "searcher_args": self.searcher_args,
            "loss": None if is_standard else self.loss,
            "objective": getattr(self.metric, "objective", self.metric),
            "augment": False,
        }
        return kind(**{**given, **self.arguments})

    def _fitted(self) -> _Search:
        """The estimator of the last `fit`, or one that opens the search in `path`."""
        if self._estimator is not None:
            return self._estimator
        if self.path is None:
            raise DataError(f"this {type(self).__name__} has no search yet: call fit first")
        task = load_searcher(self.path).meta("task")
        kinds = {kind._task: kind for kind in self.searches.values()}
        if task not in kinds:
            raise DataError(f"the search in {self.path!s} was not made by {type(self).__name__}")
        found = self._new(kinds[task])
        found.resume = True  # which opens what is there
        return found


class MlpModule(Module):
    """Searches for a network of dense layers, for data and a loss of the user's own.

    Parameters
    ----------
    loss : str, keras.losses.Loss or callable
        As for `ImageClassifier`; ``kmorph.losses.classification_loss`` and ``regression_loss`` are the names
        of Auto-Keras 0.x.
    metric : str, callable, Keras metric, scorer, or pair (metric, greater_is_better)
        As `objective` of `ImageClassifier`, or ``kmorph.metrics.Accuracy`` or ``MSE``.
    searcher_args : dict, optional
        See `ImageClassifier`.
    path : path-like, optional
        Folder of the search; None: a new temporary folder.
    verbose : bool, default=False
    **arguments
        Other arguments of `ImageClassifier`, such as `seed`, `resume` or `max_models`.

    Examples
    --------
    >>> from kmorph.losses import classification_loss
    >>> from kmorph.metrics import Accuracy
    >>> mlp = MlpModule(loss=classification_loss, metric=Accuracy, path="mlp")
    >>> mlp.fit(10, (64,), (x, onehot), (x_test, onehot_test), time_limit=30)     # doctest: +SKIP
    """

    searches = {None: _ArraySearch}


class CnnModule(Module):
    """Searches for a convolutional network for signals, images or volumes.

    The number of axes of an example says which of these it is: two, three or four, channels last. Parameters
    are those of `MlpModule`. Examples are not changed at random unless ``augment="auto"`` or
    ``augment=True`` is given.
    """

    searches = {2: _SignalSearch, 3: _ImageSearch, 4: _VolumeSearch}


def target_of(y: Any, n: int, width: int | None, compares_numbers: bool | None) -> Target:
    """The target that labels and a number of outputs imply.

    Parameters
    ----------
    y : array-like
    n : int
        Number of examples.
    width : int or None
        Outputs that are wanted.
    compares_numbers : bool or None
        Whether loss or metric are for numbers; None: that is not known, and `y` decides.

    Raises
    ------
    DataError
        If they do not go together.
    """
    y = as_dense(y)
    values = np.asarray(y) if compares_numbers is None else None
    if values is not None and values.dtype.kind in "biuf":
        known = values[np.isfinite(values)] if values.dtype.kind == "f" else values
        whole = bool((known == np.round(known)).all())
        compares_numbers = not whole or (width == 1 and len(np.unique(known)) > 2)
    if compares_numbers:
        target: Target = Numbers.learn(y, n)
    elif width == 1:
        target = YesNo.learn(y, n)
    else:
        target = learn_labels(y, n)
        labels = as_label_array(y, n)
        if (
            isinstance(target, Classes)
            and width is not None
            and target.width < width
            and labels.dtype.kind in "iu"
            and 0 <= labels.min()
            and labels.max() < width
        ):  # class numbers, of which some do not occur
            target = Classes(LabelCodec(tuple(range(width)), target.codec.form, target.codec.dtype))
    if width is not None and target.width != width:
        raise DataError(
            f"n_output_node is {width}, but y has {target.width} "
            f"{'numbers an example' if target.is_numeric else 'labels'}: give n_output_node={target.width}"
        )
    return target


def _compares_numbers(loss: Any, metric: Any) -> bool | None:
    """Whether loss or metric are for numbers; None if that is not known."""
    objective = getattr(metric, "objective", metric)
    if isinstance(objective, str) and objective in NUMBER_METRICS:
        return True
    names = [loss] if isinstance(loss, str) else [name_of(loss), type(loss).__name__]
    for name in names:
        plain = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).strip("_")
        if "entropy" in plain or plain == "classification_loss" or "hinge" in plain:
            return False
        if any(word in plain for word in OF_NUMBERS):
            return objective != "accuracy"
    return None


def _pair(name: str, data: Any) -> tuple[Any, Any]:
    if is_loader(data):
        return data, None
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise DataError(f"{name} must be a pair (x, y) or a loader, got {type(data).__name__}")
    return data[0], data[1]


def _shape(given: Any, x: Any) -> tuple[int, ...]:
    """The shape of an example, as given and as found."""
    try:
        shape = tuple(int(size) for size in given)
    except (TypeError, ValueError) as error:
        raise DataError(f"input_shape must be a sequence of whole numbers, got {given!r}") from error
    found = np.shape(x)
    for candidate in (shape, shape[1:]):
        if candidate and candidate == found[1:]:
            return candidate
    raise DataError(f"input_shape is {shape}, but x has shape {found}: give input_shape={found[1:]}")


__all__ = ["CnnModule", "MlpModule", "Module"]
