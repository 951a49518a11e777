"""Does the mean of several settled models pay? Searches with `ensemble=True` and with `ensemble=False`.

Both arms have the same seconds: what is settled beside the best model is taken from its time. They are judged
on images that no search saw. Each run writes its own JSON; with ``--pinned`` two run side by side, each on
one core.

    python benchmarks/bench_ensemble.py digits  [--seeds 10] [--seconds 60] [--pinned]
    python benchmarks/bench_ensemble.py fashion [--seeds 3] [--seconds 300] [--pinned]
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from _arms import Comparison
from bench_search_quality import data

RESULTS = Path(__file__).parent / "results" / "ensemble"
ARMS = {"on": True, "off": False}


def run_arm(task: str, arm: str, seed: int, seconds: float) -> dict:
    from kmorph import ImageClassifier

    train, held = data(task, seed)
    with tempfile.TemporaryDirectory() as folder:
        clf = ImageClassifier(path=folder, seed=seed, verbose=False, ensemble=ARMS[arm])
        clf.fit(*train, time_limit=seconds)
        rows = clf.leaderboard(*held)
        return {
            "held_out_accuracy": clf.evaluate(*held),
            "settled": [row["accuracy"] for row in rows if row["phase"] == "decay"],
            "models": len(rows),
        }


def report(runs: dict[str, list[dict]]) -> None:
    """Held-out accuracy by seed, and the paired difference."""
    seeds = len(runs["on"])
    print("seed  on      settled by itself        off")
    for seed in range(seeds):
        on, off = runs["on"][seed], runs["off"][seed]
        members = " ".join(f"{value:.4f}" for value in on["settled"])
        print(f"{seed:4}  {on['held_out_accuracy']:.4f}  {members:24} {off['held_out_accuracy']:.4f}")
    accuracy = {arm: np.array([run["held_out_accuracy"] for run in found]) for arm, found in runs.items()}
    less = accuracy["on"] - accuracy["off"]
    error = less.std(ddof=1) / np.sqrt(seeds) if seeds > 1 else float("nan")
    print(f"mean  {accuracy['on'].mean():.4f}  {'':24} {accuracy['off'].mean():.4f}", end="")
    print(f"   on − off {less.mean():+.4f} ± {error:.4f}")


if __name__ == "__main__":
    seeds = {"digits": 10, "fashion": 3}
    Comparison(__file__, __doc__, tuple(ARMS), run_arm, report, RESULTS, seeds).main()
