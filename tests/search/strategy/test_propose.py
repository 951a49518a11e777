"""Proposals: what is tried next, and why."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import pytest
from surrogate.samples import STARTS, child_of

from kmorph import morphs
from kmorph.morphs import Limits
from kmorph.search.strategy.observe import Observation
from kmorph.search.strategy.proposal import Proposal, Situation
from kmorph.search.strategy.propose import BETA, MAX_GROWTH, SurrogateProposer
from kmorph.surrogate import Surrogate

SPEED = 500.0


def propose(observations, *, rng=None, beta=BETA, surrogate=None, **known) -> Proposal | None:
    """The answer of a new proposer."""
    proposer = SurrogateProposer(surrogate, beta)
    return proposer(Situation(observations, **known), np.random.default_rng(rng))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("kmorph.search.strategy.propose.SINGLES", 80)
    monkeypatch.setattr("kmorph.search.strategy.propose.BRANCHES", 8)


def start(model_id, graph, loss, images=5000.0, speed=SPEED) -> Observation:
    return Observation(
        model_id, None, graph, loss, images, speed, {"learning_rate": 0.05}, ((model_id, images),)
    )


def grown(model_id, parent, graph, loss, images=5000.0) -> Observation:
    seen = parent.lineage_examples + images
    return dataclasses.replace(
        parent,
        model_id=model_id,
        parent_id=parent.model_id,
        graph=graph,
        loss=loss,
        lineage_examples=seen,
        path=(*parent.path, (model_id, seen)),
    )


@pytest.fixture(scope="module")
def history() -> list[Observation]:
    rng = np.random.default_rng(0)
    known = [start(i, graph, 0.8 + 0.1 * i) for i, graph in enumerate(STARTS)]
    while len(known) < 12:
        parent = known[int(rng.integers(len(known)))]
        child = child_of(parent.graph, rng)
        known.append(grown(len(known), parent, child, float(parent.loss * rng.uniform(0.8, 1.0))))
    return known


def replayed(proposal: Proposal, history) -> bool:
    parent = next(o for o in history if o.model_id == proposal.parent_id)
    return morphs.chain(parent.graph, proposal.morphs) == proposal.graph


def test_nothing_measured_nothing_proposed():
    assert propose([]) is None
    unmeasured = dataclasses.replace(start(0, STARTS[0], None), loss=None)
    assert propose([unmeasured]) is None
    assert propose([start(0, STARTS[0], float("nan"))]) is None


@pytest.mark.parametrize("n", [1, 3, 12])
def test_a_proposal_can_be_replayed(history, n):
    proposal = propose(history[:n], rng=0, time_left=60.0)
    assert replayed(proposal, history)
    assert proposal.change and len(proposal.morphs) <= 3
    assert all(0 <= seed < 2**32 for _, seed in proposal.morphs)
    assert proposal.hyperparameters == {"learning_rate": 0.05}
    parent = next(o for o in history if o.model_id == proposal.parent_id)
    assert proposal.graph.flops <= MAX_GROWTH * parent.graph.flops
    for morph, seed in proposal.morphs:
        assert morphs.from_json(morphs.to_json(morph, seed)) == (morph, seed)


def test_one_seed_one_proposal(history):
    a, b = (propose(history, rng=7, time_left=60.0, seconds=60.0) for _ in range(2))
    assert a == b


def test_recorded_losses_decide(history):
    """The search follows what was measured: where losses are low, it grows."""
    rng = np.random.default_rng(1)
    proposals = []
    for best in (0, 1, 2):
        known = [start(i, graph, 0.2 if i == best else 0.9) for i, graph in enumerate(STARTS)]
        for i in range(3, 9):
            parent = known[i % 3]
            known.append(grown(i, parent, child_of(parent.graph, rng), parent.loss * 0.9))
        proposal = propose(known, rng=0, time_left=60.0)
        root = proposal.parent_id % 3
        proposals.append((root, proposal.graph.fingerprint))
        assert root == best
    assert len(set(proposals)) == 3


def test_what_was_tried_is_not_tried_again():
    known = [start(0, STARTS[1], 0.5)]
    tried = {(0, STARTS[1].fingerprint)}
    for i in range(1, 6):
        proposal = propose(known[:1] + known[1:], rng=0, time_left=30.0)
        key = proposal.parent_id, proposal.graph.fingerprint
        assert i == 1 or key not in tried
        tried.add(key)
        parent = next(o for o in known if o.model_id == proposal.parent_id)
        known.append(grown(i, parent, proposal.graph, 0.5))


def test_pending_and_failed_are_not_proposed_again(history):
    first = propose(history, rng=0, time_left=60.0)
    parent = next(o for o in history if o.model_id == first.parent_id)
    waiting = dataclasses.replace(
        parent, model_id=-1, parent_id=parent.model_id, graph=first.graph, loss=None
    )
    for arguments in ({"pending": [waiting]}, {"failed": [waiting]}):
        second = propose(history, rng=0, time_left=60.0, **arguments)
        assert (second.parent_id, second.graph) != (first.parent_id, first.graph)


def test_parents_can_be_restricted(history):
    for only in (3, 7):
        assert propose(history, rng=0, time_left=60.0, parents={only}).parent_id == only
    assert propose(history, rng=0, time_left=60.0, parents={99}) is None


def test_a_candidate_in_training_can_be_grown(history):
    """Its number is known, its loss is not: it is taken to come out as predicted."""
    parent = history[5]
    child = child_of(parent.graph, np.random.default_rng(0))
    expected = grown(12, parent, child, None)
    proposal = propose(history, rng=0, time_left=60.0, expected=expected, parents={12})
    assert proposal.parent_id == 12 and replayed(proposal, [expected])
    # Before anything was measured as well.
    alone = start(0, STARTS[0], None, speed=SPEED)
    first = propose([], rng=0, time_left=60.0, expected=alone)
    assert first.parent_id == 0 and first.morphs and replayed(first, [alone])


def test_limits_are_kept(history):
    largest = max(o.graph.n_parameters for o in history)
    limits = Limits(max_parameters=largest + 50, max_layers=24)
    for seed in range(3):
        proposal = propose(history, limits=limits, rng=seed, time_left=60.0)
        assert not proposal.morphs or (
            proposal.graph.n_parameters <= largest + 50 and len(proposal.graph.layers) <= 24
        )


def test_kinds_can_be_restricted(history):
    for seed in range(2):
        proposal = propose(history, kinds=("widen",), rng=seed, time_left=60.0)
        assert all(morph.kind == "widen" for morph, _ in proposal.morphs)


def test_unchanged_competes():
    """Where every change made things worse, the parent is trained on."""
    rng = np.random.default_rng(2)
    known = [start(0, STARTS[0], 0.3)]
    for i in range(1, 5):
        known.append(grown(i, known[-1], STARTS[0], 0.3 - 0.02 * i))
    for i in range(5, 25):
        known.append(grown(i, known[i % 5], child_of(STARTS[0], rng), 0.9))
    proposal = propose(known, rng=0, time_left=30.0, beta=0.0)
    assert (proposal.parent_id, proposal.morphs) == (4, ())
    assert proposal.change == "train on, unchanged"


def test_growth_is_weighed_against_speed():
    """Networks that grow are slower; with much time left that matters."""
    graph = STARTS[0]
    known = [start(0, graph, 0.5, speed=2000.0)]
    proposal = propose(known, rng=0, time_left=1e4, beta=0.0)
    assert proposal.graph.flops <= 1.05 * graph.flops


def test_all_that_fits_was_tried():
    graph = STARTS[1]
    known = [start(0, graph, 0.5)]
    nothing = Limits(max_parameters=1)
    first = propose(known, limits=nothing, rng=0, kinds=("widen", "deepen"))
    assert first.morphs == ()  # train on: the only thing left
    again = grown(1, known[0], graph, 0.4)
    assert propose([*known, again], limits=nothing, rng=0, kinds=("widen", "deepen")).parent_id == 1


def test_its_time_is_limited(history):
    begin = time.process_time()
    assert propose(history, rng=0, time_left=60.0, seconds=0.0) is not None
    # Without a limit it takes what `seconds` says, and more models more.
    assert time.process_time() - begin < 5.0


def test_a_surrogate_can_be_kept(history):
    surrogate = Surrogate()
    first = propose(history, rng=0, time_left=60.0, seconds=60.0, surrogate=surrogate)
    assert surrogate.n_observations_ == len(history)
    assert first == propose(history, rng=0, time_left=60.0, seconds=60.0, surrogate=surrogate)
    fresh = propose(history, rng=0, time_left=60.0, seconds=60.0)
    assert first.graph == fresh.graph


def test_without_a_deadline(history):
    assert replayed(propose(history, rng=0), history)


def test_speed_unknown(history):
    blind = [dataclasses.replace(o, examples_per_second=0.0) for o in history]
    assert propose(blind, rng=0, time_left=60.0) is not None
