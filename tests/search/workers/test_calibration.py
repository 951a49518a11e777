"""The speed of a worker, measured in it."""

from concurrent.futures import Executor, Future

import pytest

from kmorph import starts
from kmorph.search.workers.calibration import GUESS, measure_power
from kmorph.search.workers.pool import ExecutorPool
from kmorph.search.workers.processes import WorkerProcesses


class Broken(Executor):
    def submit(self, fn, /, *args, **kwargs):
        raise OSError("no worker")


def test_a_worker_tells_how_fast_it_trains():
    workers = WorkerProcesses()
    try:
        power = measure_power(workers, starts.cnn((28, 28, 1), 10, width=8), 60_000, 300)
        assert workers.is_ready and 1e7 < power.multiply_adds < 1e13
        assert power.policy in ("float32", "mixed_bfloat16")
        # The second time nothing is measured.
        assert measure_power(workers, starts.cnn((28, 28, 1), 10), 60_000, 300) == power
    finally:
        workers.kill()


def test_without_an_answer_nothing_is_known():
    assert measure_power(ExecutorPool(Broken()), starts.cnn((28, 28, 1), 10), 60_000, 300) == GUESS


@pytest.mark.parametrize("n, time_limit", [(1_000, 600), (60_000, 10), (60_000, None)])
def test_where_it_hardly_matters_nothing_is_measured(n, time_limit):
    workers = WorkerProcesses()
    assert measure_power(workers, starts.cnn((28, 28, 1), 10), n, time_limit) == GUESS
    assert not workers.is_ready  # no process was started


def test_an_executor_that_never_answers_costs_a_part_of_the_time(monkeypatch):
    monkeypatch.setattr("kmorph.search.workers.calibration.PATIENCE", 0.3)

    class Hanging(Executor):
        def submit(self, fn, /, *args, **kwargs):
            self.future = Future()
            return self.future

    executor = Hanging()
    pool = ExecutorPool(executor)
    assert measure_power(pool, starts.cnn((28, 28, 1), 10), 60_000, 300) == GUESS
    assert executor.future.cancelled()
    executor.future = None
    assert measure_power(pool, starts.cnn((28, 28, 1), 10), 60_000, 300) == GUESS
    assert executor.future is None  # it is waited for once
