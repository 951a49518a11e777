"""Losses: a file each; a target names its own."""

from kmorph.problem.losses.base import Loss
from kmorph.problem.losses.cross_entropy import BinaryCrossEntropy, CrossEntropy
from kmorph.problem.losses.own import OwnLoss
from kmorph.problem.losses.squared_error import SquaredError

__all__ = ["BinaryCrossEntropy", "CrossEntropy", "Loss", "OwnLoss", "SquaredError"]
