"""A candidate on its way through a search: chosen, sent to a worker, and what the worker sends back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kmorph.graph import Graph
from kmorph.search.store.record import ModelRecord
from kmorph.training.plan import Plan


@dataclass(frozen=True)
class Candidate:
    """A start, a child, a model to be settled, or the mean of several (`members`), chosen to be trained.

    Parameters
    ----------
    parent : ModelRecord or None
        None for a start.
    morphs : tuple of dict
        Morphs with their seeds, as JSON, that lead from the parent to the candidate.
    graph : Graph
        The candidate's structure; with weights if training begins from those, not from the parent's.
    change : str
        The change in words.
    phase : {"stable", "decay", "ensemble"}
    plan : Plan
    seed : int
    members : tuple of ModelRecord, default=()
        Models whose outputs an ensemble averages.
    fresh : bool, default=False
        Whether training starts from new weights instead of the parent's.
    """

    parent: ModelRecord | None
    morphs: tuple[dict[str, Any], ...]
    graph: Graph
    change: str
    phase: str
    plan: Plan
    seed: int
    members: tuple[ModelRecord, ...] = ()
    fresh: bool = False


@dataclass(frozen=True)
class Job:
    """A candidate as a worker gets it, small enough to send anywhere: paths, a change, and settings.

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
        Where the graph goes before it is trained, and its checkpoints.
    events_file : str
        Progress is appended here, one JSON object a line.
    stop_file : str
        Training ends when this file appears.
    fresh : bool, default=False
        Whether training starts from new weights though the graph file has some.
    strategy : str or bytes, optional
        How several devices train it, as `kmorph.training.distribute.pack_strategy` gave it.
    problem : bytes, optional
        As `kmorph.problem.packing.pack_problem` gave it; None: classes of images.
    layers : tuple of bytes, default=()
        Kinds of layers that are not part of kmorph, as `kmorph.search.workers.own_layers.pack_layers` gave
        them.
    sent : float, optional
        Moment (``time.time()``) at which the machine `sender` sent it: a worker on that machine takes what
        the job waited off the seconds left.
    sender : str, default=""
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
    problem: bytes | None = None
    layers: tuple[bytes, ...] = ()
    sent: float | None = None
    sender: str = ""


@dataclass(frozen=True)
class Result:
    """The result that a worker sends back.

    Parameters
    ----------
    reason : str or None
        Why the candidate failed; None if it did not.
    metrics : dict of str to float
    epochs, seconds, examples_per_second : float
    images : int
    stopped : str or None
        Why training ended early, with metrics all the same.
    hyperparameters : dict, optional
        Those that it was trained with; None: those of its plan.
    replicas : int
        Devices that trained it.
    file : str
        Where the trained graph lies; beside it its outputs for the validation examples. Each run of a job has
        a name of its own, so that an executor which runs one twice overwrites nothing.
    cause : {"", "memory", "disk", "died", "lost", "late"}
        Kind of failure, where more depends on it than this candidate: memory ran out, a file could not be
        written, the worker process ended, it ended together with another whose failure counts for both, or
        the candidate outstayed its deadline. In the last three cases ``images`` and ``seconds`` are those of
        the checkpoint in the output file, if there is one.
    """

    reason: str | None = None
    metrics: dict[str, float] | None = None
    epochs: float = 0.0
    images: int = 0
    seconds: float = 0.0
    examples_per_second: float = 0.0
    stopped: str | None = None
    hyperparameters: dict[str, Any] | None = None
    replicas: int = 1
    file: str = ""
    cause: str = ""


def start_in_words(name: str, growth: float | None = None) -> str:
    """The change of a start; `growth` is how much larger it was made for the time, in FLOPs."""
    return f"start: {name}" if growth is None else f"start: {name}{_LARGER}{growth:.1f} times the FLOPs"


def was_widened(change: str) -> bool:
    """Return whether the change in words is that of a start that was made larger."""
    return _LARGER in change


def start_key(text: str, is_sized: bool) -> str:
    """The name in a start's change, or that itself; without the width if that was chosen for the time."""
    name = text.removeprefix("start: ").partition(_LARGER)[0]
    return name.partition(" (width=")[0] if is_sized else name


_LARGER = ", widened to "


def outputs_beside(output_file: str | Path) -> Path:
    """File of a trained graph's outputs for the validation examples, beside the graph's own."""
    return Path(output_file).with_suffix(".outputs.npy")
