"""Keras and its backend are loaded once, whichever threads ask, and standard error stays what it was."""

import contextlib
import importlib.machinery
import json
import os
import pwd
import subprocess
import sys
import threading
import types

import pytest

from kmorph.errors import BackendError
from kmorph.training import backend, quiet
from kmorph.training.backend import backend_name, load_backend, require_backend
from kmorph.training.quiet import open_streams, without_native_messages


def half_imported(name):
    module = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    module.__spec__._initializing = True
    return module


def identity():
    status = os.fstat(2)
    return status.st_dev, status.st_ino


def test_a_module_that_another_thread_imports_is_not_taken_for_loaded(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras", half_imported("keras"))
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    assert backend_name() == "torch"


def test_no_home_folder(monkeypatch, tmp_path):
    def unknown(_):
        raise KeyError

    for name in ("HOME", "KERAS_HOME", "KERAS_BACKEND"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    assert require_backend() in backend.BACKENDS
    # As Keras: a home that cannot be written is none.
    monkeypatch.setenv("HOME", str(tmp_path / "missing"))
    assert str(backend._keras_home()) == "/tmp/.keras"
    monkeypatch.setenv("KERAS_HOME", "~/settings")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "settings").mkdir()
    (tmp_path / "settings" / "keras.json").write_text(json.dumps({"backend": "jax"}))
    assert backend_name() == "jax"


def test_threads_load_it_once(monkeypatch):
    loads = []
    began = threading.Barrier(4)

    def load(threads, devices):
        loads.append(threads)
        # Half of it is there before the rest is.
        sys.modules["torch"] = half_imported("torch")
        assert not done
        sys.modules["torch"] = types.ModuleType("torch")

    def ask():
        began.wait()
        done.append(load_backend())

    done = []
    for name in ("torch", "keras"):
        monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    monkeypatch.setitem(backend.LOADERS, "torch", load)
    monkeypatch.setattr(
        backend, "import_module", lambda name: sys.modules.setdefault(name, keras_of("torch"))
    )
    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == ["torch"] * 4 and len(loads) == 1


def keras_of(name):
    keras = types.ModuleType("keras")
    keras.config = types.SimpleNamespace(backend=lambda: name)
    return keras


def test_overlapping_uses_restore_standard_error(capfd):
    before = identity()
    first, second = contextlib.ExitStack(), contextlib.ExitStack()
    first.enter_context(without_native_messages())
    second.enter_context(without_native_messages())
    os.write(2, b"dropped")
    first.close()
    assert identity() != before
    second.close()
    assert identity() == before
    os.write(2, b"kept")
    assert capfd.readouterr().err == "kept"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes are forked on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_has_its_standard_error():
    before = identity()
    with without_native_messages():
        child = os.fork()
        if not child:
            os._exit(0 if identity() == before and quiet._users == 0 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes are forked on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_of_a_process_that_loads_keras_is_told_so(monkeypatch):
    loading, done = threading.Event(), threading.Event()

    def load():
        with backend._loading.held(), backend._noted():
            loading.set()
            done.wait()

    monkeypatch.setitem(sys.modules, "keras", half_imported("keras"))
    thread = threading.Thread(target=load)
    thread.start()
    loading.wait()
    child = os.fork()
    if not child:
        status = 1
        try:
            load_backend()
        except BackendError as error:
            status = 0 if "forked" in str(error) else 2
        finally:
            os._exit(status)
    done.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert not backend._abandoned


def test_streams_that_are_closed_or_missing_are_stood_in_for(monkeypatch, tmp_path):
    closed = open(tmp_path / "closed", "w")
    closed.close()
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", closed)
    with open_streams():
        sys.stdout.flush()
        assert not sys.stderr.isatty()
    assert sys.stdout is None and sys.stderr is closed


def test_closed_descriptors_do_not_become_files():
    code = """
import os
from kmorph.training.quiet import without_native_messages
for descriptor in (0, 1, 2):
    os.close(descriptor)
with without_native_messages():
    file = os.open(os.devnull, os.O_RDONLY)
os._exit(file)
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == 3
