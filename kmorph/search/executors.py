"""Where candidates are trained: any `concurrent.futures.Executor`, by default one supervised process."""

from __future__ import annotations

import os
from concurrent.futures import Executor, Future
from typing import Any

from kmorph.search import worker
from kmorph.training.backend import backend_name


class InlineExecutor(Executor):
    """Runs each call at once, in the calling process; for debugging, and where processes are forbidden."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future:
        """Call `fn` and return a future that is already done."""
        future: Future = Future()
        future.set_running_or_notify_cancel()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class WorkerProcesses:
    """A loky pool that is built again when a worker dies, so that a crash costs one candidate.

    Parameters
    ----------
    workers : int, default=1
        Number of processes.
    strategy : str or bytes, optional
        How several devices train a model there (see `kmorph.training.distribute`).
    """

    def __init__(self, workers: int = 1, strategy: str | bytes | None = None) -> None:
        self.workers, self.strategy = workers, strategy
        self.power: float | None = None
        """Multiply-adds per second in training, once that was measured."""
        self._pool: Any = None
        self.is_ready = False
        """Whether a worker has answered a call, and so has Keras loaded."""

    def submit(self, fn: Any, /, *args: Any) -> Future:
        """Hand a call to a worker, starting one if none is there."""
        if self._pool is None:
            self._pool = self._start()
        future = self._pool.submit(fn, *args)
        future.add_done_callback(self._note)
        return future

    def _note(self, future: Future) -> None:
        self.is_ready = not future.cancelled() and future.exception() is None

    def _start(self) -> Any:
        from loky.process_executor import ProcessPoolExecutor

        environment = {
            "KERAS_BACKEND": backend_name(),
            "TF_CPP_MIN_LOG_LEVEL": "3",
            # loky restarts a worker that grows by 300 MB, which loading TensorFlow alone does.
            "LOKY_MAX_MEMORY_LEAK_SIZE": str(64 * 2**30),
        }
        return ProcessPoolExecutor(
            max_workers=self.workers,
            timeout=None,
            initializer=worker.prepare,
            initargs=(os.getpid(), self.workers, self.strategy is None),
            env=environment,
        )

    def kill(self) -> None:
        """End the workers at once; the next call starts new ones."""
        pool, self._pool, self.is_ready = self._pool, None, False
        if pool is not None:
            pool.shutdown(wait=False, kill_workers=True)


_shared: dict[tuple[int, bool], WorkerProcesses] = {}


def shared_workers(workers: int = 1, strategy: str | bytes | None = None) -> WorkerProcesses:
    """The processes that all searches of this process use, so that Keras is loaded once.

    Those with a strategy are others, because it may have set up TensorFlow's devices; for another strategy
    they are ended and started anew.
    """
    processes = _shared.setdefault((workers, strategy is not None), WorkerProcesses(workers, strategy))
    if processes.strategy != strategy:
        processes.kill()
        processes.strategy = strategy
    return processes
