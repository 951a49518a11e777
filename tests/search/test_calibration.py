"""The speed of a worker, measured in it."""

from concurrent.futures import Executor

from kmorph import starts
from kmorph.search.calibration import measure_power
from kmorph.search.executors import WorkerProcesses


class Broken(Executor):
    def submit(self, fn, /, *args, **kwargs):
        raise OSError("no worker")


def test_a_worker_tells_how_fast_it_trains():
    workers = WorkerProcesses()
    try:
        small, large = (measure_power(workers, starts.cnn((28, 28, 1), 10, width=width)) for width in (8, 32))
        assert workers.is_ready
    finally:
        workers.kill()
    assert 1e7 < small < large < 1e13  # wide layers make better use of a processor


def test_without_an_answer_nothing_is_known():
    assert measure_power(Broken(), starts.cnn((28, 28, 1), 10)) is None
