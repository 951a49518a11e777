"""Data sets on which kmorph runs without other arms; what is to be beaten is printed beside its figure."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

from _deadline import Deadlines, Found, Run, Split, print_table, run_kmorph

Loader = Callable[[Path | None], tuple[Split, Split]]


def main(
    script: str, description: str | None, name: str, seconds: float, to_beat: Mapping[str, float]
) -> None:
    """Run kmorph on a data set of `kmorph.datasets` and report.

    Parameters
    ----------
    name : str
        As in ``load_<name>``.
    seconds : float
        The limit, by default.
    to_beat : mapping from str to float
        Whose accuracy, and how much.
    """

    def load(options: argparse.Namespace) -> tuple[Split, Split]:
        from kmorph import datasets  # not before the clock is running

        loader: Loader = getattr(datasets, f"load_{name}")
        return loader(options.folder)

    def check(options: argparse.Namespace) -> None:
        from kmorph.errors import DataError

        try:
            load(options)
        except DataError as error:
            print(f"Nothing was run. {error} Here the folder is named with --folder.")
            raise SystemExit(2) from None

    def report(found: dict[tuple[float, str], Found], results: Path) -> None:
        print_table(found, {})
        best = max((some.mean for some in found.values() if len(some.accuracies)), default=float("nan"))
        for whose, accuracy in to_beat.items():
            print(f"to beat: {accuracy:.4f}  {whose}  ({best - accuracy:+.4f})")

    def add_options(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--folder", type=Path, help="folder of the data; without it, keras.datasets")

    arms: dict[str, Callable[[Run], dict]] = {
        "kmorph": lambda run: run_kmorph(run, lambda: load(run.options))
    }
    results = Path(script).parent / "results" / name
    Deadlines(script, description, results, arms, [seconds], 1, report, add_options, check).main()
