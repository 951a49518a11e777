"""Signals that end a search, and handlers that stay as they were."""

import os
import signal
import threading

import pytest

from kmorph.search.workers.interrupts import Termination, terminable

posix = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")


@posix
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_signals_raise_an_exit_with_their_number(name, monkeypatch):
    number = getattr(signal, name)
    before = signal.signal(number, signal.SIG_DFL)
    try:
        with pytest.raises(Termination) as raised, terminable():
            signal.raise_signal(number)
        assert raised.value.code == 128 + number and isinstance(raised.value, SystemExit)
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, before)


@posix
def test_handlers_of_the_program_stay():
    heard = []
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append(1))
    try:
        with terminable():
            signal.raise_signal(signal.SIGTERM)
        assert heard == [1]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_other_threads_leave_signals_alone():
    errors = []

    def enter():
        try:
            with terminable():
                pass
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert not errors
