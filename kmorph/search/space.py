"""The hyperparameters that a search may vary, and how."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kmorph.training.plan import Hyperparameters

STEP = 0.2
"""Standard deviation of a change, as a share of the range."""


@dataclass(frozen=True)
class Range:
    """Numbers between two bounds, these included.

    Parameters
    ----------
    low, high : float
    log : bool, default=False
        True: equal ratios are equally far, rather than equal differences.
    whole : bool, default=False
        True: only whole numbers fit.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def nearest(self, value: float) -> float:
        """The number in the range that is nearest to `value`."""
        return self._at(min(max(self._place(value), 0.0), 1.0))

    def vary(self, value: float, rng: np.random.Generator) -> float:
        """Another number, more likely one near `value`; reflected where it would leave the range."""
        place = self._place(self.nearest(value)) + STEP * rng.standard_normal()
        return self._at(1 - abs(1 - abs(place) % 2))

    def _place(self, value: float) -> float:
        if not self.log:
            return (value - self.low) / (self.high - self.low)
        return float(np.log(max(value, 1e-300) / self.low) / np.log(self.high / self.low))

    def _at(self, place: float) -> float:
        if self.log:
            value = self.low * (self.high / self.low) ** place
        else:
            value = self.low + place * (self.high - self.low)
        value = round(value) if self.whole else float(f"{value:.4g}")
        return min(max(value, self.low), self.high)


@dataclass(frozen=True)
class Choice:
    """A few values.

    Parameters
    ----------
    values : tuple
        At least one.
    """

    values: tuple[Any, ...]

    def nearest(self, value: Any) -> Any:
        """`value` if it is one of them, else the first."""
        return value if value in self.values else self.values[0]

    def vary(self, value: Any, rng: np.random.Generator) -> Any:
        """Another one, if there is one."""
        others = [other for other in self.values if other != value] or list(self.values)
        return others[rng.integers(len(others))]


@dataclass(frozen=True)
class Space:
    """Hyperparameters that a search may vary.

    Parameters
    ----------
    dimensions : mapping from name to Range or Choice, default={}
        What is not named stays as it is.
    """

    dimensions: Mapping[str, Range | Choice] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.dimensions)

    def nearest(self, hyperparameters: Hyperparameters) -> Hyperparameters:
        """The same with values outside the space moved into it."""
        values = hyperparameters.to_dict()
        inside: dict[str, Any] = {
            name: known.nearest(values[name]) for name, known in self.dimensions.items()
        }
        return dataclasses.replace(hyperparameters, **inside)

    def vary(self, values: Mapping[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        """The same values with one of them changed at random."""
        names = sorted(self.dimensions)
        if not names:
            return dict(values)
        name = names[rng.integers(len(names))]
        return {**values, name: self.dimensions[name].vary(values[name], rng)}

    def key(self, values: Mapping[str, Any]) -> tuple[Any, ...]:
        """Equal for values that do not differ in this space."""
        return tuple(values.get(name) for name in sorted(self.dimensions))
