"""Exactness at inference and in training, purity, replay, chains: over random graphs and weights."""

from __future__ import annotations

import json

import numpy as np
import pytest
from morphs.cases import EXACT, EXACT_IN_TRAINING, KINDS, draw, parents, scaled_error
from morphs.random_graphs import batch, random_graph, random_weights
from morphs.reference import evaluate

from kmorph import morphs

TOLERANCE = 1e-10
DEFAULT, MANY = 1_000, 50_000
PER_GRAPH = 8

# MORPHS: what must be exact in training, too.
PROMISED = {
    "deepen", "deepen_residual", "widen", "add_skip", "concat_skip", "enlarge_kernel", "branch",
    "insert_gate",
}  # fmt: skip


def check_exact(kind: str, cases: int, first_seed: int) -> float:
    """Apply morphs of one kind to random graphs, every second case in training mode; the largest error."""
    worst, done = 0.0, 0
    modes = (False, True) if kind in EXACT_IN_TRAINING else (False,)
    for seed, graph, x, found in parents(kind, first_seed):
        rng = np.random.default_rng([seed, 2])
        before = {training: evaluate(graph, x, training) for training in modes}
        for morph in draw(found, rng, PER_GRAPH):
            training = modes[done % len(modes)]
            child = morph.apply(graph, np.random.default_rng(seed))
            error = scaled_error(evaluate(child, x, training), before[training])
            assert error <= TOLERANCE, f"{morph} on random graph {seed}, training={training}: {error}"
            assert child == morph.apply(graph.without_weights()), f"{morph} on {seed}: another structure"
            worst, done = max(worst, error), done + 1
        if done >= cases:
            return worst


@pytest.mark.parametrize("kind", EXACT)
def test_exact(kind):
    check_exact(kind, DEFAULT, 0)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", EXACT)
def test_exact_many(kind):
    check_exact(kind, MANY, 1_000_000)


def test_kinds_promised_exact_in_training_are_tested():
    known = {kind.kind for kind in morphs.KINDS}
    assert PROMISED & known <= set(EXACT_IN_TRAINING)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in EXACT])
def test_approximate_kinds_give_smaller_working_graphs(kind):
    done = 0
    for seed, graph, x, found in parents(kind):
        for morph in draw(found, np.random.default_rng(seed), 4):
            child = morph.apply(graph, 0)
            assert child == morph.apply(graph.without_weights())
            assert child.n_parameters < graph.n_parameters or len(child.layers) < len(graph.layers)
            assert np.isfinite(evaluate(child, x)).all()
            done += 1
        if done >= 200:
            return


@pytest.mark.parametrize("kind", KINDS)
def test_pure_and_consistent(kind):
    for count, (seed, graph, _, found) in enumerate(parents(kind)):
        before = {key: array.copy() for key, array in graph.weights.items()}
        structure = graph.to_json()
        for morph in draw(found, np.random.default_rng(seed), 2):
            child = morph.apply(graph, seed)
            assert child.n_parameters == sum(array.size for array in child.weights.values())
            assert child.flops == morph.apply(graph.without_weights()).flops
            assert {a.dtype for a in child.weights.values()} <= {np.dtype(np.float64)}
            assert morph.describe() and morph.describe() == morph.describe().strip()
        assert graph.to_json() == structure
        assert all(np.array_equal(graph.weights[key], array) for key, array in before.items())
        if count >= 25:
            return


@pytest.mark.parametrize("kind", KINDS)
def test_replay_from_json_is_bit_identical(kind):
    for count, (seed, graph, _, found) in enumerate(parents(kind, dtype=np.float32)):
        for morph in draw(found, np.random.default_rng(seed), 2):
            text = json.dumps(morphs.to_json(morph, seed))
            again, again_seed = morphs.from_json(json.loads(text))
            assert (again, again_seed) == (morph, seed)
            one = morph.apply(graph, np.random.default_rng(seed))
            two = morphs.chain(graph, [(again, again_seed)])
            assert one == two
            assert all(np.array_equal(one.weights[key], two.weights[key]) for key in two.weights)
        if count >= 25:
            return


def random_chain(graph, rng, length, kinds):
    """A chain of morphs of mixed kinds, none of which makes the graph large."""
    steps, structure = [], graph.without_weights()
    for _ in range(20 * length):
        kind = kinds[int(rng.integers(len(kinds)))]
        found = list(morphs.sites(structure, morphs.Limits(max_width=64, max_skips=12), kinds=[kind]))
        if found:
            (morph,) = draw(found, rng, 1)
            child = morph.apply(structure)
            if child.n_parameters < graph.n_parameters + 30_000:
                steps.append((morph, int(rng.integers(2**31))))
                structure = child
        if len(steps) == length:
            break
    return steps, structure


def test_chains_of_fifteen():
    # Rounding grows with the number of layers, not with the kind.
    in_training = [kind for kind in EXACT if kind in EXACT_IN_TRAINING]
    for seed in range(40):
        rng = np.random.default_rng([seed, 3])
        graph = random_weights(random_graph(rng), rng)
        x = batch(graph, rng)
        training = bool(seed % 2)
        steps, structure = random_chain(graph, rng, 15, in_training if training else EXACT)
        assert len(steps) == 15
        child = morphs.chain(graph, steps)
        assert child == structure
        error = scaled_error(evaluate(child, x, training), evaluate(graph, x, training))
        assert error <= 10 * TOLERANCE, f"chain {seed}: {error}"
        lineage = json.loads(json.dumps([morphs.to_json(*step) for step in steps]))
        replayed = morphs.chain(graph, map(morphs.from_json, lineage))
        assert all(np.array_equal(replayed.weights[key], child.weights[key]) for key in child.weights)
