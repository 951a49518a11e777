"""The clock of one training run: time trained, progress through the plan, time left until the deadline."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from kmorph.training.evaluation_time import EvaluationTime
from kmorph.training.plan import Plan


class Clock:
    """Measures the time of a training run and compares it with its plan.

    Every reading decides what the time since the last one counts as: training (`lap`) or anything else, such
    as compiling and evaluating (`leave_out`).

    Parameters
    ----------
    plan : Plan
    evaluation : EvaluationTime
        Follows what is measured here.
    time : callable
        The time in seconds.
    """

    def __init__(self, plan: Plan, evaluation: EvaluationTime, time: Callable[[], float]) -> None:
        self.evaluation = evaluation
        self._plan, self._time = plan, time
        self.now = time()
        """Moment of the last reading."""
        self.deadline = None if plan.seconds_left is None else self.now + plan.seconds_left
        self.trained = 0.0
        """Seconds of training."""
        self._trained_at_step = 0.0
        self._step_examples = 0

    def lap(self) -> None:
        """Read the clock; the time since the last reading was training."""
        last, self.now = self.now, self._time()
        self.trained += self.now - last

    def leave_out(self) -> float:
        """Read the clock; the time since the last reading, which is returned, was not training."""
        last, self.now = self.now, self._time()
        return self.now - last

    def next_step(self, examples: int) -> None:
        """Read the clock between two training steps.

        Parameters
        ----------
        examples : int
            What the last step trained on; 0 if there was none, or its time was left out.
        """
        self.lap()
        if examples:
            self.evaluation.note_training(examples, self.trained - self._trained_at_step)
            self._step_examples = examples
        self._trained_at_step = self.trained

    def compiled(self) -> None:
        """Leave out a step that was compiled; the time for compiling an evaluation follows from it."""
        self.evaluation.note_compiling(self.leave_out())

    def progress(self, steps: int, steps_per_epoch: int) -> float:
        """Share of the plan's epochs or seconds that is spent, from 0; 1 or more if training is over.

        Where the deadline, with the evaluation before it, leaves fewer seconds than are planned, their share
        counts: a learning rate that falls to zero reaches it when training ends, not after.
        """
        plan = self._plan
        if plan.max_epochs == 0:
            return 1.0
        spent = 0.0
        if plan.max_epochs is not None:
            spent = steps / (plan.max_epochs * steps_per_epoch)
        if plan.seconds is not None:
            seconds = min(plan.seconds, self.trained + max(self._left(), 0.0))
            spent = max(spent, self.trained / max(seconds, 1e-3) if steps else 0.0)
        return spent

    def allows(self, seconds: float = 0.0) -> bool:
        """Return whether time is left for one more step, an evaluation after it, and so many more seconds."""
        return self._left() > seconds

    def _left(self) -> float:
        """Seconds until the deadline, less one more step and an evaluation; infinite without a deadline."""
        if self.deadline is None:
            return inf
        speed = self.evaluation.speed.value
        step = self._step_examples / speed if speed else 0.0
        return self.deadline - self.now - step - self.evaluation.seconds
