"""Paths as users give them, and one way to write a file."""

import errno
import os
import pwd
from pathlib import Path

import pytest

import kmorph
from kmorph import Graph
from kmorph.errors import DataError, ExportError, GraphError, KmorphError, SearchError
from kmorph.export import export
from kmorph.files import TEMPORARY_PREFIX, absolute_path, replace_file, user_path

GRAPH = kmorph.starts.mlp((2, 2, 1), 2, width=4).initialize(0)


@pytest.fixture
def home(tmp_path, monkeypatch):
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "home"


class Named:
    def __init__(self, path):
        self.path = path

    def __fspath__(self):
        return self.path


def nameless(monkeypatch):
    """A user without a home folder, as in a container."""

    def unknown(_):
        raise KeyError

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(pwd, "getpwnam", unknown)


@pytest.mark.parametrize("kind", [str, Path, os.fsencode, Named, lambda path: Named(os.fsencode(path))])
def test_every_kind_of_path_is_taken(home, kind):
    assert user_path(kind("~/run")) == home / "run"
    assert user_path(kind("run/a")) == Path("run/a")
    assert absolute_path(kind("run")) == Path.cwd() / "run"


def test_bytes_that_are_no_text_are_kept(home):
    odd = user_path(b"~/\xff\xe9.safetensors")
    assert GRAPH.save(b"~/\xff\xe9.safetensors") == odd
    assert os.listdir(os.fsencode(home)) == [b"\xff\xe9.safetensors"]
    assert Graph.load(odd) == GRAPH


def test_another_users_home(home):
    me = pwd.getpwuid(os.getuid())
    assert user_path(f"~{me.pw_name}/x") == Path(me.pw_dir, "x")


@pytest.mark.parametrize("path", ["~", "~/run", "~/", "~nobody-of-this-name/run"])
def test_an_unknown_home_is_refused(home, monkeypatch, path):
    nameless(monkeypatch)
    with pytest.raises(SearchError, match="HOME"):
        user_path(path, SearchError)


def test_a_file_whose_name_begins_with_a_tilde(home):
    assert user_path("~backup-of-nobody") == Path("~backup-of-nobody")
    assert user_path("./~nobody-of-this-name/x") == Path("~nobody-of-this-name/x")


@pytest.mark.parametrize("path", ["", b"", "a\0b", None, 3, 0.5, ["a"]], ids=repr)
@pytest.mark.parametrize(
    "call, error",
    [
        (GRAPH.save, GraphError),
        (Graph.load, GraphError),
        (GRAPH.draw, GraphError),
        (kmorph.load_searcher, SearchError),
        (lambda path: export(GRAPH, ["a", "b"], path), ExportError),
        (kmorph.datasets.read_idx, DataError),
        (lambda path: kmorph.datasets.load_mnist(path or b""), DataError),
        (lambda path: kmorph.datasets.load_cifar10(path or b""), DataError),
    ],
)
def test_what_is_no_path_is_refused(home, call, error, path):
    with pytest.raises(error, match="path"):
        call(path)


def test_everything_is_read_and_written_at_home(home):
    assert GRAPH.save("~/g.safetensors") == home / "g.safetensors"
    assert Graph.load("~/g.safetensors") == GRAPH
    assert GRAPH.draw("~/g.dot") == home / "g.dot"
    for load in (kmorph.datasets.load_mnist, kmorph.datasets.load_cifar10, kmorph.datasets.read_idx):
        with pytest.raises(DataError, match=str(home)):
            load("~/data")
    with pytest.raises(SearchError, match=str(home)):
        kmorph.load_searcher("~/run")
    assert os.listdir() == []


def test_relative_paths_from_a_removed_folder(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    for call in (
        lambda: absolute_path("run"),
        lambda: kmorph.load_searcher("run"),
        lambda: GRAPH.save("g.safetensors"),
        lambda: Graph.load("g.safetensors"),
        lambda: GRAPH.draw("g.dot"),
        lambda: kmorph.datasets.load_mnist("data"),
    ):
        with pytest.raises(KmorphError):
            call()
    assert GRAPH.save(tmp_path / "g.safetensors").exists()
    os.chdir(tmp_path)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    file = replace_file(tmp_path / "a.txt", lambda temporary: temporary.write_text("old"))

    def fail(temporary):
        assert temporary.name.startswith(TEMPORARY_PREFIX) and temporary.suffix == ".txt"
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match="No space"):
        replace_file(file, fail)
    assert file.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]
    with pytest.raises(GraphError, match="cannot write"):
        GRAPH.save(tmp_path / "none" / "g.safetensors")
    with pytest.raises(GraphError, match="cannot write"):
        GRAPH.draw(tmp_path / "none" / "g.dot")


def test_the_longest_name_can_be_written(tmp_path):
    name = "n" * (255 - len(".safetensors")) + ".safetensors"
    assert GRAPH.save(tmp_path / name).name == name
