"""Pretrained models by task: ready to predict, and to be trained on data of one's own.

They are KerasHub's (the extra ``kmorph[pretrained]``); neither it nor Keras is loaded before it is needed.
"""

from kmorph.pretrained.object_detector import ObjectDetector

__all__ = ["ObjectDetector"]
