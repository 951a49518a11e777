"""Signals of unequal length in one array."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmorph.data.series import are_unequal, check_series, repeated
from kmorph.errors import DataError


@given(st.lists(st.integers(1, 12), min_size=2, max_size=6), st.integers(1, 3), st.integers(1, 10))
def test_repeating_keeps_what_fits_and_says_where_signals_end(lengths, channels, length):
    rng = np.random.default_rng(0)
    given = [rng.normal(size=(n, channels)) for n in lengths]
    array = repeated(check_series(given), length)
    assert array.shape == (len(lengths), length, channels + 1)
    for row, one in zip(array, given, strict=True):
        held = min(len(one), length)
        np.testing.assert_array_equal(row[:held, :-1], one[:held].astype(np.float32))
        assert (row[:held, -1] == 1).all() and (row[held:, -1] == 0).all()
        np.testing.assert_array_equal(row[:, :-1], one.astype(np.float32)[np.arange(length) % len(one)])


def test_what_counts_as_unequal():
    assert are_unequal([[1, 2], [1, 2, 3]])
    assert are_unequal([np.zeros((2, 3)), np.zeros((4, 3))])
    assert not are_unequal([[1, 2], [3, 4]])
    assert not are_unequal(np.zeros((3, 4)))
    assert not are_unequal([1, 2, 3]) and not are_unequal(None)
    assert are_unequal([np.zeros(3), None]) and not are_unequal([])


@pytest.mark.parametrize(
    ("x", "words"),
    [
        ([np.zeros((4, 2)), np.zeros((5, 3))], r"x\[1\] has 3 channels, x\[0\] has 2"),
        ([np.zeros(4), np.zeros((2, 2, 2))], r"x\[1\] has shape \(2, 2, 2\)"),
        ([np.zeros(4), np.array([0.0, np.nan])], r"x\[1\] holds NaN"),
        ([np.zeros(4), np.zeros(0)], r"x\[1\] has shape .* holds nothing"),
        ([np.zeros(4), np.array(["a", "b"])], r"x\[1\] has dtype"),
        ([np.zeros(4), None], r"x\[1\] is None; expected signals.*\(length,\) or \(length, channels\)"),
        ([np.zeros(4), 3.0, np.zeros(4)], r"x\[1\] is of type float; expected signals"),
        ([np.zeros(4), {}], r"x\[1\] is of type dict"),
        ([], "holds nothing"),
    ],
)
def test_the_signal_that_cannot_be_used_is_named(x, words):
    with pytest.raises(DataError, match=words):
        check_series(x)


def test_channels_of_the_fit():
    with pytest.raises(DataError, match="has 3 channels, the model was fitted on 2"):
        check_series([np.zeros((4, 3))], channels=2)
