"""Signals: series of measurements in time, of one length or of several."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from kmorph.data.grids import SIGNALS, check_grids
from kmorph.data.series import are_unequal, check_series, repeated
from kmorph.errors import DataError
from kmorph.graph import Fork, GroupNorm, Layer
from kmorph.problem.inputs.changes import change_grids
from kmorph.problem.inputs.grid import MEASURED, GridInput, measure, warn_of_outliers
from kmorph.problem.inputs.symmetry import helps_neighbours, keeps_target

if TYPE_CHECKING:
    from kmorph.problem.targets.base import Target

LEAST_TO_CHANGE = 8  # positions of a signal that is changed at random
WASTE = 8  # most that repeating may multiply the size of signals by
# Signals differ in scale if the 90th percentile of their standard deviations exceeds the 10th by the first
# factor, or if their means spread by the second one times their median standard deviation.
SCALES_APART, MEANS_APART = 2.0, 0.5
TINY = 1e-12  # epsilon of instance normalisation; all signals together have variance 1 there


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
    instance_norm : bool, default=False
        Whether networks also see each signal normalised by its own mean and variance. Where some signals are
        a thousand times as large as others, global normalisation hides the shape of the small ones.
    """

    kind = "signal"
    noun = "signals"
    form = SIGNALS
    start_names = ("fcn", "cnn", "resnet")

    unequal: bool = False
    instance_norm: bool = False

    @classmethod
    def check(cls, x: Any, name: str = "x") -> np.ndarray:
        """Check signals; those of unequal length become an array of arrays."""
        checked = check_series(x, name=name) if are_unequal(x) else check_grids(x, SIGNALS, name=name)
        warn_of_outliers(checked, cls.noun, name)
        return checked

    @classmethod
    def learn(cls, x: np.ndarray) -> SignalInput:
        """Measure length, mean and variance; a few signals that are far longer than all others do not count.

        Raises
        ------
        DataError
            See `GridInput.learn`.
        """
        some = x[:: max(1, len(x) // MEASURED)]
        apart = _differ_in_scale(some)
        if x.dtype != object:
            return replace(super().learn(x), instance_norm=apart)
        lengths = np.sort([len(one) for one in x])
        allowed = lengths[lengths * len(x) <= WASTE * lengths.sum()]
        mean, variance = measure(np.concatenate(list(some)).astype(np.float32))
        shape = (int(allowed[-1]), len(mean) + 1)
        return cls(shape, (*mean, 0.0), (*variance, 1.0), unequal=True, instance_norm=apart)

    def encode(self, x: Any, name: str = "x") -> np.ndarray:
        """Signals of the length learned from; see `kmorph.data.series.repeated`.

        Raises
        ------
        DataError
            If they cannot be used, have other channels, or differ in length where those learned from did not.
        """
        length, channels = self.shape
        if not self.unequal:
            if are_unequal(x):
                check_series(x, name=name)
                raise DataError(
                    f"{name} has signals of different lengths; the model was fitted on signals of length "
                    f"{length}: cut or pad them to it, or fit on a list of signals that differ in length"
                )
            return super().encode(x, name)
        if not are_unequal(x) and not (isinstance(x, np.ndarray) and x.dtype == object):
            x = check_grids(x, SIGNALS, name=name)
        return repeated(check_series(x, name=name, channels=channels - 1), length)

    def front(self) -> list[Layer | Fork]:
        """Global normalisation, concatenated with instance normalisation where signals differ in scale."""
        if not self.instance_norm:
            return super().front()
        alone = GroupNorm(self.shape[-1], epsilon=TINY, scale=False, center=False)
        return [*super().front(), ((), (alone,))]

    def augmentations(self, x: np.ndarray, codes: np.ndarray, target: Target) -> tuple[str, ...]:
        """Noise, scaling, shifts and crops of time, each if simple models say that it helps."""
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
        values, present = batch[..., :-1], batch[..., -1:]
        others = tuple(kind for kind in kinds if kind not in moves)
        values = change_grids(values, others, seed, np.array(self.mean[:-1], np.float32))
        return ops.concatenate([values, present], axis=-1)

    def to_json(self) -> dict[str, Any]:
        """Shape, mean, variance, whether lengths differ, and whether scales do."""
        return {**super().to_json(), "unequal": self.unequal, "instance_norm": self.instance_norm}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> SignalInput:
        """Rebuild from what `to_json` gave."""
        found = super().from_json(values)
        unequal, instance_norm = values["unequal"], values["instance_norm"]
        if not isinstance(unequal, bool) or (unequal and found.shape[-1] < 2):
            raise ValueError("unequal must be true or false, and true needs a channel more")
        if not isinstance(instance_norm, bool):
            raise ValueError("instance_norm must be true or false")
        return replace(found, unequal=unequal, instance_norm=instance_norm)


def _differ_in_scale(signals: np.ndarray) -> bool:
    """Return whether signals, each of shape (length, channels), have different scales or levels."""
    moments = np.array(
        [[one.mean(axis=0, dtype=np.float64), one.std(axis=0, dtype=np.float64)] for one in signals]
    )
    means, deviations = moments[:, 0], moments[:, 1]
    low, high = np.quantile(deviations, [0.1, 0.9], axis=0)
    typical = np.maximum(np.median(deviations, axis=0), 1e-12 * np.abs(means).max(axis=0))
    return bool(np.any(high > SCALES_APART * low) or np.any(means.std(axis=0) > MEANS_APART * typical))
