"""Covariances of architectures and candidates, as scikit-learn kernels."""

from kmorph.surrogate.kernels.base import PointKernel
from kmorph.surrogate.kernels.edit import EditDistanceKernel
from kmorph.surrogate.kernels.size import SizeKernel
from kmorph.surrogate.kernels.training import BudgetKernel, HyperparameterKernel, LineageKernel
from kmorph.surrogate.kernels.weisfeiler_lehman import WeisfeilerLehmanKernel

__all__ = [
    "BudgetKernel",
    "EditDistanceKernel",
    "HyperparameterKernel",
    "LineageKernel",
    "PointKernel",
    "SizeKernel",
    "WeisfeilerLehmanKernel",
]
