"""Comparing arms: every run in a process of its own, with its own JSON, one or two at a time."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

from _report import about_this_run

SECONDS = {"digits": 60, "fashion": 300}


@dataclass(frozen=True)
class Comparison:
    """Arms that search on digits or on Fashion-MNIST, with several seeds each.

    Parameters
    ----------
    script : str
        File that is run again for each run; its `main` calls `main` here.
    description : str
        For ``--help``.
    arms : sequence of str
    run : callable (task, arm, seed, seconds) -> dict
        One run.
    report : callable (runs by arm, in the order of seeds)
        Prints what came out.
    results : Path
        Folder of the JSON.
    seeds : mapping from task to int
        How many, by default.
    """

    script: str
    description: str
    arms: Sequence[str]
    run: Callable[[str, str, int, float], dict]
    report: Callable[[dict[str, list[dict]]], None]
    results: Path
    seeds: Mapping[str, int]

    def main(self) -> None:
        """Run what is missing, then report; or run one arm, if asked for."""
        parser = argparse.ArgumentParser(
            description=self.description, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        parser.add_argument("task", choices=self.seeds)
        parser.add_argument("--seconds", type=float)
        parser.add_argument("--seeds", type=int)
        parser.add_argument("--pinned", action="store_true")
        parser.add_argument("--arm", choices=self.arms, help="run one arm here, for the seed --seeds")
        arguments = parser.parse_args()
        task = arguments.task
        seconds = arguments.seconds or SECONDS[task]
        seeds = self.seeds[task] if arguments.seeds is None else arguments.seeds
        if arguments.arm:
            result = self.run(task, arguments.arm, seeds, seconds)
            file = self._file(task, arguments.arm, seeds, seconds)
            file.parent.mkdir(parents=True, exist_ok=True)
            about = {"arm": arguments.arm, "seed": seeds}
            file.write_text(json.dumps({**about, **result, **about_this_run()}) + "\n")
            return
        jobs = [
            [task, "--arm", arm, "--seeds", str(seed), "--seconds", str(seconds)]
            for seed in range(seeds)
            for arm in self.arms
            if not self._file(task, arm, seed, seconds).exists()
        ]
        in_own_processes(self.script, jobs, arguments.pinned)
        self.report(
            {
                arm: [json.loads(self._file(task, arm, seed, seconds).read_text()) for seed in range(seeds)]
                for arm in self.arms
            }
        )

    def _file(self, task: str, arm: str, seed: int, seconds: float) -> Path:
        return self.results / f"{task}_{arm.replace(' ', '_')}_{int(seconds)}s_seed{seed}.json"


def in_own_processes(script: str, jobs: Iterable[list[str]], pinned: bool) -> None:
    """Run a script once for each list of arguments, in their order.

    Parameters
    ----------
    pinned : bool
        Whether two run side by side, each on one core; otherwise one at a time has all cores.
    """
    cores: Queue = Queue()
    for core in sorted(os.sched_getaffinity(0))[:2] if pinned else [None]:
        cores.put(core)

    def run(job: list[str]) -> None:
        core = cores.get()
        print(*job, flush=True)
        pin = None if core is None else lambda: os.sched_setaffinity(0, {core})
        try:
            subprocess.run([sys.executable, script, *job], preexec_fn=pin, check=True)
        finally:
            cores.put(core)

    with ThreadPoolExecutor(cores.qsize()) as pool:
        list(pool.map(run, jobs))
