"""Whole searches in no time: what the loop decides, without anything that trains."""

from __future__ import annotations

import time
from dataclasses import replace
from math import inf, nan

import numpy as np
import pytest
from search.simulated import Simulated, simulate

from kmorph import morphs, starts
from kmorph.errors import SearchError
from kmorph.morphs import Limits
from kmorph.search.candidate import Result
from kmorph.search.events import (
    CandidateFailed,
    CandidateStarted,
    ModelRecorded,
    SearchFinished,
    SearchStarted,
)
from kmorph.search.loop import MOST_FAILURES
from kmorph.search.settings import Settings
from kmorph.search.space import Choice, Range, Space
from kmorph.search.store.folder import RunFolder
from kmorph.search.store.ranking import discarded_seconds
from kmorph.search.strategy.propose import SurrogateProposer
from kmorph.search.strategy.schedule import EPOCHS_TO_AVERAGE, GROWTH_EPOCHS
from kmorph.search.workers.pool import Power
from kmorph.training.plan import Hyperparameters

MLP = starts.mlp((4,), 3, width=4)
CNN = starts.cnn((4, 4, 1), 3, width=4)
THREE = tuple((f"mlp {width}", starts.mlp((4,), 3, width=width)) for width in (4, 5, 6))

OURS_4, OURS_5 = (((f"mlp (width={width})", starts.mlp((4,), 3, width=width)),) for width in (4, 5))
ANOTHER = (("mlp", starts.mlp((4,), 3, width=5)),)
TRAINED = (("mlp", ANOTHER[0][1].initialize(0)),)


def settings(**changes) -> Settings:
    return Settings(**{"starts": (("mlp", MLP),), "n_train": 1000, "n_val": 200, **changes})


def phases(found: Simulated) -> list[str]:
    return [record.phase for record in found.history.models]


def seconds_by_phase(found: Simulated, phase: str) -> float:
    return sum(record.seconds for record in found.history.models if record.phase == phase)


def test_two_hundred_candidates_take_two_seconds_and_come_out_the_same_twice(tmp_path):
    chosen = settings(max_models=200, max_epochs=2, seed=5)
    spent = time.process_time()
    first = simulate(tmp_path / "a", chosen)
    spent = time.process_time() - spent
    assert len(first.history.models) == 200 and phases(first)[-1] == "decay"
    assert simulate(tmp_path / "b", chosen).history.models == first.history.models
    assert simulate(tmp_path / "c", settings(max_models=200, max_epochs=2, seed=6)).history.models != (
        first.history.models
    )
    assert spent < 2.0  # of the processor: other programs do not count


@pytest.fixture
def surrogate(monkeypatch):
    """The real proposer, which looks at few children."""
    monkeypatch.setattr("kmorph.search.strategy.propose.SINGLES", 10)
    monkeypatch.setattr("kmorph.search.strategy.propose.DEPTH", 1)
    return SurrogateProposer()


def test_forty_candidates_with_the_real_surrogate(tmp_path, surrogate):
    chosen = settings(starts=(("cnn", CNN),), max_epochs=2, seed=1, kinds=("widen", "deepen"))
    limits = Limits(max_layers=24)  # of long lineages proposals take long
    chosen = replace(chosen, limits=limits)
    models, again = (
        simulate(tmp_path / str(most), replace(chosen, max_models=most), proposer=surrogate).history.models
        for most in (40, 12)
    )
    assert models[:11] == again[:11] and len(models) == 40
    children = [record for record in models if record.morphs]
    assert len({record.fingerprint for record in children}) > 20
    # Of settled models the last need not be the best, by the noise of the simulation.
    assert models[-1].phase == "decay" and models[-1].loss <= 1.02 * min(record.loss for record in models)


@pytest.mark.parametrize("limit", [30.0, 120.0, 900.0, 3600.0, 86_400.0])
def test_a_limit_is_kept_and_divided(tmp_path, limit):
    found = simulate(tmp_path, settings(), limit)
    assert limit - 6 < found.seconds <= limit
    assert phases(found)[-1] == "decay" and phases(found).count("decay") == 1
    settled = seconds_by_phase(found, "decay") / limit
    assert 0.35 < settled < 0.8


def test_a_time_that_is_worth_few_epochs_grows_nothing(tmp_path):
    few = 120.0 * 500.0 / 20_000
    assert few < GROWTH_EPOCHS
    found = simulate(tmp_path, settings(n_train=20_000), 120.0, speed=500.0, power=Power(500.0 * MLP.flops))
    assert phases(found) == ["stable", "decay"] and found.history.models[1].parent_id == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_where_epochs_do_not_suffice_for_growing_several_starts_are_trained(tmp_path, workers):
    limit, n_train = 300.0, 20_000
    speed = 2 * EPOCHS_TO_AVERAGE * n_train / limit
    changes = {"starts": THREE, "ensemble": "auto", "n_train": n_train}
    pool = {"speed": speed, "power": Power(speed * MLP.flops), "workers": workers}
    found = simulate(tmp_path / "a", settings(**changes), limit, **pool).history.models
    assert [record.phase for record in found[:4]] == ["stable"] * 3 + ["decay"]
    assert [record.parent_id for record in found[:3]] == [None] * 3
    seconds = [record.seconds for record in found[:3]]
    assert max(seconds) < 1.1 * min(seconds)
    # Where no mean may be made, the others would be lost.
    trained = (THREE[0], ("mine", THREE[1][1].initialize(0)))
    alone = (
        {"ensemble": False},
        {"limits": Limits(max_parameters=THREE[1][1].n_parameters)},
        {"max_models": 4},
        {"starts": trained},
    )
    for i, other in enumerate(alone):
        found = simulate(tmp_path / str(i), settings(**{**changes, **other}), limit, **pool).history.models
        assert [record.phase for record in found] == ["stable", "decay"]


def test_a_limit_on_models_counts_all_that_are_averaged(tmp_path):
    for most, begun in ((2, 1), (4, 1), (5, 2), (6, 2), (7, 3)):
        chosen = settings(starts=THREE, ensemble="auto", n_train=20_000, max_models=most)
        speed = 2 * EPOCHS_TO_AVERAGE * 20_000 / 300
        pool = {"speed": speed, "power": Power(speed * MLP.flops)}
        found = simulate(tmp_path / str(most), chosen, 300.0, **pool).history.models
        assert [record.parent_id for record in found].count(None) == begun
        assert found[begun].phase == "decay"


def test_two_workers_train_the_remaining_starts_of_an_earlier_search_at_once(tmp_path, monkeypatch):
    # Simulated workers write no networks.
    monkeypatch.setattr("kmorph.search.store.models.load_structure", lambda file: (MLP, True))
    monkeypatch.setattr("kmorph.search.strategy.settling.Graph.load", lambda file: MLP.initialize(0))
    speed = 2 * EPOCHS_TO_AVERAGE * 20_000 / 300
    first = simulate(tmp_path, settings(max_models=4), 300.0, speed=speed)
    chosen = settings(starts=THREE, ensemble="auto", n_train=20_000)
    pool = {"speed": speed, "power": Power(speed * MLP.flops), "workers": 2}
    found = simulate(tmp_path, chosen, 300.0, earlier=first, **pool)
    late = [record for record in found.history.models[4:] if record.parent_id is None]
    assert len(late) == 2 and late[0].seconds == pytest.approx(late[1].seconds, rel=0.1)
    assert found.seconds <= 300.0


def few_epochs(**changes) -> dict:
    """Settings and a pool with which nothing grows but by planned steps."""
    chosen = settings(n_train=20_000, **changes)
    return {"settings": chosen, "speed": 500.0, "power": Power(500.0 * chosen.starts[0][1].flops)}


@pytest.mark.parametrize("limit", [30.0, 120.0, 900.0])
def test_a_start_that_is_too_small_is_grown_to_its_size_first(tmp_path, limit):
    found = simulate(tmp_path, time_limit=limit, **few_epochs(affordable=40 * MLP.flops))
    models = found.history.models
    assert phases(found) == ["stable", "stable", "stable", "decay"]
    assert [record.parent_id for record in models] == [None, 0, 1, 2]
    sizes = [record.flops / MLP.flops for record in models]
    assert sizes[0] == 1 and 4 < sizes[1] < 7 and 25 < sizes[2] <= 40 and sizes[3] == sizes[2]
    assert all("times the FLOPs" in record.change for record in models[1:3])
    assert sum(record.seconds for record in models[:2]) <= 0.35 * limit  # the rest is for the large network
    assert limit - 6 < found.seconds <= limit


def test_small_starts_compete_and_one_is_grown(tmp_path):
    given = few_epochs(starts=THREE, affordable=8 * MLP.flops)
    models = simulate(tmp_path, time_limit=120.0, **given).history.models
    assert [record.parent_id for record in models[:3]] == [None] * 3
    best = min(models[:3], key=lambda record: record.loss).model_id
    assert models[3].parent_id == best and models[-1].flops > 4 * MLP.flops


def test_more_time_grows_the_model_of_an_earlier_search(tmp_path, monkeypatch):
    first = simulate(tmp_path, time_limit=60.0, **few_epochs())
    before = len(first.history.models)
    # Simulated workers write no networks.
    monkeypatch.setattr("kmorph.search.store.models.load_structure", lambda file: (MLP, True))
    large = (("mlp 20", starts.mlp((4,), 3, width=20)),)
    given = few_epochs(starts=large, affordable=large[0][1].flops)
    found = simulate(tmp_path, time_limit=600.0, earlier=first, **given)
    new = found.history.models[before:]
    assert [record.phase for record in new] == ["stable", "decay"]
    assert new[0].parent_id == 0 and new[0].flops > 4 * MLP.flops


def test_a_step_for_which_memory_does_not_suffice_costs_no_more_than_itself(tmp_path):
    fails = Result(reason="memory ran out", cause="memory")
    given = few_epochs(affordable=4 * MLP.flops)
    found = simulate(tmp_path, time_limit=120.0, fate=lambda n, job: fails if n == 1 else None, **given)
    assert phases(found) == ["stable", "decay"] and len(found.history.failed) == 1


def test_after_its_steps_a_search_with_time_for_children_goes_on_growing(tmp_path):
    found = simulate(tmp_path, settings(affordable=4 * MLP.flops), 900.0)
    grown = [record for record in found.history.models if record.phase == "stable"]
    assert "times the FLOPs" in grown[1].change and len(grown) > 5
    assert not any("times the FLOPs" in record.change for record in grown[2:])


@pytest.mark.parametrize(
    ("before", "now", "is_trained"),
    [
        ({"is_sized": True, "starts": OURS_4}, {"is_sized": True, "starts": OURS_5}, True),
        ({"growth": {"mlp": 4.25}}, {"starts": ANOTHER}, True),
        ({}, {"starts": ANOTHER}, False),
        ({"growth": {"mlp": 4.25}}, {"starts": TRAINED}, False),
    ],
    ids=["ours", "widened", "the user's", "trained elsewhere"],
)
def test_starts_of_another_width_when_a_search_goes_on(tmp_path, monkeypatch, before, now, is_trained):
    """If it was chosen for the time, the start that was trained goes on, instead of one that suits now."""
    pool = {"speed": 500.0, "power": Power(500.0 * MLP.flops)}
    earlier = simulate(tmp_path, settings(n_train=20_000, **before), 120.0, **pool)
    # Simulated workers write no networks.
    monkeypatch.setattr("kmorph.search.store.models.load_structure", lambda file: (MLP, True))
    again = simulate(tmp_path, settings(n_train=20_000, **now), 120.0, earlier=earlier, **pool)
    assert [record.parent_id for record in again.history.models][:3] == [None, 0, 0 if is_trained else None]


def test_a_start_that_was_widened_says_so(tmp_path):
    first = simulate(tmp_path, settings(growth={"mlp": 4.25}), 60.0).history.models[0]
    assert first.change == "start: mlp, widened to 4.2 times the FLOPs"


def test_the_last_model_settles_also_where_models_are_few(tmp_path):
    one = simulate(tmp_path / "one", settings(starts=THREE, max_models=1), 300.0)
    assert phases(one) == ["decay"] and 0.9 * 300 < one.seconds <= 300
    two = simulate(tmp_path / "two", settings(starts=THREE, max_models=2), 300.0)
    assert phases(two) == ["stable", "decay"] and 0.9 * 300 < two.seconds <= 300
    counted = simulate(tmp_path / "counted", settings(starts=THREE, max_models=3, max_epochs=1))
    assert phases(counted) == ["stable", "stable", "decay"]
    capped = simulate(tmp_path / "capped", settings(max_models=1, most_epochs=4), 300.0)
    assert phases(capped) == ["decay"] and capped.history.models[0].epochs == 4


def test_a_start_that_fails_leaves_its_place_to_the_next(tmp_path):
    found = simulate(
        tmp_path,
        settings(starts=THREE, max_models=3, max_epochs=1),
        fate=lambda number, job: Result(reason="it diverged") if number == 0 else None,
    )
    assert phases(found) == ["stable", "stable", "decay"]


def test_starts_are_trained_first_as_many_as_time_allows(tmp_path):
    three = tuple((f"mlp {width}", starts.mlp((4,), 3, width=width)) for width in (4, 8, 12))
    many = simulate(tmp_path / "many", settings(starts=three), 3600.0).history.models
    assert [record.change for record in many[:3]] == ["start: mlp 4", "start: mlp 8", "start: mlp 12"]
    few = simulate(tmp_path / "few", settings(starts=three), 26.0).history.models
    assert [record.change for record in few if record.parent_id is None] == ["start: mlp 4"]


def test_without_a_time_limit_a_model_is_settled_now_and_then(tmp_path):
    found = simulate(tmp_path, settings(max_models=30, max_epochs=1))
    settled = [number for number, phase in enumerate(phases(found)) if phase == "decay"]
    assert settled[:-1] == [6, 13, 20, 27] and settled[-1] == 29
    # Growing goes on from where it was: nothing is grown from a settled model.
    assert not {record.parent_id for record in found.history.models} & set(settled)


def test_events_tell_of_everything_in_order(tmp_path):
    found = simulate(
        tmp_path,
        settings(max_models=3, max_epochs=1),
        fate=lambda number, job: Result(reason="it diverged") if number == 1 else None,
    )
    kinds = [type(event) for event in found.events]
    assert kinds[0] is SearchStarted and kinds[-1] is SearchFinished
    assert kinds.count(CandidateStarted) == 4
    assert kinds.count(ModelRecorded) == 3 and kinds.count(CandidateFailed) == 1
    assert found.events[-1].best == found.history.models[-1]
    for started, ended in zip(kinds[1:-1:2], kinds[2:-1:2], strict=True):
        assert started is CandidateStarted and ended in (ModelRecorded, CandidateFailed)


def test_hyperparameters_vary_within_their_space(tmp_path, surrogate):
    space = Space({"learning_rate": Range(0.01, 0.2, log=True), "batch_size": Choice((16, 32))})
    chosen = settings(
        space=space, max_models=12, max_epochs=1, hyperparameters=Hyperparameters(batch_size=32)
    )
    models = simulate(tmp_path, chosen, proposer=surrogate).history.models
    used = [record.hyperparameters for record in models]
    assert all(0.01 <= values["learning_rate"] <= 0.2 and values["batch_size"] in (16, 32) for values in used)
    assert len({(values["learning_rate"], values["batch_size"]) for values in used}) > 2
    changed = [r for r in models if r.parent_id is not None and "learning_rate" in r.change]
    for record in changed:
        told = float(record.change.split("learning_rate ")[1].split(";")[0])
        assert record.hyperparameters["learning_rate"] == told
    assert changed and models[-1].phase == "decay"
    assert models[-1].hyperparameters == models[models[-1].parent_id].hyperparameters


def test_hyperparameters_vary_also_where_nothing_grows(tmp_path, surrogate, recwarn):
    space = Space({"learning_rate": Range(0.01, 0.2, log=True)})
    n_train = 20_000
    speed = 0.2 * GROWTH_EPOCHS * n_train / 120.0
    found = simulate(
        tmp_path,
        settings(space=space, n_train=n_train),
        120.0,
        speed=speed,
        proposer=surrogate,
        power=Power(speed * MLP.flops),
    )
    models = found.history.models
    assert not any(record.morphs for record in models) and models[-1].phase == "decay"
    assert len({record.hyperparameters["learning_rate"] for record in models}) > 2
    assert not recwarn.list


def test_a_search_without_room_to_vary_hyperparameters_says_so(tmp_path):
    space = Space({"learning_rate": Range(0.01, 0.2, log=True), "batch_size": Choice((16, 32))})
    with pytest.warns(UserWarning, match=r"than batch_size=16, learning_rate=0\.1 were not tried"):
        simulate(tmp_path, settings(space=space, n_val=50), 60.0)


def test_limits_and_kinds_are_kept(tmp_path, surrogate):
    bound = Limits(max_parameters=2 * MLP.n_parameters)
    chosen = settings(max_models=12, max_epochs=1, limits=bound, kinds=(morphs.Widen,))
    models = simulate(tmp_path, chosen, proposer=surrogate).history.models
    assert all(record.n_parameters <= bound.max_parameters for record in models)
    assert {morph["kind"] for record in models for morph in record.morphs} == {"widen"}


def test_a_failed_child_is_not_tried_again_and_many_in_a_row_end_the_search(tmp_path, surrogate):
    found = simulate(
        tmp_path,
        settings(max_models=50, max_epochs=1),
        proposer=surrogate,
        fate=lambda number, job: Result(reason="diverged") if number else None,
    )
    assert len(found.history.models) == 1 and len(found.history.failed) == MOST_FAILURES
    assert len({(record.parent_id, record.fingerprint) for record in found.history.failed}) == MOST_FAILURES


def test_a_child_chosen_for_a_start_that_failed_is_not_grown_from_the_next_one(tmp_path):
    """It is chosen while the start trains, for the number that another start then gets."""
    wider = starts.mlp((4,), 3, width=16)
    found = simulate(
        tmp_path,
        settings(starts=(("mlp", MLP), ("wider", wider)), max_models=3, max_epochs=1),
        fate=lambda number, job: Result(reason="it diverged") if number == 0 else None,
    )
    start, child, _ = found.history.models
    assert start.fingerprint == wider.fingerprint and child.parent_id == start.model_id and child.morphs
    grown = morphs.chain(wider, [morphs.from_json(values) for values in child.morphs])
    assert grown.fingerprint == child.fingerprint


def test_every_start_failing_is_an_error_with_the_reasons(tmp_path):
    with pytest.raises(SearchError, match="start: mlp: it diverged"):
        simulate(tmp_path, settings(), 60.0, fate=lambda number, job: Result(reason="it diverged"))


def test_a_full_disk_ends_the_search_with_what_it_has(tmp_path):
    def fate(number, job):
        return Result(reason="no space left", cause="disk") if number == 2 else None

    with pytest.raises(SearchError, match="Its 2 models are kept"):
        simulate(tmp_path, settings(max_models=9, max_epochs=1), fate=fate)


@pytest.mark.parametrize("can_kill", [True, False])
def test_a_candidate_that_never_comes_back_is_late_and_the_search_ends_on_time(tmp_path, can_kill):
    found = simulate(
        tmp_path, settings(), 300.0, can_kill=can_kill, fate=lambda number, job: inf if number == 2 else None
    )
    assert found.seconds < 300 + 5
    assert [record.reason for record in found.history.failed] == [
        "its deadline passed before it began to train"
    ]
    assert len(found.history.models) == 2 and len(found.pool.abandoned) == 1


def test_if_nothing_ever_comes_back_the_first_start_is_the_model(tmp_path):
    with pytest.warns(UserWarning, match="before any model was trained: model 0 has its initial"):
        found = simulate(tmp_path, settings(), 60.0, fate=lambda number, job: inf)
    assert found.seconds < 60 + 5
    (only,) = found.history.models
    assert only.state == "untrained" and only.parent_id is None


def test_a_best_model_beyond_the_limits_is_told(tmp_path):
    with pytest.warns(UserWarning, match=r"max_parameters=10, but the best model has \d+ parameters"):
        simulate(tmp_path, settings(limits=Limits(max_parameters=10), kinds=(), max_models=2, max_epochs=1))


def test_a_worker_that_dies_while_settling_is_given_the_model_again(tmp_path):
    died = []

    def fate(number, job):
        if job.plan.phase == "decay" and not died:
            died.append(job)
            return Result(reason="its worker died", cause="died")
        return None

    found = simulate(tmp_path, settings(), 600.0, fate=fate)
    last = found.history.models[-1]
    assert died and last.phase == "decay" and len(found.history.failed) == 1
    assert found.pool.jobs[-1].graph_file == died[0].graph_file


def test_little_time_goes_to_children_that_lose(tmp_path):
    found = simulate(tmp_path, settings(), 1800.0, loses=lambda job: bool(job.morphs))
    models = found.history.models
    stopped = [record for record in models if record.state == "stopped"]
    assert len(stopped) >= 3 and models[-1].phase == "decay"
    assert models[-1].parent_id not in {record.model_id for record in stopped}
    spent = sum(record.seconds for record in models)
    assert 0.05 < discarded_seconds(models, models[-1]) / spent < 0.3


def test_what_earlier_runs_discarded_does_not_count(tmp_path):
    earlier = simulate(tmp_path, settings(max_models=2, max_epochs=1))
    first = earlier.history.models[0]
    MLP.initialize(0).save(RunFolder.model_path(tmp_path, 2))
    earlier.history.add(replace(first, model_id=2, loss=9.0, seconds=1e5))
    assert phases(simulate(tmp_path, settings(), 1800.0, earlier=earlier))[3:].count("stable") >= 2


def test_models_left_over_by_another_loss_are_not_built_on(tmp_path):
    """A start and a child have no loss any more; then no model has."""
    earlier = simulate(tmp_path, settings(max_models=4, max_epochs=1))
    for number in (0, 2):
        earlier.history.models[number] = replace(earlier.history.models[number], loss=nan, metrics={})
    for number, record in enumerate(earlier.history.models):
        MLP.initialize(0).save(RunFolder.model_path(tmp_path, number))
        earlier.history.models[number] = replace(record, fingerprint=MLP.fingerprint)
    found = simulate(tmp_path, settings(merge_validation=True), 600.0, earlier=earlier).history.models
    assert found[-1].phase == "decay" and not {record.parent_id for record in found[4:]} & {0, 2}
    for number, record in enumerate(found):
        earlier.history.models[number] = replace(record, loss=nan, metrics={})
    known = len(found)
    found = simulate(tmp_path, settings(), 600.0, earlier=earlier).history.models
    assert found[known].change == "start: mlp" and found[-1].phase == "decay"


def test_a_search_goes_on_after_one_that_measured_nothing(tmp_path):
    earlier = simulate(tmp_path, settings(merge_validation=True), 18.0)
    assert phases(earlier) == ["decay"]
    earlier.history.models[0] = replace(earlier.history.models[0], loss=None, metrics={})
    MLP.initialize(0).save(RunFolder.model_path(tmp_path, 0))
    found = simulate(tmp_path, settings(), 300.0, earlier=earlier)
    assert len(found.history.models) > 1 and phases(found)[-1] == "decay"


def test_a_cap_on_epochs_leaves_time_for_a_second_model(tmp_path):
    """Without a cap the first one would have all of so short a time."""
    found = simulate(tmp_path, settings(max_epochs=2), 18.0)
    assert phases(found) == ["stable", "decay"]
    assert all(record.epochs <= 2 for record in found.history.models)
    assert phases(simulate(tmp_path / "without", settings(), 18.0)) == ["decay"]


def test_two_workers_share_the_time_and_settle_once(tmp_path):
    found = simulate(tmp_path, settings(), 900.0, workers=2)
    assert found.seconds <= 900 and phases(found).count("decay") == 1 and phases(found)[-1] == "decay"
    alone = simulate(tmp_path / "alone", settings(), 900.0)
    assert len(found.history.models) > 1.5 * len(alone.history.models)


def test_memory_that_ran_out_bounds_what_is_proposed(tmp_path):
    """All that is larger than the start is too large."""
    seen = []

    def proposer(situation, rng):
        from search.simulated import random_child

        seen.append(situation.limits)
        return random_child(situation, rng)

    def fate(number, job):
        return Result(reason="out of memory", cause="memory") if job.morphs else None

    simulate(tmp_path, settings(max_models=4, max_epochs=1), proposer=proposer, fate=fate)
    assert seen[0].max_parameters is None and seen[-1].max_parameters == MLP.n_parameters


def test_records_of_simulated_time_say_when(tmp_path):
    models = simulate(tmp_path, settings(max_models=5, max_epochs=1)).history.models
    created = np.array([record.created for record in models])
    assert (np.diff(created) > 0).all() and created[0] > 1_000_000
