"""`Estimator.fine_tune`: the encoder and the head behind it, trained together after a search."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kmorph.data.checks import check_sample_weight
from kmorph.errors import DataError, PresetError, SearchError
from kmorph.graph import Graph
from kmorph.graph.keras_bridge import functional, get_weights, set_weights
from kmorph.presets.encoder import Encoder
from kmorph.presets.tuned import Tuned
from kmorph.problem import EncodedInput, Problem
from kmorph.search.final import train_apart
from kmorph.search.store.disk import DiskLimit
from kmorph.search.store.folder import RunFolder
from kmorph.search.store.history import FINE_TUNED, History
from kmorph.search.store.models import Models
from kmorph.search.store.reader import Searcher
from kmorph.search.store.record import ModelRecord
from kmorph.search.strategy.planning import final_plan
from kmorph.tasks.arguments import Arguments, pose_problem
from kmorph.tasks.choices import hyperparameters_of
from kmorph.tasks.encoding import Encoding
from kmorph.tasks.fitting import Examples, Origin, try_problem
from kmorph.tasks.options import TrainerArgs
from kmorph.tasks.resuming import FIRST_PROBLEM, ask_again
from kmorph.training.backend import load_backend
from kmorph.training.distribute import pack_strategy
from kmorph.training.fine_tuning import PREDICTED, Cost, FineTuning, Part, outputs_of, seconds_needed

if TYPE_CHECKING:
    from kmorph.tasks.estimator import Estimator

logger = logging.getLogger("kmorph.search")

HEAD_SHARE = 0.25  # of the time left, at most, for training the head anew
SAVING = 2.0  # seconds kept back for writing
LEAST_HELD = 50  # examples to judge by: with fewer, one that is wrong by chance decides


def fine_tune(
    estimator: Estimator,
    x: Any,
    y: Any,
    validation_data: Any,
    sample_weight: Any,
    arguments: Arguments,
    begun: float,
    new_folder: Callable[[], Path],
) -> None:
    """Fine-tune the best model of an estimator; see `Estimator.fine_tune`."""
    searcher = estimator._searcher()
    encoding = Encoding.of(estimator, arguments, searcher.path)
    origin = encoding.used_by(Origin.stored(searcher))
    input = origin.input
    if not isinstance(input, EncodedInput):
        raise SearchError(
            f"the search in {searcher.path} was made without an encoder, so that there is none to fine-tune: "
            "final_fit trains its network on, or begin a search with encoder=…"
        )
    raw = input.check(x)
    raw_held = None if validation_data is None else input.check(validation_data[0], "validation x")
    weights = None if sample_weight is None else check_sample_weight(sample_weight, len(raw))
    examples = Examples.of(encoding.kind, origin, raw, y, validation_data, weights)
    problem = pose_problem(estimator, arguments, input, examples.target, examples.codes, origin.objective)
    before = searcher.meta("problem") or FIRST_PROBLEM
    if estimator.class_weight is None:
        problem = replace(problem, class_weights=tuple(before["class_weights"]))
    ask_again(before, problem)
    data, strategy = examples.divided(problem.class_weights, new_folder), pack_strategy(estimator.strategy)
    if len(data.y_val) < LEAST_HELD:
        raise DataError(
            f"{len(data.y_val)} examples are too few to judge by whether fine-tuning helps: give more, so "
            f"that {LEAST_HELD} of them can be held out, or as many as validation_data"
        )

    def seconds_left() -> float:
        if arguments.time_limit is None:
            return float("inf")
        return begun + arguments.time_limit - SAVING - time.time()

    with searcher.home.lock() as folder, estimator._progress(problem) as progress:
        estimator._belong_to(searcher)
        with History.open(folder.database) as history:
            models = Models.read(history.records(), folder.model_file)
            record = models.records[searcher.get_best_model_id()]
            load_backend()
            encoder = input.new_model()
            _make_room(folder, models, record, encoder, arguments.max_disk)
            with folder.translated_errors():
                data.save(folder.scratch)
            left = seconds_left()
            plan = final_plan(
                record,
                hyperparameters_of(estimator, record, TrainerArgs(), arguments, before["optimizer"]),
                (),
                seed=history.get_meta("seed"),
                seconds=None if arguments.time_limit is None else max(1.0, HEAD_SHARE * left),
                has_validation=True,
                retrain=True,
                most_epochs=input.most_epochs(len(data.x)),
            )
            with estimator._pool(arguments) as pool:
                problem = try_problem(
                    problem, examples, pool, arguments.time_limit, strategy, progress.message
                )
                head = train_apart(folder, record, plan, progress, pool, strategy, problem)
            if head is None:
                return
            train = Part(
                input.rows(encoder, raw if raw_held is not None else raw[examples.train]),
                data.y,
                _of_mean_one(problem.loss_weights(data.y, data.weights)),
            )
            held = Part(input.rows(encoder, raw[examples.held] if raw_held is None else raw_held), data.y_val)
            earlier = _earlier(searcher, input)
            stage = _Stage(input, encoder, head, problem, progress.message, seconds_left)
            seed = history.get_meta("seed")
            try:
                stage.run(train, held, data.weights_val, seed, earlier)
            finally:
                if stage.improved:
                    _keep(folder, history, record, stage, time.time() - begun)


def _earlier(searcher: Searcher, input: EncodedInput) -> Tuned | None:
    """What an earlier call made, if it can be read."""
    name = searcher.best_version().tuned
    if name is None:
        return None
    try:
        found = Tuned.load(searcher.tuned_file(name))
    except PresetError as error:
        logger.warning("%s", error)
        return None
    return found if found.digest == input.digest else None


class _Stage:
    """Fine-tuning of one encoder and head.

    Parameters
    ----------
    input : EncodedInput
    encoder : Encoder
        Nobody else uses it.
    head : Graph
    problem : Problem
    say : callable
        Shows a line.
    seconds_left : callable
    """

    def __init__(
        self,
        input: EncodedInput,
        encoder: Encoder,
        head: Graph,
        problem: Problem,
        say: Any,
        seconds_left: Any,
    ) -> None:
        self.input, self.encoder, self.problem = input, encoder, problem
        self._say, self._seconds_left = say, seconds_left
        self._head, self._head_model = head, head.to_keras()
        features = input.trainable(encoder)
        self._network = functional(features.input, self._head_model(features.output), "whole")
        self._tuning: FineTuning | None = None
        self._has_class_numbers = False
        self.measured: dict[Cost, dict[str, float]] = {}
        self.frozen: dict[str, float] = {}

    @property
    def improved(self) -> bool:
        return self._tuning is not None and self._tuning.improved

    @property
    def tuning(self) -> FineTuning:
        assert self._tuning is not None
        return self._tuning

    def tuned(self) -> Tuned:
        """The weights that were found."""
        head = get_weights(self._head_model, self._head)
        weights = [np.array(array) for array in self.encoder.core.get_weights()]
        return Tuned(self.input.digest, weights, head)

    def run(
        self, train: Part, held: Part, held_weights: np.ndarray | None, seed: int, earlier: Tuned | None
    ) -> None:
        """Train if the time allows it, and keep only weights that beat those of an `earlier` call."""
        objective = self.problem.objective
        name = objective.name

        def judge(outputs: np.ndarray) -> tuple[Cost, str]:
            found = self.problem.measure(held.targets, outputs, held_weights)
            value, loss = found.get(name, float("nan")), found["loss"]
            self.measured[cost := (-objective.objective.merit(value), loss)] = {
                "metric_value": value,
                "loss": loss,
            }
            return cost, f"held-out {name} {value:.4f}, loss {loss:.4f}"

        begun = time.monotonic()
        self._network.predict_on_batch(held.rows.batch(np.arange(min(PREDICTED, len(held)))))
        start, begun = time.monotonic() - begun, time.monotonic()
        frozen, words = judge(outputs_of(self._network, held.rows))
        self.frozen = self.measured[frozen]
        evaluation = time.monotonic() - begun
        self._say(f"frozen encoder: {words}")
        best = frozen
        if earlier is not None and earlier.head == self._head:
            before, words = judge(self._outputs_by(earlier, held))
            self._say(f"as it was fine-tuned before: {words}")
            best = min(frozen, before)
        needed = seconds_needed(start, evaluation * len(train) / len(held))
        if needed > self._seconds_left():
            warnings.warn(
                f"fine-tuning {len(train):,} examples needs {needed:.0f} s at least, and there are "
                f"{max(0.0, self._seconds_left()):.0f} s left: the model is as it was. Give more time",
                stacklevel=4,
            )
            return
        self._freeze_statistics()
        self._has_class_numbers = train.targets.dtype.kind in "iu"
        self._tuning = FineTuning(
            self._network, self._loss, judge, np.random.default_rng(seed), self._seconds_left, self._say
        )
        if not self._tuning.run(train, held, best, evaluation):
            self._say("fine-tuning is no better on the held-out examples: the model stays as it was")

    def _outputs_by(self, tuned: Tuned, held: Part) -> np.ndarray:
        """Outputs for the held-out examples with other weights."""
        own = self.encoder.core.get_weights()
        self.encoder.core.set_weights(tuned.encoder)
        set_weights(self._head_model, tuned.head)
        outputs = outputs_of(self._network, held.rows)
        self.encoder.core.set_weights(own)
        set_weights(self._head_model, self._head)
        return outputs

    def _loss(self, codes: Any, outputs: Any) -> Any:
        from keras import ops

        # Keras hands on all targets as floats.
        if self._has_class_numbers:
            codes = ops.cast(codes, "int32")
        return self.problem.loss.tensors(codes, outputs, self.problem.target)

    def _freeze_statistics(self) -> None:
        """Let the encoder's batch norms keep their statistics: batches are small, and all the user's."""
        import keras

        for layer in self.encoder.core._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False


def _of_mean_one(weights: np.ndarray | None) -> np.ndarray | None:
    return None if weights is None else np.asarray(weights / np.mean(weights), np.float32)


def _make_room(
    folder: RunFolder, models: Models, record: ModelRecord, encoder: Encoder, limit: int | None
) -> None:
    if limit is not None:
        size = sum(int(np.prod(variable.shape)) * 4 for variable in encoder.core.weights)
        disk = DiskLimit(folder, models, limit)
        disk.make_room(models.structures[record.model_id], size, keep=[record.model_id])


def _keep(folder: RunFolder, history: History, record: ModelRecord, stage: _Stage, seconds: float) -> None:
    """Write the file first, then the record of it."""
    with folder.translated_errors():
        file = stage.tuned().save(folder.new_tuned_file())
    about = {
        "file": file.name,
        "model_id": record.model_id,
        **stage.measured[stage.tuning.best],
        **{f"frozen_{name}": value for name, value in stage.frozen.items()},
        "epochs": stage.tuning.epochs,
        "seconds": seconds,
    }
    history.set_meta(FINE_TUNED, about)
    folder.remove_tuned(keep=file.name)
