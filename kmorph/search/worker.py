"""What runs in a worker: grow the candidate from its parent, train it, write it down."""

from __future__ import annotations

import errno
import gc
import json
import os
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kmorph.errors import KmorphError
from kmorph.graph import Graph
from kmorph.training.memory import is_out_of_memory, released
from kmorph.training.plan import Plan

DISK_ERRORS = {errno.ENOSPC, errno.EROFS, errno.EFBIG, errno.EIO, getattr(errno, "EDQUOT", errno.ENOSPC)}


@dataclass(frozen=True)
class Task:
    """A candidate to train, small enough to send anywhere: paths, a change, and settings.

    Parameters
    ----------
    graph_file : str
        The parent's graph, or a start (without weights it gets fresh ones from the plan's seed).
    morphs : tuple of dict
        Morphs with their seeds, as JSON, that lead from there to the candidate.
    data_folder : str
        Where `kmorph.training.examples.Data` was saved.
    plan : Plan
    output_file : str
        Where the trained graph goes.
    events_file : str
        Progress is appended here, one JSON object a line.
    stop_file : str
        Training ends when this file appears.
    fresh : bool, default=False
        Whether training starts from new weights though the graph file has some.
    strategy : str or bytes, optional
        How several devices train it, as `kmorph.training.distribute.pack_strategy` gave it.
    """

    graph_file: str
    morphs: tuple[dict[str, Any], ...]
    data_folder: str
    plan: Plan
    output_file: str
    events_file: str
    stop_file: str
    fresh: bool = False
    strategy: str | bytes | None = None


@dataclass(frozen=True)
class Result:
    """What a worker sends back; the trained graph lies in the task's output file.

    Parameters
    ----------
    reason : str or None
        Why the candidate failed; None if it did not.
    metrics : dict of str to float
    epochs, seconds, images_per_second : float
    images, n_parameters, flops : int
    fingerprint : str
    stopped : str or None
        Why training ended early, with metrics all the same.
    hyperparameters : dict, optional
        Those that it was trained with; None: those of its plan.
    replicas : int
        Devices that trained it.
    cause : {"", "memory", "disk", "died", "late"}
        Kind of failure, where more depends on it than this candidate: memory ran out, a file could not be
        written, the worker process ended, or it was ended because it outstayed the deadline. In the last two
        cases ``images`` and ``seconds`` tell of the checkpoint in the output file, if there is one.
    """

    reason: str | None = None
    metrics: dict[str, float] | None = None
    epochs: float = 0.0
    images: int = 0
    seconds: float = 0.0
    images_per_second: float = 0.0
    n_parameters: int = 0
    flops: int = 0
    fingerprint: str = ""
    stopped: str | None = None
    hyperparameters: dict[str, Any] | None = None
    replicas: int = 1
    cause: str = ""


def prepare(parent: int | None = None, workers: int = 1, devices: bool = True) -> None:
    """Make a fresh worker process ready: it outlives no parent, leaves Ctrl-C to it, and loads Keras.

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
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=_end_with, args=(parent,), daemon=True, name="kmorph-parent-watch").start()
    from kmorph.training.backend import cores, load_backend

    load_backend(max(1, cores() // workers), devices)
    gc.collect()
    gc.freeze()  # what is loaded stays: it need not be looked through after every candidate


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def evaluate(task: Task) -> Result:
    """Train one candidate; a candidate that cannot be trained gives a result with a reason."""
    with released():
        return _evaluate(task)


def _evaluate(task: Task) -> Result:
    from kmorph.training.backend import load_backend

    load_backend(devices=task.strategy is None)  # in workers of the user's executor that is not done yet
    from kmorph.training.examples import Data
    from kmorph.training.trainer import Stopped, train

    begun = time.time()
    graph: Graph | None = None
    try:
        graph = grow(task)
        # Stored before anything is compiled, so that there is a usable model however early the end comes.
        graph.save(task.output_file)
        with open(task.events_file, "a", encoding="utf-8") as events:

            def report(event: dict[str, Any]) -> None:
                events.write(json.dumps(event) + "\n")
                events.flush()

            def keep(trained: Graph, images: int) -> None:
                trained.save(task.output_file)
                report({"checkpoint": images, "seconds": time.time() - begun})

            outcome = train(
                graph,
                Data.load(task.data_folder),
                task.plan,
                report,
                stop=lambda: os.path.exists(task.stop_file),
                strategy=task.strategy,
                checkpoint=keep,
            )
        outcome.graph.save(task.output_file)
        np.save(logits_file(task.output_file), outcome.logits, allow_pickle=False)
    except Exception as error:
        if is_out_of_memory(error):
            return _failed(graph, "out of memory", begun, "memory")
        plain = isinstance(error, KmorphError | Stopped)
        reason = str(error) if plain else f"{type(error).__name__}: {error}"
        return _failed(graph, reason[:2000], begun, "disk" if _is_of_disk(error) else "")
    return Result(
        metrics=outcome.metrics,
        epochs=outcome.epochs,
        images=outcome.images,
        seconds=time.time() - begun,
        images_per_second=outcome.images_per_second,
        n_parameters=graph.n_parameters,
        flops=graph.flops,
        fingerprint=graph.fingerprint,
        stopped=outcome.stopped,
        hyperparameters=outcome.hyperparameters.to_dict(),
        replicas=outcome.replicas,
    )


def logits_file(output_file: str | Path) -> Path:
    """Where a trained graph's logits for the validation examples lie."""
    return Path(output_file).with_suffix(".logits.npy")


def grow(task: Task) -> Graph:
    """The candidate's graph with the weights it starts from."""
    from kmorph import morphs

    graph = Graph.load(Path(task.graph_file))
    if task.fresh or not graph.has_weights:
        graph = graph.initialize(task.plan.seed)
    return morphs.chain(graph, [morphs.from_json(values) for values in task.morphs])


def _is_of_disk(error: BaseException) -> bool:
    """Whether the disk is full or cannot be written: then no other candidate would fare better."""
    cause = error if isinstance(error, OSError) else error.__cause__
    return isinstance(cause, OSError) and cause.errno in DISK_ERRORS


def _failed(graph: Graph | None, reason: str, begun: float, cause: str) -> Result:
    return Result(
        reason=reason,
        cause=cause,
        seconds=time.time() - begun,
        n_parameters=0 if graph is None else graph.n_parameters,
        flops=0 if graph is None else graph.flops,
        fingerprint="" if graph is None else graph.fingerprint,
    )
