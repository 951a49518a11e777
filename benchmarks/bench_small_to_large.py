"""Do small networks tell which large ones are good? Ranks of the same graphs, narrow and wide.

Children of the plain cnn of width 16, drawn by chance with one to three morphs, and each of them widened to
four times the FLOPs, as a planned step does it. All are trained from new weights for equal seconds, by
kmorph's own recipe (40 % of the time at a constant learning rate), on 50,000 images of Fashion-MNIST; 10,000
others judge. Two at a time, one core each.

    python benchmarks/bench_small_to_large.py [--seconds 50] [--graphs 16] [--seeds 2]
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

RESULTS = Path(__file__).parent / "results" / "small_to_large"
WIDTH = 16
GROWTH = 4.0
MOST_FLOPS = 1.5  # of a child, relative to its parent
HELD_BACK = 10_000
STABLE = 0.4
FAR = 0.010  # difference of log losses of which the sign should be right


def small_graph(number: int, x: np.ndarray):
    """The start for 0, one of its descendants for any other number."""
    from kmorph import morphs, starts
    from kmorph.problem import ImageInput

    graph = start = starts.cnn((28, 28, 1), 10, width=WIDTH, preprocessing=ImageInput.learn(x).front())
    rng = np.random.default_rng(number)
    for _ in range(1 + number % 3 if number else 0):
        kinds = sorted({morph.kind for morph in morphs.sites(graph)} - {"widen", "dropout"})
        kind = kinds[rng.integers(len(kinds))]
        offered = [morph for morph in morphs.sites(graph, kinds=(kind,))]
        child = offered[rng.integers(len(offered))].apply(graph)
        graph = child if child.flops <= MOST_FLOPS * start.flops else graph
    return graph


def run(number: int, large: bool, seconds: float, seed: int) -> dict:
    from kmorph.datasets import load_fashion_mnist
    from kmorph.morphs import Limits
    from kmorph.search.strategy.planning import PLAIN_END, augmentation_for
    from kmorph.search.strategy.steps import widened
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
    graph = small_graph(number, data.x)
    structure = widened(graph, GROWTH * graph.flops, Limits())[1] if large else graph
    speed, policy = training_speed(structure.to_json())
    kinds = augmentation_for(("shift", "flip", "erase"), seconds * speed / len(here))
    plan = Plan(
        hyperparameters=Hyperparameters(learning_rate=0.2, batch_size=128, augment=kinds), policy=policy
    )
    begun = time.time()
    # Kept apart from the last part, so that all settle for as long.
    first = train(
        structure.initialize(seed),
        data,
        replace(plan, phase="stable", seconds=STABLE * seconds, seconds_left=2 * seconds, seed=seed),
    )
    last = train(
        first.graph,
        data,
        replace(
            plan,
            phase="decay",
            seconds=(1 - STABLE) * seconds,
            seconds_left=2 * seconds,
            images_before=first.images,
            plain_end=PLAIN_END,
            seed=seed + 1,
        ),
    )
    return {
        "loss": last.metrics["loss"],
        "accuracy": last.metrics["accuracy"],
        "stable_loss": first.metrics["loss"],
        "epochs": first.epochs + last.epochs,
        "flops": structure.flops,
        "n_parameters": structure.n_parameters,
        "layers": [layer.describe() for layer in structure.layers],
        "took": time.time() - begun,
    }


def file_of(number: int, large: bool, seconds: float, seed: int) -> Path:
    return RESULTS / f"{'large' if large else 'small'}{number}_{seconds:.0f}s_seed{seed}.json"


def report(graphs: int, seconds: float, seeds: int) -> None:
    from scipy.stats import spearmanr

    def losses(large: bool, name: str = "loss") -> np.ndarray:
        """(seeds, graphs)"""
        return np.array(
            [
                [json.loads(file_of(i, large, seconds, seed).read_text())[name] for i in range(graphs)]
                for seed in range(seeds)
            ]
        )

    small, large = losses(False), losses(True)
    for name, values in (("small", small), ("large", large)):
        spread, noise = values.mean(axis=0).std(ddof=1), values.std(axis=0, ddof=1).mean()
        again = spearmanr(values[0], values[1]).statistic if seeds > 1 else float("nan")
        print(
            f"{name}: loss {values.mean():.4f}, spread among graphs {spread:.4f}, among seeds {noise:.4f}; "
            f"Spearman between seeds {again:.2f}"
        )
    target = large.mean(axis=0)
    statistics = {
        "small, settled": small,
        "small, at a constant rate": losses(False, "stable_loss"),
        "large, at a constant rate": losses(True, "stable_loss"),
        "fewer FLOPs, large": -losses(True, "flops"),
        "fewer parameters, large": -losses(True, "n_parameters"),
    }
    i, j = np.triu_indices(graphs, 1)
    far = np.abs(target[i] - target[j]) > FAR
    print(f"Against large, settled, mean of {seeds} seeds; {far.sum()} of {len(i)} pairs are {FAR} apart:")
    for name, values in statistics.items():
        ranks = spearmanr(values.mean(axis=0), target).statistic
        right = np.sign(values[:, i] - values[:, j]) == np.sign(target[i] - target[j])
        print(
            f"{name:30} Spearman {ranks:+.2f}, of these pairs right, by one seed: {right[:, far].mean():.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=50)
    parser.add_argument("--graphs", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--one", nargs=3, type=int, help="run this graph here: number, large or not, seed")
    options = parser.parse_args()
    if options.one:
        number, large, seed = options.one
        found = run(number, bool(large), options.seconds, seed)
        file = file_of(number, bool(large), options.seconds, seed)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(
            json.dumps({"graph": number, "large": bool(large), "seed": seed, **found, **about_this_run()})
            + "\n"
        )
        return
    jobs = [
        ["--one", str(number), str(int(large)), str(seed), "--seconds", str(options.seconds)]
        for seed in range(options.seeds)
        for number in range(options.graphs)
        for large in (False, True)
        if not file_of(number, large, options.seconds, seed).exists()
    ]
    in_own_processes(__file__, jobs, pinned=True)
    report(options.graphs, options.seconds, options.seeds)


if __name__ == "__main__":
    main()
