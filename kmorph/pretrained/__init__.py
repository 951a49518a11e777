"""Pretrained models by task: ready to predict, and to be trained on data of one's own.

They are KerasHub's (the extra ``kmorph[pretrained]``). Importing this package loads neither it nor Keras:
names are loaded when they are first used (PEP 562).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kmorph.pretrained.object_detector import ObjectDetector
    from kmorph.pretrained.sentiment import SentimentAnalysis, train_sentiment
    from kmorph.pretrained.topics import TopicClassifier, train_topic_classifier

__all__ = [
    "ObjectDetector",
    "SentimentAnalysis",
    "TopicClassifier",
    "train_sentiment",
    "train_topic_classifier",
]

_HOMES = {
    "ObjectDetector": "kmorph.pretrained.object_detector",
    "SentimentAnalysis": "kmorph.pretrained.sentiment",
    "TopicClassifier": "kmorph.pretrained.topics",
    "train_sentiment": "kmorph.pretrained.sentiment",
    "train_topic_classifier": "kmorph.pretrained.topics",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'kmorph.pretrained' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
