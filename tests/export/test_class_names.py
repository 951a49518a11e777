"""Names of classes that are not plain text."""

import pytest

from kmorph import starts
from kmorph.errors import ExportError
from kmorph.export import export, write_keras, write_saved_model
from kmorph.export.wrap import checked_names


@pytest.fixture(scope="module")
def graph():
    return starts.mlp((4,), 2, width=4, depth=1).initialize(0)


def test_bytes_are_read_as_utf8(graph):
    assert checked_names(graph, [b"caf\xc3\xa9", "b"]) == ("café", "b")


@pytest.mark.parametrize("format", ["keras", "saved_model"])
def test_bytes_that_are_no_text(graph, tmp_path, format):
    with pytest.raises(ExportError, match=r"xff.*UTF-8.*decode"):
        export(graph, [b"\xff", "b"], tmp_path / "model.keras", format)
    assert not list(tmp_path.iterdir())


def test_surrogates(graph, tmp_path):
    with pytest.raises(ExportError, match=r"ud800.*surrogate"):
        write_saved_model(graph, ["\ud800", "b"], tmp_path / "model")
    assert not list(tmp_path.iterdir())
    assert write_keras(graph, ["\ud800", "b"], tmp_path / "model.keras").exists()  # names have no place there
