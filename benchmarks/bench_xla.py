"""Does XLA pay? Compile time and speed of the training step with and without, and the steps to break even.

Both are the step of `kmorph.training`, on the starts at Fashion-MNIST's size; so are the predictions.
What XLA costs more in compiling, divided by what it saves a step, is the number of steps from which it pays;
"never" if it saves nothing.

    python benchmarks/bench_xla.py [--seconds 5]
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from _report import about_this_run
from bench_training_step import BATCH, make_data, networks

from kmorph.training.backend import load_backend
from kmorph.training.cores import cores
from kmorph.training.plan import Hyperparameters


def measure(graph, data, xla: bool, seconds: float) -> dict[str, float]:
    import tensorflow as tf

    from kmorph.training.tensorflow_step import TensorFlowStep

    step = TensorFlowStep(graph, Hyperparameters(), 0)
    if xla:
        step._step = tf.function(step._train_batch, jit_compile=True)
        step._predict = tf.function(step._predict_batch, jit_compile=True)
    x, y = data.x[:BATCH], data.y[:BATCH].astype(np.int32)
    begun = time.time()
    float(step.train(x, y, 0.1, 0))
    compiling = time.time() - begun
    begun, steps = time.time(), 0
    while time.time() - begun < seconds:
        float(step.train(x, y, 0.1, steps))
        steps += 1
    a_step = (time.time() - begun) / steps
    begun = time.time()
    step.predict(data.x_val, 500)
    return {"first step": compiling, "a step": a_step, "evaluation": time.time() - begun}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=5.0)
    default = Path(__file__).parent / "results" / "bench_xla.json"
    parser.add_argument("--out", type=Path, default=default)
    arguments = parser.parse_args()
    load_backend(threads=cores())
    data, results = make_data(), {}
    for name, graph in networks().items():
        measure(graph, data, False, 0.5)  # what is slow the first time only
        plain, xla = (measure(graph, data, with_xla, arguments.seconds) for with_xla in (False, True))
        saved = plain["a step"] - xla["a step"]
        even = (xla["first step"] - plain["first step"]) / saved if saved > 0 else float("inf")
        results[name] = {"plain": plain, "XLA": xla, "steps to break even": even if saved > 0 else None}
        print(
            f"{name:9} first step {plain['first step']:.1f} s, XLA {xla['first step']:.1f} s; "
            f"{BATCH / plain['a step']:,.0f} images/s, XLA {BATCH / xla['a step']:,.0f}; "
            f"evaluation {plain['evaluation']:.2f} s, XLA {xla['evaluation']:.2f} s; "
            + (f"pays from {even:,.0f} steps" if saved > 0 else "never pays"),
            flush=True,
        )
    arguments.out.write_text(json.dumps({"results": results, **about_this_run()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
