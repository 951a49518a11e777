"""Exports: a graph as an ordinary model file; a new format is one file and one line here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

from kmorph.errors import ExportError
from kmorph.export.keras_file import write_keras
from kmorph.export.litert_file import write_litert
from kmorph.export.onnx_file import write_onnx
from kmorph.export.saved_model import write_saved_model
from kmorph.export.torch_file import write_torch
from kmorph.export.views import Views
from kmorph.export.wrap import wrap, wrap_classifier
from kmorph.files import UserPath
from kmorph.graph import Graph
from kmorph.problem import Input, Target

FORMATS: dict[str, Callable[..., Path]] = {
    "keras": write_keras,
    "litert": write_litert,
    "onnx": write_onnx,
    "saved_model": write_saved_model,
    "torch": write_torch,
}
"""Functions of a graph, classes or target, path, views and input; options of a format are keyword-only."""

__all__ = [
    "FORMATS",
    "Views",
    "export",
    "wrap",
    "wrap_classifier",
    "write_keras",
    "write_litert",
    "write_onnx",
    "write_saved_model",
    "write_torch",
]


def export(
    graph: Graph,
    classes: Sequence[str] | Target,
    target: UserPath,
    format: str = "keras",
    views: Views | None = None,
    input: Input | None = None,
    **options: Any,
) -> Path:
    """Write a network to disk.

    Parameters
    ----------
    graph : Graph
        With weights; its output node is logits, or standardised numbers.
    classes : sequence of str, or Target
        Name of each class, in the order of the logits; or what turns outputs into scores.
    target : path
        File or folder to write, as the format wants it.
    format : str, default="keras"
        One of `FORMATS`.
    views : Views, optional
        Over which outputs are averaged.
    input : Input, optional
        Reads examples as users have them, where these are no arrays.
    **options
        Options of the format; see its function.

    Returns
    -------
    Path
        What was written.

    Raises
    ------
    ExportError
        If the format or an option is unknown, the graph has no weights, the names do not fit it, or the
        target cannot be written.
    """
    if format not in FORMATS:
        raise ExportError(f"unknown format {format!r}; known are {', '.join(sorted(FORMATS))}")
    write = FORMATS[format]
    known = [name for name, one in signature(write).parameters.items() if one.kind == Parameter.KEYWORD_ONLY]
    for name in options:
        if name not in known:
            has = f"has {', '.join(known)}" if known else "has none"
            raise ExportError(f"unknown option {name!r} of the format {format!r}, which {has}")
    return write(graph, classes, target, views, input, **options)
