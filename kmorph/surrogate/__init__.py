"""Which child looks promising: edit distance, kernels, Gaussian process, acquisition.

Names are loaded when first used, so that the edit distance comes without scikit-learn.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kmorph.surrogate.acquisition import lower_confidence_bound
    from kmorph.surrogate.distance import distances, edit_distance
    from kmorph.surrogate.kernels import (
        BudgetKernel,
        EditDistanceKernel,
        HyperparameterKernel,
        LineageKernel,
        SizeKernel,
        WeisfeilerLehmanKernel,
    )
    from kmorph.surrogate.process import Surrogate
    from kmorph.surrogate.trained_graph import TrainedGraph

__all__ = [
    "BudgetKernel",
    "TrainedGraph",
    "EditDistanceKernel",
    "HyperparameterKernel",
    "LineageKernel",
    "SizeKernel",
    "Surrogate",
    "WeisfeilerLehmanKernel",
    "distances",
    "edit_distance",
    "lower_confidence_bound",
]

_HOMES = {
    "BudgetKernel": "kernels",
    "TrainedGraph": "trained_graph",
    "EditDistanceKernel": "kernels",
    "HyperparameterKernel": "kernels",
    "LineageKernel": "kernels",
    "SizeKernel": "kernels",
    "Surrogate": "process",
    "WeisfeilerLehmanKernel": "kernels",
    "distances": "distance",
    "edit_distance": "distance",
    "lower_confidence_bound": "acquisition",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'kmorph.surrogate' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"kmorph.surrogate.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
