"""Data sets are read as they are, damaged files are refused, and no file runs code."""

import gzip
import io
import pickle
import struct
import sys
import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmorph import datasets
from kmorph.datasets.idx import read_idx
from kmorph.datasets.plain_pickle import read_plain_pickle
from kmorph.errors import DataError


def idx_bytes(array: np.ndarray) -> bytes:
    code = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}[array.dtype.str[1:]]
    header = bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write_idx_folder(folder, compress):
    rng = np.random.default_rng(0)
    parts = {}
    for part, n in (("train", 20), ("t10k", 10)):
        x, y = rng.integers(0, 256, (n, 5, 4), np.uint8), (np.arange(n) % 10).astype(np.uint8)
        parts[part] = x, y
        for array, kind in ((x, "images-idx3-ubyte"), (y, "labels-idx1-ubyte")):
            content = idx_bytes(array)
            name = f"{part}-{kind}" + (".gz" if compress else "")
            (folder / name).write_bytes(gzip.compress(content) if compress else content)
    return parts


def cifar_batches():
    rng = np.random.default_rng(0)
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        yield name, rng.integers(0, 256, (4, 3072), np.uint8), rng.integers(0, 10, 4).tolist()


# --- the real files


@pytest.mark.skipif(
    not datasets.FASHION_MNIST_PACKAGE.is_dir(),
    reason="Debian's package dataset-fashion-mnist is not installed",
)
def test_fashion_mnist_of_the_debian_package():
    (x, y), (x_test, y_test) = datasets.load_fashion_mnist()
    assert (x.shape, x.dtype, y.shape, y.dtype) == ((60_000, 28, 28, 1), np.uint8, (60_000,), np.int64)
    assert (x_test.shape, x_test.dtype) == ((10_000, 28, 28, 1), np.uint8)
    assert (y_test.shape, y_test.dtype) == ((10_000,), np.int64)
    assert np.bincount(y).tolist() == [6_000] * 10
    assert np.bincount(y_test).tolist() == [1_000] * 10
    assert x.max() == 255 and x.min() == 0


# --- where data is looked for


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("load", [datasets.load_fashion_mnist, datasets.load_mnist])
def test_idx_folder(tmp_path, load, compress):
    parts = write_idx_folder(tmp_path, compress)
    for (x, y), part in zip(load(tmp_path), ("train", "t10k"), strict=True):
        assert x.dtype == np.uint8 and y.dtype == np.int64
        np.testing.assert_array_equal(x[..., 0], parts[part][0])
        np.testing.assert_array_equal(y, parts[part][1])


@pytest.mark.parametrize("load", [datasets.load_fashion_mnist, datasets.load_mnist, datasets.load_cifar10])
def test_only_the_named_folder_is_looked_at(tmp_path, load):
    with pytest.raises(DataError, match=str(tmp_path)):
        load(tmp_path)


def fake_keras(monkeypatch, name, load_data):
    module = types.ModuleType(f"keras.datasets.{name}")
    module.load_data = load_data
    monkeypatch.setitem(sys.modules, "keras", types.ModuleType("keras"))
    monkeypatch.setitem(sys.modules, "keras.datasets", types.ModuleType("keras.datasets"))
    monkeypatch.setitem(sys.modules, f"keras.datasets.{name}", module)


def fail_to_download():
    raise Exception("URL fetch failure: no route to host")


def test_fashion_mnist_error_names_the_three_ways(monkeypatch, tmp_path):
    monkeypatch.setattr(datasets, "FASHION_MNIST_PACKAGE", tmp_path / "absent")
    fake_keras(monkeypatch, "fashion_mnist", fail_to_download)
    with pytest.raises(DataError) as caught:
        datasets.load_fashion_mnist()
    for words in ("apt-get install dataset-fashion-mnist", "folder", "keras.datasets", "no route to host"):
        assert words in str(caught.value)


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_download_failure_is_a_data_error(monkeypatch, name):
    fake_keras(monkeypatch, name, fail_to_download)
    with pytest.raises(DataError, match=f"load_{name}.*keras.datasets"):
        getattr(datasets, f"load_{name}")()


def test_keras_datasets_get_the_usual_axes(monkeypatch):
    grey = np.zeros((3, 28, 28), np.uint8), np.array([1, 2, 3], np.uint8)
    fake_keras(monkeypatch, "mnist", lambda: (grey, grey))
    colour = np.zeros((3, 32, 32, 3), np.uint8), np.array([[1], [2], [3]], np.uint8)
    (x, y), _ = datasets.load_mnist()
    assert (x.shape, y.shape, y.dtype) == ((3, 28, 28, 1), (3,), np.int64)
    fake_keras(monkeypatch, "cifar10", lambda: (colour, colour))
    (x, y), _ = datasets.load_cifar10()
    assert (x.shape, y.shape, y.dtype) == ((3, 32, 32, 3), (3,), np.int64)


def test_lengths_that_differ(tmp_path):
    write_idx_folder(tmp_path, compress=False)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx_bytes(np.zeros(19, np.uint8)))
    with pytest.raises(DataError, match=r"\(20, 5, 4\).*\(19,\)"):
        datasets.load_mnist(tmp_path)


# --- IDX files


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "i4", "f4", "f8"])
def test_idx_element_types(tmp_path, dtype):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    (tmp_path / "file").write_bytes(idx_bytes(array))
    found = read_idx(tmp_path / "file")
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


GOOD = idx_bytes(np.zeros((2, 3), np.uint8))
BAD_IDX = {
    "empty": (b"", "header"),
    "text": (b"<html>not found</html>", "3c 68 74 6d"),
    "short header": (GOOD[:6], "ends inside its header"),
    "unknown type": (b"\0\0\x07\x01" + GOOD[4:], "header"),
    "no axes": (b"\0\0\x08\x00", "header"),
    "many axes": (b"\0\0\x08\xff" + b"\0\0\0\1" * 255, "header"),
    "truncated": (GOOD[:-1], "holds only 5"),
    "too long": (GOOD + b"\0", "holds more"),
    "huge": (b"\0\0\x08\x03" + b"\xff" * 12 + b"\0" * 10, "promises"),
    "large promise": (b"\0\0\x08\x01" + b"\x7f\xff\xff\xff" + b"\0" * 10, "holds only 10"),
}


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("case", BAD_IDX)
def test_malformed_idx(tmp_path, case, compress):
    content, words = BAD_IDX[case]
    (tmp_path / "file").write_bytes(gzip.compress(content) if compress else content)
    with pytest.raises(DataError, match=words):
        read_idx(tmp_path / "file")


def test_damaged_gzip(tmp_path):
    good = gzip.compress(idx_bytes(np.arange(200, dtype=np.uint8)))
    for content in (good[:-9], good[:40] + b"\xff\xff\xff" + good[43:], b"\x1f\x8bnonsense"):
        (tmp_path / "file").write_bytes(content)
        with pytest.raises(DataError, match="Download it again"):
            read_idx(tmp_path / "file")


def test_idx_file_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_idx(tmp_path / "file")


# --- CIFAR-10


@pytest.mark.parametrize("inside", ["", "cifar-10-batches-bin"])
def test_cifar10_binary(tmp_path, inside):
    folder = tmp_path / inside
    folder.mkdir(exist_ok=True)
    for name, data, labels in cifar_batches():
        records = np.concatenate([np.array(labels, np.uint8)[:, None], data], axis=1)
        (folder / f"{name}.bin").write_bytes(records.tobytes())
    check_cifar10(tmp_path)


def python2_batch(data: np.ndarray, labels: list[int]) -> bytes:
    """Write a batch as Python 2 did: protocol 2, byte strings, the module names of old numpy."""

    def string(value: bytes) -> bytes:
        return b"T" + struct.pack("<i", len(value)) + value

    def array(value: np.ndarray) -> bytes:
        shape = b"(" + b"".join(b"J" + struct.pack("<i", size) for size in value.shape) + b"t"
        dtype = b"cnumpy\ndtype\n" + string(b"u1") + b"K\0K\1\x87R"
        dtype += b"(K\x03" + string(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
        empty = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85" + string(b"b") + b"\x87R"
        return empty + b"(K\x01" + shape + dtype + b"\x89" + string(value.tobytes()) + b"tb"

    items = string(b"data") + array(data) + string(b"labels")
    items += b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}q\0(" + items + b"u."


@pytest.mark.parametrize("writer", ["python 2", 2, 3, 4])
def test_cifar10_python(tmp_path, writer):
    for name, data, labels in cifar_batches():
        if writer == "python 2":
            content = python2_batch(data, labels)
            expected = pickle.loads(content, encoding="bytes")
            np.testing.assert_array_equal(expected[b"data"], data)
        else:
            batch = {b"batch_label": b"one", b"labels": labels, b"data": data, b"filenames": [b"a.png"] * 4}
            content = pickle.dumps(batch, protocol=writer)
        (tmp_path / name).write_bytes(content)
    check_cifar10(tmp_path)


def check_cifar10(folder):
    (x, y), (x_test, y_test) = datasets.load_cifar10(folder)
    batches = list(cifar_batches())
    assert (x.shape, x.dtype, y.shape, y.dtype) == ((20, 32, 32, 3), np.uint8, (20,), np.int64)
    assert (x_test.shape, y_test.tolist()) == ((4, 32, 32, 3), batches[-1][2])
    assert y.tolist() == sum((labels for _, _, labels in batches[:-1]), [])
    # Rows hold all red values first, then green, then blue.
    np.testing.assert_array_equal(x[4, :, :, 2].reshape(-1), batches[1][1][0, 2048:])


def test_fortran_order_survives():
    array = np.asfortranarray(np.arange(6, dtype=np.uint8).reshape(2, 3))
    found = read_plain_pickle(pickle.dumps({"a": array}, protocol=4), "here")["a"]
    np.testing.assert_array_equal(found, array)


class RunsOnLoad:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return open, (str(self.marker), "w")


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_would_run_code_is_refused(tmp_path, protocol):
    marker = tmp_path / "code-was-run"
    for name, data, labels in cifar_batches():
        batch = {b"data": data, b"labels": labels, b"more": RunsOnLoad(marker)}
        (tmp_path / name).write_bytes(pickle.dumps(batch, protocol=protocol))
    with pytest.raises(DataError, match="could run code"):
        datasets.load_cifar10(tmp_path)
    assert not marker.exists()
    with open(tmp_path / "test_batch", "rb") as stream:
        pickle.load(stream)
    assert marker.exists(), "the file was harmless, so this test showed nothing"


HOSTILE = {
    "os.system": b"cos\nsystem\n(S'true'\ntR.",
    "numpy function": b"\x80\x02cnumpy\nload\nX\x01\0\0\0a\x85R.",
    "attribute walk": b"\x80\x04\x8c\x05numpy\x8c\x0fndarray.tofile\x93.",
    "instance": b"(ios\nsystem\n.",
    "extension": b"\x80\x02\x82\x01.",
    "persistent id": b"\x80\x02K\x01Q.",
    "call of a string": b"\x80\x02K\x01)R.",
    "state of a global": b"\x80\x02cnumpy\ndtype\n)b.",
    "object array": b"\x80\x02cnumpy\ndtype\nX\x02\0\0\0O8\x85R.",
    "huge memo": b"\x80\x02K\x01r\xff\xff\xff\x7f.",
    "huge string": b"\x80\x02T\xff\xff\xff\x7fabc.",
    "no mark": b"\x80\x02K\x01t.",
    "empty stack": b"\x80\x02.",
    "nothing": b"",
    "nested key": b"\x80\x02}K\x01\x85K\x02s.",
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_pickles(case):
    try:
        value = read_plain_pickle(HOSTILE[case], "here")
    except DataError:
        return
    assert case == "huge memo" and value == 1


@given(st.binary(max_size=200))
def test_random_bytes_are_data_or_a_data_error(content):
    for data in (content, b"\x80\x02" + content):
        try:
            read_plain_pickle(data, "here")
        except DataError:
            pass


@given(st.integers(0, 400), st.integers(0, 255))
def test_one_changed_byte_is_data_or_a_data_error(position, value):
    data = bytearray(pickle.dumps({b"data": np.arange(40, dtype=np.uint8), b"labels": [1, 2]}, protocol=2))
    data[position % len(data)] = value
    try:
        read_plain_pickle(bytes(data), "here")
    except DataError:
        pass


def test_object_arrays_are_refused():
    stream = io.BytesIO()
    pickle.dump({"data": np.array([{}, []], dtype=object)}, stream, protocol=4)
    with pytest.raises(DataError, match="array type"):
        read_plain_pickle(stream.getvalue(), "here")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"data": None}, "no uint8 array"),
        ({"data": np.zeros((4, 3000), np.uint8)}, "no uint8 array"),
        ({"data": np.zeros((4, 3072))}, "no uint8 array"),
        ({"labels": [1, 2, 3]}, "one integer for each of its 4"),
        ({"labels": ["a"] * 4}, "one integer"),
        ({"labels": [1, 2, 3, 10]}, "labels outside"),
    ],
)
def test_cifar10_batches_with_other_content(tmp_path, change, words):
    for name, data, labels in cifar_batches():
        (tmp_path / name).write_bytes(pickle.dumps({"data": data, "labels": labels} | change, protocol=4))
    with pytest.raises(DataError, match=words):
        datasets.load_cifar10(tmp_path)


def test_cifar10_binary_of_wrong_size(tmp_path):
    for name, data, _ in cifar_batches():
        (tmp_path / f"{name}.bin").write_bytes(data.tobytes())
    with pytest.raises(DataError, match="multiple of 3073"):
        datasets.load_cifar10(tmp_path)


def test_cifar10_with_a_missing_batch(tmp_path):
    for name, data, labels in cifar_batches():
        if name != "data_batch_3":
            (tmp_path / name).write_bytes(pickle.dumps({"data": data, "labels": labels}, protocol=2))
    with pytest.raises(DataError, match="data_batch_3 cannot be read"):
        datasets.load_cifar10(tmp_path)
