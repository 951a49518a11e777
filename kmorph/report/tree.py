"""The tree of a search as a picture: which model grew from which, and how."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kmorph.files import UserPath
from kmorph.graph.draw import new_drawing, quoted, render
from kmorph.report.table import as_values, change_of, metric_name, number

if TYPE_CHECKING:
    from kmorph.search.store.record import Record

BEST, OTHER = "#fdba74", "#dbe7fb"  # fill of the best model with its ancestors, and of the others
LINE = 30  # characters


def draw_tree(records: Iterable[Record | Mapping[str, Any]], best_id: int | None, file: UserPath) -> Path:
    """Draw the models of a search, an arrow from each to its children; those that led to the best stand out.

    Parameters
    ----------
    records : iterable of Record or dict
        Models, as a history holds them or as ``history`` shows them.
    best_id : int or None
    file : path-like
        With the suffix ``svg``, ``png``, ``pdf`` or ``dot``.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    GraphError
        As `kmorph.graph.draw.render`.
    """
    import pydot

    rows = {row["model_id"]: row for row in map(as_values, records)}
    metric, line = metric_name(rows.values()), lineage(rows, best_id)
    dot = new_drawing(ranksep="0.35")
    for model_id, row in rows.items():
        measured = [f"{metric} {number(row['metric_value'])}"] if row["metric_value"] is not None else []
        measured += [f"loss {number(row['loss'])}"] if row["loss"] is not None and metric != "loss" else []
        about = [f"model {model_id}: {row['n_parameters']:,} parameters", ", ".join(measured)]
        words = textwrap.wrap(change_of(row), LINE)
        label = "\\n".join(text.replace("\\", "/") for text in (*words, *about) if text)
        colour = BEST if model_id in line else OTHER
        dot.add_node(pydot.Node(f"m{model_id}", label=quoted(label), fillcolor=quoted(colour)))
        if row["parent_id"] in rows:
            bold = model_id in line and row["parent_id"] in line
            width = "2.5" if bold else "1"
            dot.add_edge(pydot.Edge(f"m{row['parent_id']}", f"m{model_id}", penwidth=width))
    return render(dot, file)


def lineage(rows: Mapping[int, Mapping[str, Any]], model_id: int | None) -> list[int]:
    """Ids of a model and its ancestors, the start last; empty if there is no such model."""
    line: list[int] = []
    while model_id is not None and model_id in rows and model_id not in line:
        line.append(model_id)
        model_id = rows[model_id]["parent_id"]
    return line
