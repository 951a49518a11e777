"""Objectives of the user's own: scikit-learn's scorers, Keras metrics, functions ``(y_true, y_score)``."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from kmorph.errors import DataError, did_you_mean
from kmorph.problem.metrics import CLASS_METRICS, LABEL_SET_METRICS, LOSS, NUMBER_METRICS, Metric
from kmorph.problem.own import cached, mark_of, name_of, pack, unpack

if TYPE_CHECKING:
    from kmorph.problem.targets.base import Target

# Keras metrics, by the beginning or the end of their class's name.
GREATER = ("Accuracy", "AUC", "Precision", "Recall", "F1Score", "FBetaScore", "R2Score", "IoU", "Similarity")
GREATER_BEGIN = ("True", "SensitivityAt", "SpecificityAt", "PrecisionAt", "RecallAt", "PearsonCorrelation")
LOWER = ("Error", "Crossentropy", "Divergence", "Poisson", "Hinge", "Positives", "Negatives")
COLUMNS = ("AUC", "Precision", "Recall", "Binary", "Positives", "Negatives", "At")
"""Keras metrics that for two classes take a column, the second class's probability."""


def find_metric(given: Any, target: Target) -> Metric:
    """The metric that the user gave as `objective`; None: the target's first.

    Parameters
    ----------
    given : None, str, callable, Keras metric, scikit-learn scorer, or pair (metric, greater_is_better)
    target : Target

    Raises
    ------
    DataError
        If it is unknown, does not fit the target, its direction is unknown, or it cannot be sent to a worker.
    """
    if given is None:
        return next(iter(target.metrics.values()))
    greater: bool | None = None
    if isinstance(given, tuple | list):
        if len(given) != 2 or not isinstance(given[1], bool | np.bool_):
            raise DataError(
                f"objective must be a metric or a pair (metric, greater_is_better), got {given!r}"
            )
        given, greater = given[0], bool(given[1])
    if isinstance(given, str):
        return _named(given, target, greater)
    metric = _own(given, target)
    direction = metric.greater_is_better if greater is None else greater
    if direction is None:
        raise DataError(
            f"objective={given!r}: whether it should be high or low is not known here; give a pair, "
            f"objective=({metric.name}, True) if greater is better, or ({metric.name}, False)"
        )
    name = metric.name
    if name in {LOSS.name, *CLASS_METRICS, *LABEL_SET_METRICS, *NUMBER_METRICS}:
        name = f"own_{name}"  # what it measures, and which way, is its own affair
    return Metric(name, direction, metric.function, mark=mark_of(given))


def _named(name: str, target: Target, greater: bool | None) -> Metric:
    found: Metric | None = None
    if name == LOSS.name:
        found = Metric("loss", False, _not_measured)
    elif name in target.metrics:
        found = target.metrics[name]
    elif name not in {*CLASS_METRICS, *LABEL_SET_METRICS, *NUMBER_METRICS}:
        from sklearn.metrics import get_scorer_names

        if name in get_scorer_names():
            found = Metric(name, True, ScorerMetric(pack(name, "objective", "")))
    if found is None:
        raise DataError(
            f"objective={name!r} does not fit here{_near(name, target)}; known are "
            f"{', '.join(target.metrics)}, loss, the names of scikit-learn's scorers "
            "(sklearn.metrics.get_scorer_names()), a Keras metric and a function (y_true, y_score)"
        )
    if greater is not None and greater != found.greater_is_better:
        raise DataError(
            f"objective={(name, greater)!r}: {'greater' if found.greater_is_better else 'less'} is better"
        )
    return found


def _near(name: str, target: Target) -> str:
    from sklearn.metrics import get_scorer_names

    return did_you_mean(name, {*target.metrics, LOSS.name, *get_scorer_names()} - {name})


@dataclass(frozen=True)
class _Undirected:
    name: str
    greater_is_better: bool | None
    function: Any


def _own(given: Any, target: Target) -> _Undirected:
    if not callable(given):
        raise DataError(
            f"objective must be a name, a metric, or a pair (metric, greater_is_better), got {given!r}"
        )
    name = name_of(given)
    advice = "write it as a function of plain values"
    if hasattr(given, "_score_func"):  # a scorer of scikit-learn
        return _Undirected(name_of(given._score_func), True, ScorerMetric(pack(given, "objective", advice)))
    keras_class = given if isinstance(given, type) else type(given)
    if hasattr(keras_class, "update_state") and hasattr(keras_class, "result"):
        return _Undirected(
            name if not isinstance(given, type) else keras_class.__name__,
            _direction_of_keras(keras_class),
            KerasMetric(pack(given, "objective", advice), keras_class.__name__),
        )
    if isinstance(given, type):
        raise DataError(f"objective={given!r} is a class: give a function or an object")
    of_sklearn = getattr(given, "__module__", "").startswith("sklearn.")
    greater = None
    if of_sklearn:
        # scikit-learn's own convention for names.
        greater = True if name.endswith("_score") else False if name.endswith(("_loss", "_error")) else None
    return _Undirected(name, greater, FunctionMetric(pack(given, "objective", advice), of_sklearn))


def _direction_of_keras(kind: type) -> bool | None:
    for known in inspect.getmro(kind):
        name = known.__name__
        if name.endswith(LOWER) and not name.startswith("True"):
            return False
        if name.endswith(GREATER) or name.startswith(GREATER_BEGIN):
            return True
    return None


def _not_measured(target: Target, codes: np.ndarray, scores: np.ndarray, weights: Any) -> float:
    raise AssertionError("the loss is measured with the loss")


@dataclass(frozen=True)
class FunctionMetric:
    """A function ``(y_true, y_score)``: labels as in `Target.truth`, and scores.

    scikit-learn's functions take, for two classes, the second one's probability.
    """

    packed: bytes
    of_sklearn: bool

    def __call__(self, target: Target, codes: np.ndarray, scores: np.ndarray, weights: Any) -> float:
        """Measure; weights are not used."""
        if self.of_sklearn and not target.is_numeric and codes.ndim == 1 and scores.shape[1] == 2:
            scores = scores[:, 1]
        return float(cached(self.packed)(target.truth(codes), scores))


@dataclass(frozen=True)
class ScorerMetric:
    """A scorer of scikit-learn: greater is always better."""

    packed: bytes

    def __call__(self, target: Target, codes: np.ndarray, scores: np.ndarray, weights: Any) -> float:
        """Measure; weights are not used."""
        from sklearn.metrics import get_scorer

        scorer = cached(self.packed)
        scorer = get_scorer(scorer) if isinstance(scorer, str) else scorer
        answers = (_Numbers if target.is_numeric else _Labels)(target, scores)
        return float(scorer(answers, np.zeros((len(codes), 1)), target.truth(codes)))


class _Answers(BaseEstimator):
    """An estimator that knows the predictions already, as scorers want one."""

    def __init__(self, target: Target, scores: np.ndarray) -> None:
        self.target, self.scores = target, scores

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def predict(self, x: Any) -> np.ndarray:
        """Labels, in the form that `Target.truth` has."""
        return self.target.predicted(self.scores)


class _Labels(ClassifierMixin, _Answers):
    @property
    def classes_(self) -> np.ndarray:
        """Labels in the order of the scores."""
        return self.target.score_labels

    def predict_proba(self, x: Any) -> np.ndarray:
        """The scores."""
        return self.scores


class _Numbers(RegressorMixin, _Answers):
    pass


@dataclass(frozen=True)
class KerasMetric:
    """A metric of Keras', with a fresh state for every measurement."""

    packed: bytes
    kind: str

    def __call__(self, target: Target, codes: np.ndarray, scores: np.ndarray, weights: Any) -> float:
        """Measure; weights are not used."""
        metric = unpack(self.packed)
        truth: np.ndarray
        if self.kind == "Accuracy" and not target.is_numeric:  # compares labels; other metrics take scores
            truth, scores = codes, scores.argmax(axis=1) if codes.ndim == 1 else scores >= 0.5
        elif codes.ndim == 2:
            truth = target.truth(codes).astype(np.float32)
        elif "Sparse" in self.kind:
            truth = codes
        elif scores.shape[1] == 2 and any(word in self.kind for word in COLUMNS):
            truth, scores = codes.astype(np.float32)[:, None], scores[:, 1:]
        else:
            truth = np.eye(scores.shape[1], dtype=np.float32)[codes]
        metric.update_state(truth, scores.astype(np.float32))
        return float(metric.result())
