"""Starts as large as time and data allow."""

import pytest

from kmorph import starts
from kmorph.problem.inputs.sizes import COSTS, sized_starts

NAMES = ("resnet", "cnn")
SHAPE = (28, 28, 1)


def never(graph):
    raise AssertionError("measuring costs time and should not be needed")


def widths(n, time_limit, shape=SHAPE, power=3e10):
    return [
        32 if isinstance(start, str) else start[1]["width"]
        for start in sized_starts(NAMES, shape, 10, n, time_limit, lambda graph: power)
    ]


def test_more_time_for_much_data_makes_them_wider():
    by_time = [widths(60_000, limit)[0] for limit in (30, 120, 900, 3600, 10**6)]
    assert by_time == sorted(by_time) and by_time[0] == 32 < by_time[2] and by_time[-1] == 128


@pytest.mark.parametrize("limit", [10, 60, 600, 36_000, None])
def test_few_examples_get_the_default(limit):
    assert sized_starts(NAMES, SHAPE, 10, 1500, limit, never) == NAMES


def test_without_a_clock_they_are_left_to_growing():
    assert sized_starts(NAMES, SHAPE, 10, 60_000, None, never) == NAMES


def test_large_images_are_slower_and_get_no_wider_network():
    resnet, cnn = sized_starts(NAMES, (224, 224, 3), 10, 60_000, 120, lambda graph: 3e10)
    assert resnet == ("resnet", {"width": 32})
    costs = [starts.KINDS[name]((224, 224, 3), 10, **sizes).flops for name, sizes in (resnet, cnn)]
    assert costs[1] < 1.15 * costs[0]


def test_fast_machines_get_wider_networks():
    by_power = [widths(60_000, 300, power=power)[0] for power in (4e9, 16e9, 64e9)]
    assert by_power == sorted(by_power) and by_power[0] < by_power[-1]


@pytest.mark.parametrize("limit", [120, 900, 3600])
def test_all_starts_cost_the_same(limit):
    made = sized_starts(("resnet", "cnn", "densenet"), SHAPE, 10, 60_000, limit, lambda graph: 3e10)
    flops = [starts.KINDS[name](SHAPE, 10, **sizes).flops for name, sizes in made]
    assert flops[1] == pytest.approx(flops[0], rel=0.25)  # widths are whole blocks
    # A densenet computes less in the same time.
    assert flops[2] == pytest.approx(flops[0] / COSTS["densenet"], rel=0.25)


def test_a_plain_network_alone_grows_from_its_own_default():
    (start,) = sized_starts(("cnn",), SHAPE, 10, 60_000, 10**6, lambda graph: 3e10)
    assert 3 < start[1]["width"] / starts.default_width("cnn", SHAPE) <= 4


@pytest.mark.parametrize("limit", [120, 300, 900])
def test_widths_are_whole_blocks(limit):
    for _, sizes in sized_starts(("cnn", "resnet", "densenet"), SHAPE, 10, 60_000, limit, lambda graph: 2e10):
        assert sizes["width"] % 16 == 0
