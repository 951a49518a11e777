"""Seeds of any size, and caps on epochs."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from kmorph import ImageClassifier
from kmorph.cli import SMALL_STARTS, _digits
from kmorph.problem import ImageInput
from kmorph.search.strategy.steps import EPOCHS_TO_STEP, steps_to
from kmorph.search.workers.calibration import GUESS
from kmorph.tasks.options import SearcherArgs, choose_starts

X, Y = load_digits(return_X_y=True)
X = X.reshape(-1, 8, 8)


@pytest.mark.parametrize("seed", [2**32 - 1, 2**40])
def test_large_seeds_work_in_final_fit_too(tmp_path, seed):
    quick = {"trainer_args": {"max_iter_num": 1}, "default_model_width": 8}
    clf = ImageClassifier(path=tmp_path, seed=seed, max_models=1, searcher_args=quick, verbose=False)
    clf.fit(X[:300], Y[:300]).final_fit(X[:300], Y[:300], trainer_args={"max_iter_num": 1})
    assert clf.predict(X[:5]).shape == (5,)


def test_a_cap_on_epochs_is_kept_under_a_clock(tmp_path):
    clf = ImageClassifier(
        path=tmp_path, max_models=3, searcher_args={"trainer_args": {"max_iter_num": 2}}, verbose=False
    )
    clf.fit(X[:800], Y[:800], time_limit=10_000)
    assert len(clf.history) >= 3
    assert all(entry["epochs"] <= 2.5 for entry in clf.history)
    assert all(entry["loss"] is None or np.isfinite(entry["loss"]) for entry in clf.history)
    assert clf.history[0]["loss"] is not None and clf.evaluate(X, Y) > 0.2


def test_the_demo_grows_twice():
    (x, _), _ = _digits(0)
    images = ImageInput.learn(x)
    affordable = images.affordable(10, len(x), 60.0, lambda graph: GUESS.multiply_adds)
    for _, start in choose_starts(SMALL_STARTS, (), images.shape, 10, images.front(), SearcherArgs.of(None)):
        assert steps_to(start.flops, affordable) == 2
    assert 60.0 * GUESS.multiply_adds > 1.5 * EPOCHS_TO_STEP * len(x) * affordable
