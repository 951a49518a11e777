"""What signals, images and volumes have in common: values at positions along one to three axes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np

from kmorph import starts
from kmorph.data.grids import GridForm, check_grids
from kmorph.errors import DataError
from kmorph.graph import Fork, Graph, Layer, Normalize
from kmorph.problem.inputs.base import Input
from kmorph.problem.inputs.changes import change_grids
from kmorph.problem.inputs.sizes import sized_starts

AnyGrid = TypeVar("AnyGrid", bound="GridInput")

MEASURED = 10_000  # examples from which mean and variance are measured
PIECE = 1 << 22  # values that are looked at at once
OUTLYING = 1e4  # times the median of the examples' largest values, from which an example is an outlier, …
FEW = 0.01  # … if no larger share of the examples is, or a single one


@dataclass(frozen=True)
class GridInput(Input):
    """Examples of one size, as bytes or floats, normalised by each channel's mean and variance.

    Parameters
    ----------
    shape : tuple (*positions, channels)
    mean, variance : tuple of float, length channels
        Of the training examples. A channel that never changes has the variance 1.
    """

    form: ClassVar[GridForm]
    """What examples and their axes are called."""
    start_names: ClassVar[tuple[str, ...]] = ("cnn", "resnet", "densenet")

    shape: tuple[int, ...]
    mean: tuple[float, ...] = ()
    variance: tuple[float, ...] = ()

    @classmethod
    def check(cls, x: Any, name: str = "x") -> Any:
        """Check examples; see `kmorph.data.grids.check_grids`. A warning names what is far too large."""
        checked = check_grids(x, cls.form, name=name)
        warn_of_outliers(checked, cls.noun, name)
        return checked

    @classmethod
    def learn(cls: type[AnyGrid], x: Any) -> AnyGrid:
        """Measure mean and variance of each channel, on at most 10,000 examples.

        Raises
        ------
        DataError
            If values are so large, or so close together, that float32 cannot compute with them.
        """
        return cls(x.shape[1:], *measure(x[:: max(1, len(x) // MEASURED)]))

    def encode(self, x: Any, name: str = "x") -> np.ndarray:
        """Check examples against the shape of those learned from; their values stay."""
        return check_grids(x, self.form, name=name, like=self.shape)

    def front(self) -> list[Layer | Fork]:
        """Normalisation."""
        return [Normalize(self.mean, self.variance)]

    def starts(
        self, outputs: int, n: int, time_limit: float | None, power: Callable[[Graph], float]
    ) -> Sequence[Any]:
        """Convolutional starts, as wide as time and data allow."""
        return sized_starts(self.start_names, self.shape, outputs, n, time_limit, power)

    def affordable(
        self, outputs: int, n: int, time_limit: float | None, power: Callable[[Graph], float]
    ) -> int | None:
        """FLOPs of the largest of these starts."""
        if time_limit is None:
            return None
        sized = self.starts(outputs, n, time_limit, power)
        named = [(start, {}) if isinstance(start, str) else start for start in sized]
        return max(starts.KINDS[name](self.shape, outputs, **size).flops for name, size in named)

    def augment(self, batch: Any, kinds: tuple[str, ...], seed: Any) -> Any:
        """Change a batch at random; see `kmorph.problem.inputs.changes`."""
        return change_grids(batch, kinds, seed, np.array(self.mean, np.float32))

    def samples(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Random values with mean and variance of the examples learned from."""
        values = rng.normal(size=(n, *self.shape)) * np.sqrt(self.variance or 1.0) + (self.mean or 0.0)
        return values.astype(np.float32)

    def to_json(self) -> dict[str, Any]:
        """Shape, mean and variance."""
        return {"shape": list(self.shape), "mean": list(self.mean), "variance": list(self.variance)}

    @classmethod
    def from_json(cls: type[AnyGrid], values: dict[str, Any]) -> AnyGrid:
        """Rebuild from what `to_json` gave."""
        return cls.rebuilt(values, cls.form.rank)

    @classmethod
    def rebuilt(cls: type[AnyGrid], values: dict[str, Any], rank: int) -> AnyGrid:
        """The same, for examples with so many axes of positions."""
        shape = tuple(int(size) for size in values["shape"])
        mean, variance = (tuple(float(v) for v in values[name]) for name in ("mean", "variance"))
        if len(shape) != rank + 1:
            raise ValueError(f"{cls.noun} have {rank} axes and channels, the shape is {shape}")
        if min(shape) < 1 or not len(mean) == len(variance) == shape[-1]:
            raise ValueError("shape, mean and variance do not go together")
        if not np.isfinite([*mean, *variance]).all() or min(variance) <= 0:
            raise ValueError("mean and variance must be finite, and variances above 0")
        return cls(shape, mean, variance)


def warn_of_outliers(x: np.ndarray, noun: str, name: str = "x") -> None:
    """Warn of a few examples that are so large that all others look alike once they are normalised.

    Where many examples are, scales differ by their nature.

    Parameters
    ----------
    x : ndarray, shape (n, ...), or of object, shape (n,)
        Checked examples.
    noun : str
        What messages call them.
    name : str, default="x"
    """
    if x.dtype == np.uint8:
        return
    if x.dtype == object:
        largest = np.array([max(float(one.max()), -float(one.min())) for one in x])
    else:
        axes, step = tuple(range(1, x.ndim)), max(1, PIECE // max(1, x[:1].size))
        pieces = (x[i : i + step] for i in range(0, len(x), step))
        largest = np.concatenate([np.maximum(one.max(axis=axes), -one.min(axis=axes)) for one in pieces])
    typical = float(np.median(largest))
    outlying = np.flatnonzero(largest > OUTLYING * typical)
    if not typical or not 0 < len(outlying) <= max(1, FEW * len(x)):
        return
    first, more = outlying[0], len(outlying) - 1
    warnings.warn(
        f"{name}[{first}] has values as large as {largest[first]:.0e}"
        + f", and {more} more do," * (more > 0)
        + f" where {typical:.0e} is usual: normalised together, all other {noun} look alike. Check the unit, "
        "or leave it out together with its label.",
        UserWarning,
        stacklevel=5,  # who called `fit`
    )


def measure(some: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and variance of each channel; a channel that never changes is left at its scale.

    Parameters
    ----------
    some : ndarray, shape (n, ..., channels)

    Raises
    ------
    DataError
        See `GridInput.learn`.
    """
    axes = tuple(range(some.ndim - 1))
    # Piece by piece: NumPy computes a variance from a copy of all differences, in double precision.
    step = max(1, PIECE // max(1, some[:1].size))
    pieces, count = range(0, len(some), step), some[..., 0].size
    mean = sum(some[i : i + step].sum(axis=axes, dtype=np.float64) for i in pieces) / count
    squares = (((some[i : i + step] - mean) ** 2).sum(axis=axes) for i in pieces)
    variance = sum(squares) / count
    variance = np.where(variance > 1e-12 * mean**2, variance, 1.0)
    if not (1e-30 < variance.min() and variance.max() < 1e30 and np.abs(mean).max() < 1e15):
        raise DataError(
            f"x has values around {np.abs(some).max():.0e}, which networks cannot compute with: scale them, "
            "as x / np.abs(x).max()"
        )
    return tuple(mean.tolist()), tuple(variance.tolist())
