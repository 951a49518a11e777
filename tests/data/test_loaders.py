"""Loaders of TensorFlow, Keras and PyTorch, and functions: read once, and refused where they are no use."""

import itertools
import subprocess
import sys

import numpy as np
import pytest

from kmorph.data.loaders import batches_of, is_loader
from kmorph.data.spool import is_mapped, read_loader, rows_of, spool_folder
from kmorph.errors import DataError

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (25, 4, 4, 1)).astype(np.uint8)
Y = RNG.integers(0, 3, 25)


def as_dataset(batch=None):
    import tensorflow as tf

    dataset = tf.data.Dataset.from_tensor_slices((X, Y))
    return dataset if batch is None else dataset.batch(batch)


def as_sequence():
    import keras

    class Sequence(keras.utils.PyDataset):
        def __len__(self):
            return 3

        def __getitem__(self, i):
            return X[i * 10 : i * 10 + 10], Y[i * 10 : i * 10 + 10]

    return Sequence()


def as_torch(batch_size=8):
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    return torch.utils.data.DataLoader(data, batch_size=batch_size)


def in_batches():
    for start in range(0, 25, 7):
        yield X[start : start + 7], Y[start : start + 7]


def one_by_one():
    yield from zip(X, Y, strict=True)


MADE = {
    "tf batched": lambda: as_dataset(8),
    "tf single": as_dataset,
    "PyDataset": as_sequence,
    "DataLoader": as_torch,
    "DataLoader single": lambda: as_torch(None),
    "function": lambda: in_batches,
    "function, single": lambda: one_by_one,
}


@pytest.mark.parametrize("name", MADE)
def test_it_reads_all_examples_in_order(name, tmp_path):
    loader = MADE[name]()
    assert is_loader(loader)
    x, y, weights = read_loader(loader, tmp_path)
    assert x.dtype == np.uint8 and is_mapped(x) and weights is None
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(y, Y)


def test_what_is_no_loader():
    for value in (X, [1, 2], "text", None, 3, (X, Y), ["a", "b"]):
        assert not is_loader(value)


def test_weights_texts_and_other_numbers(tmp_path):
    def weighted():
        yield np.ones((2, 3), np.float64), [1, 2], [0.5, 1.0]

    x, _, weights = read_loader(weighted, tmp_path)
    assert x.dtype == np.float32 and weights.tolist() == [0.5, 1.0]

    def texts():
        yield ["one", b"two"], ["a", "b"]
        yield ["three"], ["a"]

    x, y, _ = read_loader(texts, tmp_path)
    assert x == ["one", "two", "three"] and y == ["a", "b", "a"]


def test_signals_of_unequal_length_stay_a_list(tmp_path):
    def signals():
        yield np.zeros((2, 5)), [0, 1]
        yield np.ones((1, 7)), [1]

    x, y, _ = read_loader(signals, tmp_path)
    assert [len(one) for one in x] == [5, 5, 7] and y.tolist() == [0, 1, 1]


def fails():
    yield X[:5], Y[:5]
    raise OSError("the disk is gone")


def other_shapes():
    yield X[:5], Y[:5]
    yield np.zeros((2, 6, 4, 1), np.uint8), Y[:2]


def endless():
    return ((X[:5], Y[:5]) for _ in itertools.count())


def lost_labels():
    yield X[:5], Y[:5]
    yield X[:5]


CASES = [
    (fails, "failed after 5 examples: OSError: the disk is gone"),
    (in_batches(), "only once.*function"),
    (other_shapes, r"\(4, 4, 1\) first, and \(6, 4, 1\) after 5"),
    (lost_labels, "labels in some batches only"),
    (lambda: iter(()), "yields nothing"),
    (lambda: 3, "returned int"),
    (lambda: iter([(X[:3], Y[:2])]), "3 examples with 2 labels"),
    (lambda: iter([(np.ones((2, 3)), Y[:2]), (np.full((2, 3), 1e300), Y[:2])]), "1e[+]300 after 2.*float32"),
    (lambda: iter([([b"a", b"caf\xe9"], Y[:2])]), "text 1 .*caf.*decode it first"),
    (lambda: iter([{"image": X[:3]}]), "dicts"),
    (lambda: iter([(X[:3], Y[:3]), (X[:3] * 0.5, Y[:3])]), "unsigned bytes first"),
]


@pytest.mark.parametrize(("loader", "words"), CASES, ids=[words[:12] for _, words in CASES])
def test_what_goes_wrong_is_told(loader, words, tmp_path):
    with pytest.raises(DataError, match=words):
        read_loader(loader, tmp_path)


def test_loaders_that_never_end(tmp_path):
    with pytest.raises(DataError, match="never ends.*repeat"):
        read_loader(as_dataset(5).repeat(), tmp_path)
    with pytest.raises(DataError, match="max_disk"):
        read_loader(endless, tmp_path, most_bytes=10_000)
    with pytest.raises(DataError, match=r"has not ended: give one that ends"):
        read_loader(endless, tmp_path, seconds=0.2)


def test_nothing_is_left_behind(tmp_path):
    with pytest.raises(DataError), spool_folder(tmp_path) as folder:
        assert folder.parent == tmp_path
        read_loader(fails, folder)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed(tmp_path):
    code = (
        "import os, pathlib, sys; from kmorph.data.spool import spool_folder\n"
        "with spool_folder(pathlib.Path(sys.argv[1])) as folder:\n"
        "    (folder / 'examples').write_bytes(b'x' * 1000); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, tmp_path]).returncode == -9
    (left,) = tmp_path.iterdir()
    with spool_folder(tmp_path) as folder, spool_folder(tmp_path) as other:
        assert set(tmp_path.iterdir()) == {folder, other} and left not in (folder, other)


def test_rows_of_an_array_in_a_file_are_in_a_file(tmp_path):
    x, _, _ = read_loader(in_batches, tmp_path)
    index = RNG.permutation(25)[:9]
    place = tmp_path / "rows"
    place.mkdir()
    before = set(tmp_path.iterdir())
    rows = rows_of(x, index, lambda: place)
    assert is_mapped(rows) and not is_mapped(rows_of(X, index, pytest.fail))
    np.testing.assert_array_equal(rows, X[index])
    assert len(rows_of(x, np.arange(0), pytest.fail)) == 0
    assert set(tmp_path.iterdir()) == before and len(list(place.iterdir())) == 1


def test_batches_keep_their_form():
    sizes = [len(x) for x, _, _ in batches_of(as_dataset(8))]
    assert sizes == [8, 8, 8, 1]
