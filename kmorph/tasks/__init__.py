"""The estimators that users meet; a new one is one file and one name here."""

from kmorph.tasks.estimator import Estimator
from kmorph.tasks.image_classifier import ImageClassifier
from kmorph.tasks.image_regressor import ImageRegressor
from kmorph.tasks.kinds import Classifier, Regressor
from kmorph.tasks.modules import CnnModule, MlpModule
from kmorph.tasks.signals import ImageClassifier1D, ImageRegressor1D
from kmorph.tasks.texts import TextClassifier, TextRegressor
from kmorph.tasks.volumes import ImageClassifier3D, ImageRegressor3D

__all__ = [
    "Classifier",
    "CnnModule",
    "Estimator",
    "ImageClassifier",
    "ImageClassifier1D",
    "ImageClassifier3D",
    "ImageRegressor",
    "ImageRegressor1D",
    "ImageRegressor3D",
    "MlpModule",
    "Regressor",
    "TextClassifier",
    "TextRegressor",
]
