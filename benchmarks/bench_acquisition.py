"""How much should uncertainty count? Searches simulated on the recorded pools, with several weights of it.

Each search begins with three networks of a pool and chooses one after the other by the lower confidence
bound, mean - beta · standard deviation; what it is told is the loss of one training, what it is judged by is
the mean of both. Printed is the regret in log loss of the model with the lowest loss told, averaged over the
choices, with the standard error over searches; ``random`` chooses blindly. Proposals bound the *difference*
to the best parent and choose among new children: a pool can test the weight only roughly.

    python benchmarks/bench_acquisition.py [--pools digits-a fashion-a] [--searches 10] [--choices 20]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from _report import about_this_run
from bench_ranking import RecordedPool

from kmorph.surrogate import Surrogate, lower_confidence_bound

BETAS = (None, 0.0, 0.3, 1.0, 2.0)  # None: at random
FIRST = 3


def regrets(pool: RecordedPool, beta: float | None, seed: int, choices: int) -> list[float]:
    """After each choice, how much worse the best model told is than the best of the pool."""
    rng = np.random.default_rng(seed)
    told, truth = pool.losses[:, seed % 2], pool.losses.mean(axis=1)
    known = rng.choice(len(truth), FIRST, replace=False).tolist()
    surrogate, found = Surrogate(), []
    for _ in range(choices):
        rest = [i for i in range(len(truth)) if i not in known]
        if beta is None:
            known.append(int(rng.choice(rest)))
        else:
            surrogate.fit([pool.candidates[i] for i in known], np.exp(told[known]))
            mean, std = surrogate.predict([pool.candidates[i] for i in rest])
            known.append(rest[int(np.argmin(lower_confidence_bound(mean, std, beta)))])
        best = min(known, key=lambda i: told[i])
        found.append(float(truth[best] - truth.min()))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pools", nargs="+", default=["digits-a", "fashion-a"])
    parser.add_argument("--searches", type=int, default=10)
    parser.add_argument("--choices", type=int, default=20)
    default = Path(__file__).parent / "results" / "bench_acquisition.json"
    parser.add_argument("--out", type=Path, default=default)
    arguments = parser.parse_args()
    results: dict = {}
    for name in arguments.pools:
        pool = RecordedPool(name)
        results[name] = {}
        for beta in BETAS:
            runs = [regrets(pool, beta, seed, arguments.choices) for seed in range(arguments.searches)]
            means = np.mean(runs, axis=1)
            error = means.std(ddof=1) / np.sqrt(len(means))
            what = "random" if beta is None else f"beta {beta:g}"
            results[name][what] = {"mean": float(means.mean()), "error": float(error)}
            last = np.mean([run[-1] for run in runs])
            print(f"{name:10} {what:9} {means.mean():.4f} ± {error:.4f}, at the end {last:.4f}", flush=True)
    arguments.out.write_text(json.dumps({"results": results, **about_this_run()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
