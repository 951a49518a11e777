"""Worker processes: who has them, and how they end. They load no Keras here, and train nothing."""

import os
import subprocess
import sys
import time
from concurrent.futures import BrokenExecutor

import psutil
import pytest

from kmorph.search.workers import worker
from kmorph.search.workers.leases import MOST_IDLE, Leases, pool_for
from kmorph.search.workers.pool import ExecutorPool, InlineExecutor
from kmorph.search.workers.processes import WorkerProcesses

posix = pytest.mark.skipif(os.name == "nt", reason="processes of POSIX")

# Any process can find this function, and it takes the arguments of `prepare`.
QUICK = """
from kmorph.search.workers import worker
worker.prepare = max
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(worker, "prepare", max)


@pytest.fixture
def leases():
    leases = Leases()
    yield leases
    for processes in leases._idle:
        processes.kill()


@pytest.fixture
def processes():
    processes = WorkerProcesses()
    yield processes
    processes.kill()


def pid_of(processes):
    return processes.submit(os.getpid).result(timeout=60)


def is_gone(pid, within=20.0):
    until = time.monotonic() + within
    while time.monotonic() < until:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie":
            return True
        time.sleep(0.05)
    return False


def run(script, folder, *arguments):
    """Run a script in a process of its own; nothing may hang, and nothing be said on standard error."""
    file = folder / "script.py"
    file.write_text(script)
    done = subprocess.run(
        [sys.executable, file, *arguments], capture_output=True, text=True, timeout=120, cwd=folder
    )
    assert done.returncode == 0 and done.stderr == "", done.stderr[-3000:]
    pids = [int(word) for word in done.stdout.split()]
    assert pids and all(is_gone(pid) for pid in pids), "workers are left"
    return pids


def test_the_next_search_gets_the_workers_of_the_last(leases):
    with leases.lease() as first:
        pid = pid_of(first)
    with leases.lease() as second:
        assert second is first and second.is_ready and pid_of(second) == pid


def test_searches_at_once_have_workers_of_their_own(leases):
    with leases.lease() as first, leases.lease() as second:
        mine, other = pid_of(first), pid_of(second)
        assert mine != other
        slow = first.submit(time.sleep, 60)
        second.abandon([second.submit(time.sleep, 60)])  # its deadline has come
        assert is_gone(other) and not slow.done() and psutil.pid_exists(mine)


def test_searches_at_once_share_the_cores(leases):
    with leases.lease() as alone:
        pid_of(alone)
        with leases.lease() as beside, leases.lease() as third:
            assert (alone.searches, beside.searches, third.searches) == (1, 2, 3)
            pid_of(beside)
    with leases.lease() as again:
        assert again is alone  # the one with the most threads


@pytest.mark.parametrize("other", [{"workers": 2}, {"strategy": "mirrored"}, {"strategy": b"f"}], ids=repr)
def test_other_kinds_are_other_workers(leases, other):
    with leases.lease() as plain:
        pid_of(plain)
    with leases.lease(**other) as different:
        assert different is not plain
    with leases.lease() as again:
        assert again is plain


def test_few_idle_workers_are_kept(leases):
    with leases.lease() as a, leases.lease() as b, leases.lease() as c:
        pids = [pid_of(processes) for processes in (a, b, c)]
    assert len(leases._idle) == MOST_IDLE == 2
    assert is_gone(pids[2]) and psutil.pid_exists(pids[0]) and psutil.pid_exists(pids[1])


def test_workers_that_are_busy_or_were_killed_are_not_kept(leases):
    with leases.lease() as busy:
        pid = pid_of(busy)
        busy.submit(time.sleep, 60)
    assert is_gone(pid)
    with leases.lease() as killed:
        assert killed is not busy
        pid_of(killed)
        killed.kill()
    assert leases._idle == []


@posix
def slow_loading(seconds):
    """A `prepare` that takes a while, pickled by value."""
    namespace = {"__name__": "__main__"}
    exec(f"def prepare(*arguments):\n    import time\n    time.sleep({seconds})", namespace)
    return namespace["prepare"]


def test_a_worker_that_is_late_with_loading_is_there_for_the_next_search(leases, monkeypatch):
    monkeypatch.setattr(worker, "prepare", slow_loading(2))
    with leases.lease() as first:
        first.abandon([first.submit(time.sleep, 0)])
        assert first.is_idle and not first.is_ready
    with leases.lease() as second:
        assert second is first
        pid = pid_of(second)
        assert second.is_ready and not is_gone(pid, within=0.2)
        call = second.submit(time.sleep, 60)
        second.abandon([call])
        assert is_gone(pid)


def test_loading_is_waited_for_once(processes, monkeypatch):
    monkeypatch.setattr(worker, "prepare", slow_loading(60))
    processes.abandon([processes.submit(os.getpid)])
    (pid,) = [child.pid for child in psutil.Process().children() if child.pid in processes._pool._processes]
    processes.abandon([processes.submit(os.getpid)])
    assert is_gone(pid)


def test_a_worker_that_is_late_with_loading_ends_with_an_interrupted_search(processes, monkeypatch):
    monkeypatch.setattr(worker, "prepare", slow_loading(60))
    call = processes.submit(os.getpid)
    (pid,) = processes._pool._processes
    processes.abandon([call], idle=True)
    assert is_gone(pid)


def test_a_worker_that_died_idle_is_started_anew(processes):
    pid = pid_of(processes)
    psutil.Process(pid).kill()
    assert is_gone(pid)
    until = time.monotonic() + 20
    while True:
        try:
            assert pid_of(processes) != pid
            break
        except BrokenExecutor:  # sent before its death was known: as if it had died in training
            assert time.monotonic() < until
    assert processes.is_ready and processes.can_kill


@posix
def test_what_is_heard_of_killed_workers_says_nothing_of_the_next(processes):
    killed = processes.submit(time.sleep, 60)
    processes.kill()
    pid_of(processes)
    with pytest.raises(Exception):  # noqa: B017 - loky's own
        killed.result(timeout=60)
    assert processes.is_ready


def test_an_executor_of_the_users_gets_a_pool_of_its_own():
    with pool_for(InlineExecutor()) as pool:
        assert isinstance(pool, ExecutorPool) and pool.submit(os.getpid).result() == os.getpid()


@posix
def test_where_no_worker_can_start_this_process_trains(processes):
    """For lack of files, for example; removed folders and closed streams are no hindrance."""
    import resource

    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    pid_of(WorkerProcesses())  # imports take files as well
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")), limits[1]))
        with pytest.warns(UserWarning, match="no worker process can be started here .*executor="):
            future = processes.submit(os.getpid)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert future.result() == os.getpid()
    assert processes.is_ready and not processes.can_kill and not processes.is_idle
    assert pid_of(processes) == os.getpid()


@posix
@pytest.mark.parametrize("hindrance", ["no standard output", "no folder"])
def test_workers_start_without_a_folder_or_standard_output(tmp_path, monkeypatch, processes, hindrance):
    here = os.getcwd()
    try:
        if hindrance == "no folder":
            gone = tmp_path / "gone"
            gone.mkdir()
            os.chdir(gone)
            gone.rmdir()
        else:
            monkeypatch.setattr(sys, "stdout", None)
        future = processes.submit(os.getpid)
    finally:
        monkeypatch.undo()
        os.chdir(here)
    assert future.result() != os.getpid() and processes.can_kill


ENDS = (
    QUICK
    + """
import multiprocessing, os, sys, time
from concurrent.futures import ProcessPoolExecutor
from kmorph.search.workers.leases import pool_for

def use():
    with pool_for(None) as pool:
        pid = pool.submit(os.getpid).result()
    print(pid, flush=True)
    return pid

def main(how):
    if how == "plain":
        use()
    elif how == "stuck":
        import psutil
        psutil.Process(use()).suspend()
    elif how == "stuck after another":
        import psutil
        with pool_for(None) as pool:
            pool.abandon([pool.submit(os.getpid)], idle=True)
        psutil.Process(use()).suspend()
    elif how in ("fork", "spawn", "forkserver"):
        process = multiprocessing.get_context(how).Process(target=use)
        process.start()
        process.join(60)
        assert process.exitcode == 0, process.exitcode
    elif how == "executor":
        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as executor:
            list(executor.map(call, range(2)))
    elif how in ("loky", "threading"):
        from joblib import Parallel, delayed
        Parallel(n_jobs=2, backend=how)(delayed(call)(i) for i in range(3))

def call(i):
    return use()

if __name__ == "__main__":
    main(sys.argv[1])
"""
)


@posix
@pytest.mark.parametrize(
    "how",
    ["plain", "stuck", "stuck after another", "fork", "spawn", "forkserver", "executor", "loky", "threading"],
)
def test_programs_and_their_processes_end(tmp_path, how):
    run(ENDS, tmp_path, how)


FORKS = (
    QUICK
    + """
import multiprocessing, os, sys, threading, time
from kmorph.search.workers.leases import _leases, pool_for

def pid_of_worker():
    with pool_for(None) as pool:
        return pool.submit(os.getpid).result(), pool

def child(how):
    if how != "idle":
        pid, pool = pid_of_worker()
        assert pid != first and pool.submit(os.getppid).result() == os.getpid()
        print(pid, flush=True)

how, ending = sys.argv[1:]
first, _ = pid_of_worker()
print(first, flush=True)
with pool_for(None) as held:
    busy = held.submit(time.sleep, 1)
    if ending == "process":
        process = multiprocessing.get_context("fork").Process(target=child, args=(how,))
        process.start()
        process.join(60)
        status = process.exitcode
    else:
        with _leases._lock:  # another thread might hold it
            pid = os.fork()
        if pid == 0:
            child(how)
            sys.exit(0)
        status = os.waitpid(pid, 0)[1]
    assert status == 0, status
    busy.result()
    assert held.submit(os.getpid).result() == first, "the child ended its parent's worker"
"""
)


@posix
@pytest.mark.parametrize("how", ["idle", "searching"])
@pytest.mark.parametrize("ending", ["process", "exit"])
def test_a_forked_child_has_workers_of_its_own(tmp_path, how, ending):
    run(FORKS, tmp_path, how, ending)
