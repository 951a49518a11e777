"""From data to accuracy under a deadline: Fashion-MNIST, 60,000 images, two cores, search included.

Arms, each in a process of its own with the same data and seconds, imports and compiling charged:

- ``kmorph``: `ImageClassifier().fit(x, y, time_limit=…)`, validation data taken from the training images;
- ``hand-written``: `hand_written.py`, a careful network by hand on all training images;
- ``autokeras``: AutoKeras 3.0, `ImageClassifier(num_classes=10)`, ended by an alarm (`peers/`);
- ``keras-tuner``: KerasTuner's Hyperband over a small space of residual networks (`peers/`).

The peers run in environments of their own, which are made at their first run; that is not charged. Both take
their validation images from the training images, and the model with the highest validation accuracy is
judged. The test images are touched once in each run, after its time is over. Every run writes its own JSON,
what is there is not run again, so that it can be completed in parts; ``--report`` runs nothing. The plot lies
beside the folder of the JSON. With ``--pinned`` two runs go side by side, each on one core: half the machine.

    python benchmarks/bench_fashion_mnist.py [--seconds 120 300 900 3600] [--seeds 3]
        [--arms kmorph hand-written autokeras keras-tuner] [--environments FOLDER] [--pinned] [--report]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
from _deadline import Deadlines, Found, Run, Split, print_table, run_kmorph, standard_error
from peers.environments import FOLDER, PEERS, python_of, script_of

RESULTS = Path(__file__).parent / "results" / "fashion_mnist"
TARGETS = {120: 0.885, 300: 0.908, 900: 0.925, 3600: 0.938}
# What kmorph may lose against the network written by hand; after an hour it has to be better.
LEAST_DIFFERENCE = {300: -0.003, 900: -0.003, 3600: 0.0}
GRACE = 600  # seconds after which a peer that does not end is killed


def load() -> tuple[Split, Split]:
    from kmorph.datasets import load_fashion_mnist  # not before the clock is running

    return load_fashion_mnist()


def run_hand_written(run: Run) -> dict:
    from hand_written import accuracy_after

    return accuracy_after(run.seconds, run.seed, *load(), run.begun)


def run_peer(peer: str, run: Run) -> dict:
    """Hand the data to a peer's own process and take its result; its clock begins when it is started."""
    python = python_of(peer, run.options.environments)
    (x, y), (x_test, y_test) = load()
    with tempfile.TemporaryDirectory() as folder:
        data, out = Path(folder) / "data.npz", Path(folder) / "result.json"
        np.savez(data, x=x, y=y, x_test=x_test, y_test=y_test)
        limits = ["--seconds", str(run.seconds), "--seed", str(run.seed), "--begun", str(time.time())]
        # -E: nothing of the environment that this runs in, as where it finds kmorph.
        command = [python, "-E", script_of(peer), "--data", data, "--out", out, *limits]
        remark = None
        try:
            status = subprocess.run(command, timeout=run.seconds + GRACE).returncode
            if status > 0:  # not a result but a mistake, as in its environment
                raise SystemExit(f"{peer} ended with status {status}")
            if status < 0:
                remark = f"killed by signal {-status}"
        except subprocess.TimeoutExpired:
            remark = f"did not end within {GRACE} s after the limit"
        if remark:
            return {"test_accuracy": None, "seconds": time.time() - run.begun, "remarks": [remark]}
        return json.loads(out.read_text())


def report(found: dict[tuple[float, str], Found], results: Path) -> None:
    """The table with verdicts, the differences to the network by hand, the plot."""
    verdicts = {
        (limit, "kmorph"): f"target {TARGETS[limit]}: {verdict(some.mean >= TARGETS[limit])}"
        for (limit, arm), some in found.items()
        if arm == "kmorph" and limit in TARGETS
    }
    print_table(found, verdicts)
    for limit in dict.fromkeys(limit for limit, _ in found):
        if (limit, "kmorph") in found and (limit, "hand-written") in found:
            print(difference(limit, found[limit, "kmorph"], found[limit, "hand-written"]))
    if not any(len(some.accuracies) for some in found.values()):
        return
    try:
        from _plot_deadlines import plot
    except ImportError:
        print("no plot: it needs matplotlib, `pip install '.[dev]'`")
        return
    picture = results.with_suffix(".svg")
    plot(found, TARGETS, picture)
    print(f"plot: {picture}")


def difference(limit: float, kmorph: Found, by_hand: Found) -> str:
    """What kmorph is ahead of the network by hand, over the seeds that both ran."""
    accuracy = [{run["seed"]: run["test_accuracy"] for run in some.runs} for some in (kmorph, by_hand)]
    both = sorted(accuracy[0].keys() & accuracy[1].keys())
    if not both:
        return f"{limit:.0f} s: kmorph − hand-written: no seed in common"
    ahead = np.array([accuracy[0][seed] - accuracy[1][seed] for seed in both])
    error = standard_error(ahead)
    line = f"{limit:.0f} s: kmorph − hand-written {ahead.mean():+.4f}"
    line += f" ± {error:.4f}" if error is not None else ""
    if limit in LEAST_DIFFERENCE:
        least = LEAST_DIFFERENCE[limit]
        good, asked = (
            (ahead.mean() >= least, f"at least {least:+}") if least else (ahead.mean() > 0, "above 0")
        )
        line += f"; target {asked}: {verdict(good)}"
    return f"{line} ({len(both)} seed{'s' if len(both) > 1 else ''})"


def verdict(good: bool) -> str:
    return "reached" if good else "missed"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--environments", type=Path, default=FOLDER, help="folder of the peers' environments")


def make_environments(options: argparse.Namespace) -> None:
    for peer in PEERS:
        if peer in options.arms:
            python_of(peer, options.environments)


ARMS = {
    "kmorph": lambda run: run_kmorph(run, load),
    "hand-written": run_hand_written,
    "autokeras": lambda run: run_peer("autokeras", run),
    "keras-tuner": lambda run: run_peer("keras-tuner", run),
}

if __name__ == "__main__":
    Deadlines(
        __file__, __doc__, RESULTS, ARMS, tuple(TARGETS), 3, report, add_options, make_environments
    ).main()
