"""The clock: slices, and when to settle."""

import time

import pytest

from kmorph.search.strategy.schedule import (
    EPOCHS_OF_SLICE,
    EPOCHS_TO_AVERAGE,
    EPOCHS_TO_SETTLE,
    LEAST_TO_COMPARE,
    LONGEST_DECAY,
    MEMBERS,
    STEPS_SHARE,
    Schedule,
)


def test_slices_and_settling_fit_into_the_limit():
    for limit in (30, 60, 300, 3600):
        schedule = Schedule(time_limit=limit, begun=time.time())
        assert schedule.begun < schedule.decay_begins < schedule.deadline <= schedule.begun + limit
        assert 1.0 <= schedule.slice_seconds() < limit / 4
        assert not schedule.time_to_settle(0)


def test_it_settles_when_a_third_of_the_time_is_left():
    schedule = Schedule(time_limit=100, begun=time.time() - 60)
    assert schedule.time_to_settle(3)


def test_settling_waits_if_few_epochs_are_allowed():
    schedule = Schedule(time_limit=100, begun=time.time() - 60)
    schedule.observe(overhead=1.0, longest_training=2.0)
    assert not schedule.time_to_settle(3)
    assert schedule.deadline - schedule.decay_begins == pytest.approx(2.6 + 2.0)


def test_what_is_discarded_is_bounded():
    schedule = Schedule(time_limit=300, begun=time.time())
    assert schedule.may_branch() and not schedule.time_to_settle(2)
    schedule.discard(0.2 * 300 - schedule.slice_seconds())
    assert not schedule.may_branch()  # a slice and its overhead would be too much
    assert not schedule.time_to_settle(2)  # but a child that is stopped early would not
    schedule.discard(0.2 * 300 - 1)
    assert schedule.time_to_settle(2)
    two = Schedule(time_limit=300, begun=time.time(), workers=2)
    two.discard(300)  # all that the second one did
    assert two.may_branch() and not two.time_to_settle(2)
    without_limit = Schedule()
    without_limit.discard(1e6)
    assert without_limit.may_branch() and not without_limit.time_to_settle(2)


def test_a_slice_is_some_epochs_at_least_if_overhead_is_small_beside_it():
    schedule = Schedule(time_limit=500, begun=time.time())
    short = schedule.slice_seconds()
    for epoch in (0.3, 24.0):  # slower than was thought at first, when growing was decided
        schedule.expect(epoch)
    assert short < 20 and schedule.slice_seconds() == pytest.approx(EPOCHS_OF_SLICE * 24.0)


def test_where_slices_are_few_only_the_best_is_grown():
    schedule = Schedule(time_limit=500, begun=time.time())
    assert schedule.may_branch()
    for epoch in (0.3, 30.0):
        schedule.expect(epoch)
    assert schedule.may_grow and not schedule.may_branch()
    schedule.discard(60.0)
    assert not schedule.time_to_settle(3)


def test_in_a_week_there_are_many_slices_and_settling_takes_hours():
    week = 7 * 24 * 3600.0
    schedule = Schedule(time_limit=week, begun=time.time())
    assert schedule.slice_seconds() < 3600.0
    assert schedule.deadline - schedule.decay_begins == LONGEST_DECAY


def test_where_epochs_are_few_nothing_grows():
    schedule = Schedule(time_limit=120, begun=time.time())
    assert schedule.may_grow and not schedule.time_to_settle(1)
    schedule.expect(20.0)
    assert not schedule.may_grow and schedule.affordable_starts(3) == 1
    assert 40 < schedule.slice_seconds() < 80  # all that is not for settling
    assert not schedule.time_to_settle(0) and schedule.time_to_settle(1)
    schedule.expect(1.0)  # faster than was thought: the plan is kept
    assert not schedule.may_grow


def test_the_last_model_settles():
    schedule = Schedule(max_models=4)
    assert [schedule.time_to_settle(models) for models in range(4)] == [False, False, False, True]
    assert schedule.time_left() is None and schedule.slice_seconds() is None


def test_short_limits_afford_fewer_starts():
    assert [Schedule(time_limit=limit).affordable_starts(3) for limit in (10, 60, 600)] == [1, 2, 3]
    assert Schedule().affordable_starts(4) == 4
    slow = Schedule(time_limit=240)
    slow.expect(22.0)
    assert slow.affordable_starts(3) == 1  # nothing grows: another would be lost


def test_a_search_that_is_over_early_says_why():
    now = [0.0]
    schedule = Schedule(time_limit=60, begun=0.0, clock=lambda: now[0], most_epochs=11)
    assert "11 epochs" in schedule.why_early(5)
    now[0] = 54.0
    assert schedule.why_early(5) is None
    now[0] = 0.0
    for others in ({"most_epochs": None}, {"max_models": 5}, {"time_limit": None}):
        options = {"time_limit": 60, "begun": 0.0, "clock": lambda: now[0], "most_epochs": 11, **others}
        assert Schedule(**options).why_early(5) is None


def test_what_cannot_be_compared_is_not_grown():
    """With few validation examples one network has the time; without a clock users ask for models."""
    for n_val, grows in ((LEAST_TO_COMPARE - 1, False), (LEAST_TO_COMPARE, True), (0, True)):
        schedule = Schedule(time_limit=300, begun=time.time(), n_val=n_val)
        schedule.expect(0.01)
        assert schedule.may_grow is grows and (schedule.affordable_starts(3) > 1) is grows
    assert Schedule(max_models=5, n_val=3).may_grow


@pytest.mark.parametrize(
    ("limit", "passes", "grows"), [(60, 197, False), (300, 870, False), (3600, 1600, True)]
)
def test_networks_grow_where_time_is_plenty_for_the_data(limit, passes, grows):
    schedule = Schedule(time_limit=limit, begun=time.time())
    schedule.expect(limit / passes)
    assert schedule.may_grow is grows


def test_hyperparameters_vary_from_half_a_minute_on_also_where_nothing_grows():
    for limit, n_val, tries in ((24, 0, False), (30, 0, True), (30, LEAST_TO_COMPARE - 1, False)):
        schedule = Schedule(time_limit=limit, begun=time.time(), n_val=n_val, varies=True)
        schedule.expect(1.0)
        assert schedule.tries_children is tries and not schedule.may_grow
        assert schedule.time_to_settle(1) is not tries


def test_planned_steps_have_their_share_of_the_time_and_the_last_one_the_rest():
    now = [0.0]
    schedule = Schedule(time_limit=900, begun=0.0, clock=lambda: now[0])
    schedule.expect(20.0)
    assert not schedule.may_grow
    schedule.plan_steps(2, starts=3)
    assert schedule.affordable_starts(3) == 3 and not schedule.time_to_settle(1)
    slices = 3 + 1  # the starts, and the first of the two children
    assert slices * schedule.slice_seconds() < STEPS_SHARE * 900
    schedule.step_taken()
    schedule.step_taken()
    now[0] = 180.0
    assert schedule.time_to_settle(5)
    assert now[0] + schedule.slice_seconds() < schedule.decay_begins < now[0] + schedule.slice_seconds() + 5


def test_nothing_is_planned_where_there_is_no_time_for_it():
    for limit in (None, 10):
        schedule = Schedule(time_limit=limit)
        schedule.plan_steps(2, starts=1)
        assert not schedule.steps_to_come
    short = Schedule(time_limit=30)
    short.plan_steps(2, starts=3)
    assert short.affordable_starts(3) == 1 and short.steps_to_come == 2


def schedule_to_average(limit=300.0, passes=EPOCHS_TO_AVERAGE, starts=3, slowest=1.0, **changes) -> Schedule:
    schedule = Schedule(time_limit=limit, begun=0.0, clock=lambda: 0.0, **changes)
    schedule.expect(limit / passes)
    schedule.plan_average(starts, slowest)
    return schedule


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_where_nothing_grows_starts_share_the_stable_phase(workers):
    schedule = schedule_to_average(workers=workers)
    assert schedule.affordable_starts(3) == 3
    assert [schedule.time_to_settle(models) for models in range(4)] == [False, False, False, True]
    seconds = -(-3 // workers) * schedule.slice_seconds()
    assert 0.8 * schedule.decay_begins < seconds < schedule.decay_begins
    schedule.discard(300.0)  # none is discarded to be averaged
    assert not schedule.time_to_settle(2)


def test_no_more_starts_are_averaged_than_are_worth_it():
    assert schedule_to_average(starts=1).affordable_starts(3) == 1
    assert schedule_to_average(starts=MEMBERS + 2).affordable_starts(9) == MEMBERS
    for one in (
        schedule_to_average(passes=EPOCHS_TO_AVERAGE - 1),
        schedule_to_average(slowest=1.1),
        schedule_to_average(n_val=LEAST_TO_COMPARE - 1),
        schedule_to_average(most_epochs=50),
        schedule_to_average(limit=20.0, passes=1000),
    ):
        assert not one.may_grow and one.affordable_starts(3) == 1 and one.time_to_settle(1)
    growing = schedule_to_average(passes=1e6)
    assert growing.may_grow and growing.n_averaged == 3
    assert growing.slice_seconds() < 30 and not growing.time_to_settle(3)


@pytest.mark.parametrize("limit", [30.0, 60.0, 120.0, 300.0, 3600.0])
@pytest.mark.parametrize("passes", [80, 120, 200, 500])
def test_all_that_are_averaged_get_epochs_enough_to_settle(limit, passes):
    schedule = schedule_to_average(limit, passes)
    n, overhead = schedule.n_averaged, 3.0
    epochs = (schedule.deadline - schedule.decay_begins - n * overhead) / n / (limit / passes)
    assert n == 1 or epochs >= EPOCHS_TO_SETTLE


def test_slow_candidates_leave_fewer_to_average():
    schedule = schedule_to_average(limit=60.0, passes=200)
    assert schedule.n_averaged == 3
    schedule.observe(overhead=17.0)
    assert schedule.n_averaged == 1 and schedule.time_to_settle(1)
    schedule = schedule_to_average(limit=300.0)
    schedule.expect(10.0)
    schedule.expect(3.0)  # another start
    assert schedule.n_averaged == 1


def test_starts_that_are_followed_by_a_step_are_not_averaged():
    schedule = Schedule(time_limit=300.0, begun=0.0, clock=lambda: 0.0)
    schedule.expect(1.0)
    schedule.plan_steps(1, starts=3)
    schedule.plan_average(3)
    assert schedule.n_averaged == 1
