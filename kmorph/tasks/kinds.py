"""The two families of estimators."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin

from kmorph.problem.targets import Numbers, Target, learn_labels
from kmorph.tasks.estimator import Estimator
from kmorph.tasks.predictor import Predictor


class Classifier(ClassifierMixin, Estimator):
    """Base of classifiers: one class an example, or rows of zeros and ones for any number of labels."""

    score = Predictor.score  # scikit-learn's knows accuracy of labels alone

    def _learn_target(self, y: Any, n: int) -> Target:
        return learn_labels(y, n)

    @property
    def classes_(self) -> np.ndarray:
        """The labels, in the order of the columns of `predict_proba`; of rows of zeros and ones, 0, 1, …"""
        return self._target().score_labels

    def predict_proba(self, x: Any) -> np.ndarray:
        """Probability of each class.

        Parameters
        ----------
        x : array-like
            Examples as in `fit`.

        Returns
        -------
        ndarray of shape (n, classes)
            In the order of `classes_`. Of rows of zeros and ones, each label's own probability.

        Raises
        ------
        DataError
            If the examples cannot be used, or have another form than those of `fit`.
        NotFittedError
            If there is no model yet.
        """
        return self._scores(x)


class Regressor(RegressorMixin, Estimator):
    """Base of regressors: one number an example, or several."""

    target = Numbers
    score = Predictor.score  # checks what it is given, as all methods do
