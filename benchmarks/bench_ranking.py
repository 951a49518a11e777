"""How well does the surrogate rank? Each kernel and each simple baseline on the recorded pools.

`record_ranking_pools.py` records the pools. In pool A each loss is predicted by a fit to all other graphs; in
pool B to all other families, the parents' own losses being known as they are in a search. Printed are
Spearman's correlation, the regret of the best of the five ranked first (in log loss), the noise ceiling (one
seed against the other), and intervals from a bootstrap over graphs or parents; in pool B all of it among
siblings, too.

A pool cannot test the search for the best child among all, which proposals do as well.

    python benchmarks/bench_ranking.py [--pools digits-a fashion-a digits-b fashion-b] [--out results.json]
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from _report import about_this_run
from record_ranking_pools import POOLS, RESULTS, load, read, rebuild
from scipy.stats import spearmanr
from sklearn.gaussian_process.kernels import ConstantKernel, WhiteKernel

from kmorph.surrogate import EditDistanceKernel, Surrogate, TrainedGraph, WeisfeilerLehmanKernel
from kmorph.surrogate.kernels import SizeKernel

TOP = 5
RESAMPLES = 1000


def kernels() -> dict[str, Callable[[], object]]:
    """Kernels that are compared, by name; each entry makes a fresh one, None the default one."""

    def noisy(kernel: object) -> object:
        return ConstantKernel(1.0, (1e-2, 1e2)) * kernel + WhiteKernel(0.1, (1e-4, 2.0))

    return {
        "default": lambda: None,
        "edit distance": lambda: noisy(EditDistanceKernel()),
        "Weisfeiler-Lehman": lambda: noisy(WeisfeilerLehmanKernel()),
        "size": lambda: noisy(SizeKernel()),
        "edit distance · size": lambda: noisy(EditDistanceKernel(10.0) * SizeKernel()),
    }


class RecordedPool:
    """The graphs of a pool with the losses of both seeds; rows without both are left out and counted."""

    def __init__(self, name: str) -> None:
        data = load(POOLS[name].data)
        by_graph: dict[tuple, dict[int, dict]] = {}
        for entry in read(RESULTS / f"{name}.jsonl"):
            by_graph.setdefault((entry["index"], entry["child"]), {})[entry["seed"]] = entry
        whole = {
            key: seeds
            for key, seeds in by_graph.items()
            if len(seeds) == 2 and all(entry["loss"] for entry in seeds.values())
        }
        self.n_left_out = len(by_graph) - len(whole)
        self.entries = [whole[key][0] for key in sorted(whole, key=str)]
        self.losses = np.log(
            [[whole[key][seed]["loss"] for seed in (0, 1)] for key in sorted(whole, key=str)]
        )
        self.parents = np.array([entry["index"] for entry in self.entries])
        self.candidates = [self._point(entry, data) for entry in self.entries]
        self.is_b = POOLS[name].kind == "b"
        # Pool B: each parent as a search knows it when it chooses among the children.
        before = {
            key[0]: ({**seeds[0], "child_morphs": []}, [seeds[seed]["parent_loss"] for seed in (0, 1)])
            for key, seeds in whole.items()
            if self.is_b
        }
        self.parent_candidates = [self._point({**entry, "images": 0}, data) for entry, _ in before.values()]
        self.parent_losses = [float(np.exp(np.log(losses).mean())) for _, losses in before.values()]

    def _point(self, entry: dict, data: object) -> TrainedGraph:
        before = entry.get("parent_images", 0)
        path = ((entry["index"], before),) if before else ()
        return TrainedGraph(rebuild(entry, data), (), before + entry["images"], path)

    def baselines(self) -> dict[str, np.ndarray]:
        """Scores that need no model; the lower, the better."""
        found = {
            "parameters": -np.log([entry["n_parameters"] for entry in self.entries]),
            "FLOPs": -np.log([max(entry["flops"], 1) for entry in self.entries]),
        }
        if self.is_b:
            found["parent's metric"] = np.log([entry["parent_loss"] for entry in self.entries])
            found["lineage images"] = -np.array([candidate.images for candidate in self.candidates])
        return found


def left_out(pool: RecordedPool, make: Callable[[], object]) -> np.ndarray:
    """Predicted log losses, each from a fit that saw neither the graph nor its siblings."""
    predicted = np.empty(len(pool.entries))
    for parent in np.unique(pool.parents):
        test = pool.parents == parent
        train = [candidate for candidate, held in zip(pool.candidates, test, strict=True) if not held]
        losses = np.exp(pool.losses.mean(axis=1)[~test])
        surrogate = Surrogate(make()).fit([*train, *pool.parent_candidates], [*losses, *pool.parent_losses])
        predicted[test] = surrogate.predict([pool.candidates[i] for i in np.flatnonzero(test)])[0]
    return predicted


def judge(pool: RecordedPool, scores: dict[str, np.ndarray]) -> dict[str, dict]:
    """Rank correlation, top-5 regret and 95 % intervals, also of what each score is behind the first one."""
    truth = pool.losses.mean(axis=1)
    rng = np.random.default_rng(1)
    groups = np.unique(pool.parents)
    rows = {group: np.flatnonzero(pool.parents == group) for group in groups}
    drawn = [rng.choice(len(groups), len(groups)) for _ in range(RESAMPLES)]
    resampled = [np.concatenate([rows[groups[i]] for i in chosen]) for chosen in drawn]
    judged: dict[str, dict] = {}
    first = first_among = None
    for what, score in scores.items():
        values = np.array([correlation(pool, score, truth, rows) for rows in resampled])
        first = values if first is None else first
        judged[what] = {
            "spearman": correlation(pool, score, truth),
            "interval": interval(values),
            "first ahead by": interval(first - values),
            "regret": float(truth[np.argsort(score, kind="stable")[:TOP]].min() - truth.min()),
        }
        if pool.is_b:
            among = among_siblings(pool, score, truth)
            means = np.array([among[chosen].mean() for chosen in drawn])
            first_among = means if first_among is None else first_among
            judged[what]["within parents"] = float(among.mean())
            judged[what]["within parents, interval"] = interval(means)
            judged[what]["within parents, first ahead by"] = interval(first_among - means)
    return judged


def interval(values: np.ndarray) -> list[float]:
    """The middle 95 %."""
    return np.percentile(values, [2.5, 97.5]).tolist()


def correlation(
    pool: RecordedPool, score: np.ndarray, truth: np.ndarray, rows: np.ndarray | None = None
) -> float:
    rows = np.arange(len(truth)) if rows is None else rows
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a constant score has no correlation: nan, taken for 0
        return float(np.nan_to_num(spearmanr(score[rows], truth[rows]).statistic))


def among_siblings(pool: RecordedPool, score: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The correlation within each family; pool A has none."""
    families = [np.flatnonzero(pool.parents == parent) for parent in np.unique(pool.parents)]
    return np.array([correlation(pool, score, truth, rows) for rows in families if len(rows) > 1])


def told(row: dict, which: str) -> str:
    """A correlation, its interval, and that of what it is behind the first one."""
    prefix = f"{which}, " if which else ""
    low, high = row[f"{prefix}interval"]
    least, most = row[f"{prefix}first ahead by"]
    value = row[which or "spearman"]
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}]  default ahead by [{least:+.3f}, {most:+.3f}]"


def ceiling(correlated: float) -> float:
    """Correlation of a perfect score if two seeds correlate so: their mean is surer (Spearman, Brown)."""
    return float(np.sqrt(2 * correlated / (1 + correlated))) if correlated > 0 else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pools", nargs="+", choices=POOLS, default=list(POOLS))
    parser.add_argument("--out", type=Path, default=RESULTS / "ranking.json")
    arguments = parser.parse_args()
    results: dict = {}
    for name in arguments.pools:
        pool = RecordedPool(name)
        scores = {kernel: left_out(pool, make) for kernel, make in kernels().items()}
        scores |= pool.baselines()
        single = correlation(pool, pool.losses[:, 0], pool.losses[:, 1])
        siblings = among_siblings(pool, pool.losses[:, 0], pool.losses[:, 1])
        judged = judge(pool, scores)
        results[name] = {
            "graphs": len(pool.entries),
            "left out": pool.n_left_out,
            "seed against seed": single,
            "ceiling": ceiling(single),
            "ceiling within parents": ceiling(siblings.mean()) if pool.is_b else None,
            "scores": judged,
        }
        print(f"\n{name}: {len(pool.entries)} graphs, {pool.n_left_out} left out, ", end="")
        print(f"seed against seed {single:.3f}, noise ceiling {ceiling(single):.3f}", end="")
        print(f", within parents {ceiling(siblings.mean()):.3f}" if pool.is_b else "")
        for what, row in judged.items():
            print(f"  {what:22} {told(row, '')}  regret {row['regret']:.3f}")
        for what, row in judged.items() if pool.is_b else ():
            print(f"  {what:22} within parents {told(row, 'within parents')}")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps({**results, **about_this_run()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
