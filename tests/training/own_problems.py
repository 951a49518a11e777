"""Run in a process of its own, with KERAS_BACKEND set: the user's losses and optimisers against `model.fit`.

Each case trains the same network for a few batches by kmorph's step and by Keras, from the same weights, and
prints how far the weights and losses lie apart. With ``devices`` the step runs on two logical CPUs.

python own_problems.py [devices]
"""

import json
import sys

import numpy as np
from sklearn.datasets import load_digits

from kmorph.graph import Activation, Dense, Flatten, GraphBuilder, Normalize
from kmorph.problem import ImageInput, Numbers, Problem
from kmorph.problem.losses import OwnLoss
from kmorph.problem.optimizers import OwnOptimizer
from kmorph.problem.targets import learn_labels
from kmorph.training.plan import Hyperparameters
from kmorph.training.step_factory import make_step

X, Y = load_digits(return_X_y=True)
X = X.reshape(-1, 8, 8, 1).astype(np.uint8)[:320]
Y = Y[:320]
TARGETS = {
    "classes": Y,
    "rows": np.eye(10, dtype=int)[Y],
    "two": (Y > 4).astype(int),
    "sets": np.stack([Y > 4, Y % 2 == 0, Y % 3 == 0], axis=1).astype(int),
    "numbers": np.stack([Y.astype(float), X.sum((1, 2, 3)).astype(float)], axis=1),
}
BATCH, STEPS, RATE = 64, 4, 0.01


def network(outputs):
    builder = GraphBuilder((8, 8, 1))
    builder.add(Normalize((4.9,), (36.2,)))
    builder.add(Flatten())
    builder.add(Dense(16))
    builder.add(Activation("relu"))
    return builder.build(builder.add(Dense(outputs))).initialize(0)


def cases():
    import keras
    from keras import losses, optimizers

    def own(y_true, y_pred):
        return keras.ops.mean(keras.ops.square(y_true - y_pred) ** 0.75, axis=-1)

    for name, target, loss in (
        ("sparse cross-entropy", "classes", losses.SparseCategoricalCrossentropy()),
        ("cross-entropy", "rows", losses.CategoricalCrossentropy()),
        ("focal", "rows", losses.CategoricalFocalCrossentropy()),
        ("binary", "sets", losses.BinaryCrossentropy()),
        ("mean absolute error", "numbers", losses.MeanAbsoluteError()),
        ("a function", "numbers", own),
    ):
        yield name, target, loss, optimizers.SGD(RATE, momentum=0.9, nesterov=True)
    for name, optimizer in (
        ("AdamW", optimizers.AdamW(RATE, weight_decay=0.01, clipnorm=1.0)),
        ("Muon", optimizers.Muon(RATE)),
    ):
        yield name, "classes", losses.SparseCategoricalCrossentropy(), optimizer


def by_keras(graph, problem, loss, optimizer, y, weights):
    """The same training by Keras: the graph with the target's last layers, `fit` without shuffling."""

    from kmorph.export import wrap

    model = wrap(graph, problem.target)
    if isinstance(problem.target, Numbers):
        model.layers[-1].trainable = False
        y = np.asarray(y, np.float32)
    model.compile(type(optimizer).from_config(optimizer.get_config()), loss, jit_compile=False)
    history = model.fit(
        X[: BATCH * STEPS].astype(np.float32), y[: BATCH * STEPS], batch_size=BATCH, shuffle=False, verbose=0,
        sample_weight=None if weights is None else weights[: BATCH * STEPS],
    )  # fmt: skip
    return trained_weights(model), history.history["loss"][-1]


def trained_weights(model):
    """Weights of the dense layers that are trained."""
    return [w for layer in model.layers if layer.trainable_variables for w in layer.get_weights()]


def compare(name, kind, loss, optimizer, strategy, weights):
    y = TARGETS[kind]
    target = Numbers.learn(y) if kind == "numbers" else learn_labels(y)
    problem = Problem.of(ImageInput((8, 8, 1), (0.0,), (1.0,)), target)
    problem = Problem(problem.input, target, OwnLoss.of(loss), problem.objective, OwnOptimizer.of(optimizer))
    graph = network(target.width)
    if strategy is None:
        step = make_step(graph, Hyperparameters(), 0, problem=problem)
    else:
        from kmorph.training.distribute import DistributedStep

        step = DistributedStep(graph, Hyperparameters(), 0, strategy, problem=problem)
    codes = target.encode(y)
    codes = codes.astype(np.int32) if codes.dtype.kind == "i" else codes
    losses = []
    for i in range(STEPS):
        part = slice(i * BATCH, (i + 1) * BATCH)
        share = None if weights is None else weights[part]
        losses.append(float(step.train(X[part], codes[part], RATE, i, share)))
    moved = step.to_graph()
    expected, mean_loss = by_keras(graph, problem, loss, optimizer, y, weights)
    mine = [v for i in (2, 4) for v in (moved.layer_weights(i)["kernel"], moved.layer_weights(i)["bias"])]
    before = [v for i in (2, 4) for v in (graph.layer_weights(i)["kernel"], graph.layer_weights(i)["bias"])]
    apart = max(float(np.abs(a - b).max()) for a, b in zip(mine, expected, strict=True))
    went = max(float(np.abs(a - b).max()) for a, b in zip(mine, before, strict=True))
    return {"apart": apart / went, "moved": went, "loss": float(np.mean(losses)) / mean_loss}


def main():
    import keras

    strategy = None
    if sys.argv[1:] == ["devices"]:
        import tensorflow as tf

        (cpu,) = tf.config.list_physical_devices("CPU")
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    weights = np.random.default_rng(0).random(len(X)).astype(np.float32)
    found = {}
    for name, *case in cases():
        keras.utils.set_random_seed(0) if keras.config.backend() == "tensorflow" else None
        found[name] = compare(name, *case, strategy, None)
        if name in ("sparse cross-entropy", "mean absolute error"):
            found[f"{name}, weighted"] = compare(name, *case, strategy, weights)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
