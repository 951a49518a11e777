"""Training a detector until a deadline, or for a number of passes over the pictures."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import MethodType
from typing import Any

import numpy as np

from kmorph.errors import DataError
from kmorph.pretrained.detection.boxes import convert_boxes
from kmorph.pretrained.detection.examples import Batches
from kmorph.pretrained.detection.network import Network, outputs_of
from kmorph.pretrained.detection.progress import ProgressLine
from kmorph.pretrained.detection.set_loss import set_loss

NEW_RATE, LEARNED_RATE = 1e-3, 2e-4  # highest learning rates of new and of pretrained networks
WARM_UP = 0.05  # share of the training in which the rate rises
DECAY = 1e-4  # of weights
SNAPSHOT_SECONDS = 20.0  # how often weights are kept, to go back to when the loss is not finite
MOST_RETURNS = 3


@dataclass
class Plan:
    """How a network is trained.

    Attributes
    ----------
    deadline : float or None
        When to end, on the clock `time.monotonic`.
    passes : int or None
        Passes over the pictures at most.
    rate : float
        Highest learning rate; it rises, then falls to zero at the end.
    frozen_norms : bool
        Whether batch norms keep the statistics that they have learned.
    """

    deadline: float | None
    passes: int | None
    rate: float
    frozen_norms: bool


@dataclass
class Trained:
    """What is known of a training: steps, mean loss of each pass, and whether Ctrl-C ended it."""

    steps: int = 0
    losses: list[float] = field(default_factory=list)
    interrupted: bool = False
    seconds_per_step: float = 0.0


def train(network: Network, batches: Batches, plan: Plan, progress: ProgressLine) -> Trained:
    """Train a network in place.

    Whatever ends it, the network has weights that gave finite losses.
    """
    import keras

    model = network.model
    norms = _freeze(model) if plan.frozen_norms else []
    optimizer = keras.optimizers.AdamW(plan.rate, weight_decay=DECAY, global_clipnorm=1.0)
    _compile(network, optimizer)
    # TensorFlow writes the step down a second time if the first makes variables.
    optimizer.build(model.trainable_variables)
    done = Trained()
    try:
        with warnings.catch_warnings():
            # KerasHub's feature pyramid makes norms that it does not use; Keras misses their gradients.
            warnings.filterwarnings("ignore", "Gradients do not exist for variables")
            _steps(network, iter(batches), batches.per_pass, plan, optimizer, progress, done)
    except KeyboardInterrupt:
        if not done.steps:  # nothing is learned that could be kept
            raise
        done.interrupted = True
    finally:
        vars(model).pop("compute_loss", None)
        for norm in norms:
            norm.trainable = True
        model.compile()  # as KerasHub does: what the optimiser has gathered is not saved
    return done


def _steps(
    network: Network,
    batches: Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]],
    per_pass: int,
    plan: Plan,
    optimizer: Any,
    progress: ProgressLine,
    done: Trained,
) -> None:
    import keras

    total = None if plan.passes is None else plan.passes * per_pass
    kept, kept_at, returns, factor = network.model.get_weights(), time.monotonic(), 0, 1.0
    began = before = time.monotonic()
    recent: list[float] = []
    while total is None or done.steps < total:
        share = _share(began, plan.deadline, done.steps, total)
        if share >= 1.0:
            break
        optimizer.learning_rate = plan.rate * factor * min(1.0, (share + 0.002) / WARM_UP) * (1.0 - share)
        x, y = _as_model_takes(network, *next(batches))
        # KerasHub's own method does not take dicts of boxes.
        losses = keras.Model.train_on_batch(network.model, x, y, return_dict=True)
        loss = float(np.asarray(losses["loss"]))
        now = time.monotonic()
        if done.steps == 0:
            began = now  # the first step compiles, and is no measure of the others
        else:
            done.seconds_per_step = max(0.8 * done.seconds_per_step, now - before)
        before = now
        if not np.isfinite(loss):
            returns += 1
            if returns > MOST_RETURNS:
                raise DataError(
                    f"training diverged {returns} times: are there boxes that are very small or wrong? "
                    "Otherwise give a smaller learning_rate"
                )
            _go_back(network.model, kept, optimizer)
            factor /= 4
            done.steps += 1
            continue
        recent.append(loss)
        done.steps += 1
        if now - kept_at > SNAPSHOT_SECONDS:
            kept_at = now
            kept = _finite(network.model.get_weights()) or kept
        if done.steps % per_pass == 0:
            done.losses.append(float(np.mean(recent[-per_pass:])))
        left = None if plan.deadline is None else plan.deadline - now
        progress.show(done.steps / per_pass, plan.passes, float(np.mean(recent[-per_pass:])), left)
        if left is not None and left < 1.2 * done.seconds_per_step:
            break
    if _finite(network.model.get_weights()) is None:  # of the last step the loss was, but not its gradient
        network.model.set_weights(kept)


def _finite(weights: list[np.ndarray]) -> list[np.ndarray] | None:
    """The weights, if all of them are finite."""
    return weights if all(np.isfinite(array).all() for array in weights) else None


def _go_back(model: Any, weights: list[np.ndarray], optimizer: Any) -> None:
    """Take up earlier weights, and forget what the optimiser has gathered since."""
    import keras

    model.set_weights(weights)
    for variable in optimizer.variables:
        value = keras.ops.convert_to_numpy(variable.value)
        if not np.isfinite(value).all():
            variable.assign(np.zeros_like(value))


def _share(began: float, deadline: float | None, steps: int, total: int | None) -> float:
    """How much of the training is over, from 0 to 1, by the clock or by passes, whichever is further."""
    by_clock = 0.0
    if deadline is not None:
        now = time.monotonic()
        by_clock = 1.0 if now >= deadline else (now - began) / (deadline - began)
    # A network whose first step took all of the time has learned from one batch, rather than from none.
    return max(0.0 if not steps else by_clock, 0.0 if total is None else steps / total)


def _compile(network: Network, optimizer: Any) -> None:
    import keras

    model = network.model
    kind = outputs_of(model)
    # On a CPU, XLA took longer for the first step and for the others (0.80 s against 0.63 s, a RetinaNet).
    options: dict[str, Any] = {"optimizer": optimizer}
    if keras.config.backend() == "tensorflow":
        options["jit_compile"] = False
    if kind == "anchors":
        # Shifts are small against 1: there KerasHub's default has hardly a gradient.
        options["box_loss"] = keras.losses.Huber(delta=0.1, reduction="sum")
        options["loss_weights"] = {"bbox_regression": 10.0, "cls_logits": float(len(network.labels))}
    model.compile(**options)
    if kind == "queries":
        object.__setattr__(model, "compute_loss", MethodType(_queries_loss, model))


def _queries_loss(
    model: Any, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, **_: Any
) -> Any:
    return set_loss(y["boxes"], y["labels"], y_pred)


def _as_model_takes(
    network: Network, pictures: np.ndarray, boxes: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    model = network.model
    target = "rel_center_xywh" if outputs_of(model) == "queries" else model.bounding_box_format
    converted = convert_boxes(boxes, "xyxy", target, network.size)
    converted[labels < 0] = 0.0 if target.startswith("rel") else -1.0
    return network.inputs(pictures), {
        "boxes": converted.astype("float32"),
        "labels": labels.astype("int32"),
    }


def _freeze(model: Any) -> list[Any]:
    """Stop the batch norms of a model from learning; those that are stopped."""
    import keras

    norms = [
        layer
        for layer in model._flatten_layers(include_self=False)
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
    ]
    for norm in norms:
        norm.trainable = False
    return norms
