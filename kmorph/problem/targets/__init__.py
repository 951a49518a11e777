"""Kinds of targets: a file each. A subclass of `Target` with a `kind` registers itself."""

from __future__ import annotations

from typing import Any

from kmorph.data.labels import as_dense
from kmorph.problem.targets.base import Target
from kmorph.problem.targets.classes import Classes
from kmorph.problem.targets.label_sets import LabelSets, is_label_sets
from kmorph.problem.targets.numbers import Numbers
from kmorph.problem.targets.yes_no import YesNo

__all__ = ["Classes", "LabelSets", "Numbers", "Target", "YesNo", "learn_labels"]


def learn_labels(y: Any, n: int | None = None) -> Target:
    """The target of a classifier: one class an example, or rows of zeros and ones with several labels.

    Parameters
    ----------
    y : array-like of shape (n,), (n, 1) or (n, classes)
        Rows with exactly one 1 each are classes.
    n : int, optional
        Number of examples that there must be.

    Raises
    ------
    DataError
        If the labels cannot be used.
    """
    y = as_dense(y)
    return LabelSets.learn(y, n) if is_label_sets(y) else Classes.learn(y, n)
