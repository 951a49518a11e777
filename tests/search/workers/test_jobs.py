"""Jobs on simulated pools, under a simulated clock: late ones, lost ones, and answers of every kind."""

import asyncio
import json
from concurrent.futures import CancelledError, Future
from concurrent.futures.process import BrokenProcessPool

import pytest

from kmorph.errors import BackendError, SearchError
from kmorph.search.candidate import Job, Result
from kmorph.search.events import CandidateProgress
from kmorph.search.workers.interrupts import Termination
from kmorph.search.workers.jobs import GRACE, Jobs
from kmorph.training.plan import Plan


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


class Pool:
    """Its futures are resolved by tests; waiting moves the clock."""

    power, is_ready = None, True

    def __init__(self, clock, can_kill=False):
        self.clock, self.can_kill = clock, can_kill
        self.handles, self.abandoned, self.error = [], [], None

    def submit(self, fn, /, *args):
        if self.error is not None:
            raise self.error
        self.handles.append(Future())
        return self.handles[-1]

    def wait(self, handles, timeout):
        assert timeout > 0
        if not any(handle.done() for handle in handles):
            self.clock.now += timeout

    def abandon(self, handles, idle=False):
        self.abandoned += handles


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def pool(clock):
    return Pool(clock)


@pytest.fixture
def heard():
    return []


@pytest.fixture
def jobs(pool, clock, heard):
    return Jobs(pool, heard.append, clock)


def job(folder, name="a", seconds_left=None):
    return Job(
        graph_file="",
        morphs=(),
        data_folder="",
        plan=Plan(seconds_left=seconds_left),
        output_file=str(folder / f"{name}.safetensors"),
        events_file=str(folder / f"{name}.jsonl"),
        stop_file="",
    )


def test_results_come_back_with_what_was_sent(tmp_path, jobs, pool):
    first, second = job(tmp_path, "a"), job(tmp_path, "b")
    jobs.send("first", first)
    jobs.send("second", second)
    assert len(jobs) == 2 and jobs.under_way == ["first", "second"]
    result = Result(images=7)
    pool.handles[1].set_result(result)
    assert jobs.collect() == [("second", second, result)]
    assert jobs.under_way == ["first"]


def test_nothing_comes_back_before_the_timeout(tmp_path, jobs, clock):
    jobs.send("a", job(tmp_path))
    assert jobs.collect(timeout=3.0) == []
    assert 1003 <= clock.now < 1003.3 and len(jobs) == 1


@pytest.mark.parametrize("can_kill", [False, True])
def test_a_late_job_is_given_up_and_with_it_those_of_killed_workers(tmp_path, clock, heard, can_kill):
    pool = Pool(clock, can_kill)
    jobs = Jobs(pool, heard.append, clock)
    jobs.send("late", job(tmp_path, "a", seconds_left=4.0))
    jobs.send("other", job(tmp_path, "b", seconds_left=100.0))
    given_up = jobs.collect()
    assert 1004 + GRACE < clock.now < 1004 + GRACE + 0.5
    assert [what for what, _, _ in given_up] == (["late", "other"] if can_kill else ["late"])
    assert {result.cause for _, _, result in given_up} == {"late"}
    assert pool.abandoned == pool.handles[: len(given_up)]
    assert jobs.under_way == ([] if can_kill else ["other"])


def test_what_a_late_job_answers_afterwards_is_not_heard(tmp_path, jobs, pool):
    jobs.send("late", job(tmp_path, "a", seconds_left=1.0))
    jobs.collect()
    pool.handles[0].set_result(Result())
    assert jobs.collect(timeout=1.0) == [] and len(jobs) == 0


def test_without_a_deadline_nothing_is_late(tmp_path, jobs, clock):
    jobs.send("a", job(tmp_path))
    assert jobs.collect(timeout=100_000) == [] and clock.now > 100_000


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no"),
        CancelledError(),
        asyncio.CancelledError(),
        GeneratorExit(),
        SystemExit(3),
        MemoryError(),
        BrokenProcessPool("dead"),
        BackendError("advice"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_a_job_raises_costs_its_candidate_alone(tmp_path, jobs, pool, error):
    jobs.send("sick", job(tmp_path, "a"))
    jobs.send("well", job(tmp_path, "b"))
    pool.handles[0].set_exception(error)
    ((what, _, result),) = jobs.collect()
    assert what == "sick" and result.cause == "died" and jobs.under_way == ["well"]
    assert pool.abandoned == [pool.handles[0]]
    assert type(error).__name__ in result.reason or result.reason == "advice"


@pytest.mark.parametrize("can_kill", [True, False], ids=["ours", "an executor's"])
def test_of_candidates_that_die_together_one_counts(tmp_path, jobs, pool, can_kill):
    pool.can_kill = can_kill
    for name in "abc":
        jobs.send(name, job(tmp_path, name))
        pool.handles[-1].set_exception(BrokenProcessPool("dead"))
    others = "lost" if can_kill else "died"
    assert [result.cause for _, _, result in jobs.collect()] == ["died", others, others]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Termination(143)], ids=["Ctrl-C", "SIGTERM"])
def test_an_interrupt_of_this_process_is_passed_on(tmp_path, jobs, pool, error):
    jobs.send("a", job(tmp_path))
    pool.handles[0].set_exception(error)
    with pytest.raises(type(error)):
        jobs.collect()


def test_an_executor_that_refuses_costs_the_candidate(tmp_path, jobs, pool):
    pool.error = OSError("no room")
    jobs.send("a", job(tmp_path))
    assert len(jobs) == 1
    ((what, _, result),) = jobs.collect()
    assert what == "a" and result.cause == "died" and "no room" in result.reason and len(jobs) == 0


def test_a_pool_that_says_why_nothing_can_be_trained_ends_the_search(tmp_path, jobs, pool):
    pool.error = SearchError("use executor=")
    with pytest.raises(SearchError, match="executor="):
        jobs.send("a", job(tmp_path))


@pytest.mark.parametrize("answer", [None, 3, "done", {"metrics": {}}], ids=repr)
def test_an_answer_that_is_no_result_is_a_failure(tmp_path, jobs, pool, answer):
    jobs.send("a", job(tmp_path))
    pool.handles[0].set_result(answer)
    ((_, _, result),) = jobs.collect()
    assert type(answer).__name__ in result.reason and result.cause == "died"


def test_a_model_that_is_not_there_is_a_failure(tmp_path, jobs, pool):
    jobs.send("a", job(tmp_path))
    pool.handles[0].set_result(Result(metrics={}, file=str(tmp_path / "elsewhere.safetensors")))
    ((_, _, result),) = jobs.collect()
    assert "not there" in result.reason


def test_progress_is_passed_on_and_checkpoints_are_counted(tmp_path, jobs, pool, heard):
    sent = job(tmp_path, seconds_left=5.0)
    jobs.send("a", sent)
    lines = [
        json.dumps({"images": 64, "loss": 2.0, "progress": 0.1}),
        json.dumps({"checkpoint": 640, "seconds": 4.5}),
        '{"images": 12{"checkpoint": 3}',  # two workers at once
        "3",
        '{"images": 5}',
        json.dumps({"images": 704, "loss": 1.0, "progress": 0.2}),
        '{"images": 768, "lo',  # being written
    ]
    with open(sent.events_file, "w", encoding="utf-8") as events:
        events.write("\n".join(lines))
    ((_, _, result),) = jobs.collect()
    assert heard == [CandidateProgress(64, 2.0, 0.1), CandidateProgress(704, 1.0, 0.2)]
    assert (result.cause, result.images, result.seconds) == ("late", 640, 4.5)


def test_abandoning_leaves_nothing_behind(tmp_path, jobs, pool):
    jobs.send("a", job(tmp_path))
    pool.error = OSError()
    jobs.send("b", job(tmp_path))
    jobs.abandon()
    assert len(jobs) == 0 and pool.abandoned == pool.handles
