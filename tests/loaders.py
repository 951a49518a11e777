"""The table of everything that reads a file or folder of kmorph's; hostile ones are tried on each.

A loader that is added extends it: a row makes good content in a folder, names the file in it that is
tampered with, and reads it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from encoding_samples import EXAMPLES, NAME, checked, files

import kmorph
from kmorph import Graph, starts
from kmorph.data.encodings import FOLDER, Encodings
from kmorph.errors import KmorphError
from kmorph.search.store.folder import RunFolder
from kmorph.search.store.history import History
from kmorph.search.store.record import FailureRecord, ModelRecord

N_MODELS = 3


class Loader(NamedTuple):
    """A way to read what is on disk: its name, what makes it, the file to be tampered with, what reads it."""

    id: str
    make: Callable[[Path], Any]
    file: str
    read: Callable[[Path], Any]


def _graph(folder: Path) -> None:
    starts.resnet((8, 8, 1), 3, width=4).initialize(0).save(folder / "graph.safetensors")


def _read_graph(folder: Path) -> None:
    Graph.load(folder / "graph.safetensors")


def _search(folder: Path) -> None:
    graph = starts.mlp((4,), 3).initialize(0)
    meta = {"objective": "accuracy", "seed": 1, "labels": ["a", "b", "c"], "input_shape": [4]}
    with RunFolder.open(folder) as run, History.create(run.database, meta) as history:
        for model_id in range(N_MODELS):
            graph.save(run.model_file(model_id))
            history.add(
                ModelRecord(
                    model_id=model_id,
                    parent_id=model_id - 1 if model_id else None,
                    state="done",
                    loss=1.0 / (1 + model_id),
                    metrics={"accuracy": 0.5, "loss": 1.0 / (1 + model_id)},
                    hyperparameters={"learning_rate": 0.1},
                    fingerprint=graph.fingerprint,
                )
            )
        history.add_failure(FailureRecord(reason="out of memory"))


def _read_search(folder: Path) -> None:
    searcher = kmorph.load_searcher(folder)
    assert isinstance(searcher.history, list) and isinstance(searcher.failures, list)
    searcher.discarded_share, searcher.meta("labels"), repr(searcher)
    searcher.load_best_model()
    for model_id in range(N_MODELS):
        searcher.load_model_by_id(model_id)


def _resume(folder: Path) -> None:
    with RunFolder.open(folder, resume=True) as run, History.open(run.database) as history:
        history.records(), history.failures()
        for key in ("seed", "labels", "input_shape", "objective"):
            history.get_meta(key)
        history.set_meta("objective", "loss")


def _encodings(folder: Path) -> None:
    checked(Encodings(folder), EXAMPLES)
    (file,) = files(folder)
    file.rename(file.with_name("0.safetensors"))


def _read_encodings(folder: Path) -> None:
    """A damaged file counts as none: what it held is encoded again, and has to be the same."""
    if checked(Encodings(folder, writes=False), EXAMPLES):
        raise KmorphError("the file is not used")


LOADERS = [
    Loader(
        "Graph.load", _graph, "graph.safetensors", lambda folder: Graph.load(folder / "graph.safetensors")
    ),
    Loader("load_searcher", _search, "search.db", _read_search),
    Loader("load_searcher: a model", _search, "models/1.safetensors", _read_search),
    Loader("resume", _search, "search.db", _resume),
    Loader("encodings", _encodings, f"{FOLDER}/{NAME}/0.safetensors", _read_encodings),
]
