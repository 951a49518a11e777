"""The table of models: every candidate a row, whatever its record holds."""

import io

from rich.console import Console

from kmorph.report import models_table
from kmorph.search.store.record import FailureRecord, ModelRecord


def shown(table, width=100):
    stream = io.StringIO()
    Console(file=stream, width=width).print(table)
    return stream.getvalue()


def model(model_id, **values):
    given = {"state": "done", "metric_value": 0.5, "loss": 0.25, "metrics": {"loss": 0.25, "accuracy": 0.5}}
    return ModelRecord(model_id=model_id, **{**given, **values})


def test_a_row_for_every_candidate():
    records = [
        model(0, change="start: cnn", n_parameters=12345, seconds=1.25),
        FailureRecord(parent_id=0, reason="out of memory", change="widen"),
        model(1, parent_id=0, change="deepen [conv 3×3]", metric_value=0.75, metrics={"accuracy": 0.75}),
    ]
    text = shown(models_table(records, best_id=1))
    lines = [line.split() for line in text.splitlines() if line.strip()]
    assert lines[0] == ["id", "parent", "what", "changed", "parameters", "accuracy", "loss", "seconds"]
    assert lines[2] == ["0", "–", "start:", "cnn", "12,345", "0.5000", "0.2500", "1.2"]
    assert lines[3] == ["×", "0", "widen:", "out", "of", "memory", "0", "–", "–", "0.0"]
    assert lines[4] == ["*1", "0", "deepen", "[conv", "3×3]", "0", "0.7500", "0.2500", "0.0"]
    assert shown(models_table([record.to_dict() for record in records], best_id=1)) == text


def test_no_models():
    assert "what changed" in shown(models_table([]))


def test_odd_values_are_shown():
    odd = [
        model(0, change="", metric_value=None, loss=None, metrics={}),
        model(1, parent_id=0, loss=float("nan"), metric_value=123456.0, objective="mse"),
        model(2, objective="mse", loss=1e-7, change="two\nlines and a bell\a and \x1b[31mred [/] [bold]"),
    ]
    text = shown(models_table(odd), width=140)
    assert "\x1b" not in text and "\a" not in text
    assert "two lines and a bell and [31mred [/] [bold]" in text
    for words in ("start", "no change", "nan", "1.23e+05", "1.00e-07", "mse"):
        assert words in text


def test_long_cells_wrap_or_are_cut():
    record = model(0, change="widen " * 40)
    assert shown(models_table([record]), width=80).count("widen") == 40
    cut = shown(models_table([record], wrap=False), width=80)
    assert "…" in cut and len(cut.splitlines()) == len(shown(models_table([model(0)]), width=80).splitlines())
