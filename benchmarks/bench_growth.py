"""Does growing pay? The same search with growing and without it, at equal wall seconds.

- ``growing``: children are grown however few epochs the time is worth (`GROWTH_EPOCHS` at 0).
- ``none``: never (`GROWTH_EPOCHS` out of reach): the first start, sized for the time, is trained and settled.

Fashion-MNIST, the first so many images of a permutation that the seed chooses, or the demo's digits and
division (``--digits``); judged on the test images.
Imports, compiling and lost races are charged. Whether growing pays depends on how many epochs the time is
worth: fewer images, or more seconds, are more epochs. Both arms of a seed run at once, one core each, and
change cores from seed to seed.

    python benchmarks/bench_growth.py [--images 60000 | --digits] [--seconds 900] [--seeds 3]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from math import inf
from pathlib import Path

import numpy as np
from _report import about_this_run

RESULTS = Path(__file__).parent / "results" / "growth"
ARMS = {"growing": 0.0, "none": inf}
TOLD = (
    "model_id",
    "parent_id",
    "change",
    "loss",
    "n_parameters",
    "flops",
    "epochs",
    "seconds",
    "phase",
    "state",
)


def load(images: int, seed: int):
    """Training and test images; 0 images: the digits."""
    if images == 0:
        from kmorph.cli import _digits

        return _digits(seed)
    from kmorph.datasets import load_fashion_mnist

    (x, y), test = load_fashion_mnist()
    chosen = np.random.default_rng(seed).permutation(len(x))[:images]
    return (x[chosen], y[chosen]), test


def run_arm(arm: str, images: int, seconds: float, seed: int) -> dict:
    begun = time.time()
    (x, y), (x_test, y_test) = load(images, seed)
    import kmorph.search.strategy.schedule as schedule
    from kmorph import ImageClassifier

    schedule.GROWTH_EPOCHS = schedule.SHORT_GROWTH_EPOCHS = ARMS[arm]
    with tempfile.TemporaryDirectory() as folder:
        clf = ImageClassifier(path=folder, seed=seed, verbose=False)
        clf.fit(x, y, time_limit=seconds - (time.time() - begun))
        ended = time.time() - begun
        right = clf.predict_proba(x_test)[np.arange(len(x_test)), np.searchsorted(clf.classes_, y_test)]
        return {
            "test_accuracy": clf.evaluate(x_test, y_test),
            "test_loss": float(-np.log(np.maximum(right, 1e-12)).mean()),
            "seconds": ended,
            "epochs": sum(entry["epochs"] for entry in clf.history),
            "history": [{name: entry[name] for name in TOLD} for entry in clf.history],
        }


def file_of(arm: str, images: int, seconds: float, seed: int) -> Path:
    return RESULTS / f"{arm}_{images or 'digits'}_{seconds:.0f}s_seed{seed}.json"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--digits", action="store_const", const=0, dest="images")
    parser.add_argument("--seconds", type=float, default=900)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--arm", choices=ARMS, help="run one arm here, for the seed --seeds")
    options = parser.parse_args()
    shape = options.images, options.seconds
    if options.arm:
        found = run_arm(options.arm, *shape, options.seeds)
        file = file_of(options.arm, *shape, options.seeds)
        file.parent.mkdir(parents=True, exist_ok=True)
        about = {
            "arm": options.arm,
            "images": options.images,
            "limit": options.seconds,
            "seed": options.seeds,
        }
        file.write_text(json.dumps({**about, **found, **about_this_run()}) + "\n")
        return
    cores = sorted(os.sched_getaffinity(0))[:2]
    for seed in range(options.seeds):
        pair = []
        for i, arm in enumerate(ARMS):
            if not file_of(arm, *shape, seed).exists():
                command = [sys.executable, __file__, "--arm", arm, "--images", str(options.images)]
                command += ["--seconds", str(options.seconds), "--seeds", str(seed)]
                core = cores[(i + seed) % len(cores)]
                pair.append(
                    subprocess.Popen(command, preexec_fn=lambda core=core: os.sched_setaffinity(0, {core}))
                )
        if any(process.wait() for process in pair):
            raise SystemExit("an arm failed")
    report(*shape, options.seeds)


def report(images: int, seconds: float, seeds: int) -> None:
    print("seed  epochs   accuracy grown, not   log loss grown, not   parameters grown, not")
    differences = []
    for seed in range(seeds):
        grown, fixed = (json.loads(file_of(arm, images, seconds, seed).read_text()) for arm in ARMS)
        parameters = [max(entry["n_parameters"] for entry in run["history"]) for run in (grown, fixed)]
        accuracies = f"{grown['test_accuracy']:.4f}, {fixed['test_accuracy']:.4f}"
        losses = f"{grown['test_loss']:.4f}, {fixed['test_loss']:.4f}"
        sizes = f"{parameters[0]:,}, {parameters[1]:,}"
        print(f"{seed:4}  {fixed['epochs']:6.1f}   {accuracies}       {losses}        {sizes}")
        differences.append([grown[name] - fixed[name] for name in ("test_accuracy", "test_loss")])
    accuracy, loss = np.transpose(differences)
    error = [d.std(ddof=1) / np.sqrt(seeds) if seeds > 1 else float("nan") for d in (accuracy, loss)]
    print(
        f"growing − none: accuracy {accuracy.mean():+.4f} ± {error[0]:.4f}, "
        f"log loss {loss.mean():+.4f} ± {error[1]:.4f}"
    )


if __name__ == "__main__":
    main()
