"""Does the mean of several settled models pay? Searches with `ensemble=True` and with `ensemble=False`.

Both arms have the same seconds: what is settled beside the best model is taken from its time. They are judged
on images that no search saw. Each run writes its own JSON; with ``--pinned`` two run side by side, each on
one core.

    python benchmarks/bench_ensemble.py digits  [--seeds 10] [--seconds 60] [--pinned]
    python benchmarks/bench_ensemble.py fashion [--seeds 3] [--seconds 300] [--pinned]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue

import numpy as np
from _report import about_this_run
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


def result_file(task: str, arm: str, seed: int, seconds: float) -> Path:
    return RESULTS / f"{task}_{arm}_{int(seconds)}s_seed{seed}.json"


def in_own_process(task: str, arm: str, seed: int, seconds: float, cores: Queue) -> None:
    core = cores.get()
    command = [sys.executable, __file__, task, "--arm", arm, "--seeds", str(seed), "--seconds", str(seconds)]
    pin = None if core is None else lambda: os.sched_setaffinity(0, {core})
    subprocess.run(command, preexec_fn=pin, check=True)
    cores.put(core)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", choices=("digits", "fashion"))
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--pinned", action="store_true")
    parser.add_argument("--arm", choices=ARMS, help="run one arm here, for the seed --seeds")
    arguments = parser.parse_args()
    task = arguments.task
    seconds = arguments.seconds or (60 if task == "digits" else 300)
    seeds = arguments.seeds if arguments.seeds is not None else (10 if task == "digits" else 3)
    if arguments.arm:
        file = result_file(task, arguments.arm, seeds, seconds)
        result = run_arm(task, arguments.arm, seeds, seconds)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(
            json.dumps({"arm": arguments.arm, "seed": seeds, **result, **about_this_run()}) + "\n"
        )
        return
    todo = [
        (arm, seed)
        for seed in range(seeds)
        for arm in ARMS
        if not result_file(task, arm, seed, seconds).exists()
    ]
    cores: Queue = Queue()
    for core in sorted(os.sched_getaffinity(0))[:2] if arguments.pinned else [None]:
        cores.put(core)
    with ThreadPoolExecutor(cores.qsize()) as pool:
        list(pool.map(lambda job: in_own_process(task, *job, seconds, cores), todo))
    report(task, seeds, seconds)


def report(task: str, seeds: int, seconds: float) -> None:
    """Held-out accuracy by seed, and the paired difference."""
    runs = {
        arm: [json.loads(result_file(task, arm, seed, seconds).read_text()) for seed in range(seeds)]
        for arm in ARMS
    }
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
    main()
