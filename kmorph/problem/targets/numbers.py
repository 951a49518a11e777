"""One number or several an example: regression."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kmorph.errors import DataError
from kmorph.graph import Dense
from kmorph.numeric import as_array
from kmorph.problem.losses.squared_error import SquaredError
from kmorph.problem.metrics import NUMBER_METRICS
from kmorph.problem.targets.base import NamedLayer, Target
from kmorph.problem.targets.units import standardised

if TYPE_CHECKING:
    from kmorph.graph import Graph
    from kmorph.problem.losses.base import Loss
    from kmorph.problem.metrics import Metric

_EXPECTED = "one number for each example, of shape (n,) or (n, 1), or several, of shape (n, outputs)"
ROUNDED = 1e-3  # largest rounding by float32 in exported models, as a share of the deviation
STRATA = 10  # groups by size that a split keeps in proportion


@dataclass(frozen=True)
class Numbers(Target):
    """Measurements, one or several an example; networks are trained on them with mean 0 and deviation 1.

    Parameters
    ----------
    mean, scale : tuple of float
        Of each output, in the user's units.
    flat : bool
        Whether labels were handed in with shape (n,).
    """

    kind = "numbers"
    is_numeric = True
    # The gradient of a squared error vanishes with the error, so that overfitting takes a stronger weight
    # decay to prevent (`benchmarks/bench_problems.py`).
    weight_decay = 5e-3

    mean: tuple[float, ...]
    scale: tuple[float, ...]
    flat: bool

    @classmethod
    def learn(cls, y: Any, n: int | None = None) -> Numbers:
        """Learn mean and standard deviation of each output, in double precision.

        Raises
        ------
        DataError
            If `y` is no finite numbers, or an output is the same for all examples.
        """
        array = _as_numbers(y, n)
        rows = array.reshape(len(array), -1)
        largest = np.abs(rows).max(axis=0)
        largest[largest == 0] = 1.0
        scaled = rows / largest  # squares of huge and of tiny numbers are no numbers any more
        mean, deviation = scaled.mean(axis=0), scaled.std(axis=0)
        constant = np.flatnonzero((np.ptp(scaled, axis=0) == 0) | (deviation * largest == 0))
        if len(constant):
            which = "y" if rows.shape[1] == 1 else f"column {constant[0]} of y"
            raise DataError(
                f"{which} is {rows[0, constant[0]]} for all {len(rows)} examples: there is nothing to learn. "
                "Give examples with other values, or leave that output out."
            )
        return cls(
            tuple((mean * largest).tolist()), tuple((deviation * largest).tolist()), flat=array.ndim == 1
        )

    @property
    def width(self) -> int:
        """Number of outputs."""
        return len(self.mean)

    @property
    def loss(self) -> Loss:
        """Squared error of the standardised numbers: 1 for the best constant."""
        return SquaredError()

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """Mean squared error first."""
        return NUMBER_METRICS

    @property
    def score_metric(self) -> str:
        """R²."""
        return "r2"

    def encode(self, y: Any, n: int | None = None) -> np.ndarray:
        """Standardised numbers, float32 of shape (n, width)."""
        array = _as_numbers(y, n)
        rows = array.reshape(len(array), -1)
        if rows.shape[1] != self.width:
            raise DataError(
                f"y has shape {array.shape}; the model was fitted on {self.width} number"
                f"{'s' * (self.width > 1)} an example."
            )
        with np.errstate(over="ignore"):
            codes = ((rows - self.mean) / self.scale).astype(np.float32)
        if not np.isfinite(codes).all():
            raise DataError(
                "y holds numbers too far from those that the model was fitted on: "
                f"{np.abs(rows).max():.3g}, with a mean of {self.mean[0]:.3g} and a deviation of "
                f"{self.scale[0]:.3g} there"
            )
        return codes

    def scores(self, outputs: np.ndarray) -> np.ndarray:
        """Numbers in the user's units, of shape (n, outputs)."""
        return outputs.astype(np.float64) * self.scale + self.mean

    def decode(self, scores: np.ndarray) -> np.ndarray:
        """Numbers of the shape that `y` had."""
        return scores[:, 0] if self.flat else scores

    def truth(self, codes: np.ndarray) -> np.ndarray:
        """Numbers in the user's units, of shape (n, outputs)."""
        return self.scores(codes)

    def is_like(self, other: Target) -> bool:
        """Return whether they are as many numbers; their means may differ."""
        return isinstance(other, Numbers) and (self.width, self.flat) == (other.width, other.flat)

    def strata(self, codes: np.ndarray) -> np.ndarray:
        """Ten groups of equal numbers, by the size of the first output."""
        order = np.argsort(np.argsort(codes[:, 0], kind="stable"), kind="stable")
        return order * min(STRATA, max(1, len(codes) // 2)) // len(codes)

    def back(self) -> list[NamedLayer]:
        """Back to the user's units, by a dense layer with a diagonal kernel.

        Raises
        ------
        DataError
            If float32, in which exported models compute, does not hold the numbers.
        """
        with np.errstate(over="ignore"):
            scale, mean = (np.array(values).astype(np.float32) for values in (self.scale, self.mean))
        held = np.isfinite([scale, mean]).all() and (scale > 0).all()
        if not held or (np.spacing(np.abs(mean)) > ROUNDED * scale).any():
            raise DataError(
                f"exported models compute in float32, which does not hold numbers around {self.mean[0]:.3g} "
                f"± {self.scale[0]:.3g} precisely: fit on numbers without that offset, or rescaled, to "
                "export a model"
            )
        return [(Dense(self.width), {"kernel": np.diag(scale), "bias": mean})]

    def adapted(self, graph: Graph, name: str, x: np.ndarray, codes: np.ndarray) -> Graph:
        """Convert the outputs from the user's units to standardised numbers; see `standardised`."""
        return standardised(graph, name, self.truth(codes), x, self.mean, self.scale)

    def noise(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Random numbers."""
        return rng.normal(size=(n, self.width)).astype(np.float32)

    def truth_tensor(self, codes: Any, one_hot: bool = False) -> Any:
        """Numbers in the user's units, of shape (n, outputs)."""
        return self.score_tensor(codes)

    def score_tensor(self, outputs: Any, logits: bool = False) -> Any:
        """Numbers in the user's units, of shape (n, outputs)."""
        from keras import ops

        scale, mean = (ops.convert_to_tensor(values, dtype="float32") for values in (self.scale, self.mean))
        return outputs * scale + mean

    def to_json(self) -> dict[str, Any]:
        """Mean, scale, and whether labels had shape (n,)."""
        return {"mean": list(self.mean), "scale": list(self.scale), "flat": self.flat}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Numbers:
        """Rebuild from what `to_json` gave."""
        mean, scale = (tuple(float(v) for v in values[name]) for name in ("mean", "scale"))
        flat = values["flat"]
        if not 0 < len(mean) == len(scale) or not isinstance(flat, bool) or (flat and len(mean) > 1):
            raise ValueError("mean, scale and shape do not go together")
        if not np.isfinite([*mean, *scale]).all() or min(scale) <= 0:
            raise ValueError("mean and scale must be finite, and scales above 0")
        return cls(mean, scale, flat)


def _as_numbers(y: Any, n: int | None) -> np.ndarray:
    """Check labels; return them as float64 of shape (n,) or (n, outputs)."""
    if y is None:
        raise DataError(f"y is None; expected {_EXPECTED}.")
    if isinstance(y, np.ma.MaskedArray) and np.ma.is_masked(y):
        raise DataError("y is a masked array with masked values. Remove the examples whose value is missing.")
    try:
        array = as_array(y)
    except (ValueError, TypeError, RuntimeError) as error:
        raise DataError(
            f"y cannot be made into one array ({error}); expected {_EXPECTED}. Give every "
            "example as many numbers."
        ) from error
    if array.dtype.kind == "O":
        try:
            array = array.astype(np.float64)
        except (ValueError, TypeError, OverflowError) as error:
            raise DataError(
                f"y holds objects that are no numbers ({error}); expected {_EXPECTED}."
            ) from error
    if array.dtype.kind not in "biuf":
        hint = " Text and categories need a classifier." if array.dtype.kind in "US" else ""
        raise DataError(f"y has dtype {array.dtype}; expected {_EXPECTED}.{hint}")
    if array.ndim not in (1, 2) or array.size == 0:
        raise DataError(f"y has shape {array.shape}; expected {_EXPECTED}.")
    if n is not None and len(array) != n:
        raise DataError(f"y has {len(array)} values but x has {n} examples; expected one for each example.")
    with np.errstate(over="ignore"):
        array = array.astype(np.float64)
    finite = np.isfinite(array)
    if not finite.all():
        where = int(np.argmin(finite.reshape(len(array), -1).all(axis=1)))
        raise DataError(
            f"y holds {array[where]} (at position {where}): a missing or infinite value. Remove these "
            "examples."
        )
    return array
