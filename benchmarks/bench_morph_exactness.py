"""The worst error of each kind of morph over random graphs; writes the table in docs/morphs.md.

    python benchmarks/bench_morph_exactness.py [--cases 5000] [--keras 100] [--out FILE.json]

Float64 with the tests' NumPy reference, at inference and in training; float32 through Keras at inference. All
errors are relative to max(1, largest output of the parent).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import numpy as np  # noqa: E402
from _report import about_this_run  # noqa: E402
from morphs.cases import EXACT, EXACT_IN_TRAINING, draw, parents, scaled_error  # noqa: E402
from morphs.reference import evaluate  # noqa: E402

BEGIN, END = "<!-- worst cases: begin -->", "<!-- worst cases: end -->"


def float64(kind: str, cases: int, training: bool) -> float:
    """Largest error over so many cases, with the reference evaluator."""
    worst, done = 0.0, 0
    for seed, graph, x, found in parents(kind, 2_000_000):
        before = evaluate(graph, x, training)
        for morph in draw(found, np.random.default_rng(seed), 8):
            worst = max(worst, scaled_error(evaluate(morph.apply(graph, seed), x, training), before))
            done += 1
        if done >= cases:
            return worst
    raise AssertionError("unreachable")


def float32(kind: str, cases: int) -> tuple[float, float]:
    """Largest error through Keras, and the largest share of what is allowed."""
    worst, share, done = 0.0, 0.0, 0
    for seed, graph, x, found in parents(kind, 3_000_000, np.float32, steps=1):
        before = np.asarray(graph.to_keras()(x, training=False))
        scale = max(1.0, float(np.abs(before).max()))
        allowed = max(1e-5 * scale, 10 * float(np.abs(before - evaluate(graph, x)).max()))
        for morph in draw(found, np.random.default_rng(seed), 5):
            child = np.asarray(morph.apply(graph, seed).to_keras()(x, training=False))
            error = float(np.abs(child - before).max())
            worst, share = max(worst, error / scale), max(share, error / allowed)
            done += 1
        if done >= cases:
            return worst, share
    raise AssertionError("unreachable")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cases", type=int, default=5000, help="float64 cases for each kind and mode")
    parser.add_argument("--keras", type=int, default=100, help="float32 cases for each kind")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "benchmarks" / "results" / "bench_morph_exactness.json"
    )
    parser.add_argument("--docs", type=Path, default=ROOT / "docs" / "morphs.md")
    options = parser.parse_args()
    lines = [
        f"| kind | float64, inference ({options.cases} cases) | float64, training ({options.cases} cases) | "
        f"float32 through Keras ({options.keras} cases) | of what is allowed |",
        "|---|---|---|---|---|",
    ]
    results = {}
    for kind in EXACT:
        inference = float64(kind, options.cases, False)
        training = float64(kind, options.cases, True) if kind in EXACT_IN_TRAINING else None
        keras, share = float32(kind, options.keras)
        results[kind] = {"float64": inference, "float64_training": training, "float32": keras, "share": share}
        shown = "not exact" if training is None else f"{training:.1e}"
        lines.append(f"| `{kind}` | {inference:.1e} | {shown} | {keras:.1e} | {share:.0%} |")
        print(lines[-1], flush=True)
    run = about_this_run()
    lines += ["", f"Measured on {run['date'][:10]} by `benchmarks/bench_morph_exactness.py`."]
    text = options.docs.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    table = "\n".join(lines)
    options.docs.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{after}", encoding="utf-8")
    report = {**run, "cases": options.cases, "keras_cases": options.keras, "kinds": results}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
