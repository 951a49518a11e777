"""What one network learns in given seconds: recipes, and changes of them, one thing at a time.

Fashion-MNIST; one network from fresh weights, on one core, its learning rate falling to zero at the end of
the time. 50,000 of the training images are learned from and the other 10,000 judge: no choice is made on the
test images. Everything but imports is charged. Two run at a time, one core each. Arms are changes of those in
`ARMS`: `default` is what kmorph does now, `former` what it did before this was measured, `fast` after the
speed-runs on CIFAR-10 (Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", arXiv:2404.00498).

    python benchmarks/bench_recipe.py [--seconds 300] [--seeds 3] [--arms default,width=128 former ...]
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from _arms import in_own_processes
from _report import about_this_run

RESULTS = Path(__file__).parent / "results" / "recipe"
HELD_BACK = 10_000
EVALUATION = 1.5  # times what a first evaluation took is kept for the last one
AVERAGE_EVERY = 4
WARM_UP = 10  # steps


@dataclass(frozen=True)
class Recipe:
    """How one network is built and trained.

    Parameters
    ----------
    network : {"resnet", "cnn", "densenet", "pooled"}
        One of kmorph's starts, or plain convolutions that pool before they normalise ("pooled").
    policy : str
        Keras' dtype policy of forward and backward passes.
    width : int
        Width of the start.
    stages : str
        Widths of the stages of "pooled", relative to `width`.
    depth : int
        Convolutions of each of these stages after its pooling.
    stem : int
        Size of the first kernel of "pooled".
    features : {"max", "average"}
        Global pooling of "pooled".
    activation : str
        Activation function of "pooled".
    whiten : bool
        Whether the first layer of "pooled" consists of fixed principal components of image patches.
    gain : bool
        Whether batch norms of "pooled" have a gain.
    momentum : float
        Momentum of the running statistics of batch norms of "pooled".
    optimizer : {"sgd", "muon", "adamw"}
        Optimiser of convolution kernels; with Muon, SGD trains all other weights.
    rate : float
        Peak learning rate; for Muon relative to the norm of a freshly initialised kernel.
    batch : int
        Batch size.
    weight_decay : float
        Coupled L2 penalty of SGD; AdamW multiplies it by 100 and decouples it.
    muon_decay : float
        Decoupled weight decay of Muon.
    heavy : float
        Momentum of Muon.
    rest : float
        Peak learning rate of SGD beside Muon.
    bias, head : float
        Factors of that learning rate for vectors and for the last layer.
    smoothing : float
        Label smoothing.
    shift : int
        Largest random shift in pixels; 0 for none.
    flip, erase : bool
        Whether images are mirrored and erased at random.
    plain : float
        Share of the time at whose end images are not changed any more.
    alternate : bool
        Whether all images are mirrored in every other epoch instead of at random.
    schedule : {"linear", "stable"}
        Learning rate: linear decay from the beginning, or only in the last 60 % of the time.
    average : bool
        Whether the averaged weights are evaluated.
    """

    network: str = "resnet"
    policy: str = "float32"
    width: int = 32
    stages: str = "0.25-1-1"
    depth: int = 1
    stem: int = 2
    features: str = "max"
    activation: str = "relu"
    whiten: bool = False
    gain: bool = True
    momentum: float = 0.9
    optimizer: str = "sgd"
    rate: float = 0.2
    batch: int = 128
    weight_decay: float = 5e-4
    muon_decay: float = 0.0
    heavy: float = 0.6
    rest: float = 0.2
    bias: float = 1.0
    head: float = 1.0
    smoothing: float = 0.0
    shift: int = 3
    flip: bool = True
    erase: bool = True
    plain: float = 0.0
    alternate: bool = False
    schedule: str = "linear"
    average: bool = True


FORMER = Recipe()
FAST = Recipe(
    network="pooled", width=128, activation="gelu", whiten=True, gain=False, momentum=0.6, optimizer="muon",
    rate=0.1, batch=512, smoothing=0.2, shift=2, erase=False,
)  # fmt: skip
DEFAULT = replace(FAST, width=64, whiten=False, gain=True, batch=128, smoothing=0.0, plain=0.3)
ARMS: dict[str, Recipe] = {"default": DEFAULT, "former": FORMER, "fast": FAST}


def arm_of(text: str) -> Recipe:
    """A recipe by its name, changed as in ``fast,rate=0.05,gain=True``."""
    name, *changes = text.split(",")
    recipe = ARMS[name]
    for change in changes:
        key, value = change.split("=")
        kind = type(getattr(recipe, key))
        recipe = replace(recipe, **{key: value == "True" if kind is bool else kind(value)})
    return recipe


# The network.


def make_graph(recipe: Recipe, x: np.ndarray, seed: int):
    from kmorph import starts
    from kmorph.graph import Normalize

    front = [Normalize((float(x.mean()),), (float(x.var()),))]
    if recipe.network != "pooled":
        graph = starts.KINDS[recipe.network]((28, 28, 1), 10, width=recipe.width, preprocessing=front)
        return graph.initialize(seed)
    return _pooled(recipe, front, x, seed)


def _pooled(recipe: Recipe, front: list, x: np.ndarray, seed: int):
    from kmorph.graph import Activation, BatchNorm, Conv, Dense, GlobalPool, GraphBuilder, Pool, chain

    builder = GraphBuilder((28, 28, 1))
    node = chain(builder, 0, front)
    act = Activation(recipe.activation)

    def norm() -> BatchNorm:
        return BatchNorm(momentum=recipe.momentum, scale=recipe.gain)

    first = Conv(8, (recipe.stem, recipe.stem), padding="valid", trainable=not recipe.whiten)
    node = chain(builder, node, [first, act])
    for share in map(float, recipe.stages.split("-")):
        width = int(share * recipe.width)
        node = chain(builder, node, [Conv(width, (3, 3), bias=False), Pool("max", (2, 2)), norm(), act])
        for _ in range(recipe.depth):
            node = chain(builder, node, [Conv(width, (3, 3), bias=False), norm(), act])
    chain(builder, node, [GlobalPool(recipe.features), Dense(10)])
    graph = builder.build().initialize(seed)
    weights = dict(graph.weights)
    for (layer, name), array in weights.items():
        kind = graph.layers[layer]
        if name == "kernel" and kind is first and recipe.whiten:
            weights[layer, name] = _components((x.astype(np.float32) - x.mean()) / x.std())
        if name == "kernel" and isinstance(kind, Dense):
            weights[layer, name] = array / np.sqrt(2 * array.shape[0])
    return graph.with_weights(weights)


def _components(x: np.ndarray) -> np.ndarray:
    """Principal components of patches of 2 × 2, scaled to variance 1, and their negatives: (2, 2, 1, 8)."""
    some = x[:5000, ..., 0]
    parts = np.stack([some[:, i : 27 + i, j : 27 + j] for i in (0, 1) for j in (0, 1)], -1).reshape(-1, 4)
    values, vectors = np.linalg.eigh(parts.T @ parts / len(parts))
    scaled = vectors / np.sqrt(values + 5e-4)
    return np.concatenate([scaled, -scaled], axis=1).reshape(2, 2, 1, 8).astype(np.float32)


# The step: kmorph's, with other updates and changes of images.


def make_step(recipe: Recipe, graph, seed: int):
    import tensorflow as tf

    from kmorph.problem.inputs.changes import change_grids
    from kmorph.problem.inputs.random_numbers import integers
    from kmorph.training.muon import orthogonal
    from kmorph.training.plan import Hyperparameters
    from kmorph.training.precision import computing_in
    from kmorph.training.step import CLIP_NORM, batch_loss
    from kmorph.training.tensorflow_step import TensorFlowStep

    kinds = ("flip",) * (recipe.flip and not recipe.alternate) + ("erase",) * recipe.erase

    class Step(TensorFlowStep):
        changes = True

        def _changed(self, x: Any, seed: Any) -> Any:
            if recipe.shift > 0:
                n, at = tf.shape(x)[0], tf.range(28)[None]
                rows, columns = (
                    tf.clip_by_value(at + integers(n, -recipe.shift, recipe.shift + 1, seed + i), 0, 27)
                    for i in (1, 2)
                )
                x = tf.gather(tf.gather(x, rows, axis=1, batch_dims=1), columns, axis=2, batch_dims=1)
            return change_grids(x, kinds, seed)

        def _loss_and_gradients(self, x: Any, y: Any, weights: Any, seed: Any) -> tuple[Any, list[Any]]:
            x = tf.cast(self._changed(x, seed) if self.changes else x, tf.float32)
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(self._trainable)
                with computing_in(self.model, recipe.policy):
                    outputs = tf.cast(self.model(x, training=True), tf.float32)
                loss = batch_loss(self.problem, recipe.smoothing, y, outputs, weights)
            return loss, tape.gradient(loss, self._trainable)

        def _update(self, gradients: list[Any], learning_rate: Any) -> None:
            if recipe.optimizer == "adamw":
                self._adamw(gradients, learning_rate)
                return
            gradients, _ = tf.clip_by_global_norm(gradients, CLIP_NORM)
            for i, (variable, slot, gradient) in enumerate(
                zip(self._trainable, self._momentum, gradients, strict=True)
            ):
                last = i >= len(self._trainable) - 2
                if recipe.optimizer == "muon" and len(variable.shape) == 4:
                    slot.assign(recipe.heavy * slot + gradient)
                    (found,) = orthogonal([gradient + recipe.heavy * slot])
                    variable.assign(variable * (1 - learning_rate * recipe.muon_decay))
                    variable.assign_sub(learning_rate * 2**0.5 * found)
                    continue
                rate = learning_rate * (recipe.rest / recipe.rate if recipe.optimizer == "muon" else 1.0)
                rate *= recipe.head if last else recipe.bias if len(variable.shape) == 1 else 1.0
                if len(variable.shape) > 1:
                    gradient += recipe.weight_decay * variable
                tf.raw_ops.ResourceApplyKerasMomentum(
                    var=variable.handle, accum=slot.handle, lr=rate, grad=gradient, momentum=0.9,
                    use_nesterov=True,
                )  # fmt: skip

        def _adamw(self, gradients: list[Any], learning_rate: Any) -> None:
            if not hasattr(self, "_squares"):
                with tf.init_scope():
                    self._squares = [tf.Variable(tf.zeros_like(v)) for v in self._trainable]
                    self._count = tf.Variable(0.0)
            self._count.assign_add(1.0)
            for v, m, s, g in zip(self._trainable, self._momentum, self._squares, gradients, strict=True):
                m.assign(0.9 * m + 0.1 * g)
                s.assign(0.99 * s + 0.01 * g * g)
                mean, square = m / (1 - 0.9**self._count), s / (1 - 0.99**self._count)
                decay = recipe.weight_decay * 100 * v if len(v.shape) > 1 else 0.0
                v.assign_sub(learning_rate * (mean / (tf.sqrt(square) + 1e-8) + decay))

    return Step(graph, Hyperparameters(batch_size=recipe.batch), seed, policy="float32")


# One run.


def run(recipe: Recipe, seed: int, seconds: float) -> dict:
    from scipy.special import softmax
    from sklearn.metrics import log_loss

    from kmorph.datasets import load_fashion_mnist
    from kmorph.training.backend import load_backend

    (x, y), _ = load_fashion_mnist()
    x = x.reshape(-1, 28, 28, 1)
    mixed = np.random.default_rng(0).permutation(len(x))
    held, used = np.sort(mixed[:HELD_BACK]), np.sort(mixed[HELD_BACK:])
    x, y, x_held, y_held = x[used], y[used].astype(np.int32), x[held], y[held]
    load_backend(threads=1)
    begun = time.time()
    graph = make_graph(recipe, x, seed)
    step = make_step(recipe, graph, seed)
    rng = np.random.default_rng(seed)
    calibration = [x[i : i + 500] for i in range(0, 2000, 500)]
    judged = time.time()
    step.recalibrate(calibration)
    step.predict(x_held, 500)
    end = begun + seconds - EVALUATION * (time.time() - judged)
    if recipe.flip and recipe.alternate:
        first = rng.random(len(x)) < 0.5
    order, count, epoch = np.empty(0, np.int64), 0, -1
    started = None
    while True:
        now = time.time()
        if started is None and count:
            started = now  # compiled
        progress = 0.0 if started is None else (now - started) / (end - started)
        if progress >= 1:
            break
        if len(order) < recipe.batch:
            order = np.concatenate([order, rng.permutation(len(x))])
            epoch += 1
        index, order = np.sort(order[: recipe.batch]), order[recipe.batch :]
        batch = x[index]
        if recipe.flip and recipe.alternate:
            turned = first[index] ^ bool(epoch % 2)
            batch[turned] = batch[turned][:, :, ::-1]
        left = 1 - progress if recipe.schedule == "linear" else min(1.0, (1 - progress) / 0.6)
        rate = recipe.rate * min(1.0, (count + 1) / WARM_UP) * left
        if step.changes and progress >= 1 - recipe.plain:
            step.changes = False
            step.stop_augmenting()
        step.train(batch, y[index], rate, count)
        if recipe.average and count % AVERAGE_EVERY == 0:
            updates = count / AVERAGE_EVERY
            step.average(min(0.98, updates / (updates + 9)))
        count += 1
    if recipe.average:
        step.swap()
    step.recalibrate(calibration)
    outputs = step.predict(x_held, 500).astype(np.float64)
    took = time.time() - begun
    result = {"seconds": took, "steps": count, "epochs": count * recipe.batch / len(x)}
    views = (
        softmax(outputs, axis=1)
        + softmax(step.predict(np.ascontiguousarray(x_held[:, :, ::-1]), 500), axis=1)
    ) / 2
    return {
        **result,
        "accuracy": float(np.mean(outputs.argmax(1) == y_held)),
        "log_loss": log_loss(y_held, softmax(outputs, axis=1)),
        "accuracy_mirrored_too": float(np.mean(views.argmax(1) == y_held)),
        "n_parameters": graph.n_parameters,
        "flops": int(graph.flops),
    }


# All runs.


def file_of(arm: str, seed: int, seconds: float) -> Path:
    return RESULTS / f"{arm.replace(',', '+')}_{seconds:g}s_seed{seed}.json"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--arms", nargs="+", default=list(ARMS), help="as fast,rate=0.05,gain=True")
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--one", type=int, help="run the arm for this seed here")
    options = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    if options.one is not None:
        (arm,) = options.arms
        found = run(arm_of(arm), options.one, options.seconds)
        about = {"arm": arm, "seed": options.one, "limit": options.seconds}
        text = json.dumps({**about, **found, **about_this_run()})
        file_of(arm, options.one, options.seconds).write_text(text + "\n")
        return
    jobs = [
        ["--arms", arm, "--one", str(seed), "--seconds", str(options.seconds)]
        for seed in range(options.seeds)
        for arm in options.arms
        if not file_of(arm, seed, options.seconds).exists()
    ]
    in_own_processes(__file__, jobs, pinned=True)
    report(options.arms, options.seeds, options.seconds)


def report(arms: list[str], seeds: int, seconds: float) -> None:
    first: Any = None
    for arm in arms:
        found = [json.loads(file_of(arm, seed, seconds).read_text()) for seed in range(seeds)]
        values = {
            name: np.array([run[name] for run in found])
            for name in ("accuracy", "log_loss", "epochs", "flops")
        }
        first = values if first is None else first
        words = []
        for name in ("accuracy", "log_loss"):
            difference = values[name] - first[name]
            error = difference.std(ddof=1) / np.sqrt(seeds) if seeds > 1 else np.nan
            words.append(f"{name} {values[name].mean():.4f} ({difference.mean():+.4f} ± {error:.4f})")
        print(f"{arm:40} {', '.join(words)}; {values['epochs'].mean():.1f} epochs")


if __name__ == "__main__":
    main()
