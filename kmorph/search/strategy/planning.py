"""Plans of candidates: training time and settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import inf
from typing import Any

import numpy as np

from kmorph.graph import Graph
from kmorph.search.settings import Settings
from kmorph.search.store.record import ModelRecord
from kmorph.search.strategy.schedule import GROWTH_FROM, Schedule
from kmorph.training.plan import Hyperparameters, Plan

# What the very first model gets, however short the time limit, in a worker that has TensorFlow loaded
# already and in one that has not: seconds of training, and seconds until it must be evaluated. A cold worker
# beside another search needs ten seconds to load; a search in a fresh process may take 15 beyond its limit.
FIRST_WARM = (0.5, 2.0)
FIRST_COLD = (2.0, 12.5)
EPOCHS_WITHOUT_LIMIT = 20  # of one candidate, where neither a clock nor the user says otherwise
# Epochs still to come, from which changing the training images pays; erasing parts of them needs more.
EPOCHS_TO_AUGMENT = 3
EPOCHS_TO_ERASE = 15
# Share of a last training at whose end images are not changed any more, so that the network gets used to such
# as it will see (He et al., "Data augmentation revisited", arXiv:1909.09148).
PLAIN_END = 0.3
PLAIN_EPOCHS = 5.0  # … but no more than these
FINAL_EPOCHS = 200  # of `final_fit`, where the user sets no limit
FINAL_PATIENCE = 30  # epochs of `final_fit` without improvement; without validation data, all of its epochs
WARM_LEARNING_RATE = 0.2  # share of the learning rate at which a trained model is trained on


class Planner:
    """Makes the plan of each candidate from the clock and from what was measured.

    Parameters
    ----------
    settings : Settings
    schedule : Schedule
    records : mapping from model id to ModelRecord
        Of the search; it is looked at whenever a plan is made.
    power : float
        Multiply-adds of a forward pass per second in training, before a model was trained.
    cold : bool, default=False
        True if the first candidate waits for a worker to load Keras.
    policy : str, optional
        Keras' dtype policy in which a worker trains fastest, if that was measured.
    """

    def __init__(
        self,
        settings: Settings,
        schedule: Schedule,
        records: Mapping[int, ModelRecord],
        power: float,
        cold: bool = False,
        policy: str | None = None,
    ) -> None:
        self.settings, self.schedule, self.records = settings, schedule, records
        self.power, self.cold, self.policy = power, cold, policy

    @property
    def merges(self) -> bool:
        """True if the last training is on the validation examples too."""
        return self.settings.merge_validation and self.schedule.time_limit is not None

    def first_or_stable(
        self, graph: Graph, seed: int, hyperparameters: Mapping[str, Any] | None = None
    ) -> tuple[str, Plan, int]:
        """Phase, plan and seed of a start or a child.

        It trains for a slice of the time. Only under a time limit for a single model, or below `GROWTH_FROM`
        without a cap on epochs that would leave some of it, the first model gets all of it and settles at
        once.
        """
        limit, is_capped = self.schedule.time_limit, self.settings.epochs is not None
        is_only_one = self.schedule.max_models == 1 or (
            limit is not None and limit < GROWTH_FROM and not is_capped
        )
        if limit is not None and is_only_one and not self.records:
            return "decay", self.plan("decay", graph, seed, self.schedule.time_left(), hyperparameters), seed
        seconds = self.schedule.slice_seconds()
        return "stable", self.plan("stable", graph, seed, seconds, hyperparameters), seed

    def settling(
        self,
        graph: Graph,
        seed: int,
        hyperparameters: Mapping[str, Any],
        waiting: int = 1,
        evaluation: bool = False,
    ) -> Plan:
        """The plan of a last training.

        It has all the time that is left, or its part if `waiting` models are to be settled; some is left over
        for an `evaluation` after that.
        """
        seconds = self.schedule.settling_seconds(waiting, evaluation)
        plan = self.plan("decay", graph, seed, seconds, hyperparameters, waiting)
        # The time may have run out since it was looked at last.
        epochs = max(1.0, min(self._epochs_to_come(graph) / waiting, plan.max_epochs or inf))
        plain_end = min(PLAIN_END, PLAIN_EPOCHS / epochs)
        return replace(plan, merge_validation=self.merges, plain_end=plain_end)

    def no_training(self, graph: Graph, hyperparameters: Mapping[str, Any]) -> Plan:
        """The plan of a model that is only evaluated."""
        plan = self.plan("decay", graph, self.settings.seed, None, hyperparameters)
        return replace(plan, max_epochs=0, patience=None, keep_best=False)

    def plan(
        self,
        phase: str,
        graph: Graph,
        seed: int,
        seconds: float | None,
        hyperparameters: Mapping[str, Any] | None = None,
        waiting: int = 1,
    ) -> Plan:
        """The plan of a candidate that trains for `seconds` (None: as many epochs as are allowed).

        `hyperparameters` count where the search may vary them; the time left is for `waiting` candidates.
        """
        settings, left = self.settings, self.schedule.time_left()
        epochs = settings.epochs
        if epochs is None and left is None:
            epochs = EPOCHS_WITHOUT_LIMIT
        elif phase == "stable" and settings.max_epochs is None and epochs is not None:
            epochs = max(1, epochs // 2)  # enough to rank candidates, and children train on
        if not self.records and seconds is not None and left is not None:
            training, until = FIRST_COLD if self.cold else FIRST_WARM
            seconds, left = max(seconds, training), max(left, until)
        return Plan(
            phase=phase,
            seconds_left=left,
            seconds=seconds,
            max_epochs=epochs,
            patience=settings.patience if left is None else None,
            min_loss_decrease=settings.min_loss_decrease,
            keep_best=graph.has_weights,  # a trained network that somebody brought must not come out worse
            hyperparameters=self._hyperparameters(graph, hyperparameters or {}, waiting),
            seed=seed,
            policy=self.policy,
        )

    def _hyperparameters(self, graph: Graph, values: Mapping[str, Any], waiting: int) -> Hyperparameters:
        varied = {name: values[name] for name in self.settings.space.dimensions if name in values}
        chosen = self.settings.space.nearest(replace(self.settings.hyperparameters, **varied))
        epochs = inf if self.settings.always_augment else self._epochs_to_come(graph) / waiting
        return replace(chosen, augment=augmentation_for(self.settings.augment, epochs))

    def _epochs_to_come(self, graph: Graph) -> float:
        """Epochs that a graph could be trained in the time left; infinite without a clock."""
        left = self.schedule.time_left()
        return inf if left is None else left / self.epoch_seconds(graph)

    def epoch_seconds(self, graph: Graph) -> float:
        """Seconds that a graph takes for a pass over the training data."""
        return self.settings.n_train / self.speed(graph)

    def speed(self, graph: Graph) -> float:
        """Examples per second that a graph is trained on, by the speed of those measured.

        Without a clock nothing depends on it but proportions, and the same search is to go the same way: then
        nothing measured counts.
        """
        speeds = [
            record.examples_per_second * record.flops
            for record in self.records.values()
            if record.examples_per_second > 0 and self.schedule.time_limit is not None
        ]
        power = float(np.median(speeds)) if speeds else self.power
        return max(power, 1.0) / max(graph.flops, 1)

    def expected_images(self, plan: Plan, graph: Graph) -> int:
        """Number of examples that a graph will be trained on under a plan."""
        found = [] if plan.max_epochs is None else [plan.max_epochs * self.settings.n_train]
        found += [] if plan.seconds is None else [int(plan.seconds * self.speed(graph))]
        return min(found, default=self.settings.n_train)


def augmentation_for(kinds: tuple[str, ...], epochs: float) -> tuple[str, ...]:
    """Changes that pay when so many epochs are still to come, of those that suit the data."""
    if epochs < EPOCHS_TO_AUGMENT:
        return ()
    return tuple(kind for kind in kinds if kind != "erase" or epochs >= EPOCHS_TO_ERASE)


def final_plan(
    record: ModelRecord,
    hyperparameters: Hyperparameters,
    augment: tuple[str, ...],
    *,
    seed: int,
    seconds: float | None = None,
    has_validation: bool = False,
    retrain: bool = False,
    learning_rate_given: bool = False,
    max_epochs: int | None = None,
    most_epochs: int | None = None,
    patience: int | None = None,
    min_loss_decrease: float = 0.0,
) -> Plan:
    """The plan of `final_fit`: to train a model of a finished search on, or anew.

    Parameters
    ----------
    record : ModelRecord
        The model.
    hyperparameters : Hyperparameters
        Those of the model, or of the user. A model that is trained on gets a smaller learning rate, unless
        the user gave one.
    augment : tuple of str
        Changes of training images that suit the data.
    seed : int
    seconds : float, optional
        Time that is left for training and evaluation; None: no limit.
    has_validation : bool, default=False
        Whether the user gave validation data. If not, and the model was trained on all data already, no part
        of that can decide when to stop: training is on all of it then, for a fixed number of epochs.
    retrain : bool, default=False
        Whether training begins with new weights.
    learning_rate_given : bool, default=False
        Whether the user gave the learning rate in this call.
    max_epochs, patience : int, optional
        Most epochs (default 200; 30 without validation), and epochs without improvement before training ends
        (default 30).
    most_epochs : int, optional
        Number of epochs after which training overfits; caps the default.
    min_loss_decrease : float, default=0.0
        What counts as an improvement.
    """
    merge = record.is_unmeasured and not has_validation and not retrain
    if not retrain and not learning_rate_given:
        warm = WARM_LEARNING_RATE * hyperparameters.learning_rate
        hyperparameters = replace(hyperparameters, learning_rate=warm)
    epochs = max_epochs or min(FINAL_PATIENCE if merge else FINAL_EPOCHS, most_epochs or FINAL_EPOCHS)
    return Plan(
        phase="final",
        seconds_left=seconds,
        seconds=None if seconds is None else max(1.0, seconds),
        max_epochs=epochs,
        patience=None if merge else patience or FINAL_PATIENCE,
        min_loss_decrease=min_loss_decrease,
        keep_best=not merge,
        merge_validation=merge,
        hyperparameters=replace(hyperparameters, augment=augmentation_for(augment, epochs)),
        seed=seed,
    )
