"""Checkpoints: weights handed out while training goes on, in case this process ends early."""

from __future__ import annotations

from collections.abc import Callable

from kmorph.graph import Graph
from kmorph.training.clock import Clock
from kmorph.training.evaluation import Evaluator
from kmorph.training.memory import is_out_of_memory
from kmorph.training.step import Step

FIRST_CHECKPOINT = 4.0  # seconds of training before the first one
# Most seconds of training between two checkpoints; at first, as many as there were before.
LONGEST_UNKEPT = 300.0
CHECKPOINT_COST = 50.0  # least training time between two, as a multiple of what a checkpoint takes
LEAST_BEFORE_EVALUATION = 10.0  # seconds of training from which there is one before the last evaluation


class Checkpoints:
    """Decides when weights are handed out, and does it.

    Parameters
    ----------
    keep : callable or None
        Called with the graph and the number of images it was trained on; None: no checkpoints.
    evaluator : Evaluator
        Recalibrates the averaged weights.
    clock : Clock
    """

    def __init__(self, keep: Callable[[Graph, int], None] | None, evaluator: Evaluator, clock: Clock) -> None:
        self._keep, self._evaluator, self._clock = keep, evaluator, clock
        self._next = FIRST_CHECKPOINT

    @property
    def is_due(self) -> bool:
        """Return whether it is time for the next one."""
        return self._keep is not None and self._clock.trained >= self._next

    def write(self, step: Step, images: int) -> None:
        """Hand out the averaged weights, recalibrated; training then goes on where it was."""
        self._clock.lap()
        step.swap()
        try:
            self._hand_out(step, images, recalibrate=True)
        finally:
            step.swap()
        took, trained = self._clock.leave_out(), self._clock.trained
        self._next = trained + max(CHECKPOINT_COST * took, min(trained, LONGEST_UNKEPT))

    def write_before_evaluation(self, step: Step, images: int) -> None:
        """Hand out weights that the last evaluation has just recalibrated, if the deadline ended training.

        Such an evaluation could come too late. It recalibrates anyway: all that this costs is copying and
        saving the weights.
        """
        if self._clock.trained >= LEAST_BEFORE_EVALUATION and not self._clock.allows():
            self._hand_out(step, images, recalibrate=False)

    def _hand_out(self, step: Step, images: int, recalibrate: bool) -> None:
        if self._keep is None:
            return
        try:
            if recalibrate:
                self._evaluator.recalibrate(step, images)
            self._keep(step.to_graph(), images)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            self._keep = None  # training needs less memory, and goes on without checkpoints
