"""Metrics by name, and their directions.

Metrics are scikit-learn's, but for accuracy, which workers compute without loading it. All get codes, and
scores as users see them.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from kmorph.problem.targets.base import Target

MetricFunction = Callable[["Target", np.ndarray, np.ndarray, "np.ndarray | None"], float]


@dataclass(frozen=True)
class Objective:
    """The metric that decides which model is the best, as records and folders know it.

    Parameters
    ----------
    name : str, default="accuracy"
        Its key in the ``metrics`` of a record.
    greater_is_better : bool, default=True
    survives_merging : bool, default=True
        See `Metric`.
    """

    name: str = "accuracy"
    greater_is_better: bool = True
    survives_merging: bool = True

    @property
    def is_loss(self) -> bool:
        """True if it is the loss that is trained on."""
        return self.name == "loss"

    def merit(self, value: float) -> float:
        """The value, or its negative: higher is better."""
        return value if self.greater_is_better else -value

    def to_json(self) -> dict[str, Any]:
        """All fields."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, stored: Any) -> Objective:
        """Rebuild from what `to_json` gave; a folder of the first version holds a name alone."""
        if isinstance(stored, str):
            return LOSS if stored == "loss" else cls(stored)
        if isinstance(stored, Mapping) and isinstance(stored.get("name"), str):
            flags = (bool(stored.get(name, True)) for name in ("greater_is_better", "survives_merging"))
            return cls(stored["name"], *flags)
        return cls()


ACCURACY = Objective()
LOSS = Objective("loss", greater_is_better=False, survives_merging=False)


@dataclass(frozen=True)
class Metric:
    """A metric of predictions.

    Parameters
    ----------
    name : str
    greater_is_better : bool
    function : callable (target, codes, scores, weights) -> float
        `weights` are None or of shape (n,).
    survives_merging : bool, default=False
        True if a model that was trained to its end, on the validation data as well, can be expected to do
        better by it, so that this need not be measured. A loss may rise where a network becomes too certain.
    mark : str, default=""
        Tells metrics of the user's own apart that have the same name; see `kmorph.problem.own.mark_of`.
    """

    name: str
    greater_is_better: bool
    function: MetricFunction
    survives_merging: bool = False
    mark: str = ""

    @property
    def objective(self) -> Objective:
        """The metric as records and folders know it."""
        return Objective(self.name, self.greater_is_better, self.survives_merging)

    def __call__(
        self, target: Target, codes: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None
    ) -> float:
        """Measure predictions.

        Parameters
        ----------
        target : Target
        codes : ndarray of shape (n,) or (n, width)
        scores : ndarray of shape (n, scores)
        weights : ndarray of shape (n,), optional
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of classes that are absent: the number is what it is
            return float(self.function(target, codes, scores, weights))


def _by_name(*metrics: Metric) -> dict[str, Metric]:
    return {metric.name: metric for metric in metrics}


# Classes.


def _accuracy(target: Target, codes: np.ndarray, scores: np.ndarray, weights: Any) -> float:
    return float(np.average(scores.argmax(axis=1) == codes, weights=weights))


def _balanced_accuracy(target: Target, codes: np.ndarray, scores: np.ndarray, weights: Any) -> float:
    from sklearn.metrics import balanced_accuracy_score

    return float(balanced_accuracy_score(codes, scores.argmax(axis=1), sample_weight=weights))


def _auc(target: Target, codes: np.ndarray, scores: np.ndarray, weights: Any) -> float:
    """Area under the ROC curve of each class against the others, the mean over those that have both."""
    truth = codes[:, None] == np.arange(scores.shape[1])
    first = 1 if scores.shape[1] == 2 else 0  # of two classes the second one's curve says all
    return _mean_auc(truth[:, first:], scores[:, first:], weights)


def _mean_auc(truth: np.ndarray, scores: np.ndarray, weights: Any) -> float:
    from sklearn.metrics import roc_auc_score

    if weights is not None:
        counted = weights > 0
        truth, scores, weights = truth[counted], scores[counted], weights[counted]
    found = [
        roc_auc_score(true, score, sample_weight=weights)
        for true, score in zip(truth.T, scores.T, strict=True)
        if true.any() and not true.all()
    ]
    return float(np.mean(found)) if found else float("nan")


def _f1(target: Target, codes: np.ndarray, scores: np.ndarray, weights: Any) -> float:
    from sklearn.metrics import f1_score

    predicted = scores.argmax(axis=1)
    return float(f1_score(codes, predicted, average="macro", sample_weight=weights, zero_division=0))


def _log_loss(target: Target, codes: np.ndarray, scores: np.ndarray, weights: Any) -> float:
    from sklearn.metrics import log_loss

    return float(log_loss(codes, scores, labels=np.arange(scores.shape[1]), sample_weight=weights))


CLASS_METRICS: dict[str, Metric] = _by_name(
    Metric("accuracy", True, _accuracy, survives_merging=True),
    Metric("balanced_accuracy", True, _balanced_accuracy, survives_merging=True),
    Metric("auc", True, _auc, survives_merging=True),
    Metric("f1", True, _f1, survives_merging=True),
    Metric("log_loss", False, _log_loss),
)


# Label sets: codes are rows of those labels that vary.


def _varying(target: Any, scores: np.ndarray) -> np.ndarray:
    return np.asarray(scores[:, target.varying])


def _sets_f1(target: Target, codes: np.ndarray, scores: np.ndarray, weights: Any) -> float:
    from sklearn.metrics import f1_score

    predicted = _varying(target, scores) >= 0.5
    return float(f1_score(codes > 0, predicted, average="macro", sample_weight=weights, zero_division=0))


def _subset_accuracy(target: Target, codes: np.ndarray, scores: np.ndarray, weights: Any) -> float:
    right = ((_varying(target, scores) >= 0.5) == (codes > 0)).all(axis=1)
    return float(np.average(right, weights=weights))


def _sets_auc(target: Target, codes: np.ndarray, scores: np.ndarray, weights: Any) -> float:
    return _mean_auc(codes > 0, _varying(target, scores), weights)


def _sets_log_loss(target: Target, codes: np.ndarray, scores: np.ndarray, weights: Any) -> float:
    from sklearn.metrics import log_loss

    columns = zip(codes.T, _varying(target, scores).T, strict=True)
    found = [log_loss(true, score, labels=[0, 1], sample_weight=weights) for true, score in columns]
    return float(np.mean(found))


LABEL_SET_METRICS: dict[str, Metric] = _by_name(
    Metric("f1", True, _sets_f1, survives_merging=True),
    Metric("accuracy", True, _subset_accuracy, survives_merging=True),
    Metric("auc", True, _sets_auc, survives_merging=True),
    Metric("log_loss", False, _sets_log_loss),
)


# Numbers, in the user's units.


def _mse(target: Target, codes: np.ndarray, scores: np.ndarray, weights: Any) -> float:
    from sklearn.metrics import mean_squared_error

    return float(mean_squared_error(target.truth(codes), scores, sample_weight=weights))


def _mae(target: Target, codes: np.ndarray, scores: np.ndarray, weights: Any) -> float:
    from sklearn.metrics import mean_absolute_error

    return float(mean_absolute_error(target.truth(codes), scores, sample_weight=weights))


def _r2(target: Target, codes: np.ndarray, scores: np.ndarray, weights: Any) -> float:
    from sklearn.metrics import r2_score

    return float(r2_score(target.truth(codes), scores, sample_weight=weights))


NUMBER_METRICS: dict[str, Metric] = _by_name(
    Metric("mse", False, _mse, survives_merging=True),
    Metric("mae", False, _mae, survives_merging=True),
    Metric("r2", True, _r2, survives_merging=True),
)
