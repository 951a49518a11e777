"""A program that trains on one CPU and on the same as two logical devices, and prints how they compare.

Logical devices must be set up before TensorFlow starts, so that the tests run this in a process of its own.
"""

import json

import numpy as np
from sklearn.datasets import load_digits

from kmorph import starts
from kmorph.graph import Activation, Conv, Dense, Dropout, Flatten, GraphBuilder, Normalize
from kmorph.training.backend import load_backend
from kmorph.training.distribute import DistributedStep, build_strategy, pack_strategy
from kmorph.training.examples import Data
from kmorph.training.plan import Hyperparameters, Plan
from kmorph.training.tensorflow_step import TensorFlowStep
from kmorph.training.trainer import train

NORMALIZE = Normalize((4.9,), (36.2,))


def two_cpus():
    import tensorflow as tf

    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def digits():
    x, y = load_digits(return_X_y=True)
    x = x.reshape(-1, 8, 8, 1).astype(np.uint8)
    return Data(x[:1401], y[:1401], x[1401:], y[1401:])


def plain(dropout=False):
    """A network without batch norm."""
    builder = GraphBuilder((8, 8, 1))
    builder.add(NORMALIZE)
    builder.add(Conv(8, (3, 3)))
    builder.add(Activation("relu"))
    builder.add(Flatten())
    if dropout:
        builder.add(Dropout(0.5))
    return builder.build(builder.add(Dense(10))).initialize(0)


def normed():
    return starts.cnn((8, 8, 1), 10, width=8, preprocessing=[NORMALIZE]).initialize(0)


def difference(one, other):
    return float(max(np.abs(one.weights[key] - other.weights[key]).max() for key in one.weights))


def spread(step):
    """How far the copies of any variable lie apart."""
    variables = [*step._trainable, *step._momentum, *step._average, *step._statistics]
    copies = [step.strategy.experimental_local_results(variable) for variable in variables]
    return float(max(np.abs(a.numpy() - b.numpy()).max() for a, b in copies))


def steps_compared(strategy, data):
    """The same batches on one device and on two: weights, averaged weights, logits."""
    hyperparameters = Hyperparameters(label_smoothing=0.1)
    one = TensorFlowStep(plain(), hyperparameters, 0)
    two = DistributedStep(plain(), hyperparameters, 0, strategy)
    losses = []
    for i in range(40):
        part = slice(32 * i, 32 * (i + 1))
        x, y = data.x[part], data.y[part].astype(np.int32)
        losses.append([float(step.train(x, y, 0.1, i)) for step in (one, two)])
        for step in (one, two):
            step.average(0.9)
        if i == 9:  # rounding differs between processors, and grows from step to step
            early = difference(one.to_graph(), two.to_graph()), float(np.abs(np.diff(losses)).max())
    result = {
        "after ten": max(early),
        "losses": float(np.abs(np.diff(losses)).max()),
        "fell": losses[-1][0] / losses[0][0],
        "weights": difference(one.to_graph(), two.to_graph()),
    }
    logits = [step.predict(data.x_val, 101) for step in (one, two)]
    result["logits"] = float(np.abs(logits[0] - logits[1]).max())
    moved = two.to_graph()
    for step in (one, two):
        step.swap()
    result["averages"] = difference(one.to_graph(), two.to_graph())
    result["average is another"] = difference(moved, two.to_graph())
    two.swap()
    result["swapped back"] = difference(moved, two.to_graph())
    result["spread"] = spread(two)
    return result


def runs_compared(packed, data):
    """Whole runs with batch norm, at the same batch over all devices."""
    both = [
        train(normed(), data, Plan("decay", max_epochs=6, hyperparameters=hyperparameters), strategy=strategy)
        for hyperparameters, strategy in (
            (Hyperparameters(0.1, 64), None),
            (Hyperparameters(0.05, 32), packed),
        )
    ]
    logits = both[1].graph.to_keras().predict(data.x_val, verbose=0)
    return {
        "accuracy": [outcome.metrics["accuracy"] for outcome in both],
        "loss": [outcome.metrics["loss"] for outcome in both],
        "images": [outcome.images for outcome in both],
        "replicas": [outcome.replicas for outcome in both],
        "batch sizes": [outcome.hyperparameters.batch_size for outcome in both],
        "exported": float(np.mean(logits.argmax(1) == data.y_val)),
    }


def statistics(strategy, data):
    """Batch norm on two devices: copies once measured, after `predict`, and what calibration measured."""
    step = DistributedStep(normed(), Hyperparameters(), 0, strategy)
    for i in range(5):
        step.train(data.x[:64], data.y[:64].astype(np.int32), 0.05, i)
    step.recalibrate([data.x[:64]])
    apart = spread(step)
    step.predict(data.x_val, 100)
    agreed = spread(step)
    one = TensorFlowStep(step.to_graph(), Hyperparameters(), 0)
    for each in (one, step):
        each.recalibrate([data.x[:201], data.x[201:402]])
    step.predict(data.x_val[:3], 1)
    calibrated = {
        name: array for (_, name), array in step.to_graph().weights.items() if name.startswith("moving")
    }
    return {
        "apart": apart,
        "agreed": agreed,
        "calibrated": spread(step),
        "difference from one device": difference(one.to_graph(), step.to_graph()),
        "size": float(max(np.abs(array).max() for array in calibrated.values())),
    }


def dropout(strategy, data):
    """Return whether replicas with the same examples drop different units."""
    step = DistributedStep(plain(dropout=True), Hyperparameters(), 0, strategy)
    x = np.concatenate([data.x[:8], data.x[:8]])
    model = step.model
    parts = strategy.run(lambda batch: model(batch, training=True), args=(step._place(x),))
    first, second = (logits.numpy() for logits in strategy.experimental_local_results(parts))
    return {"difference": float(np.abs(first - second).max())}


def bfloat16(strategy, data):
    step = DistributedStep(normed(), Hyperparameters(), 0, strategy, "mixed_bfloat16")
    for i in range(60):
        part = np.arange(32 * i, 32 * (i + 1)) % 1400
        loss = float(step.train(data.x[part], data.y[part].astype(np.int32), 0.05, i))
    return {"loss": loss}


def few_examples(packed, data):
    """Fewer examples than devices."""
    outcome = train(
        plain(), Data(data.x[:1], data.y[:1], data.x[:3], data.y[:3]), Plan(max_epochs=2), strategy=packed
    )
    return {"images": outcome.images}


def little_memory(packed, data):
    """Devices that have memory for ten images each."""
    held = DistributedStep.train

    def limited(step, x, *others):
        if len(x) > 20:
            raise MemoryError
        return held(step, x, *others)

    DistributedStep.train = limited
    try:
        plan = Plan(max_epochs=1, hyperparameters=Hyperparameters(0.08, 32))
        outcome = train(plain(), data, plan, strategy=packed)
    finally:
        DistributedStep.train = held
    return {"images": outcome.images, **outcome.hyperparameters.to_dict()}


def main():
    load_backend(devices=False)
    packed = pack_strategy(two_cpus)
    strategy, data = build_strategy(packed), digits()
    result = {
        "steps": steps_compared(strategy, data),
        "runs": runs_compared(packed, data),
        "statistics": statistics(strategy, data),
        "dropout": dropout(strategy, data),
        "bfloat16": bfloat16(strategy, data),
        "few": few_examples(packed, data),
        "memory": little_memory(packed, data),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
