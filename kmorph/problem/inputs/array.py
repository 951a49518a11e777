"""Arrays of numbers, whatever their axes mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kmorph.data.grids import GridForm, check_grids
from kmorph.errors import DataError
from kmorph.numeric import as_array
from kmorph.problem.inputs.grid import GridInput, warn_of_outliers


@dataclass(frozen=True)
class ArrayInput(GridInput):
    """Examples of any shape, such as rows of a table; each position of the last axis is normalised."""

    kind = "array"
    noun = "examples"
    start_names = ("mlp",)

    @classmethod
    def check(cls, x: Any, name: str = "x") -> np.ndarray:
        """Check that these are finite numbers, and more than one axis."""
        try:
            array = as_array(x)
            # Objects and nothing at all are refused below, with advice, and so is what is no array.
            axes = array.ndim if array.size and array.dtype != object else max(2, array.ndim)
        except (ValueError, TypeError, RuntimeError):
            axes = 2
        if axes < 2:
            raise DataError(
                f"{name} has {axes} axes; expected shape (n, features), or more axes. For one feature, "
                f"`np.reshape({name}, (-1, 1))`."
            )
        checked = check_grids(x, _form(axes - 2), name=name)
        warn_of_outliers(checked, cls.noun, name)
        return checked

    def encode(self, x: Any, name: str = "x") -> np.ndarray:
        """Check examples against the shape of those learned from; their values stay."""
        return check_grids(x, _form(len(self.shape) - 1), name=name, like=self.shape)

    def starts(self, *args: Any) -> tuple[str, ...]:
        """A multi-layer perceptron."""
        return self.start_names

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> ArrayInput:
        """Rebuild from what `to_json` gave."""
        return cls.rebuilt(values, rank=len(values["shape"]) - 1)


def _form(rank: int) -> GridForm:
    return GridForm("example", tuple(f"axis {i + 1}" for i in range(rank)))
