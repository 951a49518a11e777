"""The division into training and validation, weights of examples, and the fingerprint of data."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmorph.data import check_sample_weight, fingerprint
from kmorph.errors import DataError
from kmorph.problem.split import stratified_split

CODES = st.lists(st.integers(0, 6), min_size=2, max_size=80).filter(lambda v: len(set(v)) < len(v))


@given(CODES, st.floats(0.01, 0.99), st.integers(0, 2**32))
def test_what_always_holds(codes, fraction, seed):
    codes = np.array(codes)
    train, val = stratified_split(codes, fraction, seed)
    again = stratified_split(codes, fraction, seed)
    assert np.array_equal(train, again[0]) and np.array_equal(val, again[1])
    assert np.all(np.diff(train) > 0) and np.all(np.diff(val) > 0)
    assert sorted([*train, *val]) == list(range(len(codes)))
    assert len(val) >= 1
    assert set(codes[train]) == set(codes)


def test_proportions_and_size():
    codes = np.repeat([0, 1, 2], [1000, 500, 100])
    train, val = stratified_split(codes, 0.1, seed=3)
    assert np.bincount(codes[val]).tolist() == [100, 50, 10]
    assert len(train) == 1440


def test_size_is_right_where_shares_are_not_whole():
    codes = np.repeat(np.arange(10), 13)
    _, val = stratified_split(codes, 0.2, seed=0)
    assert len(val) == 26
    assert set(np.bincount(codes[val])) <= {2, 3}


def test_a_single_example_is_trained_on():
    train, val = stratified_split([0, 0, 0, 0, 1], 0.5, seed=0)
    assert 4 in train and len(val) == 2


@pytest.mark.parametrize("fraction", [0.05, 0.1, 0.5, 0.9])
def test_two_examples_a_class(fraction):
    codes = np.repeat(np.arange(10), 2)
    train, val = stratified_split(codes, fraction, seed=1)
    assert set(codes[train]) == set(range(10))
    assert len(val) == min(10, max(1, round(20 * fraction)))


def test_the_seed_decides():
    codes = np.repeat([0, 1], 50)
    assert not np.array_equal(stratified_split(codes, 0.2, 0)[1], stratified_split(codes, 0.2, 1)[1])


def test_absent_class_numbers_do_no_harm():
    train, val = stratified_split([5, 5, 9, 9], 0.5, seed=0)
    assert len(train) == len(val) == 2


def test_weights():
    assert check_sample_weight(None, 3) is None
    weights = check_sample_weight([0, 1, 2.5], 3)
    assert weights is not None
    assert weights.dtype == np.float32 and weights.tolist() == [0, 1, 2.5]


def test_fingerprint_notices_other_data():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (50, 8, 8, 1), np.uint8), rng.integers(0, 3, 50)
    base = fingerprint(x, y)
    assert base == fingerprint(x.copy(), y.copy())
    other_pixel, other_label = x.copy(), y.copy()
    other_pixel[17, 3, 3, 0] ^= 1
    other_label[17] += 1
    others = [
        fingerprint(other_pixel, y),
        fingerprint(x, other_label),
        fingerprint(x.astype(np.float32), y),
        fingerprint(x[:-1], y[:-1]),
        fingerprint(x.reshape(50, 4, 16, 1), y),
        fingerprint(x[::-1], y),
    ]
    assert len({base, *others}) == 1 + len(others)


def test_fingerprint_of_text_and_of_large_images():
    x = np.zeros((3, 700, 700, 3), np.uint8)
    labels = np.array(["a", "b", "\ud800"], object)
    assert fingerprint(x, labels) == fingerprint(x, labels.copy())
    assert fingerprint(x, labels) != fingerprint(x, np.array(["a", "b", "c"], object))


def test_errors():
    for codes in ([0, 1, 2], [], [[0, 0]], [0.0, 0.0], [-1, -1]):
        with pytest.raises(DataError):
            stratified_split(codes, 0.1, 0)
