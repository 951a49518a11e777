"""What do searches at once cost each other? Examples per second of all, relative to one search alone.

Each search has a worker of its own, and all train the same network at the same time:

- two programs: workers that know nothing of each other have all cores' threads each;
- one program: the first worker has as many, the second half of them, as leases have it;
- halves: both have half of the threads.

1 would mean that nothing is lost: two searches then train as many examples as one alone does. The machine
should have nothing else to do.

    python benchmarks/bench_two_searches.py [--seconds 10] [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from contextlib import ExitStack
from pathlib import Path

from _report import about_this_run

from kmorph.search.workers.processes import WorkerProcesses
from kmorph.starts import cnn, resnet

CASES = {"alone": (1,), "two programs": (1, 1), "one program": (1, 2), "halves": (2, 2)}
NETWORKS = {"cnn": cnn((28, 28, 1), 10, width=16), "resnet": resnet((28, 28, 1), 10, width=16)}
BATCH = 64


def examples_per_second(graph, begin: float, seconds: float) -> float:
    """Speed of the training step from the moment `begin` on; what is compiled is compiled before."""
    import numpy as np

    from kmorph.training.plan import Hyperparameters
    from kmorph.training.step_factory import make_step

    step = make_step(graph.initialize(0), Hyperparameters(batch_size=BATCH), 0)
    x = np.random.default_rng(0).integers(0, 256, (BATCH, *graph.input_shape), dtype=np.uint8)
    y = np.zeros(BATCH, np.int32)
    float(step.train(x, y, 0.0, 0))
    if time.time() > begin:
        raise TimeoutError("compiling took longer than expected")
    time.sleep(begin - time.time())
    steps = 0
    while time.time() < begin + seconds:
        float(step.train(x, y, 0.0, steps))
        steps += 1
    return steps * BATCH / (time.time() - begin)


def total(shares, graph, seconds: float) -> float:
    """Examples per second of workers that train at once, one for each share of the cores."""
    with ExitStack() as stack:
        pools = [WorkerProcesses(searches=share) for share in shares]
        for pool in pools:
            stack.callback(pool.kill)
        for warm in [pool.submit(int) for pool in pools]:
            warm.result()
        begin = time.time() + 20
        calls = [pool.submit(examples_per_second, graph, begin, seconds) for pool in pools]
        return sum(call.result() for call in calls)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=3)
    default = Path(__file__).parent / "results" / "bench_two_searches.json"
    parser.add_argument("--out", type=Path, default=default)
    arguments = parser.parse_args()
    results = {}
    for name, graph in NETWORKS.items():
        # Rounds alternate the cases, so that a busy minute of the machine does not fall on one of them.
        rounds = [
            {case: total(shares, graph, arguments.seconds) for case, shares in CASES.items()}
            for _ in range(arguments.rounds)
        ]
        speeds = {case: statistics.median(r[case] for r in rounds) for case in CASES}
        ratios = {case: statistics.median(r[case] / r["alone"] for r in rounds) for case in CASES}
        results[name] = {"examples_per_second": speeds, "relative_to_one_alone": ratios, "rounds": rounds}
        print(name, {case: round(ratio, 2) for case, ratio in ratios.items()}, flush=True)
    arguments.out.write_text(json.dumps({"results": results, **about_this_run()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
