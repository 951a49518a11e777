"""Hyperparameters that a search may vary."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmorph.errors import DataError
from kmorph.search.space import Choice, Range, Space
from kmorph.tasks.options import TrainerArgs, choose_hyperparameters
from kmorph.training.plan import Hyperparameters

bounds = st.tuples(st.floats(1e-6, 1e3), st.floats(1.01, 1e4)).map(lambda pair: (pair[0], pair[0] * pair[1]))


@given(bounds, st.booleans(), st.floats(0, 1e9), st.integers(0, 2**31))
def test_a_range_is_never_left(pair, log, value, seed):
    known = Range(*pair, log=log)
    rng = np.random.default_rng(seed)
    for _ in range(20):
        value = known.vary(value, rng)
        assert pair[0] <= value <= pair[1]
    assert known.nearest(value) == pytest.approx(value, rel=1e-3)


def test_small_steps_are_more_likely_and_all_is_reached():
    rng = np.random.default_rng(0)
    known = Range(1e-4, 1.0, log=True)
    steps = [np.log10(known.vary(1e-2, rng)) + 2 for _ in range(2000)]
    assert np.std(steps) == pytest.approx(0.8, rel=0.1) and abs(np.mean(steps)) < 0.1
    walk = [1e-2]
    for _ in range(2000):
        walk.append(known.vary(walk[-1], rng))
    assert min(walk) < 2e-4 and max(walk) > 0.5


def test_whole_numbers_stay_whole():
    known = Range(16, 128, log=True, whole=True)
    values = {known.vary(64, np.random.default_rng(seed)) for seed in range(50)}
    assert all(isinstance(value, int) for value in values) and len(values) > 10


def test_one_value_changes_at_a_time():
    space = Space({"learning_rate": Range(0.01, 1.0), "batch_size": Choice((32, 64))})
    rng = np.random.default_rng(0)
    before = Hyperparameters().to_dict()
    for _ in range(20):
        after = space.vary(before, rng)
        changed = [name for name in after if after[name] != before[name]]
        assert len(changed) == 1 and changed[0] in space.dimensions
    assert space.key(before) == (64, 0.1)


def test_what_users_write():
    chosen, space = choose_hyperparameters(
        {
            "learning_rate": (1e-3, 3e-2, "log"),
            "batch_size": [16, 32],
            "weight_decay": 0.0,
            "label_smoothing": None,
        },
        TrainerArgs(),
    )
    assert chosen == Hyperparameters(learning_rate=0.03, batch_size=16, weight_decay=0.0)
    assert space.dimensions == {"learning_rate": Range(1e-3, 3e-2, log=True), "batch_size": Choice((16, 32))}


def test_many_examples_allow_a_larger_batch_and_with_it_a_larger_step():
    few, many = (choose_hyperparameters(None, TrainerArgs(), n)[0] for n in (1_000, 60_000))
    assert few == Hyperparameters()
    assert many == Hyperparameters(batch_size=128, learning_rate=0.2)
    own, _ = choose_hyperparameters({"batch_size": 32}, TrainerArgs(), 60_000)
    assert own == Hyperparameters(batch_size=32, learning_rate=0.05)
    fixed, _ = choose_hyperparameters({"learning_rate": 0.01}, TrainerArgs(), 60_000)
    assert fixed == Hyperparameters(batch_size=128, learning_rate=0.01)


@pytest.mark.parametrize(
    "values, told",
    [
        ({"learning_rate": (0.1,)}, "a range is"),
        ({"learning_rate": (0.1, 0.2, "linear")}, "a range is"),
        ({"learning_rate": (0.2, 0.1)}, "low must be below high"),
        ({"weight_decay": (0, 0.1, "log")}, "cannot begin at 0"),
        ({"learning_rate": (0, 0.1)}, "above 0"),
        ({"batch_size": (1.5, 8)}, "whole number"),
        ({"batch_size": []}, "empty list"),
        ({"batch_size": [32, None]}, "None is no value"),
        ({"label_smoothing": 1.5}, "below 1"),
        ({"learning_rate": ("0.1", 1)}, "a number"),
        ({"momentum": 0.9}, "unknown key"),
    ],
)
def test_what_cannot_be_is_told(values, told):
    with pytest.raises(DataError, match=told):
        choose_hyperparameters(values, TrainerArgs())
