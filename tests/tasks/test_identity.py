"""A fitted estimator belongs to its search, wherever the folder went, and to no other."""

import copy
import io
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.utils.validation import check_is_fitted

from kmorph import Graph, ImageClassifier, load_searcher
from kmorph.errors import SearchError
from kmorph.search.store.folder import RunFolder
from kmorph.search.workers.pool import InlineExecutor
from kmorph.tasks.fitted import NotFittedError

RNG = np.random.default_rng(0)
X = RNG.integers(0, 255, (60, 8, 8, 1), np.uint8)
ANIMALS = np.array(["cat", "dog", "owl"])[np.arange(60) % 3]
COLOURS = np.array(["red", "blue"])[np.arange(60) % 2]
CAPS = {"searcher_args": {"trainer_args": {"max_iter_num": 1}}}


def new(path, **options):
    options = {"executor": InlineExecutor(), "max_models": 1, "seed": 0, **CAPS, **options}
    return ImageClassifier(path=path, verbose=False, starts=[("mlp", {"width": 8})], **options)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Folders of two finished searches with labels of their own; to be copied."""
    folder = tmp_path_factory.mktemp("finished")
    new(folder / "animals").fit(X, ANIMALS)
    new(folder / "colours").fit(X, COLOURS)
    return folder


class Replaced:
    """An estimator whose search was renamed aside by another search at the same path."""

    def __init__(self, finished, path):
        self.path = path
        shutil.copytree(finished / "animals", path)
        self.clf = ImageClassifier(path=path, resume=True, executor=InlineExecutor(), verbose=False)
        self.probabilities, self.history = self.clf.predict_proba(X), self.clf.history
        self.pickled = pickle.dumps(self.clf)
        self.take_path(finished)

    def take_path(self, finished):
        path = self.path
        number = 1
        while path.with_name(f"{path.name}.{number}").exists():
            number += 1
        path.rename(path.with_name(f"{path.name}.{number}"))
        shutil.copytree(finished / "colours", path)


@pytest.fixture
def replaced(finished, tmp_path):
    return Replaced(finished, tmp_path / "run")


def belongs_to_animals(clf, probabilities):
    return set(clf.predict(X)) <= set(ANIMALS) and np.allclose(clf.predict_proba(X), probabilities)


def test_two_fits_with_one_path(tmp_path):
    first = new(tmp_path / "run").fit(X, ANIMALS)
    before, searcher = first.predict_proba(X), first.load_searcher()
    pickled, dumped = pickle.dumps(first), io.BytesIO()
    joblib.dump(first, dumped)
    second = new(tmp_path / "run").fit(X, COLOURS)
    third = copy.deepcopy(first).set_params(max_models=2)
    dumped.seek(0)
    for clf in (first, pickle.loads(pickled), joblib.load(dumped), third):
        assert belongs_to_animals(clf, before) and clf.path_.name == "run.1"
        assert clf.score(X, ANIMALS) == first.score(X, ANIMALS)
    assert searcher.meta("target")["values"]["classes"] == ["cat", "dog", "owl"]
    assert set(second.predict(X)) <= set(COLOURS) and second.path_.name == "run"
    first.final_fit(X, ANIMALS, trainer_args={"max_iter_num": 1})
    assert first.path_.name == "run.1" and first.history[0]["phase"] == "final"
    assert second.history[0]["phase"] != "final"
    # The same estimator again: it belongs to its new search; the old ones stay.
    first.fit(X, COLOURS)
    assert set(first.predict(X)) <= set(COLOURS) and first.path_.name == "run"
    assert third.path_.name == "run.1" and second.path_.name == "run.2"


CALLS = {
    "predict": lambda clf, folder: clf.predict(X),
    "predict_proba": lambda clf, folder: clf.predict_proba(X),
    "score": lambda clf, folder: clf.score(X, ANIMALS),
    "evaluate": lambda clf, folder: clf.evaluate(X, ANIMALS),
    "leaderboard": lambda clf, folder: clf.leaderboard(X, ANIMALS),
    "transform": lambda clf, folder: clf.transform(X),
    "feature_extractor": lambda clf, folder: clf.feature_extractor(),
    "export": lambda clf, folder: clf.export(folder / "best.keras"),
    "final_fit": lambda clf, folder: clf.final_fit(X, ANIMALS, trainer_args={"max_iter_num": 1}),
    "best_graph": lambda clf, folder: clf.best_graph,
    "classes_": lambda clf, folder: clf.classes_,
    "history": lambda clf, folder: clf.history,
    "failures": lambda clf, folder: clf.failures,
    "path_": lambda clf, folder: clf.path_,
    "load_searcher().path": lambda clf, folder: clf.load_searcher().path,
}


def test_all_calls_follow_the_search_and_refuse_when_it_is_gone(replaced, tmp_path):
    clf = replaced.clf
    for call in CALLS.values():
        call(clf, tmp_path)
    assert clf.history[0]["phase"] == "final" and clf.classes_.tolist() == ["cat", "dog", "owl"]
    unpickled = pickle.loads(replaced.pickled)
    assert unpickled.path_.name == clf.path_.name == "run.1"
    shutil.rmtree(tmp_path / "run.1")
    for name, call in CALLS.items():
        for estimator in (clf, unpickled):
            with pytest.raises(SearchError, match="moved or deleted"):
                call(estimator, tmp_path)
                pytest.fail(name)
    assert load_searcher(tmp_path / "run").history[0]["phase"] != "final"


def test_pickle_in_another_process(replaced, tmp_path):
    (tmp_path / "clf.pickle").write_bytes(replaced.pickled)
    np.save(tmp_path / "x.npy", X)
    code = (
        "import pickle, sys, numpy as np\n"
        "clf = pickle.load(open('clf.pickle', 'rb'))\n"
        "np.save('scores.npy', clf.predict_proba(np.load('x.npy')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    assert np.allclose(np.load(tmp_path / "scores.npy"), replaced.probabilities, atol=1e-6)


def test_clones_belong_to_no_search(replaced):
    assert clone(replaced.clf).set_params(resume=False).history == []
    again = clone(replaced.clf)  # resume=True: goes on with what is in the folder now
    assert set(again.predict(X)) <= set(COLOURS)
    again.set_params(path=replaced.path.with_name("run.1"))
    assert belongs_to_animals(again, replaced.probabilities)


def test_scikit_learn_sees_whether_it_is_fitted(replaced, tmp_path):
    check_is_fitted(replaced.clf)
    for clf in (ImageClassifier(), ImageClassifier(path=tmp_path / "none", resume=True)):
        assert not hasattr(clf, "path_")
        with pytest.raises(Exception, match="not fitted"):
            check_is_fitted(clf)
        with pytest.raises(NotFittedError):
            _ = clf.path_


def test_a_fit_that_is_refused_leaves_the_estimator_with_its_search(replaced, finished):
    clf = replaced.clf
    clf.set_params(path=replaced.path)
    with pytest.raises(SearchError, match="made for other data"):
        clf.fit(X, ANIMALS)  # resume=True, and the folder now holds the other search
    assert belongs_to_animals(clf, replaced.probabilities)


def test_a_folder_in_use_is_left_to_its_search(tmp_path, capsys):
    with RunFolder.open(tmp_path / "run") as holder:
        clf = new(tmp_path / "run").set_params(verbose=True).fit(X, ANIMALS)
        assert clf.path_ == holder.path.with_name("run.1")
        assert "Another search is at work in" in "".join(capsys.readouterr()).replace("\n", " ")
        with pytest.raises(SearchError, match="in use"):
            new(tmp_path / "run", resume=True).fit(X, ANIMALS)
    assert len(clf.history) == 1


@pytest.mark.slow
def test_folds_of_a_cross_validation_share_a_path(tmp_path):
    with joblib.parallel_config(backend="threading"):
        found = cross_validate(
            new(tmp_path / "run"), X, ANIMALS, cv=3, n_jobs=2, return_estimator=True, error_score="raise"
        )
    clfs = found["estimator"]
    assert len({clf.load_searcher().search_id for clf in clfs}) == 3
    assert len({clf.path_ for clf in clfs}) == 3 and not any(clf.failures for clf in clfs)
    grid = GridSearchCV(new(tmp_path / "run"), {"seed": [1, 2]}, cv=2, error_score="raise").fit(X, ANIMALS)
    assert grid.best_estimator_.path_.name == "run" and grid.predict(X).shape == (60,)
    assert len({clf.load_searcher().search_id for clf in (*clfs, grid.best_estimator_)}) == 4


def notice(record):
    """A callback that pickle knows by its name."""


def test_clones_and_copies_share_what_belongs_to_the_process():
    seen, strategy = [], lambda: None
    with ThreadPoolExecutor(1) as executor:
        clf = ImageClassifier(
            executor=executor, callbacks=[seen.append], strategy=strategy, starts=["mlp"],
            hyperparameters={"batch_size": [32, 64]},
        )  # fmt: skip
        for other in (clone(clf), copy.deepcopy(clf), copy.copy(clf), clone(clone(clf))):
            assert other.executor is executor and other.strategy is strategy
            assert other.callbacks is clf.callbacks and other.get_params() == clf.get_params()
        assert clone(clf).hyperparameters is not clf.hyperparameters
        grid = GridSearchCV(clf, {"seed": [1]})
        assert clone(grid).estimator.executor is executor


def test_pickles_leave_out_what_belongs_to_the_process(replaced):
    lock = threading.Lock()
    with ThreadPoolExecutor(1) as executor:
        clf = replaced.clf.set_params(
            executor=executor, strategy=lambda: 7, callbacks=[notice, lambda record: lock.locked()]
        )
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            again = pickle.loads(pickle.dumps(clf))
            assert belongs_to_animals(again, replaced.probabilities)
    assert clf.executor is executor and len(clf.callbacks) == 2  # the estimator itself is as it was
    assert again.executor is None and again.callbacks == () and again.strategy() == 7
    again.set_params(executor=InlineExecutor(), strategy=None)
    with pytest.warns(UserWarning, match="^callbacks could not be pickled.*set_params") as caught:
        again.final_fit(X, ANIMALS, trainer_args={"max_iter_num": 1})
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        again.final_fit(X, ANIMALS, trainer_args={"max_iter_num": 1})


def test_executors_that_can_travel_do():
    again = pickle.loads(pickle.dumps(ImageClassifier(executor=InlineExecutor(), callbacks=(notice,))))
    assert isinstance(again.executor, InlineExecutor) and again.callbacks == (notice,)


class Monitor:
    """Its method is a callback, and it knows the estimator that calls it."""

    def __call__(self, record):
        self.last = record


def test_estimators_that_their_own_callbacks_know_can_be_pickled():
    monitor = Monitor()
    monitor.clf = ImageClassifier(callbacks=[monitor], seed=3)
    again = pickle.loads(pickle.dumps(monitor.clf))
    assert again.callbacks[0].clf.seed == 3
    assert copy.deepcopy(monitor.clf).callbacks[0] is monitor


def test_first_predictions_at_once_build_the_model_once(replaced, monkeypatch):
    clf, built = pickle.loads(replaced.pickled), []
    to_keras = Graph.to_keras

    def counted(graph):
        built.append(graph)
        return to_keras(graph)

    monkeypatch.setattr(Graph, "to_keras", counted)
    barrier, found = threading.Barrier(4), []

    def ask():
        barrier.wait()
        found.append(clf._best()[1])

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1 and len({id(model) for model in found}) == 1
    assert belongs_to_animals(clf, replaced.probabilities) and len(built) == 1
    file = RunFolder.model_path(clf.path_, clf.get_best_model_id())
    os.utime(file, ns=(1, 1))  # as if `final_fit` had replaced it
    clf._best()
    assert len(built) == 2


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this system")
def test_a_child_is_not_blocked_by_a_model_that_its_parent_was_building():
    from kmorph.tasks import fitted

    building, built = threading.Event(), threading.Event()

    def build():
        with fitted._using_models.held():
            building.set()
            built.wait(60)

    thread = threading.Thread(target=build)
    thread.start()
    building.wait(60)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        signal.alarm(20)  # ends it if it waits
        with fitted._using_models.held():
            os._exit(0)
    built.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
