"""Starts as large as time and data allow."""

import pytest

from kmorph.tasks.sizes import sized_starts

NAMES = ("resnet", "cnn")
SHAPE = (28, 28, 1)


def widths(n, time_limit, shape=SHAPE):
    return [
        32 if isinstance(start, str) else start[1]["width"]
        for start in sized_starts(NAMES, shape, n, time_limit)
    ]


def test_more_time_for_much_data_makes_them_wider():
    by_time = [widths(60_000, limit)[0] for limit in (30, 120, 900, 3600, 10**6)]
    assert by_time == sorted(by_time) and by_time[1] == 32 < by_time[2] and by_time[-1] == 64


@pytest.mark.parametrize("limit", [10, 60, 600, 36_000, None])
def test_few_examples_get_the_default(limit):
    assert widths(1500, limit) == [32, 32]


def test_without_a_clock_they_are_left_to_growing():
    assert sized_starts(NAMES, SHAPE, 60_000, None) == NAMES


def test_large_images_are_slower_and_get_no_wider_network():
    assert widths(60_000, 900, (224, 224, 3)) == [32, 32]
