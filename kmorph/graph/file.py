"""Graphs on disk: one safetensors file, the structure as JSON in its header."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kmorph.errors import GraphError

if TYPE_CHECKING:
    from kmorph.graph.graph import Graph

HEADER_KEY = "kmorph.graph"
LARGEST_HEADER = 16 * 2**20  # bytes; ten thousand layers need about two megabytes


def save_graph(graph: Graph, file: str | Path) -> Path:
    """Write a graph; see `Graph.save`."""
    from safetensors.numpy import save

    file = Path(file)
    arrays = {}
    if graph.has_weights:
        arrays = {f"{i}/{name}": np.ascontiguousarray(array) for (i, name), array in graph.weights.items()}
    structure = json.dumps({**graph.to_json(), "has_weights": graph.has_weights}, separators=(",", ":"))
    data = save(arrays, metadata={HEADER_KEY: structure})
    handle, temporary = tempfile.mkstemp(prefix=f".{file.name}.", suffix=".tmp", dir=file.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return file


def load_graph(file: str | Path, weights: bool = True) -> Graph:
    """Read a graph; see `Graph.load`."""
    from safetensors import SafetensorError, safe_open

    from kmorph.graph.graph import Graph

    file = Path(file)
    try:
        with open(file, "rb") as stream:
            header = int.from_bytes(stream.read(8), "little")
    except OSError as error:
        raise GraphError(f"cannot read {file}: {error.strerror}") from error
    if header > min(LARGEST_HEADER, file.stat().st_size):
        raise GraphError(f"{file} is not a graph that kmorph wrote, or it is damaged")
    try:
        with safe_open(file, framework="numpy") as opened:
            text = (opened.metadata() or {}).get(HEADER_KEY)
            if text is None:
                raise GraphError(f"{file} is a safetensors file, but kmorph did not write it")
            structure = json.loads(text)
            graph = Graph.from_json(structure)
            if not weights or not structure.get("has_weights"):
                return graph
            arrays = {}
            for key in list(opened.keys()):
                layer, _, name = key.partition("/")
                arrays[int(layer), name] = opened.get_tensor(key)
        return graph.with_weights(arrays)
    except GraphError as error:
        raise GraphError(f"{file}: {error}") from error
    except (SafetensorError, ValueError, TypeError, RecursionError, OverflowError, OSError) as error:
        raise GraphError(f"{file} is not a graph that kmorph wrote, or it is damaged: {error}") from error
