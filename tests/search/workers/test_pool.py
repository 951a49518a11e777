"""Executors of users: those that are all right, and those that are not."""

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from kmorph.search.workers.pool import ExecutorPool, InlineExecutor, ask


class Executor:
    """Answers with what it was given."""

    def __init__(self, answer):
        self.answer = answer

    def submit(self, fn, *args):
        return self.answer


class Plain:
    """A handle with the three methods that are needed and no others."""

    def __init__(self, value=None):
        self.value, self.cancelled = value, False

    def done(self):
        return self.value is not None

    def result(self):
        return self.value

    def cancel(self):
        self.cancelled = True


class Sick(Plain):
    def done(self):
        raise ConnectionError("no scheduler")

    def cancel(self):
        raise ConnectionError("no scheduler")


@pytest.mark.parametrize("answer", [None, 3, "job 7", object()], ids=lambda answer: type(answer).__name__)
def test_an_answer_that_is_no_future_is_refused(answer):
    with pytest.raises(TypeError, match=f"{type(answer).__name__}, which has no done.., result.., cancel"):
        ExecutorPool(Executor(answer)).submit(print)


def test_three_methods_are_enough():
    plain = Plain()
    pool = ExecutorPool(Executor(plain))
    handle = pool.submit(print, 1)
    pool.wait([handle], 0.05)
    assert not handle.done()
    pool.abandon([handle])
    assert plain.cancelled
    plain.value = 3
    pool.wait([handle], 10)
    assert handle.done() and handle.result() == 3


def test_errors_of_a_handle_stay_within(caplog):
    pool = ExecutorPool(Executor(Sick()))
    handle = pool.submit(print)
    pool.wait([handle], 10)
    assert handle.done()
    with pytest.raises(ConnectionError, match="no scheduler"):
        handle.result()
    pool.abandon([handle])
    assert "could not be cancelled" in caplog.text


def test_a_callback_that_is_refused_is_no_hindrance():
    class Refusing(Future):
        def add_done_callback(self, fn):
            raise NotImplementedError

    future = Refusing()
    pool = ExecutorPool(Executor(future))
    handle = pool.submit(print)
    threading.Timer(0.1, future.set_result, [5]).start()
    pool.wait([handle], 10)
    assert handle.result() == 5


def test_waiting_ends_when_a_call_does():
    with ThreadPoolExecutor(2) as executor:
        pool, leave = ExecutorPool(executor), threading.Event()
        slow, quick = pool.submit(leave.wait), pool.submit(int, "3")
        begun = time.monotonic()
        pool.wait([slow, quick], 60)
        assert time.monotonic() - begun < 30 and quick.result() == 3 and not slow.done()
        leave.set()


def test_the_inline_executor_keeps_errors_for_the_future():
    future = InlineExecutor().submit(int, "x")
    assert future.done()
    with pytest.raises(ValueError):
        future.result()


def test_the_inline_executor_lets_interrupts_through():
    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        InlineExecutor().submit(interrupt)


def test_a_question_is_answered_in_time_or_given_up():
    pool = ExecutorPool(InlineExecutor())
    assert ask(pool, 1.0, divmod, 7, 3) == (2, 1)
    with pytest.raises(ZeroDivisionError):
        ask(pool, 1.0, divmod, 7, 0)

    class Hanging:
        def submit(self, fn, *args):
            self.future = Future()
            return self.future

    executor = Hanging()
    with pytest.raises(TimeoutError, match="no answer"):
        ask(ExecutorPool(executor), 0.05, divmod, 7, 3)
    assert executor.future.cancelled()
