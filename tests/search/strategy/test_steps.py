"""Planned steps: small networks grown to the size that the time affords."""

from __future__ import annotations

import numpy as np
import pytest
from morphs.random_graphs import batch, random_weights
from morphs.reference import evaluate

from kmorph import morphs, starts
from kmorph.morphs import Limits
from kmorph.search.strategy.observe import Observation
from kmorph.search.strategy.steps import (
    LEAST_STEP,
    MOST_STEP,
    planned_step,
    steps_to,
    widened,
    widened_starts,
)

SMALL = {
    "cnn": starts.cnn((8, 8, 1), 3, width=8),
    "resnet": starts.resnet((8, 8, 2), 3, width=8),
    "densenet": starts.densenet((8, 8, 1), 3, width=8),
    "mlp": starts.mlp((6,), 3, width=16),
}


def step(graph, affordable, limits=None, kinds=None):
    parent = Observation(4, None, graph, 0.5, 1000.0, 10.0, {"learning_rate": 0.1})
    return planned_step(parent, affordable, limits or Limits(), kinds, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("times", "steps"), [(0.5, 0), (1.9, 0), (2.0, 1), (15.9, 1), (16.1, 2), (255, 2), (257, 3), (1e6, 3)]
)
def test_so_many_steps_that_none_is_too_large(times, steps):
    assert steps_to(1000, int(times * 1000)) == steps


def test_without_a_size_to_grow_to_nothing_is_planned():
    assert steps_to(1000, None) == 0 and steps_to(0, 0) == 0


@pytest.mark.parametrize("name", SMALL)
def test_a_step_widens_all_layers_and_changes_nothing_else(name):
    graph = SMALL[name]
    proposal = step(graph, 4 * graph.flops)
    child = proposal.graph
    assert proposal.parent_id == 4 and proposal.hyperparameters == {"learning_rate": 0.1}
    assert LEAST_STEP <= child.flops / graph.flops <= 4
    pairs = zip(graph.layers, child.layers, strict=True)
    wider = [new.width() > old.width() for old, new in pairs if old.width() is not None]
    assert all(wider[:-1]) and not wider[-1]  # all but the output
    rng = np.random.default_rng(1)
    grown = weighted = random_weights(graph, rng)
    for morph, seed in proposal.morphs:
        grown = morph.apply(grown, seed)
    assert grown == child
    x = batch(graph, rng)
    np.testing.assert_allclose(evaluate(grown, x), evaluate(weighted, x), atol=1e-9)


def test_what_is_far_too_small_grows_in_equal_steps():
    graph, sizes = SMALL["resnet"], []
    affordable = 100 * graph.flops
    while proposal := step(graph, affordable):
        sizes.append(proposal.graph.flops / graph.flops)
        graph = proposal.graph
    assert len(sizes) == 2 and all(7 < size <= MOST_STEP for size in sizes)
    assert 0.7 * affordable < graph.flops <= affordable


def test_starts_without_weights_are_widened_before_they_are_trained():
    small, trained = SMALL["cnn"], SMALL["cnn"].initialize(seed=0)
    large = starts.resnet((8, 8, 1), 3, width=32)
    affordable = 9 * small.flops
    given = (("cnn", small), ("trained", trained), ("resnet", large))
    found, growth = widened_starts(given, affordable, Limits(), None)
    assert [name for name, _ in found] == ["cnn", "trained", "resnet"] and [*growth] == ["cnn"]
    assert found[1:] == given[1:] and not found[0][1].has_weights
    assert growth["cnn"] == found[0][1].flops / small.flops and 6 < growth["cnn"] <= 9
    assert widened_starts(given, affordable, Limits(), (morphs.Deepen,)) == (given, {})
    assert widened_starts(given, affordable, Limits(max_parameters=small.n_parameters), None) == (given, {})


def test_bounds_are_kept():
    graph = SMALL["cnn"]
    allowed = 2 * graph.n_parameters
    child = step(graph, 4 * graph.flops, Limits(max_parameters=allowed)).graph
    assert graph.n_parameters < child.n_parameters <= allowed
    assert step(graph, 4 * graph.flops, Limits(max_parameters=graph.n_parameters)) is None


def test_only_where_networks_may_be_widened():
    graph = SMALL["cnn"]
    assert step(graph, 4 * graph.flops, kinds=(morphs.Deepen,)) is None
    assert step(graph, 4 * graph.flops, kinds=()) is None
    assert step(graph, 4 * graph.flops, kinds=(morphs.Widen,)) is not None


def test_what_cannot_be_widened_stays_as_it_is():
    graph = starts.mlp((6,), 3, depth=0)  # the output alone
    assert widened(graph, 10 * graph.flops, Limits()) == ((), graph)
    assert step(graph, 10 * graph.flops) is None
