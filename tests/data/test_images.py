"""Images keep their values, and what is no image is refused."""

import tracemalloc
import warnings

import numpy as np
import pytest

from kmorph.data import check_images
from kmorph.errors import DataError


@pytest.mark.parametrize("shape", [(3, 8, 6), (3, 8, 6, 1), (3, 8, 6, 3)])
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("uint8", "uint8"),
        ("int8", "float32"),
        ("int64", "float32"),
        ("uint16", "float32"),
        ("bool", "float32"),
        ("float16", "float32"),
        ("float32", "float32"),
        (">f4", "float32"),
        ("float64", "float32"),
    ],
)
def test_shape_and_dtype(shape, given, expected):
    x = np.random.default_rng(0).integers(0, 2, shape).astype(given)
    checked = check_images(x)
    assert checked.shape == (shape if len(shape) == 4 else (*shape, 1))
    assert checked.dtype == np.dtype(expected)
    np.testing.assert_array_equal(checked.reshape(shape), x)


def test_all_bytes_are_exact_as_integers():
    x = np.arange(256).reshape(1, 16, 16)
    np.testing.assert_array_equal(check_images(x)[0, ..., 0], x[0])


def test_lists_are_images_too():
    assert check_images([[[0, 1], [2, 3]]]).shape == (1, 2, 2, 1)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_nothing_is_copied_without_need(dtype):
    x = np.zeros((4, 8, 8), dtype)
    assert np.shares_memory(check_images(x), x)


def test_the_given_array_is_not_changed():
    x = np.ones((2, 3, 3))
    check_images(x)[:] = 0
    assert x.all()


def test_checking_needs_little_memory():
    x = np.zeros((400, 128, 128, 3), np.float32)
    tracemalloc.start()
    check_images(x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < x.nbytes / 4


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_image_that_is_not_finite_is_named(value, dtype):
    x = np.zeros((5, 4, 4, 1), dtype)
    x[3, 1, 2, 0] = value
    with pytest.raises(DataError, match=("NaN" if np.isnan(value) else "infinity") + ".*image 3"):
        check_images(x)


def test_an_image_in_a_later_piece_is_named(monkeypatch):
    monkeypatch.setattr("kmorph.data.grids._CHUNK_BYTES", 128)
    x = np.zeros((9, 4, 4))
    x[7, 0, 0] = np.nan
    with pytest.raises(DataError, match="image 7"):
        check_images(x)


def test_like_names_both_shapes():
    with pytest.raises(DataError, match=r"\(2, 9, 8, 3\).*\(8, 8, 3\)"):
        check_images(np.zeros((2, 9, 8, 3)), like=(8, 8, 3))


@pytest.mark.parametrize(
    ("shape", "like", "words"),
    [
        ((8, 8, 3), (8, 8, 3), r"x\[None\]"),
        ((8, 8), (8, 8, 1), r"x\[None\]"),
        ((2, 3, 9, 8), (9, 8, 3), "moveaxis"),
        ((2, 64), (8, 8, 1), r"reshape\(-1, 8, 8, 1\)"),
        ((2, 8, 8), (8, 8, 3), "Resize or convert"),
    ],
)
def test_like_says_what_to_do(shape, like, words):
    with pytest.raises(DataError, match=words):
        check_images(np.zeros(shape), like=like)


def test_like_accepts_a_missing_channel_axis():
    assert check_images(np.zeros((2, 8, 8)), like=(8, 8, 1)).shape == (2, 8, 8, 1)


def test_channels_first_is_hinted_at():
    with pytest.warns(UserWarning, match="moveaxis"):
        check_images(np.zeros((2, 3, 32, 32)))


@pytest.mark.parametrize("shape", [(2, 32, 32, 3), (2, 3, 3, 3), (2, 1, 40, 1), (2, 28, 28)])
def test_usual_images_give_no_hint(shape):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_images(np.zeros(shape))
