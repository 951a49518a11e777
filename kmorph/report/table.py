"""The models of a search as a table, and the words and numbers in it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from rich import box
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from kmorph.search.store.record import Record

ABSENT = "–"
FAILED_ID = "×"
BEST = "bold green"
FAILED = "red"
_LONGEST_REASON = 120


def models_table(
    records: Iterable[Record | Mapping[str, Any]],
    best_id: int | None = None,
    title: str | None = None,
    wrap: bool = True,
) -> Table:
    """A row for every candidate of a search, in the order given.

    Parameters
    ----------
    records : iterable of Record or dict
        Models and failures, as a history holds them or as ``history`` and ``failures`` show them.
    best_id : int, default=None
        The model whose row stands out.
    title : str, default=None
        Stands above the table.
    wrap : bool, default=True
        Whether long cells take several lines; otherwise they are cut.

    Returns
    -------
    rich.table.Table
        To be printed by a `rich.console.Console`.
    """
    rows = [as_values(record) for record in records]
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False, title_justify="left", title_style="bold")
    table.add_column("id", justify="right", no_wrap=True)
    table.add_column("parent", justify="right", no_wrap=True)
    table.add_column("what changed")
    metric = metric_name(rows)
    for name in ("parameters", *([] if metric == "loss" else [metric]), "loss", "seconds"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        failed = row["model_id"] is None
        best = not failed and row["model_id"] == best_id
        cells = [
            FAILED_ID if failed else f"{'*' if best else ''}{row['model_id']}",
            ABSENT if row["parent_id"] is None else str(row["parent_id"]),
            f"{change_of(row)}: {reason_of(row)}" if failed else change_of(row),
            f"{row['n_parameters']:,}",
            *([] if metric == "loss" else [number(row["metric_value"])]),
            number(row["loss"]),
            f"{row['seconds']:.1f}",
        ]
        style = BEST if best else FAILED if failed else ""
        # Text, not str: brackets in a change or a reason are no markup.
        overflow: Literal["fold", "ellipsis"] = "fold" if wrap else "ellipsis"
        table.add_row(*[Text(cell, style=style, no_wrap=not wrap, overflow=overflow) for cell in cells])
    return table


def as_values(record: Record | Mapping[str, Any]) -> Mapping[str, Any]:
    """A record as a mapping, as ``history`` shows it."""
    return record if isinstance(record, Mapping) else record.to_dict()


def metric_name(rows: Iterable[Mapping[str, Any]]) -> str:
    """Name of the metric of these models; ``metric`` if the records do not show it."""
    named = [row for row in rows if row["metric_value"] is not None]
    return plain(named[-1]["objective"]) if named else "metric"


def change_of(row: Mapping[str, Any]) -> str:
    """The change in words, never empty."""
    return plain(row["change"]) or ("start" if row["parent_id"] is None else "no change")


def reason_of(row: Mapping[str, Any]) -> str:
    """Why a candidate failed, in one line of bearable length."""
    reason = plain(row["reason"] or "no reason known")
    return reason if len(reason) <= _LONGEST_REASON else f"{reason[: _LONGEST_REASON - 1]}…"


def number(value: float | None) -> str:
    """A metric or a loss with four decimals; a dash if it was not measured."""
    if value is None:
        return ABSENT
    if math.isfinite(value) and (abs(value) >= 10_000 or 0 < abs(value) < 0.0001):
        return f"{value:.2e}"
    return f"{value:.4f}"


def plain(text: str) -> str:
    """The text in one line and without control characters, which a terminal would obey."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
