"""Which early loss tells which child is worth its time? Children of one parent, raced and then settled.

The plain cnn of width 32 is trained for a minute of Fashion-MNIST at a constant learning rate, on images that
are changed at random, as in a search. From its weights go on, for equal wall seconds each: itself, four
children that are much larger, four that cost little. After 12 and 36 seconds their validation losses are
taken; then all settle, until 130 seconds are over. 50,000 images to learn from, 10,000 to judge by. Two seeds
at a time, one core each.

An early loss is right about two of them if it puts them in the order of their settled losses, means over
seeds, where these differ by more than 0.010.

    python benchmarks/bench_races.py [--seeds 0 1 2 3]
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from _arms import in_own_processes
from _report import about_this_run

RESULTS = Path(__file__).parent / "results" / "races"
WIDTH = 32
PARENT_SECONDS = 60.0
LOOKS = (12.0, 36.0)  # wall seconds after the parent, growing and compiling included
END = 130.0
HELD_BACK = 10_000
FAR = 0.010
LARGE = ("twice the FLOPs", "four times the FLOPs", "residual block", "wide and block")
CHEAP = ("dropout", "gate", "skip", "larger kernel")
CANDIDATES = ("parent", *LARGE, *CHEAP)


def grown(name: str, graph, seed: int):
    """A child; layers are counted as in the cnn behind its normalisation."""
    from kmorph import morphs
    from kmorph.graph import Activation
    from kmorph.morphs import Limits
    from kmorph.search.strategy.steps import widened

    if name == "parent":
        return graph
    acts = [i for i, layer in enumerate(graph.layers) if isinstance(layer, Activation)]
    middle = acts[len(acts) // 2]
    block = morphs.DeepenResidual(layer=middle, kernel=3, activation=graph.layers[middle].function)
    if name in ("twice the FLOPs", "four times the FLOPs"):
        times = 2 if name.startswith("twice") else 4
        chosen = widened(graph, times * graph.flops, Limits())[0]
    elif name == "residual block":
        chosen = (block,)
    elif name == "wide and block":
        chosen = (block, *widened(block.apply(graph, seed), 3 * graph.flops, Limits())[0])
    elif name == "dropout":
        chosen = (morphs.InsertDropout(layer=acts[-2], rate=0.25),)
    elif name == "gate":
        chosen = (morphs.InsertGate(layer=middle, units=8),)
    elif name == "skip":
        sites = morphs.sites(graph, kinds=("add_skip",))
        chosen = (next(site for site in sites if site.source == middle and site.target == acts[-2]),)
    else:
        chosen = (next(morphs.sites(graph, kinds=("enlarge_kernel",))),)
    for i, morph in enumerate(chosen):
        graph = morph.apply(graph, seed + i)
    return graph


def run(seed: int) -> dict:
    from kmorph import starts
    from kmorph.datasets import load_fashion_mnist
    from kmorph.problem import ImageInput
    from kmorph.search.strategy.planning import PLAIN_END
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
    front = ImageInput.learn(data.x).front()
    graph = starts.cnn((28, 28, 1), 10, width=WIDTH, preprocessing=front).initialize(seed)
    _, policy = training_speed(graph.to_json())
    changes = ("shift", "flip", "erase")
    plan = Plan(
        hyperparameters=Hyperparameters(learning_rate=0.2, batch_size=128, augment=changes), policy=policy
    )

    def stage(graph, phase: str, until: float, images: int, number: int):
        left = until - time.time()
        part = replace(
            plan,
            phase=phase,
            seconds=None if phase == "decay" else left,
            seconds_left=left,
            images_before=images,
            plain_end=PLAIN_END if phase == "decay" else 0.0,
            seed=seed + number,
        )
        return train(graph, data, part)

    parent = stage(graph, "stable", time.time() + PARENT_SECONDS, 0, 0)
    found = {"before": parent.metrics["loss"], "candidates": {}}
    for name in CANDIDATES:
        begun, images, losses = time.time(), parent.images, []
        child = grown(name, parent.graph, seed)
        size = child.flops / parent.graph.flops
        for number, look in enumerate(LOOKS, 1):
            outcome = stage(child, "stable", begun + look, images, number)
            child, images = outcome.graph, images + outcome.images
            losses.append(outcome.metrics["loss"])
        outcome = stage(child, "decay", begun + END, images, len(LOOKS) + 1)
        found["candidates"][name] = {
            "flops": size,
            "early": losses,
            "settled": outcome.metrics["loss"],
            "accuracy": outcome.metrics["accuracy"],
            "images": images + outcome.images - parent.images,
            "took": time.time() - begun,
        }
        print(seed, name, found["candidates"][name], flush=True)
    return found


def file_of(seed: int) -> Path:
    return RESULTS / f"seed{seed}.json"


def report(seeds: list[int]) -> None:
    runs = [json.loads(file_of(seed).read_text()) for seed in seeds]

    def table(value) -> np.ndarray:
        """(seeds, candidates)"""
        return np.array([[value(run, run["candidates"][name]) for name in CANDIDATES] for run in runs])

    settled = table(lambda run, one: one["settled"])
    mean = settled.mean(axis=0)
    print(f"child, minus parent   FLOPs   after {LOOKS[0]:.0f} s  after {LOOKS[1]:.0f} s   settled")
    early = [table(lambda run, one, i=i: one["early"][i]) for i in range(len(LOOKS))]
    flops = table(lambda run, one: one["flops"])
    for i, name in enumerate(CANDIDATES):
        off = [values[:, i] - values[:, 0] for values in (*early, settled)]
        error = off[-1].std(ddof=1) / np.sqrt(len(seeds)) if len(seeds) > 1 else float("nan")
        print(
            f"{name:20}  {flops[0, i]:4.2f}    {off[0].mean():+.4f}    {off[1].mean():+.4f}    "
            f"{off[2].mean():+.4f} ± {error:.4f}"
        )
    before = np.array([[run["before"]] for run in runs])
    statistics = {f"after {look:.0f} s": values for look, values in zip(LOOKS, early, strict=True)}
    statistics["settled, one seed"] = settled
    statistics["more FLOPs"] = -flops
    i, j = np.triu_indices(len(CANDIDATES), 1)
    far = np.abs(mean[i] - mean[j]) > FAR
    own = far & (i == 0)
    print(f"{far.sum()} of {len(i)} pairs are {FAR} apart, {own.sum()} of these with the parent; right:")
    for name, values in statistics.items():
        right = np.sign(values[:, i] - values[:, j]) == np.sign(mean[i] - mean[j])
        print(f"{name:20} all {right[:, far].mean():.2f}, with the parent {right[:, own].mean():.2f}")
    ahead = early[0] < before  # as a race of today's: with the parent before
    right = ahead[:, j[own]] == (mean[j[own]] < mean[0])
    print(f"{'against the parent before':20} {right.mean():.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3])
    parser.add_argument("--one", type=int, help="run this seed here")
    options = parser.parse_args()
    if options.one is not None:
        found = run(options.one)
        RESULTS.mkdir(parents=True, exist_ok=True)
        file_of(options.one).write_text(json.dumps({"seed": options.one, **found, **about_this_run()}) + "\n")
        return
    missing = [["--one", str(seed)] for seed in options.seeds if not file_of(seed).exists()]
    in_own_processes(__file__, missing, pinned=True)
    report(options.seeds)


if __name__ == "__main__":
    main()
