"""Does one step of growth save compute? A small network that grows once, beside fixed ones.

Fashion-MNIST, equal seconds, one core an arm; 50,000 of the training images are learned from, the other
10,000 judge. Every arm is the plain cnn, trained by kmorph's own recipe: 40 % of the time at a constant
learning rate, then at one that falls to zero. Everything but imports is charged: building, compiling, and the
step itself.

- ``64``: width 64 from the first step to the last.
- ``64>128@0.2``: width 64 for 20 % of the time; then every layer is widened to that of width 128.
- ``64+1@0.2``: after 20 % of the time, a residual block of 3×3 convolutions at the end of every stage.
- ``64+1``: with these blocks from the first step on, from new weights.
- ``16>64@0.2~repeats``: new filters repeat old ones, as in Net2Net, instead of random ones that are not read.
- ``16>64@0.2~opposites``: new filters come in equal twos, read with opposite weights (arXiv 2306.12700).
- ``16>64@0.2~gradients``: of twice as many random new filters those whose outgoing weights have the steepest
  gradient, over four batches (after GradMax, ICLR 2022).
- ``64>64@0.2``: what an interruption costs, with its new momenta and its warm-up.

The first seeds choose an arm, others confirm it: what was chosen is not what is reported.

    python benchmarks/bench_one_step.py [--seconds 600] [--seeds 0 1] [--arms 64 128 "64>128@0.2" …]
"""

from __future__ import annotations

import argparse
import json
import re
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from _arms import in_own_processes
from _report import about_this_run
from _widening import WAYS

RESULTS = Path(__file__).parent / "results" / "one_step"
ARMS = ("64", "96", "128", "64>128@0.2", "64>128@0.35")
HELD_BACK = 10_000
STABLE = 0.4  # share of the time at a constant learning rate


@dataclass(frozen=True)
class Arm:
    """A width, and what it grows to when."""

    width: int
    to: int | None = None
    blocks: int = 0
    at: float = 0.0
    how: str = "zeros"

    @classmethod
    def of(cls, text: str) -> Arm:
        found = re.fullmatch(r"(\d+)(?:>(\d+))?(?:\+(\d+))?(?:@([\d.]+))?(?:~(\w+))?", text)
        if not found:
            raise SystemExit(f"no such arm: {text}")
        width, to, blocks, at, how = found.groups()
        return cls(int(width), to and int(to), int(blocks or 0), float(at or 0), how or "zeros")


def network(width: int, x: np.ndarray):
    from kmorph import starts
    from kmorph.problem import ImageInput

    return starts.cnn((28, 28, 1), 10, width=width, preprocessing=ImageInput.learn(x).front())


def deepened(graph, blocks: int, seed: int):
    """Residual blocks after the last activation of every stage."""
    from kmorph.graph import Activation, Pool
    from kmorph.morphs import DeepenResidual

    for _ in range(blocks):
        acts = [i for i, layer in enumerate(graph.layers) if isinstance(layer, Activation)]
        ends = [i for i, after in zip(acts, acts[1:], strict=False) if has(graph, i, after, Pool)]
        for i in reversed([*ends[1:], acts[-1]]):  # those behind first: the others keep their places
            function = graph.layers[i].function
            graph = DeepenResidual(layer=i, kernel=3, activation=function).apply(graph, seed + i)
    return graph


def has(graph, begin: int, end: int, kind: type) -> bool:
    return any(isinstance(layer, kind) for layer in graph.layers[begin + 1 : end])


def run(arm: Arm, seconds: float, seed: int) -> dict:
    from kmorph.datasets import load_fashion_mnist
    from kmorph.search.strategy.planning import PLAIN_END, augmentation_for
    from kmorph.search.workers.calibration import training_speed
    from kmorph.training.backend import load_backend
    from kmorph.training.examples import Data
    from kmorph.training.plan import Hyperparameters, Plan
    from kmorph.training.trainer import train

    load_backend(threads=1)
    (x, y), _ = load_fashion_mnist()
    order = np.random.default_rng(seed).permutation(len(x))
    here, there = order[:-HELD_BACK], order[-HELD_BACK:]
    data = Data(x[here], y[here].astype(np.int64), x[there], y[there].astype(np.int64))
    graph = network(arm.width, data.x)
    graph = (graph if arm.at else deepened(graph, arm.blocks, seed)).initialize(seed)
    begun = time.time()
    last = graph if arm.to is None else network(arm.to, data.x)
    speed, policy = training_speed(graph.to_json())
    if last is not graph:  # most of the time goes into the larger one
        _, policy = training_speed(last.to_json())
    epochs = seconds * speed / len(here) * (arm.at + (1 - arm.at) * graph.flops / last.flops)
    kinds = augmentation_for(("shift", "flip", "erase"), epochs)
    plan = Plan(
        hyperparameters=Hyperparameters(learning_rate=0.2, batch_size=128, augment=kinds), policy=policy
    )
    parts, images = [], 0

    def stage(phase: str, until: float) -> None:
        nonlocal graph, images
        before = time.time()
        left = begun + until * seconds - before
        outcome = train(
            graph,
            data,
            replace(
                plan,
                phase=phase,
                seconds=None if phase == "decay" else left,
                seconds_left=left,
                images_before=images,
                plain_end=PLAIN_END if phase == "decay" else 0.0,
                seed=seed + len(parts),
            ),
        )
        graph, images = outcome.graph, images + outcome.images
        parts.append(
            {
                "phase": phase,
                "seconds": time.time() - before,
                "epochs": outcome.epochs,
                "flops": graph.flops,
                "n_parameters": graph.n_parameters,
                **outcome.metrics,
            }
        )

    if arm.at:
        stage("stable", arm.at)
        before = time.time()
        if arm.to is None:
            graph = deepened(graph, arm.blocks, seed)
        else:
            graph = WAYS[arm.how](graph, network(arm.to, data.x), data, seed)
        parts[-1]["growing_seconds"] = time.time() - before
    if arm.at < STABLE:
        stage("stable", STABLE)
    stage("decay", 1.0)
    return {
        "loss": parts[-1]["loss"],
        "accuracy": parts[-1]["accuracy"],
        "took": time.time() - begun,
        "policy": policy,
        "augment": kinds,
        "parts": parts,
    }


def file_of(arm: str, seconds: float, seed: int) -> Path:
    return RESULTS / f"{arm.replace('>', '-')}_{seconds:.0f}s_seed{seed}.json"


def report(arms: list[str], seconds: float, seeds: list[int]) -> None:
    found = {arm: [json.loads(file_of(arm, seconds, seed).read_text()) for seed in seeds] for arm in arms}
    losses = {arm: np.array([one["loss"] for one in runs]) for arm, runs in found.items()}
    fixed = [arm for arm in arms if not Arm.of(arm).at]
    best = min(fixed or arms, key=lambda arm: losses[arm].mean())
    print(f"arm            epochs  accuracy   log loss   minus {best}, same seeds")
    for arm, runs in found.items():
        off = losses[arm] - losses[best]
        error = off.std(ddof=1) / np.sqrt(len(off)) if len(off) > 1 else float("nan")
        epochs = np.mean([sum(part["epochs"] for part in one["parts"]) for one in runs])
        accuracy = np.mean([one["accuracy"] for one in runs])
        print(
            f"{arm:13}  {epochs:6.1f}    {accuracy:.4f}     {losses[arm].mean():.4f}   "
            f"{off.mean():+.4f} ± {error:.4f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--arms", nargs="+", default=list(ARMS))
    parser.add_argument("--one", action="store_true", help="run one arm here, with one seed")
    options = parser.parse_args()
    if options.one:
        (arm,), (seed,) = options.arms, options.seeds
        result = run(Arm.of(arm), options.seconds, seed)
        file = file_of(arm, options.seconds, seed)
        file.parent.mkdir(parents=True, exist_ok=True)
        about = {"arm": arm, "seed": seed, "limit": options.seconds}
        file.write_text(json.dumps({**about, **result, **about_this_run()}) + "\n")
        return
    in_own_processes(
        __file__,
        [
            ["--one", "--arms", arm, "--seeds", str(seed), "--seconds", str(options.seconds)]
            for seed in options.seeds
            for arm in options.arms
            if not file_of(arm, options.seconds, seed).exists()
        ],
        pinned=True,
    )
    report(options.arms, options.seconds, options.seeds)


if __name__ == "__main__":
    main()
