"""The worth of single parts of a search: searches as they are by default, and with one thing changed.

Judged on images that no search saw, at equal seconds. Each run writes its own JSON; with ``--pinned`` two run
side by side, each on one core.

    python benchmarks/bench_variants.py digits  [--seeds 10] [--seconds 60] [--pinned]
    python benchmarks/bench_variants.py fashion [--seeds 3] [--seconds 300] [--pinned]
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from _arms import Comparison
from bench_search_quality import data

RESULTS = Path(__file__).parent / "results" / "variants"
DEFAULT = "default"
ARMS = {
    DEFAULT: {},
    "no ensemble": {"ensemble": False},
    "ensemble": {"ensemble": True},
    "hyperparameters searched": {
        "hyperparameters": {
            "learning_rate": (0.03, 0.3, "log"),
            "batch_size": [32, 64, 128],
            "weight_decay": (1e-4, 2e-3, "log"),
            "label_smoothing": (0.0, 0.1),
        }
    },
}


def run_arm(task: str, arm: str, seed: int, seconds: float) -> dict:
    from kmorph import ImageClassifier

    train, (x, y) = data(task, seed)
    with tempfile.TemporaryDirectory() as folder:
        clf = ImageClassifier(path=folder, seed=seed, verbose=False, **ARMS[arm])
        clf.fit(*train, time_limit=seconds)
        probabilities = clf.predict_proba(x)[np.arange(len(x)), np.searchsorted(clf.classes_, y)]
        return {
            "held_out_accuracy": clf.evaluate(x, y),
            "held_out_loss": float(-np.log(np.maximum(probabilities, 1e-12)).mean()),
            "models": len(clf.history),
            "settled": sum(entry["phase"] == "decay" for entry in clf.history),
            "discarded": clf.load_searcher().discarded_share,
        }


def report(runs: dict[str, list[dict]]) -> None:
    """Means, and paired differences to the default with their standard errors."""

    def values(arm: str, name: str) -> np.ndarray:
        return np.array([run[name] for run in runs[arm]])

    print(f"{'':25} accuracy  − default          log loss  − default         models  settled  discarded")
    for arm, found in runs.items():
        parts = [f"{arm:25}"]
        for name in ("held_out_accuracy", "held_out_loss"):
            less = values(arm, name) - values(DEFAULT, name)
            error = less.std(ddof=1) / np.sqrt(len(found)) if len(found) > 1 else float("nan")
            parts.append(f"{values(arm, name).mean():.4f}  {less.mean():+.4f} ± {error:.4f}  ")
        parts += [f"{values(arm, name).mean():7.2f}" for name in ("models", "settled", "discarded")]
        print(" ".join(parts))


if __name__ == "__main__":
    seeds = {"digits": 10, "fashion": 3}
    Comparison(__file__, __doc__, tuple(ARMS), run_arm, report, RESULTS, seeds).main()
