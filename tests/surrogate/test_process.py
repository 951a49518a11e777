"""The Gaussian process on candidates."""

from __future__ import annotations

import dataclasses
import time
import warnings

import numpy as np
import pytest
from scipy.stats import spearmanr
from surrogate.samples import candidates, family

from kmorph.surrogate import Surrogate, TrainedGraph, lower_confidence_bound


def truth(candidate: TrainedGraph) -> float:
    """A made-up log loss: depth helps, a learning rate of 0.01 is best, training helps."""
    rate = dict(candidate.hyperparameters)["learning_rate"]
    trained = np.log((candidate.images + 1e3) / 3e4)
    return -0.4 * np.log(len(candidate.graph.layers)) - 0.3 * trained + 0.1 * (np.log10(rate) + 2) ** 2


@pytest.fixture(scope="module")
def pool():
    rng = np.random.default_rng(0)
    points = candidates(rng, family(rng, 120))
    return points, np.exp([truth(point) + 0.02 * rng.standard_normal() for point in points])


@pytest.mark.parametrize("n", [1, 2, 3, 6, 14, 40])
def test_works_from_one_observation_up(pool, n):
    points, losses = pool
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        surrogate = Surrogate().fit(points[:n], losses[:n])
        mean, std = surrogate.predict(points)
    assert mean.shape == std.shape == (len(points),)
    assert np.isfinite(mean).all() and np.isfinite(std).all() and (std >= 0).all()
    assert np.abs(mean[:n] - np.log(losses[:n])).max() < 0.2
    assert std[:n].mean() < std[n:].mean()


def test_interpolates_and_ranks(pool):
    points, losses = pool
    surrogate = Surrogate().fit(points[:80], losses[:80])
    mean, std = surrogate.predict(points)
    expected = np.array([truth(point) for point in points])
    assert np.abs(mean[:80] - np.log(losses[:80])).mean() < 0.05
    assert spearmanr(mean[80:], expected[80:])[0] > 0.9
    off = (mean[80:] - expected[80:]) / np.maximum(std[80:], 0.01)
    assert 0.2 < np.sqrt(np.mean(off**2)) < 3


def test_order_of_observations_hardly_matters(pool):
    points, losses = pool
    order = np.random.default_rng(0).permutation(20)
    a, _ = Surrogate().fit(points[:20], losses[:20]).predict(points[20:40])
    b, _ = Surrogate().fit([points[i] for i in order], losses[order]).predict(points[20:40])
    assert np.abs(a - b).max() < 0.1


def test_longer_training_is_expected_to_help(pool):
    points, losses = pool
    one = Surrogate().fit(points[:1], losses[:1])
    longer = [dataclasses.replace(points[0], images=points[0].images * k, path=()) for k in (1, 2, 8)]
    assert (np.diff(one.predict(longer)[0]) < 0).all()


def test_a_child_inherits_its_parents_level(pool):
    points, _ = pool
    starts = [TrainedGraph(point.graph, (), 1e4, ((i, 1e4),)) for i, point in enumerate(points[:6])]
    losses = np.array([0.5, 0.5, 0.5, 0.5, 0.5, 0.2])
    surrogate = Surrogate().fit(starts, losses)
    child_of_good = TrainedGraph(points[50].graph, (), 1.5e4, ((5, 1e4),))
    child_of_other = TrainedGraph(points[50].graph, (), 1.5e4, ((0, 1e4),))
    mean, _ = surrogate.predict([child_of_good, child_of_other])
    assert mean[0] < mean[1] - 0.02


def test_failures_warn_without_poisoning(pool):
    points, losses = pool
    clean = Surrogate().fit(points[:30], losses[:30])
    near = dataclasses.replace(points[60], images=points[60].images * 1.01)
    failed = Surrogate().fit(points[:30], losses[:30], failed=[points[60]])
    assert failed.predict([near])[0] > clean.predict([near])[0]
    before, after = clean.predict(points[:30])[0], failed.predict(points[:30])[0]
    assert np.abs(before - after).max() < 0.1
    # The same for losses that are no numbers, and a diverged one bends little.
    spoilt = np.append(losses[:30], [np.nan, np.inf])
    points_too = [*points[:30], points[60], points[61]]
    assert np.abs(Surrogate().fit(points_too, spoilt).predict(points[:30])[0] - before).max() < 0.1
    huge = np.append(losses[:30], [1e12])
    bent = Surrogate().fit([*points[:30], points[60]], huge).predict(points[:30])[0]
    assert np.abs(bent - before).mean() < 0.15


def test_how_far_a_network_diverged_does_not_matter(pool):
    points, losses = pool
    predictions = []
    for factor in (30, 3000):
        diverged = np.where(np.arange(30) == 7, losses[:30] * factor, losses[:30])
        predictions.append(Surrogate().fit(points[:30], diverged).predict(points[30:])[0])
    np.testing.assert_allclose(*predictions)
    untouched, _ = Surrogate().fit(points[:30], losses[:30]).predict(points[30:])
    assert np.abs(predictions[0] - untouched).mean() < 0.15


def test_refuses_what_it_cannot_learn_from(pool):
    points, _ = pool
    with pytest.raises(ValueError, match="finite loss"):
        Surrogate().fit(points[:2], [np.nan, np.inf])
    with pytest.raises(ValueError, match="2 candidates but 1"):
        Surrogate().fit(points[:2], [0.5])


def test_pending_candidates_are_no_longer_unknown(pool):
    points, losses = pool
    surrogate = Surrogate().fit(points[:10], losses[:10])
    mean, std = surrogate.predict(points[60:70])
    again, smaller = surrogate.with_pending(points[60:62]).predict(points[60:70])
    np.testing.assert_allclose(again, mean, atol=0.05)
    assert (smaller[:2] < std[:2]).all() and (smaller <= std + 1e-6).all()
    assert np.array_equal(surrogate.predict(points[60:70])[1], std)
    assert surrogate.with_pending([]) is surrogate


def test_advantage_is_the_difference_of_predictions(pool):
    points, losses = pool
    surrogate = Surrogate().fit(points[:30], losses[:30])
    mean, std = surrogate.predict(points[40:60])
    better, unsure = surrogate.advantage(points[40:60], points[45])
    np.testing.assert_allclose(better, mean - mean[5], atol=1e-8)
    assert better[5] == unsure[5] == 0
    assert (unsure <= std + std[5] + 1e-9).all() and (np.delete(unsure, 5) > 0).all()
    # Of what is unknown, what is shared cancels.
    far = [dataclasses.replace(point, images=point.images + 1e7) for point in points[40:43]]
    assert surrogate.advantage(far, far[0])[1].max() < surrogate.predict(far)[1].max()


def test_one_more_observation_is_quick_and_keeps_the_parameters(pool):
    points, losses = pool
    surrogate = Surrogate().fit(points[:60], losses[:60])
    theta = surrogate.kernel_.theta
    begin = time.process_time()
    surrogate.fit(points[:61], losses[:61])
    assert time.process_time() - begin < 2.0  # the benchmark measures it; learning parameters takes longer
    assert np.array_equal(surrogate.kernel_.theta, theta)
    surrogate.fit(points[:100], losses[:100])
    assert not np.array_equal(surrogate.kernel_.theta, theta)
    assert surrogate.n_observations_ == 100


def test_parameters_are_learned_anew_when_most_of_the_observations_are_others(pool):
    """A long search learns from always the same number of models, but not from the same ones."""
    points, losses = pool
    surrogate, thetas = Surrogate(), []
    for first in range(41):
        thetas.append(surrogate.fit(points[first : first + 20], losses[first : first + 20]).kernel_.theta)
    changes = [i for i in range(1, 41) if not np.array_equal(thetas[i], thetas[i - 1])]
    assert changes == [20, 40]


def test_priors_hold_parameters_while_data_is_scarce(pool):
    points, losses = pool
    few = Surrogate().fit(points[:3], losses[:3])
    assert np.array_equal(few.kernel_.theta, Surrogate().fit(points[:1], losses[:1]).kernel_.theta)
    some = Surrogate().fit(points[:8], losses[:8])
    assert 0 < np.abs(some.kernel_.theta - few.kernel_.theta).max() < 2.0


def test_lower_confidence_bound():
    bound = lower_confidence_bound(np.array([1.0, 0.5]), np.array([0.5, 0.1]), 2.0)
    np.testing.assert_allclose(bound, [0.0, 0.3])
