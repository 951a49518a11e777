"""Problems other than one class an image: regression, several labels, classes out of balance.

- ``value``: scikit-learn's digits, their value as a number; ``ink``: the sum of their pixels; ``three``:
  both, and the row of their ink's centre, at once. R² on a quarter of the images that the search never saw.
- ``several``: two or three digits at random places on a canvas of 12 × 28, labels which digits are there.
  Macro F1 on unseen canvases, made of digits that the search never saw.
- ``balanced``, ``plain``: Fashion-MNIST's shirts against T-shirts, 1 : 50, with ``class_weight="balanced"``
  and without. Balanced accuracy on the test images, 1,000 each.

Two searches at a time, one core each; imports and compiling are charged.

    python benchmarks/bench_problems.py [--arms value ink three several balanced plain] [--seeds 5]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from _arms import in_own_processes
from _report import about_this_run

RESULTS = Path(__file__).parent / "results" / "problems"
SECONDS = {"value": 60, "ink": 60, "three": 60, "several": 90, "balanced": 60, "plain": 60}
ONCE = ("value", "ink", "three", "several")  # arms of one seed
TARGETS = {"value": 0.97, "ink": 0.99, "several": 0.95}


def digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Images and values for the search, and those held back."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, y = load_digits(return_X_y=True)
    x, x_test, y, y_test = train_test_split(
        x.reshape(-1, 8, 8, 1).astype(np.uint8), y, test_size=0.25, stratify=y, random_state=0
    )
    return x, x_test, y, y_test


def numbers(what: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    ink = x.sum(axis=(1, 2, 3)).astype(float)
    if what == "value":
        return y.astype(float)
    if what == "ink":
        return ink
    centre = (x.sum(axis=(2, 3)) * np.arange(8)).sum(axis=1) / np.maximum(ink, 1)
    return np.stack([y, ink, centre], axis=1)


def canvases(x: np.ndarray, y: np.ndarray, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures of two or three digits side by side, at random places, and which ten there are."""
    rng = np.random.default_rng(seed)
    pictures, labels = np.zeros((n, 12, 28, 1), np.uint8), np.zeros((n, 10), int)
    for picture, row in zip(pictures, labels, strict=True):
        count = rng.integers(2, 4)
        left = np.sort(rng.integers(0, 28 - 8 * count + 1, count)) + 8 * np.arange(count)
        for column, i in zip(left, rng.integers(0, len(x), count), strict=True):
            top = rng.integers(0, 5)
            picture[top : top + 8, column : column + 8] = x[i]
            row[y[i]] = 1
    return pictures, labels


def run_arm(arm: str, seed: int) -> dict:
    begun = time.time()
    from sklearn.metrics import balanced_accuracy_score, f1_score, r2_score

    from kmorph import ImageClassifier, ImageRegressor

    seconds = SECONDS[arm]
    common = {"seed": seed, "verbose": False}
    with tempfile.TemporaryDirectory() as folder:
        if arm in ("value", "ink", "three"):
            x, x_test, y, y_test = digits()
            reg = ImageRegressor(path=folder, **common)
            reg.fit(x, numbers(arm, x, y), time_limit=seconds - (time.time() - begun))
            truth, found = numbers(arm, x_test, y_test), reg.predict(x_test)
            scores = r2_score(truth, found, multioutput="raw_values").tolist()
            return {"r2": scores, "models": len(reg.history), "augment": augmented(reg)}
        if arm == "several":
            x, x_test, y, y_test = digits()
            pictures, labels = canvases(x, y, 10_000, seed)
            clf = ImageClassifier(path=folder, **common)
            clf.fit(pictures, labels, time_limit=seconds - (time.time() - begun))
            pictures, labels = canvases(x_test, y_test, 2000, seed + 1)
            found = clf.predict(pictures)
            return {
                "f1": f1_score(labels, found, average="macro"),
                "accuracy": clf.score(pictures, labels),
                "models": len(clf.history),
                "augment": augmented(clf),
            }
        from kmorph.datasets import load_fashion_mnist

        (x, y), (x_test, y_test) = load_fashion_mnist()
        rng = np.random.default_rng(seed)
        shirts = rng.permutation(np.flatnonzero(y == 0))[:5000]
        others = rng.permutation(np.flatnonzero(y == 6))[:100]
        chosen = np.concatenate([shirts, others])
        weight = "balanced" if arm == "balanced" else None
        clf = ImageClassifier(path=folder, class_weight=weight, **common)
        clf.fit(x[chosen], y[chosen], time_limit=seconds - (time.time() - begun))
        some = np.isin(y_test, (0, 6))
        found = clf.predict(x_test[some])
        return {"balanced_accuracy": balanced_accuracy_score(y_test[some], found), "models": len(clf.history)}


def augmented(estimator) -> list[str]:
    """The random changes of images that the last models were trained with."""
    return estimator.history[-1]["hyperparameters"]["augment"]


def file_of(arm: str, seed: int) -> Path:
    return RESULTS / f"{arm}_seed{seed}.json"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--arms", nargs="+", choices=SECONDS, default=list(SECONDS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--one", type=int, help="run the arm for this seed here")
    options = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    if options.one is not None:
        (arm,) = options.arms
        found = {"arm": arm, "seed": options.one, "limit": SECONDS[arm], **run_arm(arm, options.one)}
        file_of(arm, options.one).write_text(json.dumps({**found, **about_this_run()}) + "\n")
        return
    runs = [
        (arm, seed) for seed in range(options.seeds) for arm in options.arms if arm not in ONCE or not seed
    ]
    jobs = [["--arms", arm, "--one", str(seed)] for arm, seed in runs if not file_of(arm, seed).exists()]
    in_own_processes(__file__, jobs, pinned=True)
    report([run for run in runs if file_of(*run).exists()])


def report(runs: list[tuple[str, int]]) -> None:
    found = {run: json.loads(file_of(*run).read_text()) for run in runs}
    for arm in ONCE:
        if (arm, 0) in found:
            run = found[arm, 0]
            scores = run.get("r2") or [run["f1"]]
            target = f", target {TARGETS[arm]}" if arm in TARGETS else ""
            print(f"{arm}: {', '.join(f'{score:.4f}' for score in scores)}{target} ({run['models']} models)")
    pairs = [seed for arm, seed in runs if arm == "balanced" and ("plain", seed) in found]
    if len(pairs) > 1:
        both = [[found[arm, seed]["balanced_accuracy"] for arm in ("balanced", "plain")] for seed in pairs]
        difference = np.subtract(*np.transpose(both))
        error = difference.std(ddof=1) / np.sqrt(len(pairs))
        print(
            f"balanced accuracy: with weights {np.mean(both, axis=0)[0]:.4f}, without "
            f"{np.mean(both, axis=0)[1]:.4f}, difference {difference.mean():+.4f} ± {error:.4f}"
        )


if __name__ == "__main__":
    main()
