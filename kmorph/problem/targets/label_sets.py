"""Any number of labels an example, given as rows of zeros and ones."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kmorph.data.labels import as_dense, as_label_array
from kmorph.errors import DataError
from kmorph.graph import Activation, Dense
from kmorph.problem.losses.cross_entropy import BinaryCrossEntropy
from kmorph.problem.metrics import LABEL_SET_METRICS
from kmorph.problem.targets.base import NamedLayer, Target

if TYPE_CHECKING:
    from kmorph.problem.losses.base import Loss
    from kmorph.problem.metrics import Metric

THRESHOLD = 0.5  # probability from which a label is predicted


@dataclass(frozen=True)
class LabelSets(Target):
    """Any number of labels an example; outputs are logits, scores probabilities by sigmoid, one a label.

    Labels that all examples of the fit had, or none, cannot be learned: networks have no output for them, and
    they are predicted as they always were.

    Parameters
    ----------
    columns : tuple of float or None
        For each label None if it varies, else the value, 0 or 1, that it always had.
    dtype : str
        NumPy dtype that decoded rows have.
    """

    kind = "label_sets"
    ending = "sigmoid"

    columns: tuple[float | None, ...]
    dtype: str

    @classmethod
    def learn(cls, y: Any, n: int | None = None) -> LabelSets:
        """Learn which labels vary; a warning names those that do not.

        Raises
        ------
        DataError
            If `y` is no matrix of zeros and ones with two columns or more, or no label varies.
        """
        rows = _rows(y, n)
        low, high = rows.min(axis=0), rows.max(axis=0)
        columns = tuple(None if low[i] < high[i] else float(low[i]) for i in range(rows.shape[1]))
        constant = [i for i, value in enumerate(columns) if value is not None]
        if len(constant) == len(columns):
            raise DataError(
                f"all {len(rows)} rows of y are equal: there is nothing to tell apart. Give examples with "
                "other labels."
            )
        if constant:
            listed = ", ".join(f"{i} (always {columns[i]:.0f})" for i in constant[:10])
            more = f" and {len(constant) - 10} more" if len(constant) > 10 else ""
            warnings.warn(
                f"these columns of y never vary, and are predicted as they are: {listed}{more}",
                UserWarning,
                stacklevel=2,
            )
        return cls(columns, rows.dtype.str)

    @property
    def varying(self) -> np.ndarray:
        """Positions of the labels that networks have an output for."""
        return np.flatnonzero([value is None for value in self.columns])

    @property
    def width(self) -> int:
        """Number of labels that vary."""
        return sum(value is None for value in self.columns)

    @property
    def loss(self) -> Loss:
        """Binary cross-entropy, the mean over labels."""
        return BinaryCrossEntropy()

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """Macro F1 first."""
        return LABEL_SET_METRICS

    @property
    def evaluation_metric(self) -> str:
        """The share of examples with every label right."""
        return "accuracy"

    @property
    def score_metric(self) -> str:
        """The same."""
        return "accuracy"

    def encode(self, y: Any, n: int | None = None) -> np.ndarray:
        """Zeros and ones of the labels that vary, float32 of shape (n, width)."""
        rows = _rows(y, n)
        if rows.shape[1] != len(self.columns):
            raise DataError(
                f"y has {rows.shape[1]} columns; the model was fitted on {len(self.columns)}. Give a column "
                "for each label, in the same order."
            )
        return rows[:, self.varying].astype(np.float32)

    def measure(self, y: Any, scores: np.ndarray, metric: str, weights: np.ndarray | None = None) -> float:
        """As `Target.measure`; the share of right rows counts labels that never varied in the fit, too."""
        if metric != "accuracy":
            return super().measure(y, scores, metric, weights)
        rows = _rows(y, len(scores))
        self.encode(rows)  # refuses another number of columns
        return float(np.average((self.predicted(scores) == rows).all(axis=1), weights=weights))

    def scores(self, outputs: np.ndarray) -> np.ndarray:
        """Probabilities of shape (n, labels); 0 or 1 where a label never varied."""
        logits = outputs.astype(np.float64)
        return self._all_columns(np.exp(-np.logaddexp(0.0, -logits)))

    def decode(self, scores: np.ndarray) -> np.ndarray:
        """Rows of zeros and ones: a label is set from a probability of one half."""
        return (scores >= THRESHOLD).astype(self.dtype)

    def truth(self, codes: np.ndarray) -> np.ndarray:
        """Rows of zeros and ones, int64 of shape (n, labels)."""
        return self._all_columns(codes).astype(np.int64)

    def predicted(self, scores: np.ndarray) -> np.ndarray:
        """Rows of zeros and ones, int64."""
        return (scores >= THRESHOLD).astype(np.int64)

    def _all_columns(self, some: np.ndarray) -> np.ndarray:
        whole = np.tile(np.array([value or 0.0 for value in self.columns], some.dtype), (len(some), 1))
        whole[:, self.varying] = some
        return whole

    def is_like(self, other: Target) -> bool:
        """Return whether the same labels vary, or fewer."""
        if not isinstance(other, LabelSets) or len(self.columns) != len(other.columns):
            return False
        return set(other.varying) <= set(self.varying)

    def strata(self, codes: np.ndarray) -> np.ndarray:
        """The rarest label of each example, numbered from 1; 0 if it has none."""
        rarity = np.where(codes > 0, codes.sum(axis=0), np.inf)
        return np.where(codes.any(axis=1), rarity.argmin(axis=1) + 1, 0)

    def back(self) -> list[NamedLayer]:
        """Sigmoid, and where a label never varied, its value."""
        layers: list[NamedLayer] = [(Activation(function="sigmoid"), {})]
        if self.width < len(self.columns):
            kernel = np.zeros((self.width, len(self.columns)), np.float32)
            kernel[np.arange(self.width), self.varying] = 1
            bias = np.array([value or 0.0 for value in self.columns], np.float32)
            layers.append((Dense(len(self.columns)), {"kernel": kernel, "bias": bias}))
        return layers

    @property
    def names(self) -> tuple[str, ...]:
        """Numbers of the columns, as texts."""
        return tuple(str(i) for i in range(len(self.columns)))

    def noise(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Random zeros and ones."""
        return rng.integers(0, 2, (n, self.width)).astype(np.float32)

    def truth_tensor(self, codes: Any, one_hot: bool = False) -> Any:
        """Rows of zeros and ones; labels that never vary are left out, as in `score_tensor`."""
        return codes

    def score_tensor(self, outputs: Any, logits: bool = False) -> Any:
        """Probabilities, or logits, of the labels that vary."""
        from keras import ops

        return outputs if logits else ops.sigmoid(outputs)

    def to_json(self) -> dict[str, Any]:
        """Constant columns and the dtype."""
        return {"columns": list(self.columns), "dtype": self.dtype}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> LabelSets:
        """Rebuild from what `to_json` gave."""
        columns, dtype = tuple(values["columns"]), values["dtype"]
        if not any(value is None for value in columns) or any(value not in (None, 0, 1) for value in columns):
            raise ValueError("columns must be None, 0 or 1, and one of them None")
        if np.dtype(dtype).kind not in "biuf":
            raise ValueError(f"rows of zeros and ones have no dtype {dtype!r}")
        return cls(columns, dtype)


def is_label_sets(y: Any) -> bool:
    """Return whether labels are rows of zeros and ones with several ones, or none, in some row."""
    try:
        array = as_label_array(y, None)
    except DataError:
        return False  # whoever learns from it says what is wrong
    if array.ndim != 2 or array.shape[1] < 2 or array.dtype.kind == "O":
        return False
    ones = array == 1
    return bool((ones | (array == 0)).all() and (ones.sum(axis=1) != 1).any())


def _rows(y: Any, n: int | None) -> np.ndarray:
    array = as_label_array(as_dense(y), n)
    if array.ndim != 2 or array.shape[1] < 2:
        raise DataError(
            f"y has shape {array.shape}; expected rows of zeros and ones of shape (n, labels), as the model "
            "was fitted on."
        )
    if not ((array == 0) | (array == 1)).all():
        raise DataError(
            f"y has shape {array.shape} with values other than 0 and 1; expected a 1 for each label that an "
            "example has, and 0 for the others."
        )
    return array
