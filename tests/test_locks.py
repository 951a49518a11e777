"""Locks in processes that are forked."""

import os
import threading

import pytest

from kmorph.locks import ForkSafeLock

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes are forked on this system")


def status_of_child(check):
    """Fork, and return the exit status of a child that runs `check`; it is ended after 20 seconds."""
    child = os.fork()
    if not child:
        threading.Timer(20, os._exit, (2,)).start()
        os._exit(0 if check() else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_one_thread_at_a_time_and_again_in_the_same():
    lock, order = ForkSafeLock(), []

    def other():
        with lock.held():
            order.append("other")

    with lock.held(), lock.held():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(0.1)
        order.append("first")
    thread.join()
    assert order == ["first", "other"]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_does_not_wait_for_a_thread_that_it_does_not_have():
    lock, taken, done = ForkSafeLock(), threading.Event(), threading.Event()

    def hold():
        with lock.held():
            taken.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    taken.wait()

    def check():
        with lock.held():
            return True

    assert status_of_child(check) == 0
    done.set()
    thread.join()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_the_thread_that_forks_may_hold_it():
    lock = ForkSafeLock()
    with lock.held():
        child = os.fork()
    if not child:
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
