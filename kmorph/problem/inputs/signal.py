"""Signals: series of measurements in time, of one length or of several."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from kmorph.data.grids import SIGNALS, check_grids
from kmorph.data.series import are_unequal, check_series, padded
from kmorph.errors import DataError
from kmorph.problem.inputs.changes import change_grids
from kmorph.problem.inputs.grid import MEASURED, GridInput, measure
from kmorph.problem.inputs.symmetry import helps_neighbours, keeps_target

if TYPE_CHECKING:
    from kmorph.problem.targets.base import Target

LEAST_TO_CHANGE = 8  # positions of a signal that is changed at random
WASTE = 8  # most that padding may multiply the size of signals by


@dataclass(frozen=True)
class SignalInput(GridInput):
    """Signals; `shape` is (length, channels).

    Where those learned from differ in length, `shape` is that of the longest with one more channel, which is
    1 where a signal has values and 0 behind its end. Later ones may be shorter, or longer: then they lose
    what is behind `length`.

    Parameters
    ----------
    unequal : bool, default=False
        Whether there is such a channel.
    """

    kind = "signal"
    noun = "signals"
    form = SIGNALS
    start_names = ("fcn", "cnn", "resnet")

    unequal: bool = False

    @classmethod
    def check(cls, x: Any, name: str = "x") -> np.ndarray:
        """Check signals; those of unequal length become an array of arrays."""
        return check_series(x, name=name) if are_unequal(x) else check_grids(x, SIGNALS, name=name)

    @classmethod
    def learn(cls, x: np.ndarray) -> SignalInput:
        """Measure length, mean and variance; a few signals that are far longer than all others do not count.

        Raises
        ------
        DataError
            See `GridInput.learn`.
        """
        if x.dtype != object:
            return super().learn(x)
        lengths = np.sort([len(one) for one in x])
        allowed = lengths[lengths * len(x) <= WASTE * lengths.sum()]
        some = np.concatenate(list(x[:: max(1, len(x) // MEASURED)])).astype(np.float32)
        mean, variance = measure(some)
        return cls((int(allowed[-1]), len(mean) + 1), (*mean, 0.0), (*variance, 1.0), unequal=True)

    def encode(self, x: Any, name: str = "x") -> np.ndarray:
        """Signals of the length learned from; see `kmorph.data.series.padded`.

        Raises
        ------
        DataError
            If they cannot be used, have other channels, or differ in length where those learned from did not.
        """
        length, channels = self.shape
        if not self.unequal:
            if are_unequal(x):
                raise DataError(
                    f"{name} has signals of different lengths; the model was fitted on signals of length "
                    f"{length}: cut or pad them to it, or fit on a list of signals that differ in length"
                )
            return super().encode(x, name)
        if not are_unequal(x) and not (isinstance(x, np.ndarray) and x.dtype == object):
            x = check_grids(x, SIGNALS, name=name)
        return padded(check_series(x, name=name, channels=channels - 1), length, self.scale()[0][:-1])

    def augmentations(self, x: np.ndarray, codes: np.ndarray, target: Target) -> tuple[str, ...]:
        """Noise, scaling, shifts and crops of time, each if simple models do as well with it."""
        if len(x[0]) < LEAST_TO_CHANGE:
            return ()
        kinds = ("noise", "scale", "shift", "crop")
        if codes.ndim == 1 and not target.is_numeric:
            return tuple(kind for kind in kinds if helps_neighbours(kind, x, codes))
        return tuple(kind for kind in kinds if keeps_target(kind, x, codes, target))

    def augment(self, batch: Any, kinds: tuple[str, ...], seed: Any) -> Any:
        """Change signals at random; what says where a signal ends moves with it, and nothing else."""
        if not self.unequal or not kinds:
            return super().augment(batch, kinds, seed)
        from keras import ops

        moves = tuple(kind for kind in kinds if kind in ("shift", "crop"))
        batch = change_grids(batch, moves, seed)
        others = tuple(kind for kind in kinds if kind not in moves)
        changed = change_grids(batch, others, seed, *self.scale())
        present = batch[..., -1:]
        changed = ops.where(present > 0, changed, batch)
        return ops.concatenate([changed[..., :-1], present], axis=-1)

    def to_json(self) -> dict[str, Any]:
        """Shape, mean, variance, and whether lengths differ."""
        return {**super().to_json(), "unequal": self.unequal}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> SignalInput:
        """Rebuild from what `to_json` gave."""
        found = super().from_json(values)
        unequal = values["unequal"]
        if not isinstance(unequal, bool) or (unequal and found.shape[-1] < 2):
            raise ValueError("unequal must be true or false, and true needs a channel more")
        return replace(found, unequal=unequal)
