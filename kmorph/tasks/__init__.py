"""The estimators that users meet; a new one is one file and one name here."""

from kmorph.tasks.estimator import Estimator
from kmorph.tasks.image_classifier import ImageClassifier
from kmorph.tasks.image_regressor import ImageRegressor
from kmorph.tasks.kinds import Classifier, Regressor

__all__ = ["Classifier", "Estimator", "ImageClassifier", "ImageRegressor", "Regressor"]
