"""Train one graph within its time and return it with its metrics."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from kmorph.graph import Graph
from kmorph.problem import Problem
from kmorph.problem.problem import classification_of_images
from kmorph.training.backend import require_backend
from kmorph.training.batches import CALIBRATION, Batches
from kmorph.training.checkpoints import Checkpoints
from kmorph.training.clock import Clock
from kmorph.training.evaluation import BestWeights, Evaluation, Evaluator, Stopped
from kmorph.training.evaluation_time import EvaluationTime
from kmorph.training.examples import Data
from kmorph.training.learner import Learner
from kmorph.training.memory import is_out_of_memory
from kmorph.training.plan import Hyperparameters, Plan
from kmorph.training.race import FIRST_EVALUATION, LEAST_RACE, RACE, shortfall
from kmorph.training.step import Step
from kmorph.training.step_factory import make_step

REPORT_EVERY = 0.5  # seconds; a report waits for the loss


@dataclass(frozen=True)
class Outcome:
    """Result of a training run.

    Parameters
    ----------
    graph : Graph
        With averaged, recalibrated weights.
    metrics : dict of str to float
        ``loss``, the target's first metric and the objective, on the validation data.
    epochs : float
        Passes over the training data, fractions included.
    images : int
        Training images seen.
    seconds : float
        From the call to its end, building and compiling included.
    examples_per_second : float
        Speed of the training steps alone.
    outputs : ndarray of float32, shape (n_val, width)
        Of the network, for the validation examples.
    stopped : str or None, default=None
        Why training ended early.
    hyperparameters : Hyperparameters
        Those of the plan, with batch size and learning rate halved as often as memory ran out. On several
        devices these two are those of one device.
    replicas : int, default=1
        Devices that trained it: batch and learning rate were so many times as large.
    """

    graph: Graph
    metrics: dict[str, float]
    epochs: float
    images: int
    seconds: float
    examples_per_second: float
    outputs: np.ndarray
    hyperparameters: Hyperparameters
    stopped: str | None = None
    replicas: int = 1


def train(
    graph: Graph,
    data: Data,
    plan: Plan,
    report: Callable[[dict[str, Any]], None] = lambda event: None,
    stop: Callable[[], bool] = lambda: False,
    strategy: str | bytes | None = None,
    checkpoint: Callable[[Graph, int], None] | None = None,
    clock: Callable[[], float] = time.time,
    problem: Problem | None = None,
) -> Outcome:
    """Train a graph as planned.

    The deadline and `stop` are checked before every step; however early they come, the graph is evaluated and
    returned. Where memory does not suffice, training goes on with half the batch size and half
    the learning rate.

    Parameters
    ----------
    graph : Graph
        With weights, warm or fresh.
    data : Data
    plan : Plan
    report : callable, optional
        Called with a small dict about twice a second.
    stop : callable, optional
        Returns True when training should end.
    strategy : str or bytes, optional
        As `kmorph.training.distribute.pack_strategy` returned it: several devices train the model at once.
    checkpoint : callable, optional
        Called now and then with the graph as it is and the number of examples it was trained on: ever more
        seldom, and once more before the last evaluation if the deadline ended training.
    clock : callable, default=time.time
        The time in seconds.
    problem : Problem, optional
        None: classification of images.

    Returns
    -------
    Outcome

    Raises
    ------
    Stopped
        If losses or weights are not finite, or the outputs are equal for different examples, and no earlier
        evaluation is known whose weights could be returned instead.
    """

    begun = clock()
    problem = problem or classification_of_images(graph)
    make = partial(make_step, seed=plan.seed, strategy=strategy, problem=problem, policy=plan.policy)
    run = _Run(graph, data, plan, problem, make, checkpoint, clock)
    run.train(report, stop)
    evaluation = run.conclude()
    images, trained = run.learner.images, run.clock.trained
    return Outcome(
        graph=evaluation.graph,
        metrics=evaluation.metrics,
        epochs=images / run.batches.examples,
        images=images,
        seconds=clock() - begun,
        examples_per_second=images / max(trained, 1e-9) if images else 0.0,
        outputs=evaluation.outputs,
        stopped=run.stopped,
        hyperparameters=run.learner.hyperparameters,
        replicas=run.learner.replicas,
    )


class _Run:
    """One training run, from the first step to the evaluation that is its result.

    Its parts: the learner trains, the clock measures, the evaluator evaluates, and so on; here they are put
    in order. Parameters are those of `train`, and `make`, which makes the step of a graph.
    """

    def __init__(
        self,
        graph: Graph,
        data: Data,
        plan: Plan,
        problem: Problem,
        make: Callable[[Graph, Hyperparameters], Step],
        checkpoint: Callable[[Graph, int], None] | None,
        clock: Callable[[], float],
    ) -> None:
        self.data, self.plan, self.problem = data, plan, problem
        self.batches = Batches(data, plan.merge_validation, plan.seed, problem)
        evaluated = len(data.x_val) + min(CALIBRATION, len(data.x))
        self.clock = Clock(plan, EvaluationTime(evaluated, require_backend()), clock)
        self.learner = Learner(graph, plan, self.batches.examples, make, problem.optimizer is None)
        self.evaluator = Evaluator(data, self.batches, self.learner.batch, problem)
        self.checkpoints = Checkpoints(checkpoint, self.evaluator, self.clock)
        self.best = BestWeights(plan.min_loss_decrease)
        self.rival = None if plan.rival is None else np.load(plan.rival, allow_pickle=False)
        self.latest: Evaluation | None = None  # or the best one, where that is kept
        self.graph = graph
        self.stopped: str | None = None

    def train(self, report: Callable[[dict[str, Any]], None], stop: Callable[[], bool]) -> None:
        """Train until the plan is fulfilled, the deadline is near or training is stopped."""
        self.clock.leave_out()
        if self.plan.keep_best:
            self._evaluate_for_best()
        while True:
            try:
                self._train(report, stop)
                break
            except Stopped as error:
                self._give_up(error)
                break
            except Exception as error:
                if self.learner.batch == self.learner.replicas or not is_out_of_memory(error):
                    raise
            # Only here, where nothing holds on to what the error came from.
            self.learner.halve_batch(self.graph if self.latest is None else self.latest.graph)
            self.clock.evaluation.note_new_step()
            self.clock.leave_out()
        self.clock.lap()

    def _train(self, report: Callable[[dict[str, Any]], None], stop: Callable[[], bool]) -> None:
        """Train with one batch size."""
        plan, clock, learner = self.plan, self.clock, self.learner
        every_epoch = -(-self.batches.examples // learner.batch)
        reported = 0.0
        loss = None
        timed = 0  # examples of the last step, if it did not compile
        for count, (x, y, weights) in enumerate(
            self.batches.for_training(learner.batch), learner.images // learner.batch
        ):
            clock.next_step(timed)
            progress = clock.progress(count, every_epoch)
            if progress >= 1 or stop() or not clock.allows():
                break
            compiles = loss is None
            if self._is_time_for_plain_images(progress):
                learner.use_plain_images()
                compiles = True
            loss = learner.learn(x, y, weights, count, progress)
            timed = 0 if compiles else learner.batch
            if compiles:
                clock.compiled()
            if clock.now - reported > REPORT_EVERY:
                value = self._checked(loss)
                reported = clock.now
                images, rounded = learner.images, round(progress, 3)
                report({"images": images, "loss": value, "progress": rounded, "time": reported})
            if self.checkpoints.is_due:
                self.checkpoints.write(learner.step, learner.images)
            if self.rival is not None and progress >= RACE:
                self._race(self.rival)
                self.rival = None
                if self.stopped:
                    break
            if plan.patience is not None and (count + 1) % every_epoch == 0:
                self._checked(loss)
                self._evaluate_for_best()
                if self.best.setbacks >= plan.patience:
                    break
        if loss is not None:
            self._checked(loss)

    def conclude(self) -> Evaluation:
        """Return the evaluation of the weights that are the result, measured now unless it is known."""
        if self.stopped and self.latest is not None:
            return self.latest  # that of the race, or the best one before training failed
        if self.plan.keep_best or self.plan.patience is not None:
            if self.best.evaluation is not None and not self.learner.images:
                return self.best.evaluation
            try:
                return self._evaluate_for_best(last=True)
            except Stopped as error:
                return self._give_up(error)
        return self._evaluate(last=True)

    def _give_up(self, error: Stopped) -> Evaluation:
        """Restore the best evaluation from before the failure; raise the error if there is none."""
        if self.best.evaluation is None:
            raise error
        self.latest = self.best.evaluation
        self.stopped = f"{error}; its weights are the best ones before that"
        return self.latest

    def _is_time_for_plain_images(self, progress: float) -> bool:
        """Return whether images should stay unchanged from now on, if there is time to compile for that."""
        if not self.learner.augments or progress < 1 - self.plan.plain_end:
            return False
        return self.clock.allows(self.clock.evaluation.compiling)

    def _race(self, rival: np.ndarray) -> None:
        """Stop if the parent, though it was trained less, is better by more than chance."""
        clock, evaluation = self.clock, self.clock.evaluation
        cost = FIRST_EVALUATION if evaluation.last is None else evaluation.last
        if self.plan.seconds is not None and clock.trained < LEAST_RACE * RACE * cost:
            return  # a slice of the time, most of which evaluating would take
        if not clock.allows(evaluation.seconds):
            return  # the last evaluation would come too late
        y, weights = np.asarray(self.data.y_val), self.data.weights_val
        losses = self.problem.losses(y, self._evaluate().outputs, weights)
        self.stopped = shortfall(losses, self.problem.losses(y, rival, weights))

    def _evaluate_for_best(self, last: bool = False) -> Evaluation:
        """Evaluate, and return the better of this evaluation and the best so far."""
        self.latest = self.best.update(self._evaluate(last))
        return self.latest

    def _evaluate(self, last: bool = False) -> Evaluation:
        """Evaluate the averaged, recalibrated weights; before the `last` evaluation they are checkpointed."""
        step, images = self.learner.step, self.learner.images

        def keep() -> None:
            if last:
                self.checkpoints.write_before_evaluation(step, images)

        self.clock.lap()
        self.latest = self.evaluator.evaluate(step, images, keep)
        self.clock.evaluation.note_evaluation(self.clock.leave_out(), recalibrated=images > 0)
        return self.latest

    def _checked(self, loss: Any) -> float:
        """The loss as a number, if it is finite."""
        value = float(loss)
        if not np.isfinite(value):
            raise Stopped(f"the training loss became {value} after {self.learner.images:,} images")
        return value
