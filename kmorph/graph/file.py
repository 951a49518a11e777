"""Graphs on disk: one safetensors file, the structure as JSON in its header."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kmorph.errors import GraphError
from kmorph.files import UserPath, replace_file, user_path

if TYPE_CHECKING:
    from kmorph.graph.graph import Graph

HEADER_KEY = "kmorph.graph"
LONGEST_REASON = 500  # characters: a hostile file must not write its million numbers into a log
LARGEST_HEADER = 16 * 2**20  # bytes; ten thousand layers need about two megabytes


def save_graph(graph: Graph, file: UserPath) -> Path:
    """Write a graph; see `Graph.save`."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    file = user_path(file, GraphError)
    arrays = {}
    if graph.has_weights:
        arrays = {f"{i}/{name}": np.ascontiguousarray(array) for (i, name), array in graph.weights.items()}
    structure = json.dumps({**graph.to_json(), "has_weights": graph.has_weights}, separators=(",", ":"))

    def write(temporary: Path) -> None:
        try:
            save_file(arrays, temporary, metadata={HEADER_KEY: structure})
        except SafetensorError as error:
            # It is no OSError, but has the system's number in its text.
            if number := re.search(r"os error (\d+)", str(error)):
                raise OSError(int(number[1]), os.strerror(int(number[1]))) from error
            raise

    try:
        return replace_file(file, write)
    except OSError as error:
        raise GraphError(f"cannot write {file}: {error.strerror or error}") from error


def load_graph(file: UserPath, weights: bool = True) -> Graph:
    """Read a graph; see `Graph.load`."""
    with _opened(file) as (opened, graph, has_weights):
        if not weights or not has_weights:
            return graph
        arrays = {}
        for key in list(opened.keys()):
            layer, _, name = key.partition("/")
            arrays[int(layer), name] = opened.get_tensor(key)
        return graph.with_weights(arrays)


def load_structure(file: UserPath) -> tuple[Graph, bool]:
    """Read a graph without its weights, and whether the file has some.

    Raises
    ------
    GraphError
        As `Graph.load`; values of weights are not looked at.
    """
    with _opened(file) as (_, graph, has_weights):
        return graph, has_weights


@contextlib.contextmanager
def _opened(file: UserPath) -> Iterator[tuple[Any, Graph, bool]]:
    """Open a file: it, the graph in its header, and whether there are weights; errors are `GraphError`."""
    from safetensors import SafetensorError, safe_open

    from kmorph.graph.graph import Graph

    file = user_path(file, GraphError)
    try:
        with open(file, "rb") as stream:
            header = int.from_bytes(stream.read(8), "little")
            size = os.fstat(stream.fileno()).st_size
    except OSError as error:
        raise GraphError(f"cannot read {file}: {error.strerror}") from error
    if header > min(LARGEST_HEADER, size):
        raise GraphError(f"{file} is not a graph that kmorph wrote, or it is damaged")
    try:
        with safe_open(file, framework="numpy") as opened:
            text = (opened.metadata() or {}).get(HEADER_KEY)
            if text is None:
                raise GraphError(f"{file} is a safetensors file, but kmorph did not write it")
            structure = json.loads(text)
            yield opened, Graph.from_json(structure), bool(structure.get("has_weights"))
    except GraphError as error:
        raise type(error)(f"{file}: {str(error)[:LONGEST_REASON]}") from error
    except (SafetensorError, ValueError, TypeError, RecursionError, OverflowError, OSError) as error:
        reason = str(error)[:LONGEST_REASON]
        raise GraphError(f"{file} is not a graph that kmorph wrote, or it is damaged: {reason}") from error
