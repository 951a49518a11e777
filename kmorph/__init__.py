"""kmorph: neural architecture search by network morphism for Keras 3.

Importing this package is cheap: everything below is loaded when it is first used (PEP 562), so that neither
TensorFlow nor Keras nor scikit-learn is loaded by ``import kmorph``.
"""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING, Any

from kmorph._version import __version__

if TYPE_CHECKING:
    from kmorph import (
        datasets,
        errors,
        graph,
        losses,
        metrics,
        morphs,
        pretrained,
        problem,
        starts,
        surrogate,
    )
    from kmorph.graph import Graph, GraphBuilder
    from kmorph.search import load_searcher
    from kmorph.tasks import (
        Classifier,
        CnnModule,
        Estimator,
        ImageClassifier,
        ImageClassifier1D,
        ImageClassifier3D,
        ImageRegressor,
        ImageRegressor1D,
        ImageRegressor3D,
        MlpModule,
        Regressor,
        TextClassifier,
        TextRegressor,
    )

__all__ = [
    "Classifier",
    "CnnModule",
    "Estimator",
    "Graph",
    "GraphBuilder",
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
    "__version__",
    "datasets",
    "errors",
    "graph",
    "load_searcher",
    "losses",
    "metrics",
    "morphs",
    "pretrained",
    "problem",
    "starts",
    "surrogate",
]

_HOMES = {
    "Graph": "kmorph.graph",
    "GraphBuilder": "kmorph.graph",
    "Classifier": "kmorph.tasks",
    "Estimator": "kmorph.tasks",
    "ImageClassifier": "kmorph.tasks",
    "ImageClassifier1D": "kmorph.tasks",
    "ImageClassifier3D": "kmorph.tasks",
    "ImageRegressor": "kmorph.tasks",
    "ImageRegressor1D": "kmorph.tasks",
    "ImageRegressor3D": "kmorph.tasks",
    "CnnModule": "kmorph.tasks",
    "MlpModule": "kmorph.tasks",
    "Regressor": "kmorph.tasks",
    "TextClassifier": "kmorph.tasks",
    "TextRegressor": "kmorph.tasks",
    "load_searcher": "kmorph.search",
}
_SUBMODULES = frozenset(
    {
        "datasets",
        "errors",
        "graph",
        "losses",
        "metrics",
        "morphs",
        "pretrained",
        "problem",
        "starts",
        "surrogate",
    }
)


logging.getLogger("kmorph").addHandler(logging.NullHandler())  # quiet, unless a program listens


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return importlib.import_module(f"kmorph.{name}")
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'kmorph' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
