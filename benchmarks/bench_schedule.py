"""How one lineage is best trained in a given time: share of decay, batch, width, augmentation.

A residual start is trained at a constant learning rate, then at one that falls to zero, for so many seconds
in all, on 50,000 images of Fashion-MNIST; judged on 10,000 others (standard error of an accuracy 0.0025).
Nothing is searched: this is what the constants of `kmorph/search/schedule.py`, `planning.py` and
`problem/inputs/sizes.py` rest on. Every setting writes its line, those that are there are not run again.

    taskset -c 0 python benchmarks/bench_schedule.py [--report]
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from _report import about_this_run

from kmorph import starts
from kmorph.graph import Normalize
from kmorph.training.backend import load_backend
from kmorph.training.cores import cores
from kmorph.training.examples import Data
from kmorph.training.plan import Hyperparameters, Plan
from kmorph.training.trainer import train

RESULTS = Path(__file__).parent / "results" / "schedule.jsonl"
FLIPPED = ("shift", "flip")


@dataclass(frozen=True)
class Setting:
    """One way to spend `seconds`."""

    seconds: int
    decay: float
    batch_size: int
    learning_rate: float
    width: int
    augment: tuple[str, ...] = ()


# One core of 180 and 430 seconds does what two cores do in about 2 and 5 minutes.
SETTINGS = (
    Setting(180, 0.45, 64, 0.1, 32),
    Setting(180, 0.75, 64, 0.1, 32),
    Setting(180, 0.75, 128, 0.2, 32),
    Setting(180, 0.75, 64, 0.1, 48),
    Setting(430, 0.6, 128, 0.2, 48),
    Setting(430, 0.6, 128, 0.2, 48, FLIPPED),
    Setting(460, 0.7, 128, 0.2, 32),
    Setting(460, 0.7, 128, 0.2, 32, FLIPPED),
)


def load() -> Data:
    from kmorph.datasets import load_fashion_mnist

    (x, y), _ = load_fashion_mnist()
    return Data(x[:50_000], y[:50_000], x[50_000:], y[50_000:])


def measure(setting: Setting, data: Data) -> dict:
    mean, variance = float(data.x.mean()), float(data.x.var())
    start = starts.resnet(
        data.x.shape[1:], 10, width=setting.width, preprocessing=[Normalize((mean,), (variance,))]
    )
    hyperparameters = Hyperparameters(
        batch_size=setting.batch_size, learning_rate=setting.learning_rate, augment=setting.augment
    )
    stable = train(
        start.initialize(0),
        data,
        Plan(seconds=setting.seconds * (1 - setting.decay), hyperparameters=hyperparameters),
    )
    settled = train(
        stable.graph,
        data,
        Plan(
            phase="decay",
            seconds=setting.seconds * setting.decay,
            hyperparameters=hyperparameters,
            images_before=stable.images,
            seed=1,
        ),
    )
    return {
        **asdict(setting),
        "epochs": stable.epochs + settled.epochs,
        "n_parameters": start.n_parameters,
        "stable": stable.metrics,
        "settled": settled.metrics,
    }


def report() -> None:
    print("seconds  decay  batch  width  augmented  epochs  parameters  loss    accuracy")
    for line in RESULTS.read_text().splitlines():
        found = json.loads(line)
        print(
            f"{found['seconds']:7}  {found['decay']:5}  {found['batch_size']:5}  {found['width']:5}  "
            f"{'yes' if found['augment'] else 'no':9}  {found['epochs']:6.1f}  {found['n_parameters']:10,}  "
            f"{found['settled']['loss']:.4f}  {found['settled']['accuracy']:.4f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--report", action="store_true", help="run nothing, print what is there")
    arguments = parser.parse_args()
    if not arguments.report:
        load_backend(threads=cores())
        lines = RESULTS.read_text().splitlines() if RESULTS.exists() else []
        names = set(asdict(SETTINGS[0]))
        done = [{name: json.loads(line)[name] for name in names} for line in lines]
        missing = [s for s in SETTINGS if {**asdict(s), "augment": list(s.augment)} not in done]
        data = load()
        for setting in missing:
            with open(RESULTS, "a", encoding="utf-8") as stream:
                stream.write(json.dumps({**measure(setting, data), **about_this_run()}) + "\n")
    report()


if __name__ == "__main__":
    main()
