"""Kernels remember a bounded number of structures, however many a search looks at."""

import threading

from hypothesis import given
from hypothesis import strategies as st

from kmorph.surrogate.kernels import base
from kmorph.surrogate.kernels.base import MOST_RECENT, Recent


def asked(recent, keys, computed):
    def compute(graphs):
        computed.extend(graphs)
        return [-graph for graph in graphs]

    return recent.of({key: key for key in keys}, compute)


@given(st.lists(st.lists(st.integers(0, 60), max_size=20, unique=True), max_size=30))
def test_values_are_right_and_room_is_bounded(calls):
    recent, largest = Recent(), 0
    recent._most = 10
    for keys in calls:
        assert asked(recent, keys, []) == [-key for key in keys]
        largest = max(largest, len(keys))
        assert len(recent) <= max(10, 2 * largest)


def test_what_was_asked_for_last_is_not_computed_again():
    recent, computed = Recent(), []
    for begin in range(0, 10 * MOST_RECENT, 100):  # two questions in turn: the same, and ever new ones
        asked(recent, range(-100, 0), computed)
        asked(recent, range(begin, begin + 100), computed)
    assert len(computed) == len(set(computed)) == 10 * MOST_RECENT + 100
    assert len(recent) == MOST_RECENT


def test_more_than_there_was_room_for_stays_too():
    recent, computed = Recent(), []
    many = range(-3 * MOST_RECENT, 0)
    asked(recent, many, computed)
    for begin in range(0, 10 * MOST_RECENT, 100):
        asked(recent, range(begin, begin + 100), computed)
        asked(recent, many, computed)
    assert len(computed) == 13 * MOST_RECENT


def test_several_threads_may_ask_at_once():
    recent, wrong = Recent(), []

    def ask(first):
        for begin in range(first, 20 * MOST_RECENT, 997):
            keys = range(begin, begin + 300)
            if asked(recent, keys, []) != [-key for key in keys]:
                wrong.append(begin)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_last_values_of_a_function_are_kept_and_no_more():
    computed = []
    twice = base.remembered(lambda points: computed.append(points) or [2 * point for point in points], most=2)
    lists = [[1], [2], [3]]
    for points in (lists[0], lists[1], lists[0], lists[2], lists[0]):
        assert twice(points) == [2 * point for point in points]
    assert computed == lists
