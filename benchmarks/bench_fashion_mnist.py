"""From data to accuracy under a deadline: Fashion-MNIST, 60,000 images, two cores, search included.

Arms, each in a process of its own with the same data and seconds, imports and compiling charged:

- ``kmorph``: `ImageClassifier().fit(x, y, time_limit=…)`, validation data taken from the training images;
- ``hand-written``: `hand_written.py`, a careful network by hand on all training images.

The test images are touched once in each run, after its time is over. Every run writes its own JSON, what is
there is not run again, so that it can be completed in parts.

    python benchmarks/bench_fashion_mnist.py [--seconds 120 300 900] [--seeds 3] [--arms kmorph hand-written]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from _report import about_this_run

RESULTS = Path(__file__).parent / "results" / "fashion_mnist"
ARMS = ("kmorph", "hand-written")


def run_kmorph(seconds: float, seed: int, train, test, begun: float) -> dict:
    from kmorph import ImageClassifier

    with tempfile.TemporaryDirectory() as folder:
        clf = ImageClassifier(path=folder, seed=seed, verbose=False)
        clf.fit(*train, time_limit=seconds - (time.time() - begun))
        ended = time.time() - begun
        history, best = clf.history, clf.get_best_model_id()
        return {
            "test_accuracy": clf.evaluate(*test),
            "seconds": ended,
            "n_parameters": history[best]["n_parameters"],
            "models": len(history),
            "history": [
                {
                    name: entry[name]
                    for name in (
                        "model_id",
                        "parent_id",
                        "change",
                        "loss",
                        "metric_value",
                        "n_parameters",
                        "epochs",
                        "seconds",
                        "images_per_second",
                        "phase",
                        "created",
                    )
                }
                for entry in history
            ],
        }


def run_hand_written(seconds: float, seed: int, train, test, begun: float) -> dict:
    from hand_written import accuracy_after

    return accuracy_after(seconds, seed, train, test, begun)


def run_one(arm: str, seconds: float, seed: int) -> None:
    begun = time.time()
    from kmorph.datasets import load_fashion_mnist

    train, test = load_fashion_mnist()
    run = run_kmorph if arm == "kmorph" else run_hand_written
    result = run(seconds, seed, train, test, begun)
    file = result_file(arm, seconds, seed)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(
        json.dumps({"arm": arm, "limit": seconds, "seed": seed, **result, **about_this_run()}) + "\n"
    )


def result_file(arm: str, seconds: float, seed: int) -> Path:
    return RESULTS / f"{arm.replace('-', '_')}_{int(seconds)}s_seed{seed}.json"


def report(arms: list[str], limits: list[float], seeds: int) -> None:
    """Means over seeds, standard errors where there are several."""
    print("seconds  arm            test accuracy       seeds  took")
    for seconds in limits:
        for arm in arms:
            files = [result_file(arm, seconds, seed) for seed in range(seeds)]
            runs = [json.loads(file.read_text()) for file in files if file.exists()]
            if not runs:
                continue
            accuracies = np.array([run["test_accuracy"] for run in runs])
            error = f" ± {accuracies.std(ddof=1) / len(runs) ** 0.5:.4f}" if len(runs) > 1 else ""
            took = max(run["seconds"] for run in runs)
            print(f"{seconds:7.0f}  {arm:13}  {accuracies.mean():.4f}{error:10}  {len(runs):5}  {took:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, nargs="+", default=[120, 300, 900])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--run", type=int, help="run one arm here, for this seed")
    arguments = parser.parse_args()
    if arguments.run is not None:
        run_one(arguments.arms[0], arguments.seconds[0], arguments.run)
        return
    for seconds in arguments.seconds:
        for seed in range(arguments.seeds):
            for arm in arguments.arms:
                if not result_file(arm, seconds, seed).exists():
                    print(f"{arm}, {seconds:.0f} s, seed {seed}", flush=True)
                    options = ["--arms", arm, "--seconds", str(seconds), "--run", str(seed)]
                    subprocess.run([sys.executable, __file__, *options], check=True)
    report(arguments.arms, arguments.seconds, arguments.seeds)


if __name__ == "__main__":
    main()
