"""An optimiser of the user's own: any of Keras'."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from kmorph.errors import DataError, did_you_mean
from kmorph.problem.own import name_of, pack, unpack


@dataclass(frozen=True)
class OwnOptimizer:
    """A Keras optimiser, made anew for each model; its learning rate is the peak of the search's schedule.

    Its own weight decay and clipping take the place of kmorph's.

    Parameters
    ----------
    name : str
    packed : bytes
        As `kmorph.problem.own.pack` gave it.
    learning_rate : float
    undecayed : str, optional
        Regular expression; variables whose names match it get no weight decay.
    """

    name: str
    packed: bytes
    learning_rate: float
    undecayed: str | None = None

    @classmethod
    def of(cls, given: Any) -> OwnOptimizer:
        """Take what the user gave as `optimizer`: a name, or a ``keras.optimizers.Optimizer``.

        Raises
        ------
        DataError
            If it is no optimiser, has a schedule for a learning rate, or cannot be sent to a worker.
        """
        if isinstance(given, str):
            return cls._named(given)
        if isinstance(given, type) or not hasattr(given, "get_config") or not hasattr(given, "apply"):
            raise DataError(
                f"optimizer must be a name or an object of Keras', such as keras.optimizers.AdamW(1e-3), got "
                f"{given!r}"
            )
        if hasattr(given, "inner_optimizer"):
            raise DataError(
                f"optimizer={name_of(given)!r} scales losses, which training does not need: give the "
                "optimiser inside it"
            )
        rate = given.get_config().get("learning_rate")
        if isinstance(rate, bool) or not isinstance(rate, int | float):
            raise DataError(
                f"optimizer={name_of(given)!r} has a schedule for its learning rate: give a number, the "
                "search lets it fall to zero at the end of training"
            )
        if getattr(given, "_exclude_from_weight_decay", None):
            raise DataError(
                f"optimizer={name_of(given)!r} excludes variables of one model from weight decay: exclude "
                "them by name, as in exclude_from_weight_decay(var_names=['bias'])"
            )
        pattern = getattr(given, "_exclude_from_weight_decay_pattern", None)
        undecayed = None if pattern is None else str(pattern.pattern)
        packed = pack(given, "optimizer", "give one of Keras' own")
        return cls(type(given).__name__, packed, float(rate), undecayed)

    @classmethod
    def _named(cls, name: str) -> OwnOptimizer:
        """One of Keras' by its name. It is not built here: that would start the backend's devices."""
        from keras import optimizers

        classes = [kind for kind in vars(optimizers).values() if isinstance(kind, type)]
        kinds = {kind.__name__.lower(): kind for kind in classes}
        rates = {known: rate for known, kind in kinds.items() if (rate := _default_rate(kind))}
        if name.lower() not in rates:
            raise DataError(
                f"optimizer={name!r} is no optimiser of Keras{did_you_mean(name.lower(), rates)}; give a "
                "name such as 'adamw', or one such as keras.optimizers.AdamW(1e-3)"
            )
        kind = kinds[name.lower()]
        return cls(kind.__name__, pack(kind, "optimizer", ""), rates[name.lower()])

    def make(self) -> Any:
        """A new optimiser, without state. Losses are float32 here, and are not scaled."""
        optimizer = unpack(self.packed)
        optimizer.loss_scale_factor = None
        if self.undecayed is not None:
            optimizer.exclude_from_weight_decay(var_names=[self.undecayed])
        return optimizer


def _default_rate(kind: type) -> float | None:
    """The default learning rate of a class of optimisers; None if it has none."""
    rate = inspect.signature(kind).parameters.get("learning_rate")
    return rate.default if rate is not None and isinstance(rate.default, float) else None
