"""Searches in processes that were forked, in those that may have no children, and on executors at fault."""

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest

from kmorph import ImageClassifier
from kmorph.search.candidate import Job
from kmorph.training.backend import load_backend

posix = pytest.mark.skipif(os.name == "nt", reason="processes of POSIX")

SCRIPT = """
import multiprocessing, sys, tempfile, warnings
import numpy as np
from kmorph import ImageClassifier

y = np.arange(80) % 2
x = (np.random.default_rng(0).random((80, 8, 8, 1)) * 100 + 100 * y[:, None, None, None]).astype(np.uint8)

def fit(*_):
    clf = ImageClassifier(
        path=tempfile.mkdtemp() + "/run", verbose=False, seed=0, max_models=1, starts=[("mlp", {"width": 8})],
        searcher_args={"trainer_args": {"max_iter_num": 3}},
    )
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            clf.fit(x, y)
        except Exception as error:
            return type(error).__name__, str(error)
    said = [str(w.message) for w in said if "executor=" in str(w.message)]
    assert not clf.failures, clf.failures
    return [h["epochs"] for h in clf.history], said

def predict(clf):
    try:
        return clf.predict(x).tolist()
    except Exception as error:
        return type(error).__name__, str(error)

def send(queue, function, *arguments):
    queue.put(function(*arguments))

def in_child(context, function, *arguments):
    queue = context.Queue()
    child = context.Process(target=send, args=(queue, function, *arguments))
    child.start()
    answer = queue.get(timeout=200)
    child.join(30)
    assert child.exitcode == 0, "the child does not end"
    return answer
"""

FORKED = (
    SCRIPT
    + """
fork = multiprocessing.get_context("fork")
assert fit() == ([3.0], [])
assert in_child(fork, fit) == ([3.0], [])  # after a search in the parent, with workers of its own

clf = ImageClassifier(
    path=tempfile.mkdtemp() + "/run", verbose=False, seed=0, max_models=1, starts=[("mlp", {"width": 8})],
    searcher_args={"trainer_args": {"max_iter_num": 3}},
).fit(x, y)
expected = in_child(fork, predict, clf)  # nothing but the child predicts so far
assert predict(clf) == expected and len(expected) == 80
kind, text = in_child(fork, predict, clf)
assert kind == "BackendError" and 'get_context("spawn")' in text, (kind, text)
assert in_child(fork, fit) == ([3.0], [])  # training is in a worker
with fork.Pool(1) as pool:
    kind, text = pool.map(fit, [0])[0]
assert kind == "SearchError" and "executor=" in text and 'get_context("spawn")' in text, (kind, text)
"""
)

DAEMONIC = (
    SCRIPT
    + """
if __name__ == "__main__":
    for method in sys.argv[1:]:
        with multiprocessing.get_context(method).Pool(1) as pool:
            epochs, said = pool.map(fit, [0])[0]
        assert epochs == [3.0]
        assert len(said) == 1 and "networks are trained in this process" in said[0], said
"""
)

CHILDREN = (
    SCRIPT
    + """
from sklearn.model_selection import cross_val_score

if __name__ == "__main__":
    assert in_child(multiprocessing.get_context("spawn"), fit) == ([3.0], [])
    clf = ImageClassifier(
        verbose=False, seed=0, max_models=1, starts=[("mlp", {"width": 8})],
        searcher_args={"trainer_args": {"max_iter_num": 3}},
    )
    import joblib
    with joblib.parallel_backend(sys.argv[1]):
        scores = cross_val_score(clf, x, y, cv=2, n_jobs=2, error_score="raise")
    assert scores.shape == (2,)
"""
)


def run(script, folder, *arguments):
    file = folder / "script.py"
    file.write_text(script)
    done = subprocess.run([sys.executable, file, *arguments], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "leaked" not in done.stderr and "Exception ignored" not in done.stderr, done.stderr


@posix
def test_forked_processes_search_and_say_what_does_not_work_there(tmp_path):
    run(FORKED, tmp_path)


@posix
def test_a_daemonic_process_trains_by_itself(tmp_path):
    run(DAEMONIC, tmp_path, "fork")


@pytest.mark.slow
def test_a_spawned_daemonic_process_does_so_too(tmp_path):
    run(DAEMONIC, tmp_path, "spawn")


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["loky", "multiprocessing", "threading"])
def test_child_processes_and_folds_in_parallel_end(tmp_path, backend):
    run(CHILDREN, tmp_path, backend)


class Executor:
    """Base of executors at fault: each call is a job."""

    def __init__(self):
        self.jobs = 0

    def submit(self, fn, *args):
        self.jobs += isinstance(args[0], Job)
        return self.answer(fn, *args)


class Hanging(Executor):
    def answer(self, fn, *args):
        future = Future()
        future.set_running_or_notify_cancel()
        return future


class Losing(Executor):
    def answer(self, fn, *args):
        future = Future()
        future.cancel()
        return future


class Refusing(Executor):
    def answer(self, fn, *args):
        raise ConnectionError("no scheduler")


class Silent(Executor):
    def answer(self, fn, *args):
        return None


class Twice(Executor):
    """Runs every call in two threads at once, and answers with what is returned last."""

    def answer(self, fn, *args):
        future, returned = Future(), []

        def call():
            try:
                returned.append(fn(*args))
            except Exception as error:
                returned.append(error)
            if len(returned) == 2:
                future.set_result(returned[1])

        for _ in range(2):
            threading.Thread(target=call).start()
        return future


class Orphaning(Executor):
    """Answers at once that it lost the job, which yet runs and writes."""

    def __init__(self):
        super().__init__()
        self.threads = []

    def answer(self, fn, *args):
        if self.jobs % 2 == 0:
            future = Future()
            future.set_result(fn(*args))
            return future
        self.threads.append(threading.Thread(target=fn, args=args))
        self.threads[-1].start()
        future = Future()
        future.set_exception(ConnectionError("lost"))
        return future


def data():
    y = np.arange(80) % 2
    x = np.random.default_rng(0).random((80, 8, 8, 1)) * 100 + 100 * y[:, None, None, None]
    return x.astype(np.uint8), y


def classifier(folder, executor, models=None, epochs=3, **options):
    return ImageClassifier(
        path=folder / "run", verbose=False, seed=0, max_models=models, executor=executor,
        starts=[("mlp", {"width": 8})], searcher_args={"trainer_args": {"max_iter_num": epochs}}, **options,
    )  # fmt: skip


@pytest.mark.parametrize("kind", [Hanging, Losing, Refusing, Silent])
def test_an_executor_that_trains_nothing_ends_on_time(tmp_path, kind):
    executor, begun = kind(), time.time()
    x, y = data()
    clf = classifier(tmp_path, executor)
    try:
        clf.fit(x, y, time_limit=2)
    except Exception as error:
        assert kind is not Hanging and "no model could be trained" in str(error)
    else:
        assert [entry["state"] for entry in clf.history] == ["untrained"]
    # The deadline, what a candidate may outstay it by, and what a busy machine takes.
    assert time.time() - begun < 2 + 3 + 10
    assert executor.jobs <= 10


@pytest.fixture
def loaded():
    """Training in threads is to be tested, not loading."""
    load_backend()


@pytest.mark.parametrize("kind", [Twice, Orphaning])
def test_jobs_that_run_beside_the_search_spoil_no_model(tmp_path, loaded, kind):
    executor = kind()
    x, y = data()
    two = [("mlp", {"width": 8}), ("mlp", {"width": 16})]
    clf = classifier(tmp_path, executor, models=2, epochs=60).set_params(starts=two)
    clf.fit(x, y)
    for entry in clf.history:
        graph = clf.load_searcher().load_model_by_id(entry["model_id"])
        assert graph.fingerprint == entry["fingerprint"] and entry["state"] == "done"
    assert clf.history and clf.evaluate(x, y) > 0.9
    for thread in getattr(executor, "threads", ()):
        thread.join(60)
    assert clf.evaluate(x, y) > 0.9 and not list((tmp_path / "run").glob(".kmorph-scratch/*"))


def test_threads_of_one_process_train_side_by_side(tmp_path, loaded):
    x, y = data()
    with ThreadPoolExecutor(2) as executor:
        clf = classifier(tmp_path, executor, models=4, epochs=60, workers=2)
        clf.fit(x, y)
    assert len(clf.history) == 4 and not clf.failures and clf.evaluate(x, y) > 0.9


STANDARD = (
    SCRIPT
    + """
from concurrent.futures import ProcessPoolExecutor

if __name__ == "__main__":
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(sys.argv[1])) as executor:
        clf = ImageClassifier(
            path=tempfile.mkdtemp() + "/run", verbose=False, seed=0, max_models=2, executor=executor,
            starts=[("mlp", {"width": 8})], searcher_args={"trainer_args": {"max_iter_num": 3}},
        ).fit(x, y)
    assert len(clf.history) == 2 and not clf.failures
"""
)


@pytest.mark.slow
@pytest.mark.parametrize("method", [pytest.param("fork", marks=posix), "spawn"])
def test_processes_of_the_standard_library_train(tmp_path, method):
    run(STANDARD, tmp_path, method)
