"""A search is known by its id: renamed, moved or copied folders are found, another search never is."""

import contextlib
import pickle
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest
from search_samples import graph, make_search

from kmorph import load_searcher
from kmorph.errors import KmorphError, SearchError
from kmorph.search.store.folder import RunFolder
from kmorph.search.store.history import History
from kmorph.search.store.home import Home

LOOKS = {
    "path": lambda searcher: searcher.path,
    "history": lambda searcher: searcher.history,
    "failures": lambda searcher: searcher.failures,
    "meta": lambda searcher: searcher.meta("seed"),
    "discarded_share": lambda searcher: searcher.discarded_share,
    "get_best_model_id": lambda searcher: searcher.get_best_model_id(),
    "load_model_by_id": lambda searcher: searcher.load_model_by_id(0),
    "load_best_model": lambda searcher: searcher.load_best_model(),
    "repr": repr,
}


def seeds(searchers):
    return [searcher.meta("seed") for searcher in searchers]


def same_weights(one, other):
    first, second = one.to_keras().get_weights(), other.to_keras().get_weights()
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_ids_are_kept_and_differ(tmp_path):
    with History.create(tmp_path / "a.db") as one, History.create(tmp_path / "b.db") as two:
        assert one.search_id != two.search_id
        with pytest.raises(SearchError, match="belongs"):
            one.set_meta("search_id", "mine")
        for readonly in (True, False):
            with History.open(tmp_path / "a.db", readonly) as again:
                assert again.search_id == one.search_id


def test_histories_without_an_id_get_a_stable_one(tmp_path):
    ids = []
    for seed in (1, 2):
        file = tmp_path / f"{seed}.db"
        with History.create(file, {"seed": seed}) as history:
            history._connection.execute("DELETE FROM meta WHERE key = 'search_id'")
            ids.append(history.search_id)
            history.set_meta("objective", "loss")
        with History.open(file) as again:
            assert again.search_id == ids[-1]
    assert ids[0] != ids[1]


@pytest.mark.parametrize("value", ["1", '""', "[]", "{}", '"' + "x" * 1000 + '"', "true"])
def test_damaged_id(tmp_path, value):
    with History.create(tmp_path / "a.db") as history:
        history._connection.execute("UPDATE meta SET value = ? WHERE key = 'search_id'", (value,))
        with pytest.raises(SearchError, match="search id"):
            _ = history.search_id


def test_open_searchers_follow_their_search(tmp_path):
    searchers = []
    for number in range(3):
        searchers.append(load_searcher(make_search(tmp_path / "run", seed=10 * number)))
    pickles = [pickle.dumps(searcher) for searcher in searchers]
    assert seeds(searchers) == [0, 10, 20]
    assert [searcher.path.name for searcher in searchers] == ["run.1", "run.2", "run"]
    for searcher, seed in zip(searchers, (0, 10, 20), strict=True):
        assert same_weights(searcher.load_best_model(), graph(seed + 1))
    make_search(tmp_path / "run.1", seed=30)  # moves the first once more
    assert seeds(searchers) == [0, 10, 20] and searchers[0].path.name == "run.1.1"
    assert seeds(map(pickle.loads, pickles)) == [0, 10, 20]


def test_pickled_searcher_in_another_process(tmp_path):
    content = pickle.dumps(load_searcher(make_search(tmp_path / "run", seed=5)))
    make_search(tmp_path / "run", seed=6)
    code = "import pickle, sys; print(pickle.load(sys.stdin.buffer).meta('seed'))"
    done = subprocess.run([sys.executable, "-c", code], input=content, capture_output=True, check=True)
    assert done.stdout.strip() == b"5"


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_a_search_that_is_gone_is_refused(tmp_path, look):
    searcher = load_searcher(make_search(tmp_path / "run"))
    make_search(tmp_path / "run", seed=7)
    shutil.rmtree(tmp_path / "run.1")
    with pytest.raises(SearchError, match="moved or deleted"):
        look(searcher)
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(SearchError, match="moved or deleted"):
        look(searcher)


def test_moved_by_hand_and_back(tmp_path):
    searcher = load_searcher(make_search(tmp_path / "run", seed=5))
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    with pytest.raises(SearchError, match=r"load_searcher\(path\)"):
        searcher.records()
    assert load_searcher(tmp_path / "elsewhere").search_id == searcher.search_id
    (tmp_path / "elsewhere").rename(tmp_path / "run.7")
    assert searcher.path.name == "run.7"
    (tmp_path / "run.7").rename(tmp_path / "run")
    assert searcher.path.name == "run"


def test_of_copies_the_one_at_the_known_path_wins(tmp_path):
    path = make_search(tmp_path / "run", seed=5)
    searcher = load_searcher(path)
    shutil.copytree(path, tmp_path / "run.1")
    copied = load_searcher(tmp_path / "run.1")
    assert copied.search_id == searcher.search_id
    assert searcher.path.name == "run" and copied.path.name == "run.1"
    make_search(tmp_path / "run", seed=6)
    assert searcher.path.name == "run.2"  # the folder itself, not its copy
    shutil.rmtree(tmp_path / "run.2")
    assert searcher.path.name == "run.1"


def test_searchers_do_not_depend_on_the_working_folder_or_links(tmp_path, monkeypatch):
    make_search(tmp_path / "disk", seed=5)
    (tmp_path / "run").symlink_to(tmp_path / "disk", target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    searcher = load_searcher("run")
    monkeypatch.chdir("/")
    assert searcher.meta("seed") == 5
    make_search(tmp_path / "run", seed=6)
    assert searcher.meta("seed") == 5 and searcher.path.name == "disk.1"


def test_damaged_search_says_so(tmp_path):
    searcher = load_searcher(make_search(tmp_path / "run"))
    (tmp_path / "run.1").mkdir()
    for name in ("run", "run.1"):
        (tmp_path / name / "search.db").write_text("damaged " * 200)
    with pytest.raises(SearchError, match="damaged"):
        searcher.records()


def test_damaged_neighbours_do_not_matter(tmp_path):
    searcher = load_searcher(make_search(tmp_path / "run", seed=5))
    (tmp_path / "run.1").mkdir()
    (tmp_path / "run.1" / "search.db").write_text("damaged " * 200)
    make_search(tmp_path / "run", seed=6)
    assert searcher.meta("seed") == 5


def test_lock_takes_the_search_wherever_it_is(tmp_path):
    home = Home.of(make_search(tmp_path / "run", seed=5))
    make_search(tmp_path / "run", seed=6)
    with home.lock() as folder:
        assert folder.path.name == "run.1" and folder.holds_search
        with pytest.raises(SearchError, match="in use"):
            home.lock()
    shutil.rmtree(tmp_path / "run.1")
    with pytest.raises(SearchError, match="moved or deleted"):
        home.lock()
    with RunFolder.open(tmp_path / "run", resume=True):  # was left alone
        pass


def test_what_is_read_while_the_folder_is_renamed_is_read_again(tmp_path):
    home = Home.of(make_search(tmp_path / "run", seed=5))
    calls = []

    def look(folder):
        """The worst instant: between two files that belong together."""
        with History.open(folder / "search.db", readonly=True) as history:
            seed = history.get_meta("seed")
        calls.append(folder.name)
        if len(calls) == 1:
            make_search(tmp_path / "run", seed=6)
        with History.open(folder / "search.db", readonly=True) as history:
            return seed, history.get_meta("seed")

    assert home.read(look) == (5, 5) and calls == ["run", "run.1"]


def test_errors_while_the_folder_is_renamed_are_not_the_answer(tmp_path):
    home = Home.of(make_search(tmp_path / "run", seed=5))
    calls = []

    def look(folder):
        calls.append(folder.name)
        if len(calls) == 1:
            make_search(tmp_path / "run", seed=6)
            raise SearchError("no such file")
        raise SearchError("a true one")

    with pytest.raises(SearchError, match="a true one"):
        home.read(look)
    assert calls == ["run", "run.1"]


def test_readers_and_newcomers_at_once(tmp_path):
    """Whatever is renamed meanwhile, a reader gets its own search's answers."""
    searcher = load_searcher(make_search(tmp_path / "run", seed=1000))
    expected, stop, wrong = searcher.history, threading.Event(), []

    def read():
        while not stop.is_set():
            try:
                if searcher.meta("seed") != 1000 or searcher.history != expected:
                    wrong.append("another search")
                searcher.load_model_by_id(1)
            except KmorphError as error:
                wrong.append(str(error))

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for number in range(6):
            make_search(tmp_path / "run", models=1, seed=number)
            with contextlib.suppress(OSError):
                searcher.path.rename(tmp_path / f"run.{100 + number}")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not wrong
