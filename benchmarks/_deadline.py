"""Arms that end at a deadline: each run in a process of its own, with its own JSON; and their means."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _arms import in_own_processes
from _report import about_this_run

Split = tuple[np.ndarray, np.ndarray]
HISTORY = (
    ("model_id", "parent_id", "change", "loss", "metric_value", "n_parameters", "epochs")
    + ("seconds", "examples_per_second", "phase", "state", "created")
)  # fmt: skip


@dataclass(frozen=True)
class Run:
    """What one run may know: its limit, its seed, when its clock began, the script's own options."""

    seconds: float
    seed: int
    begun: float
    options: argparse.Namespace


@dataclass(frozen=True)
class Found:
    """Runs of one arm within one limit, as they were recorded, and their test accuracy."""

    runs: list[dict]

    @property
    def accuracies(self) -> np.ndarray:
        """Of the runs that found a model."""
        found = [run["test_accuracy"] for run in self.runs if run["test_accuracy"] is not None]
        return np.array(found, float)

    @property
    def mean(self) -> float:
        return float(self.accuracies.mean()) if len(self.accuracies) else float("nan")

    @property
    def error(self) -> float | None:
        """Standard error of the mean; None with fewer than two runs."""
        return standard_error(self.accuracies)


@dataclass(frozen=True)
class Deadlines:
    """A benchmark whose arms end at a deadline.

    Parameters
    ----------
    script : str
        File that is run again for each run; its `main` calls `main` here.
    description : str or None
        For ``--help``.
    results : Path
        Folder of the JSON, unless ``--results`` names another.
    arms : mapping from str to callable (Run) -> dict
        A result has ``test_accuracy``, which may be None, and ``seconds``.
    limits : sequence of float
        Seconds, by default.
    seeds : int
        How many, by default.
    report : callable (found by (limit, arm), folder of the results)
        Prints what came out.
    add_options : callable (parser)
        Adds options of the script's own; they need a default.
    check : callable (options)
        Called once before anything is run, as to see whether the data is there.
    """

    script: str
    description: str | None
    results: Path
    arms: Mapping[str, Callable[[Run], dict]]
    limits: Sequence[float]
    seeds: int
    report: Callable[[dict[tuple[float, str], Found], Path], None]
    add_options: Callable[[argparse.ArgumentParser], None] = lambda parser: None
    check: Callable[[argparse.Namespace], None] = lambda options: None

    def main(self) -> None:
        """Run what is missing, then report; or run one arm, if asked for."""
        parser = argparse.ArgumentParser(
            description=self.description, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        parser.add_argument("--seconds", type=float, nargs="+", default=list(self.limits))
        parser.add_argument("--seeds", type=int, default=self.seeds, help="how many; 0, 1, …")
        parser.add_argument("--arms", nargs="+", choices=self.arms, default=list(self.arms))
        parser.add_argument("--results", type=Path, default=self.results, help="folder of the JSON")
        parser.add_argument(
            "--pinned",
            action="store_true",
            help="two runs side by side, a core each, in a folder of their own",
        )
        parser.add_argument("--report", action="store_true", help="run nothing, report what is there")
        parser.add_argument("--run", type=int, help="run one arm here, for this seed")
        self.add_options(parser)
        options = parser.parse_args()
        if options.pinned:
            options.results = options.results.with_name(f"{options.results.name}_one_core")
        if options.run is not None:
            self._run_here(options)
            return
        if not options.report:
            self._run_missing(options)
        found = {
            (limit, arm): Found([json.loads(file.read_text()) for file in files])
            for limit in options.seconds
            for arm in options.arms
            if (files := self._recorded(options, arm, limit))
        }
        if found:
            self.report(found, options.results)
        else:
            print(f"{options.results} holds no run of these arms and limits")

    def _run_missing(self, options: argparse.Namespace) -> None:
        self.check(options)
        own = sys.argv[1:]  # later options win: what is appended names one run
        jobs = [
            [*own, "--arms", arm, "--seconds", str(limit), "--run", str(seed)]
            for limit in options.seconds
            for seed in range(options.seeds)
            for arm in options.arms
            if not _file(options, arm, limit, seed).exists()
        ]
        in_own_processes(self.script, jobs, options.pinned)

    def _run_here(self, options: argparse.Namespace) -> None:
        (arm,), (limit,), seed = options.arms, options.seconds, options.run
        result = self.arms[arm](Run(limit, seed, time.time(), options))
        about = about_this_run()
        about["versions"] = result.pop("versions", about["versions"])
        file = _file(options, arm, limit, seed)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"arm": arm, "limit": limit, "seed": seed, **result, **about}) + "\n")

    def _recorded(self, options: argparse.Namespace, arm: str, limit: float) -> list[Path]:
        files = (_file(options, arm, limit, seed) for seed in range(options.seeds))
        return [file for file in files if file.exists()]


def _file(options: argparse.Namespace, arm: str, limit: float, seed: int) -> Path:
    return options.results / f"{arm.replace('-', '_')}_{int(limit)}s_seed{seed}.json"


def standard_error(values: np.ndarray) -> float | None:
    """Of a mean; None with fewer than two values."""
    return float(values.std(ddof=1) / len(values) ** 0.5) if len(values) > 1 else None


def run_kmorph(run: Run, load: Callable[[], tuple[Split, Split]]) -> dict:
    """`ImageClassifier().fit(x, y, time_limit=…)`, judged once on the test images."""
    train, test = load()
    from kmorph import ImageClassifier

    with tempfile.TemporaryDirectory() as folder:
        clf = ImageClassifier(path=folder, seed=run.seed, verbose=False)
        clf.fit(*train, time_limit=run.seconds - (time.time() - run.begun))
        ended = time.time() - run.begun
        history, best = clf.history, clf.get_best_model_id()
        return {
            "test_accuracy": clf.evaluate(*test),
            "seconds": ended,
            "begun": run.begun,
            "n_parameters": history[best]["n_parameters"],
            "models": len(history),
            "discarded": clf.load_searcher().discarded_share,
            "history": [{name: entry[name] for name in HISTORY} for entry in history],
        }


def print_table(found: Mapping[tuple[float, str], Found], verdicts: Mapping[tuple[float, str], str]) -> None:
    """Means over seeds, standard errors where there are several, and what is to be said of a row."""
    print("seconds  arm            test accuracy     seeds  took")
    for (limit, arm), some in found.items():
        error = "" if some.error is None else f" ± {some.error:.4f}"
        took = f"{max(run['seconds'] for run in some.runs):.0f} s"
        says = [verdicts.get((limit, arm), "")]
        if missing := len(some.runs) - len(some.accuracies):
            says.append(f"no model in {missing} of {len(some.runs)}")
        says += sorted({remark for run in some.runs for remark in run.get("remarks", ())})
        said = "; ".join(filter(None, says))
        accuracy = "none" if not len(some.accuracies) else f"{some.mean:.4f}{error}"
        line = f"{limit:7.0f}  {arm:13}  {accuracy:16}  {len(some.runs):5}  {took:>6}  {said}"
        print(line.rstrip())
