"""Plan of a candidate's training: its limits, its schedule and its hyperparameters."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Hyperparameters:
    """Settings of training that belong to a candidate.

    Parameters
    ----------
    learning_rate : float, default=0.1
        Peak step size of stochastic gradient descent with Nesterov momentum 0.9; half of it is that of Muon,
        relative to the size of a fresh kernel. With several devices, times their number.
    batch_size : int, default=64
        Examples per step, on each device.
    weight_decay : float, default=5e-4
        Pull of every kernel towards zero, relative to the step size.
    label_smoothing : float, default=0.0
        Share of the target spread evenly over the classes.
    augment : tuple of str, default=()
        Random changes of training examples, by the names that the input has for them.
    """

    learning_rate: float = 0.1
    batch_size: int = 64
    weight_decay: float = 5e-4
    label_smoothing: float = 0.0
    augment: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name."""
        return {**self.__dict__, "augment": list(self.augment)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Hyperparameters:
        """Rebuild from what `to_dict` gave."""
        return cls(**{**values, "augment": tuple(values.get("augment", ()))})


@dataclass(frozen=True)
class Plan:
    """Limits of a candidate's training and its schedule of the learning rate.

    Parameters
    ----------
    phase : {"stable", "decay", "final"}
        In the stable phase the learning rate is constant after a short warm-up; in the others it falls
        linearly to zero.
    seconds_left : float or None, default=None
        Seconds from the call of `train` until the model must be trained and evaluated. A plan holds no
        moment, because clocks of machines differ.
    seconds : float or None, default=None
        Time to train, measured from the first step.
    max_epochs : int or None, default=None
        Most passes over the training data; 0: the graph is evaluated as it is.
    patience : int or None, default=None
        Stop after this many evaluations in a row, one an epoch, that lowered the validation loss by
        less than `min_loss_decrease`; None: evaluate at the end only.
    min_loss_decrease : float, default=0.0
    keep_best : bool, default=False
        Whether the weights with the lowest validation loss are kept, those before training included,
        rather than the last.
    merge_validation : bool, default=False
        Whether validation examples are trained on as well. Metrics on them are then no estimate any more;
        they only show whether training failed.
    images_before : int, default=0
        Examples that the weights were trained on before; their average goes on from there.
    plain_end : float, default=0.0
        Share of the training at whose end images are not changed any more.
    rival : str or None, default=None
        File (``.npy``) of the parent's outputs for the validation examples. A child that does worse after a
        part of its time (`kmorph.training.race.RACE`) is stopped then.
    hyperparameters : Hyperparameters
    seed : int, default=0
        Seed of shuffling, augmentation and dropout.
    policy : str or None, default=None
        Keras' dtype policy of forward and backward passes; None: the one known to suit the device.
    """

    phase: str = "stable"
    seconds_left: float | None = None
    seconds: float | None = None
    max_epochs: int | None = None
    patience: int | None = None
    min_loss_decrease: float = 0.0
    keep_best: bool = False
    merge_validation: bool = False
    images_before: int = 0
    plain_end: float = 0.0
    rival: str | None = None
    hyperparameters: Hyperparameters = field(default_factory=Hyperparameters)
    seed: int = 0
    policy: str | None = None
