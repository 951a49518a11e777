"""The history on disk: what is added stays, whoever is killed."""

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

from kmorph.errors import SearchError
from kmorph.search.store.database import DATABASE_VERSION
from kmorph.search.store.history import History
from kmorph.search.store.record import FailureRecord, ModelRecord


def model(model_id, **changes):
    return ModelRecord(
        **{"model_id": model_id, "state": "done", "metric_value": 0.5, "change": "start", **changes}
    )


def failure(reason="out of memory"):
    return FailureRecord(parent_id=0, reason=reason)


def run(code, *arguments, **options):
    """A real second process."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, text=True, **options
    )


def test_what_is_added_is_there(tmp_path):
    file = tmp_path / "search.db"
    models, failures = [model(0), model(1, parent_id=0), model(5)], [failure("a"), failure("b")]
    with History.create(file, {"labels": ["a", "b"], "task": {"kind": "images"}}) as history:
        assert history.next_model_id() == 0 and history.records() == [] and history.failures() == []
        for record in models:
            history.add(record)
        for record in failures:
            history.add_failure(record)
        history.set_meta("split_seed", 7)
    for readonly in (True, False):
        with History.open(file, readonly=readonly) as history:
            assert history.records() == models
            assert history.failures() == failures
            assert history.next_model_id() == 6
            assert history.get_meta("labels") == ["a", "b"]
            assert history.get_meta("split_seed") == 7
            assert history.get_meta("format_version") == DATABASE_VERSION
            assert isinstance(history.get_meta("kmorph_version"), str)
            assert history.get_meta("nothing", "default") == "default"
    assert [entry.name for entry in tmp_path.iterdir()] == ["search.db"]  # one file, to copy as it is


def test_update_replaces_one_record(tmp_path):
    with History.create(tmp_path / "search.db") as history:
        history.add(model(0))
        history.add(model(1))
        history.update(model(0, phase="final", metric_value=0.9))
        assert [record.metric_value for record in history.records()] == [0.9, 0.5]
        with pytest.raises(SearchError, match="no model 2"):
            history.update(model(2))


def test_wrong_calls(tmp_path):
    with History.create(tmp_path / "search.db") as history:
        history.add(model(0))
        for call, match in (
            (lambda: history.add(model(0)), "already"),
            (lambda: history.set_meta("epoch", 9), "reserved|belongs"),
            (lambda: history.set_meta("x", float("nan")), "JSON"),
            (lambda: history.set_meta("x", object()), "JSON"),
        ):
            with pytest.raises(SearchError, match=match):
                call()
        assert history.records() == [history.records()[0]]
    history.close()
    with pytest.raises(SearchError, match="open the history again"):
        history.records()
    with History.open(tmp_path / "search.db", readonly=True) as reader:
        assert reader.epoch is None
        with pytest.raises(SearchError, match="reading only"):
            reader.add(model(1))


def test_create_writes_over_nothing(tmp_path):
    file = tmp_path / "search.db"
    History.create(file).close()
    before = file.read_bytes()
    with pytest.raises(SearchError, match="exists already"):
        History.create(file)
    assert file.read_bytes() == before


def test_half_made_database_is_created(tmp_path):
    file = tmp_path / "search.db"
    assert not History.exists(file)
    file.touch()
    assert not History.exists(file)
    with pytest.raises(SearchError, match="never began"):
        History.open(file)
    with History.create(file) as history:
        history.add(model(0))
    assert History.exists(file)


def test_outdated_writer_is_shut_out(tmp_path):
    file = tmp_path / "search.db"
    orphan = History.create(file)
    orphan.add(model(0))
    with History.open(file) as history:
        assert (orphan.epoch, history.epoch) == (1, 2)
        for write in (
            lambda: orphan.add(model(1)),
            lambda: orphan.add_failure(failure()),
            lambda: orphan.update(model(0, change="orphan")),
            lambda: orphan.set_meta("x", 1),
        ):
            with pytest.raises(SearchError, match="resumed elsewhere"):
                write()
        assert orphan.records() == history.records()  # it may still look
        history.add(model(1))
        assert history.claim() == 3
        history.add(model(2))
    orphan.close()


ADD_FOR_EVER = """
import sys
from kmorph.search.store.history import History
from kmorph.search.store.record import ModelRecord
with History.open(sys.argv[1]) as history:
    number = history.next_model_id()
    while True:
        history.add(ModelRecord(model_id=number, state="done", change="x" * (number % 7 * 3_000)))
        print(number, flush=True)
        number += 1
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_killed_writer_loses_nothing(tmp_path):
    file = tmp_path / "search.db"
    History.create(file).close()
    instants = random.Random(0)
    told = 0
    for _ in range(15):
        writer = run(ADD_FOR_EVER, file)
        assert writer.stdout.readline(), "the writer did not start"
        time.sleep(instants.uniform(0, 0.1))
        writer.send_signal(signal.SIGKILL)
        lines = writer.communicate(timeout=60)[0].split("\n")[:-1]
        with History.open(file, readonly=True) as history:  # a reader alone must be able to recover
            ids = [record.model_id for record in history.records()]
        assert ids == list(range(len(ids)))
        told = max([told, *map(int, lines)])
        assert len(ids) > told
    with History.open(file) as history:
        assert history.epoch == 1 + 15 + 1


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_transaction_cut_in_the_middle_of_the_file_is_rolled_back(tmp_path):
    """The worst instant: the database is partly written and its journal is still there."""
    file = tmp_path / "search.db"
    with History.create(file) as history:
        history.add(model(0))
    code = """
import os, signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")  # spills pages into the file before the commit
connection.execute("BEGIN IMMEDIATE")
connection.execute("DELETE FROM models")
connection.executemany("INSERT INTO models VALUES (?, ?)", ((i, "y" * 3000) for i in range(500)))
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert run(code, file).wait(10) == -signal.SIGKILL
    assert (tmp_path / "search.db-journal").stat().st_size > 0 and file.stat().st_size > 10**6
    with History.open(file, readonly=True) as history:
        assert [record.model_id for record in history.records()] == [0]
    assert not (tmp_path / "search.db-journal").exists()


def test_readers_look_while_a_writer_works(tmp_path):
    file = tmp_path / "search.db"
    History.create(file).close()
    writer = run(ADD_FOR_EVER, file)
    try:
        assert writer.stdout.readline()
        seen, end = [], time.monotonic() + 0.5
        while time.monotonic() < end or len(seen) < 5:
            with History.open(file, readonly=True) as history:
                seen.append(len(history.records()))
        assert writer.poll() is None  # it was not disturbed
    finally:
        writer.kill()
        writer.communicate(timeout=60)
    assert seen == sorted(seen) and seen[-1] > seen[0]


def test_threads_share_a_history(tmp_path):
    with History.create(tmp_path / "search.db") as history:
        threads = [
            threading.Thread(target=lambda k=k: [history.add(model(10 * k + i)) for i in range(10)])
            for k in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [record.model_id for record in history.records()] == list(range(30))


def test_interrupt_inside_a_transaction_leaves_the_old_state(tmp_path):
    with History.create(tmp_path / "search.db") as history:
        history.add(model(0))
        with pytest.raises(KeyboardInterrupt), history._transaction() as connection:
            connection.execute("DELETE FROM models")
            raise KeyboardInterrupt
        history.add(model(1))
        assert len(history.records()) == 2


def test_locked_database(tmp_path):
    file = tmp_path / "search.db"
    History.create(file).close()
    code = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.readline()
"""
    holder = run(code, file, stdin=subprocess.PIPE)
    try:
        assert holder.stdout.readline()
        for readonly in (True, False):
            with pytest.raises(SearchError, match="another process"):
                History.open(file, readonly=readonly, timeout=0.2)
        assert History.exists(file, timeout=0.2)
    finally:
        holder.communicate("\n", timeout=60)
    History.open(file).close()


def test_full_disk_keeps_what_was_recorded(tmp_path):
    resource = pytest.importorskip("resource", reason="file sizes cannot be limited on this system")
    file = tmp_path / "search.db"
    with History.create(file) as history:
        history.add(model(0))
    limit = file.stat().st_size + 20_000
    code = """
import sys
from kmorph.errors import SearchError
from kmorph.search.store.history import History
from kmorph.search.store.record import ModelRecord
with History.open(sys.argv[1]) as history:
    try:
        for number in range(1, 100):
            history.add(ModelRecord(model_id=number, state="done", change="x" * 5_000))
    except SearchError as error:
        print(number, error)
"""
    writer = run(code, file, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    failed, message = writer.communicate(timeout=60)[0].split(" ", 1)
    assert "disk" in message
    with History.open(file) as history:
        assert [record.model_id for record in history.records()] == list(range(int(failed)))
        history.add(model(int(failed)))


def test_snapshot_is_one_moment(tmp_path):
    file = tmp_path / "search.db"
    with History.create(file, timeout=0.1) as history:
        history.add(model(0))
        with History.open(file, readonly=True) as reader:
            with reader.snapshot():
                assert len(reader.records()) == 1
                with pytest.raises(SearchError, match="another process"):
                    history.add(model(1))
                assert len(reader.records()) == 1
            history.add(model(1))
            assert len(reader.records()) == 2


def test_missing_file_and_folder(tmp_path):
    for file in (tmp_path / "search.db", tmp_path / "no folder" / "search.db", tmp_path):
        with pytest.raises(SearchError, match="no search at"):
            History.open(file)
    with pytest.raises(SearchError, match="unable to open"):
        History.create(tmp_path / "no folder" / "search.db")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write into read-only folders"
)
def test_read_only_folder_is_readable(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    with History.create(folder / "search.db") as history:
        history.add(model(0))
    os.chmod(folder / "search.db", 0o444)
    os.chmod(folder, 0o555)
    try:
        with History.open(folder / "search.db", readonly=True) as history:
            assert len(history.records()) == 1
        with pytest.raises(SearchError, match="writable"):
            History.open(folder / "search.db")
    finally:
        os.chmod(folder, 0o755)


def test_copied_folder_opens_anywhere(tmp_path):
    folder = tmp_path / "a b?#%ü"
    folder.mkdir()
    with History.create(folder / "search.db") as history:
        history.add(model(0))
    shutil.copytree(folder, tmp_path / "copy")
    with History.open(tmp_path / "copy" / "search.db", readonly=True) as history:
        assert len(history.records()) == 1
