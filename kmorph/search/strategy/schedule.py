"""The clock: how a search divides its time into slices, and when it stops growing and settles."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

import numpy as np

from kmorph.training.race import FIRST_EVALUATION, LEAST_RACE, RACE

LEFT_OVER = 0.1  # share of the time limit that is left where a search counts as over early
MARGIN = 0.03  # share of the time limit kept for the last evaluation and for writing it down
# Share of the time that goes to settling the best lineages at a falling learning rate: at (seconds, share),
# in between in proportion. The more epochs there are, the more a long fall of the learning rate pays.
DECAY_SHARES = ((120.0, 0.45), (300.0, 0.6))
# Epochs that the whole time is worth, from which networks grow: with fewer, a change brings less than the
# images that it costs (`benchmarks/bench_growth.py`). They are those of the first start, or, if planned steps
# lead from it to a larger size, of a network of that size.
GROWTH_EPOCHS = 1500.0
# Where training is capped at a few epochs (`most_epochs`), networks grow if the time limit allows this many
# such trainings.
GROWTH_TRAININGS = 12
# Epochs that the whole time is worth, from which as many models are settled and averaged as there are starts.
# Where nothing grows, these are the starts themselves (`benchmarks/bench_growth.py`, arm starts).
EPOCHS_TO_AVERAGE = 80.0
# Fewest validation examples that can rank a child against its parent. With fewer, a search under a time limit
# would pick children by chance, so it trains a single network instead.
LEAST_TO_COMPARE = 200
LONGEST_DECAY = 12 * 3600.0  # seconds; more is better spent on searching
SLICES = 12  # candidates in the stable phase
MANY_SLICES = 3600.0  # seconds of time limit from which there are more, by its square root
GROWTH_FROM = 25.0  # seconds of time limit from which there is time to grow at all
# Where an epoch takes longer than a slice, slices are fewer, so that compiling and evaluating do not eat
# them: each trains for so many epochs, or for so many times its overhead if that is less.
EPOCHS_OF_SLICE = 1.5
LEAST_TRAINING = 15.0
# Share of the time in which starts that are too small are trained, and the best of them is grown to its size
# (`strategy.steps`).
STEPS_SHARE = 0.2
# Share of the time that may go to models that are not trained on, overhead included; a part of it to starts.
DISCARDED = 0.2
DISCARDED_STARTS = 0.1
BRANCH = 1 / 3  # of that time, at most, for a child of another model than the best
# Models that are settled and averaged at the end, at most, and the fewest epochs that each must get if there
# are more than two.
MEMBERS = 3
EPOCHS_TO_SETTLE = 15.0
EVALUATION = 2.0  # time to build and evaluate their mean, as a multiple of one candidate's overhead


@dataclass
class Schedule:
    """Time and models that a search may spend, and what is left of them.

    Parameters
    ----------
    time_limit : float or None
        Seconds for the search, from `begun`.
    max_models : int or None
        Most models of this search, those of earlier calls included.
    begun : float, default=now
        Moment, by the clock, from which the time limit counts.
    workers : int, default=1
        Candidates trained at once. One lineage keeps one of them busy: what the others do may be discarded.
    clock : callable, default=time.time
        The time in seconds.
    n_val : int, default=0
        Number of validation examples; 0: unknown, taken to be enough to compare candidates.
    most_epochs : int, optional
        Number of epochs after which training overfits; None: no such number is known.
    varies : bool, default=False
        Whether the user lets the search vary hyperparameters.
    """

    time_limit: float | None = None
    max_models: int | None = None
    begun: float | None = None
    workers: int = 1
    clock: Callable[[], float] = time.time
    n_val: int = 0
    most_epochs: int | None = None
    varies: bool = False

    def __post_init__(self) -> None:
        self._begun = self.clock() if self.begun is None else self.begun
        self._overhead = 3.0
        self._epoch = 0.0
        self._discarded = 0.0
        self._least_to_grow = GROWTH_FROM
        self._longest_settling = float("inf")
        self.steps_to_come = 0
        self._small_slices = self._small_starts = 0  # both stay 0 where no step is planned
        self._most_averaged, self._longest_epoch = 1, 0.0

    @property
    def deadline(self) -> float | None:
        """Moment at which the last candidate must be trained and evaluated."""
        if self.time_limit is None:
            return None
        return self._begun + self.time_limit - min(3.0, max(0.5, MARGIN * self.time_limit))

    @property
    def decay_begins(self) -> float | None:
        """Moment at which growing ends and the best lineages are trained to their ends."""
        if self.time_limit is None or self.deadline is None:
            return None
        return self.deadline - min(self._decay_seconds, self._longest_settling)

    @property
    def _decay_seconds(self) -> float:
        limit = self.time_limit or 0.0
        return min(limit * float(np.interp(limit, *np.transpose(DECAY_SHARES))), LONGEST_DECAY)

    def time_left(self) -> float | None:
        """Seconds until the deadline; None without one."""
        return None if self.deadline is None else self.deadline - self.clock()

    def is_spent(self) -> bool:
        """Return whether less time is left than a candidate costs beside its training."""
        left = self.time_left()
        return left is not None and left <= self._overhead

    def why_early(self, models: int) -> str | None:
        """Why a search of so many models is over though much of its time is left, in words for the user."""
        left = self.time_left()
        if self.time_limit is None or left is None or left < LEFT_OVER * self.time_limit:
            return None
        if self.most_epochs is None or (self.max_models is not None and models >= self.max_models):
            return None
        return (
            f"More time would not help: after {self.most_epochs} epochs such networks overfit these examples"
        )

    def slice_seconds(self) -> float | None:
        """Training time of one candidate of the stable phase, its overhead taken off."""
        if self.time_limit is None:
            return None
        number = SLICES * max(1.0, (self.time_limit / MANY_SLICES) ** 0.5)
        stable = (1 - MARGIN) * self.time_limit - self._decay_seconds
        if self.steps_to_come:
            return max(1.0, STEPS_SHARE * self.time_limit / self._small_slices - self._overhead)
        if not self.tries_children:
            if self._small_slices and self.decay_begins is not None:
                stable = self.decay_begins - self.clock()
            return max(1.0, stable / ceil(self.n_averaged / self.workers) - self._overhead)
        epochs = EPOCHS_OF_SLICE * self._epoch
        least = min(LEAST_TRAINING * self._overhead, epochs, stable / 2 - self._overhead)
        return max(1.0, stable / number - self._overhead, least)

    @property
    def may_grow(self) -> bool:
        """True if the validation data can rank candidates and the time limit leaves room for growing.

        The first estimate of the length of an epoch decides, so the answer stays the same.
        """
        return self._has_time_to_compare(self._least_to_grow)

    @property
    def tries_children(self) -> bool:
        """True if networks grow, or are at least trained with other hyperparameters, as the user asked."""
        return self._has_time_to_compare(GROWTH_FROM if self.varies else self._least_to_grow)

    def _has_time_to_compare(self, least: float) -> bool:
        return self.time_limit is None or (self.time_limit >= least and not 0 < self.n_val < LEAST_TO_COMPARE)

    def plan_steps(self, number: int, starts: int) -> None:
        """Set by how many planned steps the best start is grown before anything else is.

        Parameters
        ----------
        number : int
            Ignored without a time limit, and under one below `GROWTH_FROM`: no steps are planned then.
        starts : int
            How many are to compete before the first step, if there is time for that; 0: an earlier model is
            grown.
        """
        if self.time_limit is None or self.time_limit < GROWTH_FROM or not number:
            return
        most = int(STEPS_SHARE * self.time_limit / self._overhead) - (number - 1)
        self.steps_to_come, self._small_starts = number, min(starts, max(1, most))
        self._small_slices = max(1, self._small_starts + number - 1)

    def plan_average(self, number: int, slowest: float = 1.0) -> None:
        """Set how many models are settled and averaged; where nothing grows, so many starts are trained.

        There are none to average without a time limit or under one below `GROWTH_FROM`, with fewer than
        `LEAST_TO_COMPARE` validation examples, where the time is worth fewer than `EPOCHS_TO_AVERAGE`, where
        training overfits after a few epochs, and where starts are followed by a planned step.

        Parameters
        ----------
        number : int
            Starts that a mean can be made of.
        slowest : float, default=1.0
            Time that a pass over the training data takes with the largest of them, as a multiple of the
            first one's.
        """
        if self.time_limit is None or self.steps_to_come or self.most_epochs is not None:
            return
        self._longest_epoch = slowest * self._epoch
        if self._has_time_to_compare(max(GROWTH_FROM, EPOCHS_TO_AVERAGE * self._longest_epoch)):
            self._most_averaged = max(1, min(number, MEMBERS))

    @property
    def n_averaged(self) -> int:
        """Models to settle and average: those planned, as far as each can get `EPOCHS_TO_SETTLE`."""
        each = EPOCHS_TO_SETTLE * self._longest_epoch + self._overhead
        return max(1, min(self._most_averaged, int(self._decay_seconds / each)))

    def step_taken(self) -> None:
        """Note that one of the planned steps is on its way."""
        self.steps_to_come -= 1

    def give_up_steps(self) -> None:
        """Note that nothing more can be grown by a planned step."""
        self.steps_to_come = 0

    def expect(self, epoch: float) -> None:
        """Set the time that a pass over the training data takes.

        Parameters
        ----------
        epoch : float
            Seconds.
        """
        if not self._epoch:
            epochs = GROWTH_EPOCHS
            if self.most_epochs is not None:
                epochs = min(epochs, GROWTH_TRAININGS * self.most_epochs)
            self._least_to_grow = max(GROWTH_FROM, epochs * epoch)
        self._epoch, self._longest_epoch = epoch, max(epoch, self._longest_epoch)

    def observe(self, overhead: float, longest_training: float | None = None) -> None:
        """Update the overhead of candidates, and the longest useful settling, from one that came back.

        Parameters
        ----------
        overhead : float
            Seconds that went to building, compiling and evaluating.
        longest_training : float, optional
            Seconds that as many epochs as are allowed would take; settling needs no more time than that.
        """
        self._overhead += 0.5 * (max(0.0, overhead) - self._overhead)
        if longest_training is not None:
            self._longest_settling = 1.3 * longest_training + self._overhead

    def discard(self, seconds: float) -> None:
        """Set how much time went, so far, into models that are not trained on.

        Parameters
        ----------
        seconds : float
            All of it, not what was added.
        """
        self._discarded = seconds

    def may_branch(self) -> bool:
        """Return whether a child may be grown from another model than the best.

        It costs a slice either way, and is worth it only where slices are many.
        """
        cost = self._overhead + (self.slice_seconds() or 0.0)
        few = self.time_limit is not None and cost > BRANCH * DISCARDED * self.time_limit
        return not few and self._may_discard(cost)

    def _lost_race(self) -> float:
        """Seconds of training after which a child that loses to its parent is stopped."""
        seconds = self.slice_seconds() or 0.0
        return seconds if seconds < LEAST_RACE * FIRST_EVALUATION else RACE * seconds

    def _may_discard(self, seconds: float) -> bool:
        if self.time_limit is None:
            return True
        return self._discarded + seconds <= (DISCARDED + self.workers - 1) * self.time_limit

    def time_to_settle(self, models: int) -> bool:
        """Return whether it is time to settle: to train the best lineages at a falling learning rate."""
        if self.max_models is not None and models >= self.max_models - 1:
            return True
        if self.decay_begins is None:
            return False
        if models and not self.steps_to_come:
            if not self.tries_children and models >= self.n_averaged:
                return True
            if self.tries_children and not self._may_discard(self._overhead + self._lost_race()):
                return True  # the next child might lose, and that would be too much
        # Another candidate that could train for less than half its slice is not worth its overhead.
        return self.clock() + self._overhead + 0.5 * (self.slice_seconds() or 0.0) > self.decay_begins

    def settling_seconds(self, waiting: int, evaluation: bool = False) -> float | None:
        """Training time of the next model to settle.

        Parameters
        ----------
        waiting : int
            How many, itself included, are to have equal parts of what is left.
        evaluation : bool, default=False
            Whether one more model, as large as all of them, is evaluated after that.
        """
        left = self.time_left()
        if left is None or (waiting == 1 and not evaluation):
            return left
        left -= evaluation * EVALUATION * self._overhead
        return max(1.0, left / waiting - self._overhead)

    def affordable_members(
        self, examples_per_second: float, n_train: int, epochs: float = EPOCHS_TO_SETTLE
    ) -> int:
        """Number of models that can be settled in the time left, each long enough.

        Parameters
        ----------
        examples_per_second : float
            Of the best model.
        n_train : int
            Training examples.
        epochs : float, default=15
            Fewest epochs that each model must get.
        """
        left = self.time_left()
        if left is None or examples_per_second <= 0:
            return 1
        least = epochs * n_train / examples_per_second + self._overhead
        return int(min(MEMBERS, max(1, left // least)))

    def affordable_starts(self, offered: int) -> int:
        """Number of starts that are worth a slice each before growing begins, or to be averaged."""
        if self.time_limit is None:
            return offered
        if self._small_slices:
            return min(offered, self._small_starts)
        if not self.tries_children:
            return min(offered, self.n_averaged)
        lost = DISCARDED_STARTS * self.time_limit / (self._overhead + (self.slice_seconds() or 0.0))
        return min(1 + int(lost), offered)
