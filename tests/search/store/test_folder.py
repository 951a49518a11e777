"""One search a folder, nothing of the user's lost, half-made folders usable."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from kmorph.errors import SearchError
from kmorph.files import TEMPORARY_PREFIX, replace_file
from kmorph.search.store.folder import RunFolder
from kmorph.search.store.history import History
from kmorph.search.store.record import ModelRecord

AS_ROOT = not hasattr(os, "geteuid") or os.geteuid() == 0


def make_search(path, models=1):
    with RunFolder.open(path, resume=False) as folder, History.create(folder.database) as history:
        for number in range(models):
            replace_file(folder.model_file(number), lambda file, n=number: file.write_text(f"model {n}"))
            history.add(ModelRecord(model_id=number, state="done"))
    return folder


@pytest.fixture
def holder(tmp_path):
    """A real process that holds `tmp_path / "run"` until it is ended."""
    code = """
import sys
from kmorph.search.store.folder import RunFolder
from kmorph.search.store.history import History
folder = RunFolder.open(sys.argv[1], resume=True)
(folder.scratch / "events").write_text("at work")
(folder.models / ".kmorph-tmp-half.safetensors").write_text("half")
(folder.path / ".kmorph-tmp-half").write_text("half")
history = History.open(folder.database) if folder.holds_search else History.create(folder.database)
print("held", flush=True)
sys.stdin.readline()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "run")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate(timeout=60)


def test_new_folder(tmp_path):
    with RunFolder.open(tmp_path / "a" / "b", resume=False) as folder:
        assert folder.path == (tmp_path / "a" / "b").resolve()
        assert folder.models.is_dir() and folder.scratch.is_dir() and list(folder.scratch.iterdir()) == []
        assert folder.database.parent == folder.path and not folder.holds_search
        assert folder.model_file(12) == folder.models / "12.safetensors"
        assert folder.moved_aside is None
        scratch = folder.scratch
        (scratch / "data").write_text("x")
    assert not scratch.exists()
    folder.release()


@pytest.mark.parametrize("spelling", ["run", "run/", "./run/", "~/run", "below/../run"])
def test_spellings_of_a_path(tmp_path, monkeypatch, spelling):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "below").mkdir()
    for aside in (None, "run.1", "run.2"):
        folder = make_search(spelling)
        assert folder.path == (tmp_path / "run").resolve()
        assert (folder.moved_aside and folder.moved_aside.name) == aside


def test_none_is_a_new_kept_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with RunFolder.open(None, resume=True) as one, RunFolder.open(None, resume=True) as two:
        assert one.path != two.path and not one.holds_search
    assert one.path.is_dir() and one.path.parent == tmp_path.resolve()


def test_search_is_renamed_aside_whole(tmp_path):
    make_search(tmp_path / "run", models=2)
    (tmp_path / "run" / "notes.txt").write_text("mine")
    (tmp_path / "run.1").write_text("taken")
    with RunFolder.open(tmp_path / "run", resume=False) as folder:
        assert folder.moved_aside == tmp_path.resolve() / "run.2"
        assert not folder.holds_search and not any(folder.models.iterdir())
    assert (tmp_path / "run.2" / "notes.txt").read_text() == "mine"
    assert (tmp_path / "run.2" / "models" / "1.safetensors").read_text() == "model 1"
    with RunFolder.open(tmp_path / "run.2", resume=True) as folder, History.open(folder.database) as history:
        assert [record.model_id for record in history.records()] == [0, 1]


def test_link_stays_and_the_folder_behind_it_is_renamed(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "disk", target_is_directory=True)
    make_search(tmp_path / "run")
    with RunFolder.open(tmp_path / "run", resume=False) as folder:
        assert folder.moved_aside.name == "disk.1"
    assert (tmp_path / "run").is_symlink() and (tmp_path / "run").resolve() == folder.path


def test_current_folder_is_not_renamed(tmp_path, monkeypatch):
    make_search(tmp_path / "run")
    (tmp_path / "run" / "below").mkdir()
    for here in ("run", "run/below"):
        monkeypatch.chdir(tmp_path / here)
        with pytest.raises(SearchError, match="current folder"):
            RunFolder.open(tmp_path / "run", resume=False)
    RunFolder.open(tmp_path / "run", resume=True).release()


def test_resume_goes_on(tmp_path):
    make_search(tmp_path / "run", models=3)
    with RunFolder.open(tmp_path / "run", resume=True) as folder:
        assert folder.holds_search and folder.moved_aside is None
        with History.open(folder.database) as history:
            assert history.next_model_id() == 3
        assert folder.model_file(2).read_text() == "model 2"


HALF_MADE = {
    "nothing": lambda path: None,
    "empty folder": lambda path: path.mkdir(),
    "empty database": lambda path: (path.mkdir(), (path / "search.db").touch()),
    "sub-folders": lambda path: [
        (path / name).mkdir(parents=True) for name in ("models", ".kmorph-scratch/x")
    ],
    "leftovers": lambda path: [
        (path / "models").mkdir(parents=True),
        (path / f"{TEMPORARY_PREFIX}x").touch(),
        (path / "models" / f"{TEMPORARY_PREFIX}0.safetensors").touch(),
        (path / "search.lock").touch(),
        (path / "search.owner.json").write_text("[" * 9),
    ],
}


@pytest.mark.parametrize("resume", [True, False])
@pytest.mark.parametrize("make", HALF_MADE.values(), ids=HALF_MADE)
def test_half_made_folders_are_used(tmp_path, make, resume):
    make(tmp_path / "run")
    with RunFolder.open(tmp_path / "run", resume=resume) as folder:
        assert not folder.holds_search and folder.moved_aside is None
        assert list(folder.path.rglob(f"{TEMPORARY_PREFIX}*")) == []
        assert list((folder.path / ".kmorph-scratch").iterdir()) == [folder.scratch]
        History.create(folder.database).close()


@pytest.mark.parametrize("resume", [True, False])
def test_users_files_stay(tmp_path, resume):
    for name in ("notes.txt", "scratch/mine", "models/mine.txt", "models/best.safetensors"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    with RunFolder.open(tmp_path, resume=resume) as folder:
        assert folder.moved_aside is None
    for name in ("notes.txt", "scratch/mine", "models/mine.txt", "models/best.safetensors"):
        assert (tmp_path / name).read_text() == name


@pytest.mark.parametrize("resume", [True, False])
def test_models_without_their_history_are_put_aside(tmp_path, resume):
    make_search(tmp_path / "run")
    (tmp_path / "run" / "search.db").unlink()
    with RunFolder.open(tmp_path / "run", resume=resume) as folder:
        assert not folder.holds_search and not any(folder.models.iterdir())
        assert folder.moved_aside == folder.path / "models.1"
    assert (folder.path / "models.1" / "0.safetensors").read_text() == "model 0"


def test_damaged_search_is_not_started_over(tmp_path):
    make_search(tmp_path / "run")
    (tmp_path / "run" / "search.db").write_text("damaged " * 200)
    with RunFolder.open(tmp_path / "run", resume=True) as folder:
        assert folder.holds_search
        with pytest.raises(SearchError, match="damaged"):
            History.open(folder.database)
    with RunFolder.open(tmp_path / "run", resume=False) as folder:
        assert folder.moved_aside.name == "run.1"


def test_folder_in_use_by_another_process(tmp_path, holder):
    with pytest.raises(SearchError, match=f"in use .*process {holder.pid} "):
        RunFolder.open(tmp_path / "run", resume=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]  # not renamed under its owner
    with History.open(tmp_path / "run" / "search.db", readonly=True) as history:  # but readers may look
        assert history.records() == []


def test_newcomer_makes_room_for_the_owner_of_a_folder(tmp_path, holder):
    (tmp_path / "run.1").write_text("taken")
    before = (tmp_path / "run").stat().st_ino
    with RunFolder.open(tmp_path / "run", resume=False) as folder:
        assert folder.path == tmp_path.resolve() / "run.2" and folder.moved_aside is None
        assert folder.instead_of == tmp_path.resolve() / "run" and not folder.holds_search
        with RunFolder.open(tmp_path / "run", resume=False) as third:
            assert third.path.name == "run.3"
    assert (tmp_path / "run").stat().st_ino == before


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_killed_owner_leaves_a_usable_folder(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait(10)
    old = next((tmp_path / "run" / ".kmorph-scratch").iterdir())
    assert list((tmp_path / "run").rglob(f"{TEMPORARY_PREFIX}*"))
    with RunFolder.open(tmp_path / "run", resume=True) as folder:
        assert folder.holds_search and folder.scratch != old and not old.exists()
        assert list(folder.path.rglob(f"{TEMPORARY_PREFIX}*")) == []


def test_folder_in_use_by_this_process(tmp_path):
    with RunFolder.open(tmp_path / "run", resume=False):
        with pytest.raises(SearchError, match="in use"):
            RunFolder.open(tmp_path / "run", resume=True)
    RunFolder.open(tmp_path / "run", resume=True).release()


def test_lock_is_released_from_another_thread(tmp_path):
    folder = RunFolder.open(tmp_path / "run", resume=False)
    thread = threading.Thread(target=folder.release)
    thread.start()
    thread.join()
    RunFolder.open(tmp_path / "run", resume=True).release()


def test_many_processes_start_at_once_and_each_gets_a_folder_of_its_own(tmp_path):
    """They all find the same finished search; nobody may end up in a folder that another one took."""
    make_search(tmp_path / "run")
    code = """
import sys
from kmorph.search.store.folder import RunFolder
from kmorph.search.store.history import History
print("ready", flush=True)
sys.stdin.readline()
folder = RunFolder.open(sys.argv[1], resume=False)
assert not folder.holds_search
history = History.create(folder.database)
print(folder.path.name, history.search_id, flush=True)
sys.stdin.readline()
"""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "run")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [process.stdout.readline().strip() for process in processes]
    for process in processes:
        process.communicate("\n", timeout=60)
    names = dict(answer.split() for answer in answers)
    assert len(names) == 6 and "run" in names
    for name, search_id in names.items():
        with History.open(tmp_path / name / "search.db", readonly=True) as history:
            assert history.search_id == search_id
    old = [entry for entry in tmp_path.iterdir() if entry.name not in names]
    assert [entry.name for entry in old[0].joinpath("models").iterdir()] == ["0.safetensors"] and len(
        old
    ) == 1


@pytest.mark.parametrize("path", ["file", "file/below", "nul\0", "", "~nobody-of-this-name/run", 3])
def test_paths_that_cannot_be(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("mine")
    for resume in (True, False):
        with pytest.raises(SearchError):
            RunFolder.open(path, resume=resume)
    assert Path("file").read_text() == "mine" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.skipif(AS_ROOT, reason="root may write into read-only folders")
def test_read_only_folder(tmp_path):
    make_search(tmp_path / "run")
    os.chmod(tmp_path / "run", 0o555)
    try:
        for resume in (True, False):
            with pytest.raises(SearchError, match="permission"):
                RunFolder.open(tmp_path / "run", resume=resume)
        assert [entry.name for entry in tmp_path.iterdir()] == ["run"]
    finally:
        os.chmod(tmp_path / "run", 0o755)


def test_replaced_file_is_whole_or_old(tmp_path):
    file = tmp_path / "model.bin"
    assert replace_file(file, lambda temporary: temporary.write_bytes(b"one")) == file

    def stop(temporary):
        assert temporary.suffix == ".bin" and temporary.parent == tmp_path
        temporary.write_bytes(b"tw")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace_file(file, stop)
    with pytest.raises(FileNotFoundError):
        replace_file(tmp_path / "none" / "model.bin", lambda temporary: temporary.write_bytes(b"x"))
    assert file.read_bytes() == b"one" and list(tmp_path.iterdir()) == [file]


def test_full_disk_leaves_the_old_file(tmp_path):
    resource = pytest.importorskip("resource", reason="file sizes cannot be limited on this system")
    file = tmp_path / "model.bin"
    file.write_bytes(b"old")
    code = """
import sys
from kmorph.files import replace_file
try:
    replace_file(sys.argv[1], lambda temporary: temporary.write_bytes(bytes(100_000)))
except OSError as error:
    print(error)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(file)],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)),
    )
    assert "File too large" in process.communicate(timeout=60)[0]
    assert file.read_bytes() == b"old" and list(tmp_path.iterdir()) == [file]
