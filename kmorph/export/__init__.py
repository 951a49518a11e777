"""What users take away: a graph as an ordinary model file; a new format is one file and one line here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from kmorph.errors import ExportError
from kmorph.export.keras_file import write_keras
from kmorph.export.saved_model import write_saved_model
from kmorph.export.wrap import wrap_classifier
from kmorph.files import UserPath
from kmorph.graph import Graph

FORMATS: dict[str, Callable[[Graph, Sequence[str], UserPath], Path]] = {
    "keras": write_keras,
    "saved_model": write_saved_model,
}

__all__ = ["FORMATS", "export", "wrap_classifier", "write_keras", "write_saved_model"]


def export(graph: Graph, classes: Sequence[str], target: UserPath, format: str = "keras") -> Path:
    """Write a classifier to disk.

    Parameters
    ----------
    graph : Graph
        With weights; its output node is logits.
    classes : sequence of str
        Name of each class, in the order of the logits.
    target : path
        File or folder to write, as the format wants it.
    format : str, default="keras"
        One of `FORMATS`.

    Returns
    -------
    Path
        What was written.

    Raises
    ------
    ExportError
        If the format is unknown, the graph has no weights, the names do not fit it, or the target cannot be
        written.
    """
    if format not in FORMATS:
        raise ExportError(f"unknown format {format!r}; known are {', '.join(sorted(FORMATS))}")
    return FORMATS[format](graph, classes, target)
