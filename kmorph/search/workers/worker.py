"""The code that runs in a worker: grow the candidate from its parent, train it, write it down."""

from __future__ import annotations

import errno
import gc
import json
import os
import platform
import secrets
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kmorph.errors import KmorphError
from kmorph.graph import Graph
from kmorph.problem.packing import unpack_problem
from kmorph.search.candidate import Job, Result, outputs_beside
from kmorph.search.workers.own_layers import unpack_layers
from kmorph.training.memory import is_out_of_memory, released

MOST_WORDS = 2000  # characters of a reason
GRACE = 2.5  # seconds that a candidate may outstay its deadline before it is given up
DISK_ERRORS = {errno.ENOSPC, errno.EROFS, errno.EFBIG, errno.EIO, getattr(errno, "EDQUOT", errno.ENOSPC)}


def prepare(parent: int | None = None, workers: int = 1, devices: bool = True) -> None:
    """Make a fresh worker process ready: it outlives no parent, leaves signals to it, and loads Keras.

    Parameters
    ----------
    parent : int, optional
        Process id of the search; when it is gone the worker ends at once, so that nobody writes into a
        folder that another search goes on with.
    workers : int, default=1
        How many share this machine's cores.
    devices : bool, default=True
        Whether TensorFlow's devices are started, too. A strategy function may have to set them up first.
    """
    if parent is not None:
        # A terminal or a batch system sends them to all processes; the parent asks for what was trained.
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), signal.SIG_IGN)
        threading.Thread(target=_end_with, args=(parent,), daemon=True, name="kmorph-parent-watch").start()
    from kmorph.training.backend import load_backend
    from kmorph.training.cores import cores

    load_backend(max(1, cores() // workers), devices)
    gc.collect()
    gc.freeze()  # what is loaded stays: it need not be looked through after every candidate


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def evaluate(job: Job) -> Result:
    """Train one candidate; a candidate that cannot be trained gives a result with a reason."""
    begun = time.time()
    waited = 0.0
    if job.sent is not None and job.sender == platform.node():
        waited = max(0.0, begun - job.sent)
    if job.plan.seconds_left is not None and waited > job.plan.seconds_left + GRACE:
        # The search has given up on it, and the files may belong to another search by now.
        return Result(reason="its worker was not ready before its deadline", cause="late")
    with released():
        return _evaluate(job, begun, waited)


def _evaluate(job: Job, begun: float, waited: float) -> Result:
    from kmorph.training.backend import load_backend

    load_backend(devices=job.strategy is None)  # in workers of the user's executor that is not done yet
    from kmorph.training.examples import Data
    from kmorph.training.trainer import Stopped, train

    output = Path(job.output_file)
    trained_file = output.with_name(f"{output.stem}.{secrets.token_hex(4)}{output.suffix}")
    try:
        graph = grow(job)
        # Stored before anything is compiled, so that there is a usable model however early the end comes.
        graph.save(job.output_file)
        with open(job.events_file, "a", encoding="utf-8") as events:

            def report(event: dict[str, Any]) -> None:
                events.write(json.dumps(event) + "\n")
                events.flush()

            def keep(trained: Graph, images: int) -> None:
                trained.save(job.output_file)
                report({"checkpoint": images, "seconds": time.time() - begun})

            plan = job.plan
            if plan.seconds_left is not None:
                left = plan.seconds_left - waited - (time.time() - begun)
                plan = replace(plan, seconds_left=max(0.0, left))
            outcome = train(
                graph,
                Data.load(job.data_folder),
                plan,
                report,
                stop=lambda: os.path.exists(job.stop_file),
                strategy=job.strategy,
                checkpoint=keep,
                problem=unpack_problem(job.problem),
            )
        outcome.graph.save(trained_file)
        np.save(outputs_beside(trained_file), outcome.outputs, allow_pickle=False)
    except Exception as error:
        if is_out_of_memory(error):
            return Result(reason="out of memory", cause="memory", seconds=time.time() - begun)
        plain = isinstance(error, KmorphError | Stopped)
        reason = str(error) if plain else f"{type(error).__name__}: {error}"
        cause = "disk" if _is_of_disk(error) else ""
        return Result(reason=reason[:MOST_WORDS], cause=cause, seconds=time.time() - begun)
    return Result(
        metrics=outcome.metrics,
        epochs=outcome.epochs,
        images=outcome.images,
        seconds=time.time() - begun,
        examples_per_second=outcome.examples_per_second,
        stopped=outcome.stopped,
        hyperparameters=outcome.hyperparameters.to_dict(),
        replicas=outcome.replicas,
        file=str(trained_file),
    )


def grow(job: Job) -> Graph:
    """The candidate's graph with the weights it starts from."""
    from kmorph import morphs

    unpack_layers(job.layers)
    graph = Graph.load(Path(job.graph_file))
    if job.fresh or not graph.has_weights:
        graph = graph.initialize(job.plan.seed)
    return morphs.chain(graph, [morphs.from_json(values) for values in job.morphs])


def _is_of_disk(error: BaseException) -> bool:
    """Return whether the disk is full or cannot be written: then no other candidate would fare better."""
    cause = error if isinstance(error, OSError) else error.__cause__
    return isinstance(cause, OSError) and cause.errno in DISK_ERRORS
