"""Which random changes of images keep their labels."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from kmorph.problem import ImageInput, Numbers
from kmorph.problem.inputs.symmetry import keeps_target
from kmorph.problem.targets import learn_labels


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    return x.reshape(-1, 8, 8, 1), y


@pytest.mark.parametrize("by_class", [False, True])
def test_digits_are_not_mirrored_in_whatever_order_they_come(digits, by_class):
    x, y = digits
    order = np.argsort(y, kind="stable") if by_class else np.arange(len(y))
    x, y = x[order], y[order]
    assert not keeps_target("flip", x, y, learn_labels(y))
    # Mirrored digits among the others: then mirroring keeps their class.
    both, twice = np.concatenate([x, x[:, :, ::-1]]), np.concatenate([y, y])
    assert keeps_target("flip", both, twice, learn_labels(twice))


def test_numbers_that_do_not_survive_shifts_may_survive_a_part_of_one(digits):
    x, y = digits
    ink, across = x.sum((1, 2, 3)), (x.sum((1, 3)) * np.arange(8)).sum(1) / x.sum((1, 2, 3))
    kept = {}
    for name, numbers in {"value": y, "ink": ink, "centre": across}.items():
        target = Numbers.learn(numbers)
        kept[name] = ImageInput.learn(x).augmentations(x, target.encode(numbers), target)
    assert kept == {"value": ("jitter",), "ink": ("flip",), "centre": ()}


def test_sorted_numbers_are_judged_as_others_are(digits):
    x, y = digits
    both = np.concatenate([x, x[:, :, ::-1]])
    ink = both.sum((1, 2, 3))
    order = np.argsort(ink)
    target = Numbers.learn(ink[order])
    assert keeps_target("flip", both[order], target.encode(ink[order]), target)
