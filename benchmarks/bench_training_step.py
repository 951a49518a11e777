"""Costs of training: images per second beside a bare loop, and the overhead of a model beside Keras' `fit`.

Speed: `kmorph.training.train` against a careful hand-written loop on the same network, batches of bytes, with
the same augmentation inside the compiled step and the same fused update; both in turns, each in a process
with threads as it would have them (kmorph's workers set them, the loop takes TensorFlow's), and the ratio is
the median of the turns. Overhead: build, trace, first step, evaluation of 5,000 images and saving, by kmorph
and by `compile`, `fit` of one step, `evaluate` and `save`; once more without what predicting these images
takes in a compiled model, which is the same work for both. No XLA in either.

Share of the peak: what the steps of each backend compute (a forward pass and twice as much for gradients,
two operations a multiply-add) beside what a product of two matrices of 2048 × 2048 reaches there, in float32
and in bfloat16; with `--peak` that alone.

    python benchmarks/bench_training_step.py [--turns 5] [--seconds 4] [--peak]
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from _report import about_this_run
from hand_written import compiled_step

from kmorph import starts
from kmorph.graph import Graph, Normalize
from kmorph.training.backend import load_backend
from kmorph.training.cores import cores
from kmorph.training.examples import Data
from kmorph.training.plan import Hyperparameters, Plan
from kmorph.training.trainer import train

TARGET_SPEED, TARGET_OVERHEAD = 0.95, 0.45
BATCH = 128


def make_data() -> Data:
    """Noise of the size of Fashion-MNIST: what is in the images does not matter for the time."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (60_000, 28, 28, 1), dtype=np.uint8)
    y = rng.integers(0, 10, 60_000)
    return Data(x[:55_000], y[:55_000], x[55_000:], y[55_000:])


def networks() -> dict[str, Graph]:
    """The starts, as a search makes them."""
    front = [Normalize((72.9,), (8087.0,))]
    made = {
        name: starts.KINDS[name]((28, 28, 1), 10, preprocessing=front)
        for name in ("resnet", "cnn", "densenet")
    }
    return {name: graph.initialize(0) for name, graph in made.items()}


def kmorph_speed(name: str, seconds: float, augment: tuple[str, ...]) -> float:
    """Images per second of the training steps."""
    graph, data = networks()[name], make_data()
    plan = Plan(seconds=seconds, hyperparameters=Hyperparameters(batch_size=BATCH, augment=augment))
    return train(graph, data, plan).examples_per_second


def bare_speed(name: str, seconds: float, augment: tuple[str, ...]) -> float:
    """The same of a loop with nothing around it: no average, no reports, no clock but its own."""
    graph, data = networks()[name], make_data()
    step = compiled_step(graph.to_keras(), bool(augment))
    rng, y = np.random.default_rng(0), data.y.astype(np.int32)
    order, images, begun = rng.permutation(len(data.x)), 0, None
    while begun is None or time.time() - begun < seconds:
        index = np.sort(order[images % 50_000 :][:BATCH])
        shift = rng.integers(-3, 4, (BATCH, 2), dtype=np.int32)
        step(data.x[index], y[index], np.float32(0.1), shift, rng.random(BATCH) < 0.5)
        begun = begun or time.time()  # compiling is over
        images += BATCH
    return (images - BATCH) / (time.time() - begun)


def kmorph_overhead(name: str) -> tuple[float, float]:
    """Seconds from a graph to its metrics and its file, hardly trained; of these, for predicting."""
    graph, data = networks()[name], make_data()

    def whole(keep_best: bool) -> float:
        plan = Plan(seconds=0.01, keep_best=keep_best, hyperparameters=Hyperparameters(batch_size=BATCH))
        begun = time.time()
        outcome = train(graph, data, plan)
        with tempfile.TemporaryDirectory() as folder:
            outcome.graph.save(Path(folder) / "kmorph.safetensors")
        return time.time() - begun

    once = whole(False)
    # To keep the better weights it predicts before training as well, by the same compiled function.
    return once, max(0.0, whole(True) - once)


def keras_overhead(name: str) -> tuple[float, float]:
    """The same with what Keras offers."""
    import keras

    graph, data = networks()[name], make_data()
    begun = time.time()
    model = graph.to_keras()
    model.compile(
        keras.optimizers.SGD(0.1, 0.9, nesterov=True),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,
    )
    x, x_val = data.x[:BATCH].astype(np.float32), data.x_val.astype(np.float32)
    model.fit(x, data.y[:BATCH], batch_size=BATCH, verbose=0)
    model.evaluate(x_val, data.y_val, batch_size=500, verbose=0)
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "keras.keras")
    once = time.time() - begun
    begun = time.time()
    model.evaluate(x_val, data.y_val, batch_size=500, verbose=0)
    return once, time.time() - begun


def own_process(threads: int | None) -> ProcessPoolExecutor:
    """A process with TensorFlow loaded."""
    return ProcessPoolExecutor(1, get_context("spawn"), load_backend, (threads,))


def share_of_peak(name: str, width: int, policy: str, seconds: float) -> dict[str, float]:
    """Speed of a start's steps, and of products of matrices, in the backend that is loaded."""
    from kmorph.training.step_factory import make_step

    graph, data = starts.KINDS[name]((28, 28, 1), 10, width=width).initialize(0), make_data()
    step = make_step(graph, Hyperparameters(batch_size=BATCH), 0, policy=policy)
    y = data.y.astype(np.int32)

    def train(count: int) -> None:
        begin = count * BATCH % 50_000
        float(step.train(data.x[begin : begin + BATCH], y[begin : begin + BATCH], 0.01, count))

    dtype = "bfloat16" if "bfloat16" in policy else "float32"
    speed = BATCH * calls_per_second(train, seconds)
    peak = pairs() * 2 * 2048**3 * calls_per_second(product(dtype), seconds / 2) / 1e9
    reached = 6 * graph.flops * speed / 1e9
    return {"images/s": speed, "GFLOP/s": reached, "peak GFLOP/s": peak, "share": reached / peak}


def product(dtype: str) -> Callable[[int], None]:
    """A call that multiplies pairs of matrices, one pair for each thread of operations, and waits."""
    from keras import config, ops

    rng = np.random.default_rng(0)
    one, other = (ops.cast(rng.normal(size=(2048, 2048)), dtype) for _ in range(2))
    multiply: Callable[[Any, Any], Any] = ops.matmul
    if config.backend() == "jax":
        import jax

        multiply = jax.jit(multiply)
    if config.backend() == "tensorflow":
        import tensorflow as tf

        # TensorFlow's threads are set up to work on one operation each.
        multiply = tf.function(lambda a, b: tf.add_n([tf.matmul(a + i, b) for i in range(pairs())]))
    return lambda count: float(multiply(one, other)[0, 0])


def pairs() -> int:
    from keras import config

    return cores() if config.backend() == "tensorflow" else 1


def calls_per_second(call: Callable[[int], None], seconds: float) -> float:
    call(0)
    begun, count = time.time(), 0
    while time.time() - begun < seconds:
        count += 1
        call(count)
    return count / (time.time() - begun)


def with_backend(backend: str) -> None:
    os.environ["KERAS_BACKEND"] = backend
    load_backend(cores())


def shares(seconds: float) -> dict[str, dict[str, float]]:
    found = {}
    for backend in filter(find_spec, ("tensorflow", "torch", "jax")):
        with ProcessPoolExecutor(1, get_context("spawn"), with_backend, (backend,)) as process:
            for name, width in (("cnn", 64), ("cnn", 128), ("resnet", 32)):
                for policy in ("float32", "mixed_bfloat16"):
                    what = f"{backend}, {name} {width}, {policy.removeprefix('mixed_')}"
                    found[what] = row = process.submit(share_of_peak, name, width, policy, seconds).result()
                    print(
                        f"{what:36} {row['images/s']:7.0f} images/s {row['GFLOP/s']:6.0f} GFLOP/s of "
                        f"{row['peak GFLOP/s']:6.0f}, {row['share']:.2f}",
                        flush=True,
                    )
    return found


def summary(pairs: np.ndarray) -> tuple[float, float, float]:
    """Medians of both columns, and of their ratios."""
    mine, other = np.median(pairs, axis=0)
    return float(mine), float(other), float(np.median(pairs[:, 0] / pairs[:, 1]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    default = Path(__file__).parent / "results" / "bench_training_step.json"
    parser.add_argument("--out", type=Path, default=default)
    parser.add_argument("--peak", action="store_true", help="shares of the peak alone")
    arguments = parser.parse_args()
    if arguments.peak:
        out = arguments.out.with_stem(f"{arguments.out.stem}_peak")
        results = {"results": shares(arguments.seconds), **about_this_run()}
        out.write_text(json.dumps(results, indent=1) + "\n")
        return
    results = {}
    with own_process(cores()) as ours, own_process(None) as theirs:

        def in_turns(mine: Callable, other: Callable, *what: Any) -> np.ndarray:
            """What both give in each turn, (turns, 2, …)."""
            return np.array(
                [
                    (ours.submit(mine, *what).result(), theirs.submit(other, *what).result())
                    for _ in range(arguments.turns)
                ]
            )

        in_turns(kmorph_overhead, keras_overhead, "cnn")  # what is slow the first time only
        for name in networks():
            for augment in ((), ("shift", "flip")):
                pairs = in_turns(kmorph_speed, bare_speed, name, arguments.seconds, augment)
                speed, bare, ratio = summary(pairs)
                what = f"{name}, augmented" if augment else name
                results[what] = {"images/s": speed, "bare loop, images/s": bare, "ratio": ratio}
                verdict = "ok" if ratio >= TARGET_SPEED else "MISSED"
                print(f"{what:22} {speed:7.0f} images/s, bare loop {bare:7.0f}, ratio {ratio:.3f} {verdict}")
            pairs = in_turns(kmorph_overhead, keras_overhead, name)
            mine, plain, ratio = summary(pairs[..., 0])
            predicting = summary(pairs[..., 1])[:2]
            without = summary(pairs[..., 0] - pairs[..., 1])[2]
            results[f"{name}, overhead"] = {
                "seconds": mine,
                "Keras, seconds": plain,
                "ratio": ratio,
                "predicting, seconds": predicting[0],
                "Keras, predicting, seconds": predicting[1],
                "ratio without predicting": without,
            }
            verdict = "ok" if ratio <= TARGET_OVERHEAD else "MISSED"
            what = f"{name}, overhead"
            print(f"{what:22} {mine:7.2f} s, Keras {plain:7.2f} s, ratio {ratio:.3f} {verdict}")
            print(
                f"{'':22} of it predicting {predicting[0]:.2f} s and {predicting[1]:.2f} s; ratio without "
                f"{without:.3f}",
                flush=True,
            )
    arguments.out.write_text(json.dumps({"results": results, **about_this_run()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
