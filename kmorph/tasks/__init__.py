"""The estimators that users meet; a new one is one file and one name here."""

from kmorph.tasks.image_classifier import ImageClassifier

__all__ = ["ImageClassifier"]
