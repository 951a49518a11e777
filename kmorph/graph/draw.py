"""Drawings by Graphviz, and that of a graph."""

from __future__ import annotations

import subprocess
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING

from kmorph.errors import GraphError
from kmorph.files import UserPath, user_path

if TYPE_CHECKING:
    import pydot

    from kmorph.graph.graph import Graph

FORMATS = ("svg", "png", "pdf", "dot")


def draw_graph(graph: Graph, file: UserPath) -> Path:
    """Draw a graph; see `Graph.draw`."""
    import pydot

    dot = new_drawing(ranksep="0.3")
    dot.add_node(pydot.Node("n0", label=quoted(f"input {_times(graph.input_shape)}"), fillcolor='"#e4e7ec"'))
    for i, layer in enumerate(graph.layers):
        dot.add_node(pydot.Node(f"n{i + 1}", label=quoted(layer.describe()), fillcolor=quoted(layer.colour)))
        for node in graph.inputs[i]:
            dot.add_edge(pydot.Edge(f"n{node}", f"n{i + 1}", label=quoted(_times(graph.node_shapes[node]))))
    return render(dot, file)


def new_drawing(**attributes: str) -> pydot.Dot:
    """An empty drawing in kmorph's style, from top to bottom."""
    import pydot

    dot = pydot.Dot(
        "kmorph", graph_type="digraph", rankdir="TB", fontname="Helvetica", nodesep="0.25", **attributes
    )
    dot.set_node_defaults(shape="box", style="rounded,filled", fontname="Helvetica", fontsize="11")
    dot.set_edge_defaults(color="#667085", fontname="Helvetica", fontsize="9", fontcolor="#667085")
    return dot


def render(dot: pydot.Dot, file: UserPath) -> Path:
    """Write a drawing to a file, in the format of its suffix.

    Parameters
    ----------
    dot : pydot.Dot
    file : path-like
        With the suffix ``svg``, ``png``, ``pdf`` or ``dot``; only the last needs no Graphviz.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    GraphError
        If the suffix is another, the file cannot be written, or Graphviz is missing; then its source is
        written beside it.
    """
    file = user_path(file, GraphError)
    suffix = file.suffix.lstrip(".").lower()
    if suffix not in FORMATS:
        raise GraphError(f"cannot draw to {file.name!r}: the suffix must be one of {', '.join(FORMATS)}")
    if suffix == "dot":
        return _written(file, dot.to_string())
    program = which("dot")
    if program is None:
        source = _written(file.with_suffix(".dot"), dot.to_string())
        raise GraphError(
            f"Graphviz' program dot is missing, so {source} was written instead of {file.name}. Install it "
            "with `apt-get install graphviz`, `brew install graphviz` or from graphviz.org, then draw again"
        )
    done = subprocess.run(
        [program, f"-T{suffix}", "-o", str(file)], input=dot.to_string().encode(), capture_output=True
    )
    if done.returncode:
        raise GraphError(f"Graphviz could not draw {file}: {done.stderr.decode(errors='replace').strip()}")
    return file


def _written(file: Path, text: str) -> Path:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise GraphError(f"cannot write {file}: {error.strerror or error}; choose another place") from error
    return file


def _times(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))


def quoted(text: str) -> str:
    """The text as Graphviz takes it."""
    return '"' + text.replace('"', "'") + '"'
