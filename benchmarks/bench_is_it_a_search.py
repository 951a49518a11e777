"""Is it a search? Growing against the best start, trained by itself for as long.

5,000 Fashion-MNIST images and ten minutes for each arm: the search, and then the search's own best start
trained alone for all of that time at a learning rate that falls to zero. Both end on all 5,000 images,
those that the search validated on included, and are judged on 10,000 training images that neither saw; the
test set is touched once, by the searched model.

Each arm and seed runs in a process of its own that writes its own JSON, so a run can be completed in
parts. With ``--pinned`` two such processes run side by side, each on one core.

    python benchmarks/bench_is_it_a_search.py [--seconds 600] [--seeds 3] [--pinned]
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

IMAGES, HELD_OUT = 5_000, 10_000
RESULTS = Path(__file__).parent / "results" / "is_it_a_search"


def data(seed: int):
    """Training images, images held out, and the test set; another choice for each seed."""
    from kmorph.datasets import load_fashion_mnist

    (x, y), test = load_fashion_mnist()
    order = np.random.default_rng(seed).permutation(len(x))
    train, held = order[:IMAGES], order[IMAGES : IMAGES + HELD_OUT]
    return (x[train], y[train]), (x[held], y[held]), test


def run_search(seed: int, seconds: float) -> dict:
    from kmorph import ImageClassifier

    train, held, test = data(seed)
    with tempfile.TemporaryDirectory() as folder:
        # One network against one network: the mean of several is another question.
        clf = ImageClassifier(path=folder, seed=seed, verbose=False, ensemble=False)
        begun = time.time()
        clf.fit(*train, time_limit=seconds)
        took = time.time() - begun
        history = {entry["model_id"]: entry for entry in clf.history}
        lineage = [history[clf.get_best_model_id()]]
        while lineage[-1]["parent_id"] is not None:
            lineage.append(history[lineage[-1]["parent_id"]])
        starts = [entry for entry in history.values() if entry["parent_id"] is None]
        return {
            "held_out_accuracy": clf.evaluate(*held),
            "test_accuracy": clf.evaluate(*test),
            "seconds": took,
            "models": len(history),
            "lineage": [entry["change"] for entry in reversed(lineage)],
            "depth": len(lineage) - 1,
            "grown_depth": sum(bool(entry["morphs"]) for entry in lineage),
            "n_parameters": lineage[0]["n_parameters"],
            "best_start": min(starts, key=lambda entry: entry["loss"])["change"].removeprefix("start: "),
            "history": [
                [entry[key] for key in ("model_id", "parent_id", "change", "metric_value", "loss", "phase")]
                for entry in history.values()
            ],
        }


def run_start(seed: int, seconds: float, start: str) -> dict:
    from kmorph import ImageClassifier, starts
    from kmorph.problem.split import stratified_split, validation_fraction
    from kmorph.search.strategy.planning import augmentation_for
    from kmorph.search.workers.calibration import POWER
    from kmorph.training.backend import load_backend
    from kmorph.training.examples import Data
    from kmorph.training.plan import Hyperparameters, Plan
    from kmorph.training.trainer import train as train_graph

    load_backend()
    (x, y), held, _ = data(seed)
    clf = ImageClassifier()
    chosen, validation = stratified_split(y, validation_fraction(len(x)), seed)
    x = x[..., None] if x.ndim == 3 else x
    arrays = Data(x[chosen], y[chosen], x[validation], y[validation])
    graph = starts.KINDS[start](x.shape[1:], 10, preprocessing=clf._preprocessing(arrays.x))
    # Changes of images are chosen as a search chooses them, by the epochs to come.
    epochs = seconds * POWER / graph.flops / len(arrays.x)
    settings = Hyperparameters(augment=augmentation_for(clf._augmentation(arrays.x, arrays.y), epochs))
    begun = time.time()
    plan = Plan(
        phase="decay",
        seconds=seconds - 10,
        seconds_left=seconds,
        merge_validation=True,
        hyperparameters=settings,
        seed=seed,
    )
    outcome = train_graph(graph.initialize(seed), arrays, plan)
    model = outcome.graph.to_keras()
    images = held[0].reshape(-1, *graph.input_shape)
    predicted = model.predict(images, batch_size=500, verbose=0).argmax(1)
    return {
        "start": start,
        "held_out_accuracy": float(np.mean(predicted == held[1])),
        "epochs": outcome.epochs,
        "seconds": time.time() - begun,
        "n_parameters": graph.n_parameters,
    }


def result_file(arm: str, seed: int, seconds: float) -> Path:
    return RESULTS / f"{arm}_{int(seconds)}s_seed{seed}.json"


def run_arm(arm: str, seed: int, seconds: float) -> None:
    if arm == "search":
        result = run_search(seed, seconds)
    else:
        best = json.loads(result_file("search", seed, seconds).read_text())["best_start"]
        result = run_start(seed, seconds, best)
    file = result_file(arm, seed, seconds)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"arm": arm, "seed": seed, **result, **about_this_run()}, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--pinned", action="store_true")
    parser.add_argument("--arm", choices=("search", "start"), help="run one arm here, for the seed --seeds")
    arguments = parser.parse_args()
    if arguments.arm:
        run_arm(arguments.arm, arguments.seeds, arguments.seconds)
        return
    # A search comes before its start in the list, and two at most are under way: it is done when needed.
    jobs = [
        ["--arm", arm, "--seeds", str(seed), "--seconds", str(arguments.seconds)]
        for arm in ("search", "start")
        for seed in range(arguments.seeds)
        if not result_file(arm, seed, arguments.seconds).exists()
    ]
    in_own_processes(__file__, jobs, arguments.pinned)
    report(arguments.seeds, arguments.seconds)


def report(seeds: int, seconds: float) -> None:
    print("seed  search  start   difference  depth  grown  models  test    best start")
    differences, tests = [], []
    for seed in range(seeds):
        search, alone = (
            json.loads(result_file(arm, seed, seconds).read_text()) for arm in ("search", "start")
        )
        differences.append(search["held_out_accuracy"] - alone["held_out_accuracy"])
        tests.append(search["test_accuracy"])
        print(
            f"{seed:4}  {search['held_out_accuracy']:.4f}  {alone['held_out_accuracy']:.4f}  "
            f"{differences[-1]:+.4f}     {search['depth']:5}  {search['grown_depth']:5}  "
            f"{search['models']:6}  {tests[-1]:.4f}  {alone['start']}"
        )
    print(f"mean difference {np.mean(differences):+.4f}, mean test accuracy {np.mean(tests):.4f}")


if __name__ == "__main__":
    main()
