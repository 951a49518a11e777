"""Does the surrogate steer? The full system against random morphs and against best-first without a model.

All arms share starts, schedule, training and seconds; they differ in who chooses the next child.

- ``full``: `kmorph.search.strategy.propose.SurrogateProposer`.
- ``random``: a random measured model, one to three random morphs.
- ``best-first``: the model with the lowest loss so far, one to three random morphs.

Told are the area under the best validation log loss over time (lower is better), and, on data that no search
saw, the log loss and the accuracy of the final model. The area rewards luck: it is the lowest of many noisy
losses on few images. Each run writes its own JSON, so a run can be completed in parts; with ``--pinned`` two
run side by side, each on one core.

    python benchmarks/bench_search_quality.py digits  [--seeds 20] [--seconds 60] [--pinned]
    python benchmarks/bench_search_quality.py fashion [--seeds 3] [--seconds 300] [--pinned]
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
from _arms import Comparison

RESULTS = Path(__file__).parent / "results" / "search_quality"
ARMS = ("full", "random", "best-first")
MOST_MORPHS = 3
MOST_HELD = 5000  # images that every model is judged on afterwards
TOLD = ("parent_id", "change", "loss", "flops", "epochs", "seconds", "phase")


def data(name: str, seed: int):
    """Images for the search and images that it never sees; another choice for each seed."""
    if name == "digits":
        from sklearn.datasets import load_digits

        x, y = load_digits(return_X_y=True)
        x, held = x.reshape(-1, 8, 8).astype(np.uint8), 450
    else:
        from kmorph.datasets import load_fashion_mnist

        (x, y), _ = load_fashion_mnist()
        held = 10_000
    order = np.random.default_rng(seed).permutation(len(x))
    chosen = order[held:] if name == "digits" else order[held : held + 5_000]
    return (x[chosen], y[chosen]), (x[order[:held]], y[order[:held]])


def without_model(pick):
    """A proposer that grows the observation which `pick` chooses, by random morphs."""
    from kmorph import morphs
    from kmorph.morphs import Limits
    from kmorph.search.strategy.proposal import Proposal

    def proposer(situation, rng):
        expected, parents, kinds = situation.expected, situation.parents, situation.kinds
        possible = [*situation.observations, *([] if expected is None else [expected])]
        parent = pick([o for o in possible if parents is None or o.model_id in parents], rng)
        graph, steps = parent.graph.without_weights(), []
        bound = Limits(max_flops=int(1.5 * graph.flops))
        for _ in range(int(rng.integers(1, MOST_MORPHS + 1))):
            offered: dict[str, list] = {}
            for site in morphs.sites(graph, bound, kinds):
                offered.setdefault(site.kind, []).append(site)
            if not offered:
                break
            sites = offered[sorted(offered)[rng.integers(len(offered))]]
            morph, seed = sites[rng.integers(len(sites))], int(rng.integers(2**31))
            graph = morph.apply(graph)
            steps.append((morph, seed))
        change = "; ".join(morph.describe() for morph, _ in steps) or "train on, unchanged"
        return Proposal(parent.model_id, tuple(steps), graph, parent.hyperparameters, 0.0, 0.0, change)

    return proposer


def run_arm(task: str, arm: str, seed: int, seconds: float) -> dict:
    import kmorph.tasks.estimator as estimator
    from kmorph import ImageClassifier
    from kmorph.search.loop import Search

    choices = {
        "random": lambda observations, rng: observations[rng.integers(len(observations))],
        "best-first": lambda observations, rng: min(observations, key=lambda o: o.loss or 0.0),
    }
    if arm != "full":
        # The estimator makes the search itself; here it gets another proposer.
        estimator.Search = lambda *args: Search(*args, proposer=without_model(choices[arm]))
    train, held = data(task, seed)
    trace = []
    begun = time.time()
    with tempfile.TemporaryDirectory() as folder:
        clf = ImageClassifier(
            path=folder,
            seed=seed,
            verbose=False,
            ensemble=False,
            callbacks=[lambda record: trace.append((time.time() - begun, record["loss"]))],
        )
        clf.fit(*train, time_limit=seconds)
        history = clf.history
        # What follows comes after the search's time.
        return {
            "area": area(trace, seconds),
            "held_out_accuracy": clf.evaluate(*held),
            "models": len(history),
            "grown": sum(bool(entry["morphs"]) for entry in history),
            "trace": trace,
            "history": [
                {
                    **{name: entry[name] for name in TOLD},
                    "held_out_loss": loss_of(clf.load_searcher().load_model_by_id(entry["model_id"]), *held),
                }
                for entry in history
            ],
        }


def loss_of(graph, x, y) -> float:
    """Cross-entropy on images that the search never saw: validation losses are noisy and were chosen by."""
    from kmorph.problem.losses import CrossEntropy

    some = slice(MOST_HELD)
    logits = graph.to_keras().predict(x[some, ..., None].reshape(-1, *graph.input_shape), 500, verbose=0)
    return float(CrossEntropy().arrays(y[some], logits, None).mean())


def area(trace: list, seconds: float) -> float:
    """Mean over time of the best log loss so far; before the first model, that of the first."""
    best, total, before = np.log(trace[0][1]), 0.0, 0.0
    for moment, loss in trace:
        if loss is None:  # trained on the validation images too
            continue
        total += best * (min(moment, seconds) - before)
        before, best = min(moment, seconds), min(best, np.log(loss))
    return float((total + best * (seconds - before)) / seconds)


def report(rows: dict[str, list[dict]]) -> None:
    """Paired differences to the full system, by seed, with their standard errors."""
    told = {
        "area": lambda run: run["area"],
        "final log loss": lambda run: np.log(run["history"][-1]["held_out_loss"]),
        "accuracy": lambda run: run["held_out_accuracy"],
        "models": lambda run: run["models"],
    }
    print("arm       " + "".join(f"  {what:8} − full{'':11}" for what in told))
    for arm, runs in rows.items():
        line = f"{arm:10}"
        for what, value in told.items():
            # Runs from before every model was judged on held-out images lack that.
            pairs = [
                (value(run), value(full))
                for run, full in zip(runs, rows["full"], strict=True)
                if what != "final log loss" or ("history" in run and "history" in full)
            ]
            values = np.array([pair[0] for pair in pairs], float)
            less = values - np.array([pair[1] for pair in pairs], float)
            error = less.std(ddof=1) / np.sqrt(len(less)) if len(less) > 1 else float("nan")
            line += f"  {values.mean():+.4f}  {less.mean():+.4f} ± {error:.4f} ({len(less)})"
        print(line)


if __name__ == "__main__":
    seeds = {"digits": 20, "fashion": 3}
    Comparison(__file__, __doc__, ARMS, run_arm, report, RESULTS, seeds).main()
