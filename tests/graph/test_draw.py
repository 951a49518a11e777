"""Drawings."""

import shutil

import pytest
from graph_samples import residual

from kmorph.errors import GraphError

needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
BEGINS = {"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF"}


@needs_dot
@pytest.mark.parametrize("suffix", BEGINS)
def test_drawing(tmp_path, suffix):
    file = residual().draw(tmp_path / f"graph.{suffix}")
    assert file.read_bytes().startswith(BEGINS[suffix])


@needs_dot
def test_svg_shows_layers_and_shapes(tmp_path):
    text = residual().draw(str(tmp_path / "graph.svg")).read_text(encoding="utf-8")
    assert all(words in text for words in ("conv 3×3, 4", "8×8×2", "batch norm", "dense 3"))


def test_dot_needs_no_graphviz(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    file = residual().draw(tmp_path / "graph.dot")
    assert file.read_text(encoding="utf-8").startswith("digraph")


def test_missing_graphviz_says_how_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(GraphError, match="apt-get install graphviz"):
        residual().draw(tmp_path / "graph.svg")
    assert (tmp_path / "graph.dot").read_text(encoding="utf-8").startswith("digraph")
    assert not (tmp_path / "graph.svg").exists()


@pytest.mark.parametrize("name", ["graph.bmp", "graph"])
def test_unknown_suffix(tmp_path, name):
    with pytest.raises(GraphError, match="svg, png, pdf, dot"):
        residual().draw(tmp_path / name)


@needs_dot
def test_unwritable_place(tmp_path):
    with pytest.raises(GraphError, match="could not draw"):
        residual().draw(tmp_path / "missing" / "graph.svg")
