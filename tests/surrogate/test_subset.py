"""Which measurements are learned from when there are too many."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kmorph.surrogate.subset import representative

losses = st.lists(st.floats(-10, 10), min_size=1, max_size=200).map(np.array)


@given(losses, st.integers(3, 60))
def test_as_many_as_allowed_and_always_the_best_and_the_latest(losses, most):
    chosen = representative(losses, most)
    assert len(chosen) == min(len(losses), most)
    assert (np.diff(chosen) > 0).all() and 0 <= chosen[0] and chosen[-1] == len(losses) - 1
    assert losses[chosen].min() == losses.min()


def test_the_rest_is_spread_over_all():
    chosen = representative(np.arange(1000.0), 90)
    assert chosen[:30].tolist() == list(range(30)) and chosen[-30:].tolist() == list(range(970, 1000))
    assert np.ptp(np.diff(chosen[30:-30])) <= 1
