"""Where a search begins: starts of kmorph's and of the user's, and their sizes."""

from types import SimpleNamespace

import numpy as np
import pytest

from kmorph import ImageClassifier, starts
from kmorph.problem import ImageInput
from kmorph.search.strategy.steps import EPOCHS_TO_STEP
from kmorph.search.workers.pool import Power
from kmorph.tasks.arguments import check_arguments, pose_problem
from kmorph.tasks.choices import choose_beginning
from kmorph.tasks.fitting import Examples, Origin

N = 30_000
RNG = np.random.default_rng(0)
X, Y = RNG.integers(0, 256, (N, 8, 8), np.uint8), RNG.integers(0, 10, N)
SMALL = ("cnn", {"width": 8})
SLOW, FAST = 1e9, 1e11  # multiply-adds per second


def begin(given, power, time_limit=300.0, **options):
    clf = ImageClassifier(starts=given, verbose=False, seed=0, **options)
    arguments, target = check_arguments(clf, time_limit), clf._learn_target(Y, N)
    raw = ImageInput.check(X)
    examples = Examples.of(ImageInput, Origin.of(None, False, 0, target, N), raw, Y)
    problem = pose_problem(clf, arguments, examples.input, examples.target, examples.codes)
    pool = SimpleNamespace(power=Power(power), strategy=None)
    return choose_beginning(clf, examples, problem, arguments, pool)


def test_small_starts_of_the_user_are_widened_where_epochs_are_few():
    found = begin([SMALL], SLOW)
    ((name, graph),) = found.starts
    assert found.growth.keys() == {name} and found.growth[name] > 2 and not found.is_sized
    assert 0.6 * found.affordable < graph.flops <= found.affordable
    assert 300.0 * SLOW / graph.flops / N < EPOCHS_TO_STEP


@pytest.mark.parametrize(
    ("given", "power", "options"),
    [
        ([SMALL], FAST, {}),
        ([SMALL], SLOW, {"time_limit": None}),
        ([SMALL], SLOW, {"morphs": ["Deepen"]}),
        ([SMALL, starts.cnn((8, 8, 1), 10, width=8).initialize(0)], SLOW, {}),
        (None, SLOW, {}),
    ],
    ids=["many epochs", "no limit", "no widening", "a trained one beside it", "ours"],
)
def test_others_stay_as_they_are(given, power, options):
    found = begin(given, power, **options)
    assert not found.growth and found.is_sized is (given is None)
    if given is not None:
        assert found.starts[0][1].flops == begin([SMALL], FAST).starts[0][1].flops


def test_a_limit_on_size_holds():
    most = int(1.5 * begin([SMALL], FAST).starts[0][1].n_parameters)
    found = begin([SMALL], SLOW, max_parameters=most)
    assert found.starts[0][1].n_parameters <= most
