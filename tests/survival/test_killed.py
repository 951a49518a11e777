"""A search whose process, or whose worker, is killed at any instant goes on as if nothing had happened."""

import os
import random
import signal
import subprocess
import sys
import time

import psutil
import pytest
from search_runs import QUICK, SCRIPT, SIGNALS, TEXTS, Run, as_on_a_terminal, check, gone

from kmorph.errors import SearchError

posix = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
LONG = {**QUICK, "searcher_args": {"trainer_args": {"max_iter_num": 20}}}
# How promptly what is asked for happens. It takes longer on a busy machine, where a worker may not manage
# to hand over its model in the two seconds that it is given.
PROMPT, ANY_TIME = 1.0, 20.0
pace = pytest.mark.parametrize(
    "pace", [pytest.param(PROMPT, marks=pytest.mark.wall, id="prompt"), pytest.param(ANY_TIME, id="busy")]
)
LONGEST = 1.7  # from the start of a process to its kill, as a multiple of the time that its first model takes


def kill_and_resume(folder, kills, seed):
    """Kill a search again and again; after each kill everything that was reported must be there."""
    rng = random.Random(seed)
    first = Run(folder)
    first.wait_for_models(1)
    longest = LONGEST * (time.monotonic() - first.begun)
    first.process.kill()
    first.wait(10)
    known, reached = [event["model_id"] for event in first.events("recorded")], set()
    for number in range(kills):
        run = Run(folder)
        # The first at once; the last after a model, should the machine have become too slow for the others.
        instant, workers = rng.uniform(0, longest) if number else 0.0, set()
        if number == kills - 1 and True not in reached:
            run.wait_for_models(1)
        while time.monotonic() - run.begun < instant and run.process.poll() is None:
            workers |= set(run.workers())
            if (folder / "search.db").exists():
                read(folder)  # beside the writer
            time.sleep(0.02)
        assert run.process.poll() is None, f"it ended by itself: {run.errors}"
        workers |= set(run.workers())
        run.process.kill()
        run.wait(10)
        # Resumed at once, while the orphan may still live: it must not harm what comes next.
        told = [event["model_id"] for event in run.events("recorded")]
        found = read(folder)
        assert set(known) | set(told) <= set(found)
        reached.add(bool(told))
        known = found
        gone(workers, 60)
        assert read(folder) == found, "an orphan wrote into the folder"
    last = Run(folder, {**QUICK, "max_models": len(known) + 2})
    assert last.wait(250) == 0, last.errors
    assert len(check(folder)) == len(known) + 2
    assert not [file for file in folder.rglob("*") if file.name.startswith(".")], "temporary files are left"
    return reached


def read(folder):
    """Ids of the models; none, if the search had not begun to write."""
    try:
        return check(folder)
    except SearchError as error:
        if "no search" in str(error) or "is empty" in str(error) or "no model yet" in str(error):
            return []
        raise


@posix
def test_killed_at_three_instants(tmp_path):
    assert kill_and_resume(tmp_path / "run", 3, 0) == {True, False}


@posix
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_killed_at_a_hundred_instants(tmp_path):
    assert kill_and_resume(tmp_path / "run", 100, 1) == {True, False}


@posix
@pytest.mark.parametrize(
    ("script", "start"),
    [
        pytest.param(SCRIPT, "cnn", id="images"),
        pytest.param(TEXTS, "bag", id="texts", marks=pytest.mark.slow),
        pytest.param(SIGNALS, "fcn", id="signals", marks=pytest.mark.slow),
    ],
)
def test_a_killed_worker_costs_one_candidate(tmp_path, script, start):
    run = Run(tmp_path / "run", {**QUICK, "starts": [(start, {"width": 8})], "max_models": 4}, script=script)
    run.wait_for_models(2)
    worker = max(run.workers(), key=lambda process: process.memory_info().rss)
    worker.kill()
    assert run.wait(250) == 0, run.errors
    assert len(check(tmp_path / "run")) == 4
    gone([worker], 10)


@posix
@pace
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", pytest.param("SIGHUP", marks=pytest.mark.slow)])
def test_signals_end_it_with_what_was_trained(tmp_path, name, pace):
    number = getattr(signal, name)
    run = Run(tmp_path / "run", LONG)
    run.wait_for_models(1)
    time.sleep(1)  # into the training of the next
    workers = run.workers()
    sent = time.monotonic()
    run.process.send_signal(number)
    status = run.wait(10 * pace)
    assert time.monotonic() - sent < 3 * pace
    # Python ends by SIGINT itself, which shells report as 130; the others as they report them.
    assert status in (-number, 128 + number)
    gone(workers, pace)
    told = [event["model_id"] for event in run.events("recorded")]
    assert check(tmp_path / "run") == told
    assert len(told) >= 2 or pace > PROMPT, "what was being trained is lost"


@posix
@pace
@pytest.mark.parametrize("name", ["SIGTERM", pytest.param("SIGHUP", marks=pytest.mark.slow)])
def test_signals_to_all_processes_end_it_with_what_was_trained(tmp_path, name, pace):
    """As a terminal that is closed, or a batch system, sends them."""
    run = Run(tmp_path / "run", LONG)
    run.wait_for_models(1)
    time.sleep(1)  # into the training of the next
    for process in (*run.workers(), psutil.Process(run.process.pid)):
        process.send_signal(getattr(signal, name))
    assert run.wait(10 * pace) == 128 + getattr(signal, name)
    told = [event["model_id"] for event in run.events("recorded")]
    assert check(tmp_path / "run") == told
    assert len(told) >= 2 or pace > PROMPT, "what was being trained is lost"


@posix
@pace
def test_a_second_interrupt_ends_it_at_once(tmp_path, pace):
    run = Run(tmp_path / "run", LONG)
    run.wait_for_models(1)
    time.sleep(0.3)  # the next candidate is under way: with nothing to wait for, the first ends it at once
    (worker,) = [process for process in run.workers() if process.memory_info().rss > 2e8]
    worker.suspend()  # it would not answer the first
    run.process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert run.process.poll() is None
    sent = time.monotonic()
    run.process.send_signal(signal.SIGINT)
    assert run.wait(10 * pace) in (-signal.SIGINT, 130)
    assert time.monotonic() - sent < pace
    gone([worker], pace)
    check(tmp_path / "run")


@posix
@pace
def test_an_idle_worker_that_does_not_answer_holds_nothing_up(tmp_path, pace):
    """The interrupt comes while nothing is trained: here, in a callback."""
    script = SCRIPT.replace("def tell(record):", STUCK + "def tell(record):\n    stop_the_worker()")
    run = Run(tmp_path / "run", script=script)
    run.wait(250)
    workers = [psutil.Process(int(pid)) for pid in run.errors.split() if psutil.pid_exists(int(pid))]
    assert run.process.returncode == 7
    gone(workers, pace)
    ended = [event["time"] for event in run.events("interrupted")]
    assert time.time() - ended[0] < 3 * pace
    check(tmp_path / "run")


STUCK = """
import psutil, time

def stop_the_worker():
    for child in psutil.Process().children(recursive=True):
        if child.memory_info().rss > 2e8:
            child.suspend()
            print(child.pid, file=sys.stderr)
    print(json.dumps({"event": "interrupted", "time": time.time()}), flush=True)
    raise SystemExit(7)


"""


@posix
@pace
def test_the_demo_tells_where_its_models_are_when_interrupted(tmp_path, pace):
    command = [
        sys.executable,
        "-m",
        "kmorph.cli",
        "demo",
        "--time-limit",
        "30",
        "--out",
        str(tmp_path / "demo"),
    ]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    demo = subprocess.Popen(command, text=True, preexec_fn=as_on_a_terminal, **pipes)
    read, until = [], time.monotonic() + 200
    while not any("model 0" in line for line in read):
        assert time.monotonic() < until
        read.append(demo.stdout.readline())
    sent = time.monotonic()
    demo.send_signal(signal.SIGINT)
    rest, errors = demo.communicate(timeout=10 * pace)
    assert time.monotonic() - sent < 3 * pace
    # On a busy machine the tracker of loky's semaphores may be late, and says so.
    told = [
        line for line in errors.splitlines() if "resource_tracker" not in line and "warnings.warn" not in line
    ]
    assert demo.returncode == 130 and not told
    assert str(tmp_path / "demo") in rest and "Interrupted" in rest
    assert check(tmp_path / "demo")
