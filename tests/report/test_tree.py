"""The picture of a search's tree."""

import pytest

from kmorph.errors import GraphError
from kmorph.report.tree import BEST, draw_tree, lineage

ROWS = [
    {"model_id": 0, "parent_id": None, "change": "start: cnn", "n_parameters": 1234},
    {"model_id": 1, "parent_id": 0, "change": 'widen "all" \\ layers', "n_parameters": 5678},
    {"model_id": 2, "parent_id": 0, "change": "gate", "n_parameters": 1250},
    {"model_id": 3, "parent_id": 1, "change": "settle", "n_parameters": 5678},
]
ROWS = [{"metric_value": None, "loss": 0.25, "objective": "accuracy", **row} for row in ROWS]
ROWS[1]["metric_value"] = 0.75


def test_every_model_with_an_arrow_from_its_parent(tmp_path):
    text = draw_tree(ROWS, 3, tmp_path / "tree.dot").read_text(encoding="utf-8")
    assert text.count("->") == 3 and "1,234 parameters" in text and "accuracy 0.7500" in text
    assert text.count(BEST) == 3 and "m0 -> m2" in text.replace('"', "")


def test_a_search_without_models(tmp_path):
    assert "->" not in draw_tree([], None, tmp_path / "tree.dot").read_text(encoding="utf-8")


def test_other_formats_are_refused(tmp_path):
    with pytest.raises(GraphError, match="suffix must be one of"):
        draw_tree(ROWS, 3, tmp_path / "tree.bmp")


def test_lineage():
    rows = {row["model_id"]: row for row in ROWS}
    assert lineage(rows, 3) == [3, 1, 0] and lineage(rows, None) == [] and lineage(rows, 9) == []
