"""Plans: how long a candidate is trained, until when, and with which settings."""

from __future__ import annotations

import pytest
from search.simulated import BEGINNING, Clock

from kmorph import starts
from kmorph.search.settings import Settings
from kmorph.search.space import Range, Space
from kmorph.search.store.record import ModelRecord
from kmorph.search.strategy.planning import (
    EPOCHS_TO_AUGMENT,
    EPOCHS_TO_ERASE,
    EPOCHS_WITHOUT_LIMIT,
    FIRST_COLD,
    FIRST_WARM,
    PLAIN_END,
    PLAIN_EPOCHS,
    Planner,
    augmentation_for,
)
from kmorph.search.strategy.schedule import Schedule
from kmorph.training.plan import Hyperparameters

GRAPH = starts.mlp((4,), 3, width=4)
WIDER = starts.mlp((4,), 3, width=64)
N = 1000


def planner(time_limit=None, records=None, cold=False, speed=1000.0, passed=0.0, **changes) -> Planner:
    clock = Clock()
    schedule = Schedule(time_limit, clock=clock)
    clock.now += passed
    settings = Settings(starts=(("mlp", GRAPH),), n_train=N, **changes)
    schedule.expect(N / speed)
    return Planner(settings, schedule, {} if records is None else records, speed * GRAPH.flops, cold)


def measured(speed=1000.0, **values) -> dict[int, ModelRecord]:
    record = ModelRecord(model_id=0, state="done", flops=GRAPH.flops, examples_per_second=speed, **values)
    return {0: record}


def test_a_plan_carries_seconds_left_and_no_moment():
    plan = planner(100.0, measured(), passed=40.0).plan("stable", GRAPH, 0, 5.0)
    assert plan.seconds == 5.0 and plan.seconds_left == pytest.approx(100 - 3 - 40)
    assert max(vars(plan).get(name) or 0 for name in ("seconds", "seconds_left")) < BEGINNING


def test_without_a_clock_a_candidate_has_so_many_epochs():
    plan = planner().plan("stable", GRAPH, 0, None)
    assert (plan.seconds, plan.seconds_left, plan.max_epochs) == (None, None, EPOCHS_WITHOUT_LIMIT)
    assert planner(max_epochs=3, patience=2).plan("stable", GRAPH, 0, None).max_epochs == 3


def test_patience_is_for_searches_without_a_clock():
    assert planner(max_epochs=3, patience=2).plan("stable", GRAPH, 0, None).patience == 2
    assert planner(60.0, patience=2).plan("stable", GRAPH, 0, 5.0).patience is None


@pytest.mark.parametrize(("cold", "times"), [(False, FIRST_WARM), (True, FIRST_COLD)])
def test_the_very_first_model_is_trained_however_late_it_is(cold, times):
    plan = planner(1.0, cold=cold, passed=50.0).plan("stable", GRAPH, 0, 0.1)
    assert (plan.seconds, plan.seconds_left) == times
    later = planner(1.0, measured(), cold=cold, passed=50.0).plan("stable", GRAPH, 0, 0.1)
    assert later.seconds_left < 0


def test_where_there_is_no_time_to_grow_the_first_model_settles_at_once():
    phase, plan, _ = planner(10.0).first_or_stable(GRAPH, 0)
    assert (phase, plan.phase) == ("decay", "decay")
    assert planner(10.0, measured()).first_or_stable(GRAPH, 0)[0] == "stable"
    assert planner(10.0, max_epochs=2).first_or_stable(GRAPH, 0)[0] == "stable"
    assert planner(60.0).first_or_stable(GRAPH, 0)[0] == "stable"


def test_settling_has_the_time_that_is_left_or_its_part_of_it():
    whole = planner(300.0, measured(), passed=100.0).settling(GRAPH, 0, {})
    half = planner(300.0, measured(), passed=100.0).settling(GRAPH, 0, {}, waiting=2)
    assert whole.phase == "decay" and whole.seconds == pytest.approx(297 - 100)
    assert half.seconds == pytest.approx(whole.seconds / 2 - 3.0)
    mean = planner(300.0, measured(), passed=100.0).settling(GRAPH, 0, {}, waiting=2, evaluation=True)
    assert mean.seconds < half.seconds


def test_images_stay_as_they_are_at_the_end_of_settling():
    few = planner(60.0, measured()).settling(GRAPH, 0, {})
    assert few.plain_end == pytest.approx(PLAIN_EPOCHS / 58.2)
    assert planner(10.0, measured()).settling(GRAPH, 0, {}).plain_end == PLAIN_END


@pytest.mark.parametrize("passed", [97.0, 99.0])
def test_time_that_ran_out_meanwhile_gives_a_plan_all_the_same(passed):
    plan = planner(100.0, measured(), passed=passed).settling(GRAPH, 0, {})
    assert plan.seconds_left == 97.0 - passed and plan.plain_end == PLAIN_END


def test_validation_data_is_merged_under_a_clock_alone():
    assert planner(60.0, measured(), merge_validation=True).settling(GRAPH, 0, {}).merge_validation
    assert not planner(merge_validation=True).settling(GRAPH, 0, {}).merge_validation


def test_hyperparameters_that_may_vary_come_from_the_candidate():
    space = Space({"learning_rate": Range(0.01, 0.5, log=True)})
    found = planner(space=space).plan("stable", GRAPH, 0, None, {"learning_rate": 0.3, "weight_decay": 9.0})
    assert found.hyperparameters.learning_rate == pytest.approx(0.3)
    assert found.hyperparameters.weight_decay == Hyperparameters().weight_decay


def test_speed_follows_what_was_measured_in_proportion_to_flops():
    assert planner(60.0, speed=1000.0).speed(GRAPH) == pytest.approx(1000.0)
    known = planner(60.0, measured(250.0))
    assert known.speed(GRAPH) == pytest.approx(250.0)
    assert known.speed(WIDER) == pytest.approx(250.0 * GRAPH.flops / WIDER.flops)
    assert known.epoch_seconds(GRAPH) == pytest.approx(4.0)
    # Without a clock nothing may depend on the machine.
    assert planner(records=measured(250.0)).speed(GRAPH) == pytest.approx(1000.0)


def test_expected_images_are_bounded_by_time_and_by_epochs():
    known = planner(100.0, measured(250.0))
    assert known.expected_images(known.plan("stable", GRAPH, 0, 8.0), GRAPH) == 2000
    capped = planner(100.0, measured(250.0), max_epochs=1)
    assert capped.expected_images(capped.plan("stable", GRAPH, 0, 8.0), GRAPH) == N


@pytest.mark.parametrize(
    ("epochs", "kinds"),
    [
        (EPOCHS_TO_AUGMENT - 0.1, ()),
        (EPOCHS_TO_AUGMENT, ("shift", "flip")),
        (EPOCHS_TO_ERASE, ("shift", "flip", "erase")),
    ],
)
def test_images_are_changed_where_it_pays(epochs, kinds):
    assert augmentation_for(("shift", "flip", "erase"), epochs) == kinds


def test_a_user_may_have_images_changed_at_any_time():
    chosen = planner(10.0, measured(), augment=("shift",), always_augment=True)
    assert chosen.plan("stable", GRAPH, 0, 1.0).hyperparameters.augment == ("shift",)


def test_a_model_that_is_only_evaluated_is_not_trained():
    plan = planner(60.0, patience=3).no_training(GRAPH, {})
    assert (plan.max_epochs, plan.patience, plan.keep_best) == (0, None, False)


def test_brought_weights_are_kept_if_training_makes_them_worse():
    assert planner(60.0).plan("stable", GRAPH.initialize(0), 0, 1.0).keep_best
    assert not planner(60.0).plan("stable", GRAPH, 0, 1.0).keep_best
