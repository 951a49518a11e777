"""Is this checkout as good as an earlier commit? Both in turns, on one machine, in processes of their own.

- ``step``: images per second of the training steps, on each backend that is installed (`--turns` of them).
- ``demo``: digits, as `kmorph demo` has them: accuracy on images held back, and models, `--seeds` of them.
- ``small``: 1,000 images of Fashion-MNIST, 60 s: accuracy and log loss on the test images.
- ``fashion``: Fashion-MNIST, all images, `--seconds` each: accuracy on the test images.
- ``import``: seconds of ``import kmorph`` and of ``from kmorph import ImageClassifier``.

Searches of both versions run side by side, one core each, and change cores from seed to seed; steps and
imports run alone, both versions by turns.

    python benchmarks/bench_against.py COMMIT [--what step demo small fashion import] [--turns 9] [--seeds 3]
        [--seconds 120]
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results" / "against"
BACKENDS = {"tensorflow": "tensorflow", "jax": "jax", "torch": "torch"}
NETWORKS = ("resnet", "densenet")  # the same in all versions; the cnn is not
STEP_SECONDS = 3.0


# What a child does: it knows only the version of kmorph that its path leads to.


def measure_steps(network: str) -> float:
    """Images per second of a training, images of noise of the size of Fashion-MNIST."""
    from kmorph import starts
    from kmorph.graph import Normalize
    from kmorph.training.examples import Data
    from kmorph.training.plan import Hyperparameters, Plan
    from kmorph.training.trainer import train

    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (10_000, 28, 28, 1), dtype=np.uint8), rng.integers(0, 10, 10_000)
    graph = starts.KINDS[network]((28, 28, 1), 10, preprocessing=[Normalize((72.9,), (8087.0,))])
    settings = Hyperparameters(batch_size=128, augment=("shift", "flip"))
    data = Data(x[:9_500], y[:9_500], x[9_500:], y[9_500:])
    outcome = train(graph.initialize(0), data, Plan(seconds=STEP_SECONDS, hyperparameters=settings))
    return getattr(outcome, "examples_per_second", None) or outcome.images_per_second  # its earlier name


def search(what: str, seconds: float, seed: int) -> dict[str, Any]:
    """A search from its imports on, and its accuracy on images that it never saw."""
    begun = time.time()
    from sklearn.metrics import log_loss
    from sklearn.model_selection import train_test_split

    from kmorph import ImageClassifier

    if what == "demo":
        from kmorph.cli import _digits

        (x, y), (x_test, y_test) = _digits(seed)
    else:
        from kmorph.datasets import load_fashion_mnist

        (x, y), (x_test, y_test) = load_fashion_mnist()
        if what == "small":
            x, _, y, _ = train_test_split(x, y, train_size=1000, stratify=y, random_state=seed)
    with tempfile.TemporaryDirectory() as folder:
        clf = ImageClassifier(path=folder, seed=seed, verbose=False)
        clf.fit(x, y, time_limit=seconds - (time.time() - begun))
        accuracy, probabilities = clf.evaluate(x_test, y_test), clf.predict_proba(x_test)
        loss = log_loss(y_test, probabilities, labels=clf.classes_)
        return {"accuracy": accuracy, "log_loss": loss, "models": len(clf.history)}


def import_seconds(statement: str) -> float:
    begun = time.perf_counter()
    exec(statement)
    return time.perf_counter() - begun


def serve() -> None:
    """Answer requests, a line of JSON each, until there are no more."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    for line in sys.stdin:
        name, arguments = json.loads(line)
        print(json.dumps(globals()[name](*arguments)), file=answers, flush=True)


# What the parent does.


class Version:
    """A child process that uses one version of kmorph."""

    def __init__(self, path: Path, core: int | None = None, **environment: str) -> None:
        self._child = subprocess.Popen(
            [sys.executable, __file__, "--serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=path,
            env={**os.environ, "PYTHONPATH": str(path), **environment},
            preexec_fn=None if core is None else lambda: os.sched_setaffinity(0, {core}),
        )

    def ask(self, name: str, *arguments: Any) -> None:
        print(json.dumps([name, arguments]), file=self._child.stdin, flush=True)

    def answer(self) -> Any:
        line = self._child.stdout.readline()
        if not line:
            raise SystemExit(f"a child ended with status {self._child.wait()}")
        return json.loads(line)

    def __enter__(self) -> Version:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.stdin.close()
        self._child.wait()


def compare_steps(old: Path, turns: int) -> dict[str, Any]:
    found = {}
    for backend, module in BACKENDS.items():
        if importlib.util.find_spec(module) is None:
            print(f"step, {backend}: not installed")
            continue
        with Version(HERE, KERAS_BACKEND=backend) as new, Version(old, KERAS_BACKEND=backend) as before:
            for network in NETWORKS:
                speeds: list[list[float]] = []
                for turn in range(turns + 1):  # the first only loads what the others use
                    pair = {}
                    for version in (new, before) if turn % 2 else (before, new):
                        version.ask("measure_steps", network)
                        pair[version] = version.answer()
                    speeds += [[pair[new], pair[before]]] if turn else []
                ratios = np.divide(*np.transpose(speeds))
                found[f"{backend}, {network}"] = {"speeds": speeds, "ratio": float(np.median(ratios))}
                print(
                    f"step, {backend:10} {network:6}: new {np.median(speeds, axis=0)[0]:6.0f} images/s, old "
                    f"{np.median(speeds, axis=0)[1]:6.0f}, median ratio {np.median(ratios):.3f} "
                    f"(quartiles {np.quantile(ratios, 0.25):.3f}, {np.quantile(ratios, 0.75):.3f})",
                    flush=True,
                )
    return found


def compare_searches(old: Path, what: str, seconds: float, seeds: int) -> dict[str, Any]:
    cores = sorted(os.sched_getaffinity(0))[:2]
    runs: dict[str, list[dict[str, Any]]] = {"new": [], "old": []}
    for seed in range(seeds):
        order = cores if seed % 2 else cores[::-1]
        with Version(HERE, order[0]) as new, Version(old, order[-1]) as before:
            for version in (new, before):
                version.ask("search", what, seconds, seed)
            runs["new"].append(new.answer())
            runs["old"].append(before.answer())
        pair = ", ".join(
            f"{name} {some[-1]['accuracy']:.4f}, log loss {some[-1]['log_loss']:.4f} ({some[-1]['models']})"
            for name, some in runs.items()
        )
        print(f"{what}, seed {seed}: {pair}", flush=True)
    for metric in ("accuracy", "log_loss", "models"):
        new, before = ([run[metric] for run in runs[name]] for name in ("new", "old"))
        difference = np.subtract(new, before)
        error = difference.std(ddof=1) / np.sqrt(seeds) if seeds > 1 else float("nan")
        print(
            f"{what}, {seconds:.0f} s, {metric}: new {np.mean(new):.4f}, old {np.mean(before):.4f}, "
            f"new − old {difference.mean():+.4f} ± {error:.4f}"
        )
    return {"seconds": seconds, **runs}


def compare_imports(old: Path, turns: int) -> dict[str, Any]:
    found = {}
    for statement in ("import kmorph", "from kmorph import ImageClassifier"):
        times = []
        for turn in range(turns):
            pair = {}
            for path in (HERE, old) if turn % 2 else (old, HERE):
                with Version(path) as version:
                    version.ask("import_seconds", statement)
                    pair[path] = version.answer()
            times.append([pair[HERE], pair[old]])
        new, before = np.median(times, axis=0)
        found[statement] = times
        print(f"{statement}: new {new:.3f} s, old {before:.3f} s")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("commit")
    kinds = ("step", "demo", "small", "fashion", "import")
    parser.add_argument("--what", nargs="+", choices=kinds, default=kinds)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=120.0, help="of a search on Fashion-MNIST")
    options = parser.parse_args()
    from _report import about_this_run

    commit = subprocess.check_output(["git", "rev-parse", options.commit], cwd=HERE, text=True).strip()
    archive = subprocess.check_output(["git", "archive", "--format=tar", commit, "kmorph"], cwd=HERE)
    RESULTS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        old = Path(folder)
        tarfile.open(fileobj=io.BytesIO(archive)).extractall(old, filter="data")
        for what in options.what:
            if what == "step":
                found = compare_steps(old, options.turns)
            elif what == "import":
                found = compare_imports(old, options.turns)
            else:
                seconds = options.seconds if what == "fashion" else 60.0
                found = compare_searches(old, what, seconds, options.seeds)
            about = {"commit": commit, "what": what, **found, **about_this_run()}
            (RESULTS / f"{commit[:7]}_{what}.json").write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:] == ["--serve"]:
        serve()
    else:
        main()
