"""Can a straight line in size and epochs predict what a network's loss will be once it is settled?

Replays what earlier benchmarks recorded; nothing is trained. ``ln loss`` is linear in

    h = [1, n, d, n·d, s, s·n, s·d],  n = log2(FLOPs / 4e6),  d = ln(epochs),  s = 1 at a constant rate

with a normal prior on its coefficients (mean `PRIOR`, standard deviation `SPREAD`), so that slopes are
learned from the first observation on (Rasmussen and Williams, "Gaussian Processes for Machine Learning",
2006, section 2.7).

- Sizes: residual networks of width 32 and 48, trained for equal seconds and settled (`schedule.jsonl`).
- Parents: in the recorded search of 60 minutes, which model would have been built on after each slice? The
  search went back to model 0 four times, whose lineage had been trained least.

    python benchmarks/bench_settled_loss.py
"""

from __future__ import annotations

import json
from math import log, log2
from pathlib import Path

import numpy as np
from _report import about_this_run

RESULTS = Path(__file__).parent / "results"
PRIOR = np.array([log(0.25), -0.05, -0.07, -0.01, 0.20, 0.03, -0.12])
SPREAD = np.array([0.3, 0.03, 0.04, 0.01, 0.1, 0.03, 0.05])
NOISE = 0.03  # standard deviation of ln loss among seeds
KEPT = 0.7  # share of a model's own deviation from the line that is still there once it is settled
CENTER = 4e6  # FLOPs


def features(flops: float, epochs: float, stable: bool) -> np.ndarray:
    n, d, s = log2(flops / CENTER), log(epochs), float(stable)
    return np.array([1, n, d, n * d, s, s * n, s * d])


def posterior(points: list[np.ndarray], losses: list[float]) -> np.ndarray:
    """Mean of the coefficients, given log losses at some points."""
    h = np.array(points)
    precision = h.T @ h / NOISE**2 + np.diag(SPREAD**-2.0)
    return np.linalg.solve(precision, h.T @ np.array(losses) / NOISE**2 + PRIOR / SPREAD**2)


def flops_of(width: int) -> int:
    from kmorph import starts
    from kmorph.graph import Normalize

    return starts.resnet((28, 28, 1), 10, width=width, preprocessing=[Normalize((0.0,), (1.0,))]).flops


def sizes() -> list[dict]:
    """Width 48 against width 32, measured and predicted: differences of the settled ln loss."""
    lines = (RESULTS / "schedule.jsonl").read_text().splitlines()
    runs = [run for run in map(json.loads, lines) if not run["augment"]]
    points, losses = [], []
    for run in runs:
        stable = run["epochs"] * (1 - run["decay"])
        points += [
            features(flops_of(run["width"]), epochs, s) for epochs, s in ((run["epochs"], 0), (stable, 1))
        ]
        losses += [log(run["settled"]["loss"]), log(run["stable"]["loss"])]
    learned = posterior(points, losses)
    found = []
    for wide in (run for run in runs if run["width"] == 48):
        like = [run for run in runs if run["width"] == 32 and run["batch_size"] == wide["batch_size"]]
        narrow = min(like, key=lambda run: [abs(run[name] - wide[name]) for name in ("seconds", "decay")])
        step = features(flops_of(48), wide["epochs"], False) - features(flops_of(32), narrow["epochs"], False)
        found.append(
            {
                "seconds": wide["seconds"],
                "measured": log(wide["settled"]["loss"] / narrow["settled"]["loss"]),
                "prior": float(step @ PRIOR),
                "learned": float(step @ learned),
            }
        )
    return found


def parents() -> list[dict]:
    """After each slice of the recorded search, the settled ln loss predicted for each model it had."""
    run = json.loads((RESULTS / "fashion_mnist_one_core" / "kmorph_3600s_seed0.json").read_text())
    family = {}
    for entry in run["history"]:
        parent = entry["parent_id"]
        if entry["phase"] == "stable" and (entry["model_id"] == 0 or parent in family):
            before = family[parent]["epochs"] if parent is not None else 0.0
            family[entry["model_id"]] = {**entry, "epochs": before + entry["epochs"]}
    # FLOPs were not recorded; what they cost was.
    start, speed = flops_of(56), family[0]["images_per_second"]
    found = []
    for last in sorted(family)[1:]:
        seen = {i: entry for i, entry in family.items() if i <= last}
        left = run["begun"] + run["limit"] - seen[last]["created"]
        sizes = {i: start * speed / entry["images_per_second"] for i, entry in seen.items()}
        points = {i: features(sizes[i], entry["epochs"], True) for i, entry in seen.items()}
        learned = posterior([*points.values()], [log(entry["loss"]) for entry in seen.values()])
        predicted = {}
        for i, entry in seen.items():
            epochs = entry["epochs"] + left * entry["images_per_second"] / 55_000
            own = log(entry["loss"]) - points[i] @ learned
            predicted[i] = float(features(sizes[i], epochs, False) @ learned + KEPT * own)
        found.append(
            {"after": last, "best": min(predicted, key=predicted.__getitem__), "predicted": predicted}
        )
    return found


def main() -> None:
    by_size, by_parent = sizes(), parents()
    print("seconds   width 48 − 32 measured, prior, learned (ln loss, settled)")
    for row in by_size:
        print(f"{row['seconds']:7}   {row['measured']:+.4f}  {row['prior']:+.4f}  {row['learned']:+.4f}")
    print("after model   would be built on   predicted settled loss of each")
    for row in by_parent:
        order = sorted(row["predicted"].items(), key=lambda pair: pair[1])
        losses = ", ".join(f"{i}: {np.exp(value):.4f}" for i, value in order)
        print(f"{row['after']:11}   {row['best']:17}   {losses}")
    file = RESULTS / "growth" / "settled_loss.json"
    file.write_text(json.dumps({"sizes": by_size, "parents": by_parent, **about_this_run()}) + "\n")


if __name__ == "__main__":
    main()
