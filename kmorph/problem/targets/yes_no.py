"""One label that an example has or has not, by one output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kmorph.data.labels import as_label_array
from kmorph.errors import DataError
from kmorph.problem.metrics import LABEL_SET_METRICS
from kmorph.problem.targets.base import Target
from kmorph.problem.targets.label_sets import LabelSets

if TYPE_CHECKING:
    from kmorph.problem.metrics import Metric


@dataclass(frozen=True)
class YesNo(LabelSets):
    """Zeros and ones, of shape (n,) or (n, 1); the only score is the probability of 1, by sigmoid.

    Parameters
    ----------
    flat : bool, default=False
        Whether labels were handed in with shape (n,).
    """

    kind = "yes_no"

    flat: bool = False

    @classmethod
    def learn(cls, y: Any, n: int | None = None) -> YesNo:
        """Check the labels.

        Raises
        ------
        DataError
            If they are no zeros and ones, or all are equal.
        """
        array = as_label_array(y, n)
        column = _column(array)
        if np.ptp(column) == 0:
            raise DataError(
                f"y is {column[0, 0]:.0f} for all {len(column)} examples: there is nothing to tell apart. "
                "Give examples with the other label."
            )
        return cls((None,), array.dtype.str, flat=array.ndim == 1)

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """Accuracy first."""
        return {"accuracy": LABEL_SET_METRICS["accuracy"], **LABEL_SET_METRICS}

    @property
    def names(self) -> tuple[str, ...]:
        """The label that the score is the probability of."""
        return ("1",)

    def encode(self, y: Any, n: int | None = None) -> np.ndarray:
        """Zeros and ones, float32 of shape (n, 1)."""
        return _column(as_label_array(y, n)).astype(np.float32)

    def measure(self, y: Any, scores: np.ndarray, metric: str, weights: np.ndarray | None = None) -> float:
        """As `Target.measure`."""
        return Target.measure(self, y, scores, metric, weights)

    def decode(self, scores: np.ndarray) -> np.ndarray:
        """Zeros and ones: 1 from a probability of one half."""
        column = super().decode(scores)
        return column[:, 0] if self.flat else column

    def to_json(self) -> dict[str, Any]:
        """The form of the labels."""
        return {**super().to_json(), "flat": self.flat}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> YesNo:
        """Rebuild from what `to_json` gave."""
        found = LabelSets.from_json(values)
        if found.columns != (None,) or not isinstance(values["flat"], bool):
            raise ValueError("there must be one column, and flat true or false")
        return cls(found.columns, found.dtype, values["flat"])


def _column(array: np.ndarray) -> np.ndarray:
    """Labels of shape (n, 1)."""
    if array.ndim == 1:
        array = array[:, None]
    if array.shape[1:] != (1,) or array.dtype.kind not in "biuf" or not ((array == 0) | (array == 1)).all():
        raise DataError(
            "one output with a sigmoid needs zeros and ones as y, of shape (n,) or (n, 1); for k classes "
            "give n_output_node=k"
        )
    return array
