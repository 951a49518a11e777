"""Arrays of numbers, whatever their axes mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kmorph.data.grids import GridForm, check_grids
from kmorph.errors import DataError
from kmorph.numeric import as_array
from kmorph.problem.inputs.grid import GridInput, warn_of_outliers

# Of tables, as measured in docs/benchmarks.md: more epochs or larger steps raise the log loss.
EPOCHS = 50
RATE_OF_ROW, LOWEST_RATE, HIGHEST_RATE = 1e-5, 0.01, 0.1


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

    def hyperparameters(self, n: int) -> dict[str, Any]:
        """For tables, a learning rate in proportion to the number of rows: few are soon learned by heart."""
        if len(self.shape) > 1:
            return {}
        return {"learning_rate": min(max(RATE_OF_ROW * n, LOWEST_RATE), HIGHEST_RATE)}

    def most_epochs(self, n: int) -> int | None:
        """For tables, `EPOCHS`."""
        return EPOCHS if len(self.shape) == 1 else None

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> ArrayInput:
        """Rebuild from what `to_json` gave."""
        return cls.rebuilt(values, rank=len(values["shape"]) - 1)


def _form(rank: int) -> GridForm:
    return GridForm("example", tuple(f"axis {i + 1}" for i in range(rank)))
