"""Encodings on the disk are those that the encoder gives, whatever happens to processes and disks."""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from encoding_samples import BATCH, EXAMPLES, NAME, WIDTH, Encoder, checked, files, fresh
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from kmorph.data import encodings as module
from kmorph.data.encodings import DIGEST, FOLDER, Encodings, size_of, tidy
from kmorph.errors import DataError, SearchError

posix = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
CALLS = st.lists(
    st.tuples(
        st.lists(st.sampled_from(EXAMPLES), min_size=1, max_size=12),
        st.sampled_from(["same", "new", "memory"]),
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=60)
@given(CALLS)
def test_rows_are_those_of_the_encoder_and_none_is_computed_twice(calls):
    with tempfile.TemporaryDirectory() as name:
        folder, known = Path(name), set()
        encodings = Encodings(folder)
        for examples, place in calls:
            if place != "same":
                encodings = Encodings(folder if place == "new" else None)
            encoded = checked(encodings, examples)
            if place == "memory":
                assert {*encoded} == {*examples}
                encodings.keep(folder)
            else:
                assert {*encoded} == {*examples} - known
            known.update(examples)
        assert checked(Encodings(folder), [*known]) == []


def test_encoders_are_kept_apart(tmp_path):
    checked(Encodings(tmp_path), EXAMPLES)
    assert checked(Encodings(tmp_path), EXAMPLES, name="kind-4567") == EXAMPLES
    assert {file.parent.name for file in files(tmp_path)} == {NAME, "kind-4567"}


def test_without_writing_they_are_read_and_kept_elsewhere(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    checked(Encodings(old), EXAMPLES[:5])
    before = [file.read_bytes() for file in files(old)]
    encodings = Encodings(old, writes=False)
    assert checked(encodings, EXAMPLES) == EXAMPLES[5:]
    assert [file.read_bytes() for file in files(old)] == before
    encodings.keep(new)
    assert checked(Encodings(new), EXAMPLES) == []
    # What is there already is not written again, and from now on it writes at once.
    encodings.keep(new)
    assert len(files(new)) == 1
    checked(encodings, [b"another"])
    assert len(files(new)) == 2


def test_parts_are_written_on_the_way_and_merged(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "WRITE_EVERY", -1.0)
    seen = []
    checked(Encodings(tmp_path, show=lambda text: seen.append(len(files(tmp_path)))), EXAMPLES)
    assert seen[:-1] == sorted(seen[:-1]) and max(seen) >= len(EXAMPLES) // BATCH
    (file,) = files(tmp_path)
    assert len(load_file(file)["rows"]) == len(EXAMPLES)


def test_one_line_of_progress_which_is_removed(tmp_path):
    lines = []
    checked(Encodings(tmp_path, show=lines.append), EXAMPLES)
    assert "20 of 20 examples, 0 s left" in lines[-2] and lines[-1] == ""


def test_what_was_encoded_before_an_interrupt_is_kept(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        checked(Encodings(tmp_path), EXAMPLES, fails_at=9)
    assert checked(Encodings(tmp_path), EXAMPLES) == EXAMPLES[9:]


def test_vectors_that_are_not_finite_are_refused_and_not_kept(tmp_path):
    def encode(index, done):
        rows = fresh([EXAMPLES[i] for i in index])
        rows[7, 1] = np.nan
        for part in (np.arange(0, 5), np.arange(5, len(index))):
            done(part, rows[part])
        return rows

    encodings = Encodings(tmp_path)
    with pytest.raises(DataError, match="NaN or infinity for 1 of 15 examples"):
        encodings.rows(NAME, EXAMPLES, encode)
    assert checked(Encodings(tmp_path), EXAMPLES) == EXAMPLES[5:]


# Processes that are killed, and several at once.

CHILD = """
import sys, time
from pathlib import Path
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/.."]
import test_encodings as tests
tests.module.WRITE_EVERY = 0.02
examples = tests.EXAMPLES_OF_CHILDREN[int(sys.argv[3]) : int(sys.argv[4])]
print("begun", flush=True)
tests.checked(tests.Encodings(Path(sys.argv[2])), examples, seconds=0.01)
"""
EXAMPLES_OF_CHILDREN = [f"example {i}".encode() * 10 for i in range(300)]


def child(folder, begin, end):
    command = [sys.executable, "-c", CHILD, str(Path(__file__).parent), str(folder), str(begin), str(end)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "begun\n"
    return process


@posix
def test_killed_at_any_instant(tmp_path):
    chance, encoded = random.Random(0), []
    for _ in range(3):
        process = child(tmp_path, 0, 300)
        time.sleep(chance.uniform(0.1, 0.3))
        process.send_signal(signal.SIGKILL)
        assert process.wait(20) == -signal.SIGKILL
        tidy(tmp_path)
        assert not [file for file in tmp_path.rglob("*") if file.name.startswith(".")]
        left = tmp_path / "left"
        shutil.rmtree(left, ignore_errors=True)
        shutil.copytree(tmp_path / FOLDER, left / FOLDER)
        encoded.append(len(checked(Encodings(left), EXAMPLES_OF_CHILDREN)))
    assert 300 > encoded[0] > encoded[1] > encoded[2] > 0


def test_two_processes_at_once(tmp_path):
    processes = [child(tmp_path, 0, 120), child(tmp_path, 60, 180)]
    while any(process.poll() is None for process in processes):
        checked(Encodings(tmp_path, writes=False), EXAMPLES_OF_CHILDREN[:180])
        time.sleep(0.02)
    assert [process.returncode for process in processes] == [0, 0]
    assert checked(Encodings(tmp_path), EXAMPLES_OF_CHILDREN[:180]) == []


def test_unfinished_files_are_removed_even_while_others_write(tmp_path):
    (tmp_path / FOLDER / NAME).mkdir(parents=True)
    leftover = tmp_path / FOLDER / NAME / ".kmorph-tmp-0123.safetensors"
    leftover.write_bytes(b"half")
    tidy(tmp_path)
    assert not leftover.exists()
    removed = threading.Event()

    def remove():
        while not removed.is_set():
            if any((tmp_path / FOLDER / NAME).glob(".*")):
                tidy(tmp_path)
                removed.set()

    thread = threading.Thread(target=remove)
    thread.start()
    count, until = 0, time.monotonic() + 20
    while not removed.is_set() and time.monotonic() < until:
        checked(Encodings(tmp_path), [f"{count}".encode()])
        count += 1
    thread.join(1)
    assert removed.is_set() and len(files(tmp_path)) == count


# Disks.


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / FOLDER).write_text("a file")
    with pytest.raises(SearchError, match="cannot be written.*choose another path"):
        checked(Encodings(tmp_path), EXAMPLES)
    with pytest.raises(SearchError, match="/dev/null/run"):
        checked(Encodings(Path("/dev/null/run")), EXAMPLES)


@pytest.fixture
def file_system(tmp_path):
    """A small file system of its own."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("file systems cannot be mounted here")
    yield tmp_path
    subprocess.run(["umount", "--lazy", tmp_path], check=True)


def test_a_read_only_file_system(file_system):
    checked(Encodings(file_system), EXAMPLES[:5])
    subprocess.run(["mount", "-o", "remount,ro", file_system], check=True)
    assert checked(Encodings(file_system), EXAMPLES[:5]) == []
    with pytest.raises(SearchError, match="Read-only"):
        checked(Encodings(file_system), EXAMPLES)


def test_a_full_file_system(file_system):
    with pytest.raises(SearchError, match="No space left"):
        checked(Encodings(file_system), [f"{i}".encode() for i in range(5000)])
    assert checked(Encodings(file_system), EXAMPLES) == EXAMPLES


FULL = """
import resource, signal, sys
from pathlib import Path
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/.."]
import test_encodings as tests
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (800, 800))
tests.module.WRITE_EVERY = -1.0
try:
    tests.checked(tests.Encodings(Path(sys.argv[2])), tests.EXAMPLES)
except tests.SearchError as error:
    assert "cannot be written" in str(error) and "disk space" in str(error), error
else:
    raise AssertionError("written")
"""


@posix
def test_a_disk_that_is_full_in_the_middle(tmp_path):
    """Parts are small enough to be written, all of them together are not."""
    subprocess.run([sys.executable, "-c", FULL, str(Path(__file__).parent), str(tmp_path)], check=True)
    assert not [file for file in tmp_path.rglob("*") if file.name.startswith(".")]
    assert checked(Encodings(tmp_path), EXAMPLES) == []


# Time and space.


def test_a_time_limit_that_encoding_takes_up_is_told_soon(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "JUDGED_AFTER", 0.05)
    begun = time.monotonic()
    with pytest.raises(
        DataError, match="time limit is 1 s: give . s or more, fewer examples.*is kept: the same call"
    ) as caught:
        checked(Encodings(tmp_path, seconds=1.0), EXAMPLES_OF_CHILDREN, seconds=0.02)
    assert time.monotonic() - begun < 0.5 and "300 examples takes about 2 s" in str(caught.value)
    # With what it has encoded, it gets further each time.
    assert len(checked(Encodings(tmp_path), EXAMPLES_OF_CHILDREN)) < 300


def test_in_memory_nothing_is_kept_of_what_is_refused(monkeypatch):
    monkeypatch.setattr(module, "JUDGED_AFTER", 0.05)
    with pytest.raises(DataError) as caught:
        checked(Encodings(seconds=1.0), EXAMPLES_OF_CHILDREN, seconds=0.02)
    assert "is kept" not in str(caught.value)


def test_what_is_done_is_never_refused(tmp_path, monkeypatch):
    """Though loading took longer than there is time."""
    monkeypatch.setattr(module, "JUDGED_AFTER", 0.05)
    for count in (2, 5):  # one batch, two
        checked(Encodings(tmp_path / str(count), seconds=0.1), EXAMPLES[:count], first=0.2)


def test_loading_the_encoder_is_not_taken_for_encoding(tmp_path, monkeypatch):
    """The first batch, which waits for loading and compiling, says nothing of how long the others take."""
    monkeypatch.setattr(module, "JUDGED_AFTER", 0.05)
    checked(Encodings(tmp_path, seconds=1.5), EXAMPLES_OF_CHILDREN, first=0.4)


def test_costs_decide_what_is_left(tmp_path, monkeypatch):
    """Half of the examples take all the time, and are encoded first."""
    monkeypatch.setattr(module, "JUDGED_AFTER", 0.05)
    examples = EXAMPLES_OF_CHILDREN[:60]
    costs = np.array([1.0] * 30 + [0.0] * 30)

    class Uneven(Encoder):
        def __call__(self, index, done):
            return super().__call__(
                index, lambda part, rows: (time.sleep(0.03 * costs[part].max()), done(part, rows))
            )

    encoder = Uneven(examples)
    found = Encodings(tmp_path, seconds=0.6).rows(NAME, examples, encoder, costs=costs)
    np.testing.assert_array_equal(found, fresh(examples))


def test_their_size(tmp_path):
    encodings = Encodings(tmp_path)
    assert encodings.nbytes == size_of(tmp_path) == 0
    checked(encodings, EXAMPLES_OF_CHILDREN)
    assert encodings.nbytes == 300 * (4 * WIDTH + DIGEST)
    assert 0 <= size_of(tmp_path) - encodings.nbytes < 500
    # Those of another encoder lie there, too; not where a search begins elsewhere.
    other = Encodings(tmp_path)
    checked(other, EXAMPLES, name="kind-4567")
    assert 0 <= size_of(tmp_path) - other.nbytes < 500
    elsewhere = Encodings(tmp_path, writes=False)
    checked(elsewhere, EXAMPLES, name="kind-4567")
    assert elsewhere.nbytes == 20 * (4 * WIDTH + DIGEST)
