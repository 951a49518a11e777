"""Training the best model on or anew, with a pool that only writes files."""

import dataclasses
import platform
import threading
import time
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
from search_samples import graph, make_search, record

from kmorph import load_searcher
from kmorph.errors import SearchError
from kmorph.problem.problem import classification_of_images
from kmorph.search.candidate import Result
from kmorph.search.events import CandidateStarted, ModelRecorded
from kmorph.search.final import train_apart, train_final
from kmorph.search.store.folder import RunFolder
from kmorph.search.store.history import PINNED, History
from kmorph.search.strategy.planning import FINAL_EPOCHS, FINAL_PATIENCE, final_plan
from kmorph.search.workers import jobs
from kmorph.training.plan import Hyperparameters

METRICS = {"accuracy": 0.9, "loss": 0.2}


class SimulatedPool:
    """Answers each job by `answer(job)`: a result, an exception, or None if it is not to end."""

    power, can_kill, is_ready = None, True, True

    def __init__(self, answer):
        self.answer, self.sent, self.abandoned = answer, [], []

    def submit(self, fn, job):
        self.sent.append(job)
        future = Future()
        answer = self.answer(job)
        if isinstance(answer, Exception):
            future.set_exception(answer)
        elif answer is not None:
            future.set_result(answer)
        return future

    def wait(self, handles, timeout):
        if not any(handle.done() for handle in handles):
            threading.Event().wait(min(timeout, 0.01))

    def abandon(self, handles, idle=False):
        self.abandoned.append((len(handles), idle))


def trained(job, **changes):
    """Do as a worker that trained for two epochs."""
    graph(99).save(job.output_file)
    values = {"metrics": METRICS, "epochs": 2.0, "images": 200, "seconds": 3.0, "file": job.output_file}
    return Result(**{**values, **changes})


def plan_of(model, **changes):
    return final_plan(model, Hyperparameters(), (), **{"seed": 7, **changes})


@pytest.fixture
def search(tmp_path):
    """A search with two models, open for writing."""
    old = record(1, epochs=5.0, examples_seen=500, seconds=10.0, lineage_examples=900, lineage_seconds=18.0)
    make_search(tmp_path / "run", records=[record(0), old])
    with RunFolder.open(tmp_path / "run", resume=True) as folder, History.open(folder.database) as history:
        yield folder, history


def fit(search, answer, retrain=False, events=None, **changes):
    folder, history = search
    model = history.records()[1]
    pool = answer if isinstance(answer, SimulatedPool) else SimulatedPool(answer)
    heard = [] if events is None else events
    return train_final(
        folder, history, model, folder.scratch, plan_of(model, **changes), retrain, heard.append, pool
    )


def weights(graph):
    return np.concatenate([array.ravel() for array in graph.weights.values()])


def is_as_it_was(search):
    folder, history = search
    assert history.records()[1].phase == "stable" and history.records()[1].epochs == 5.0
    model = load_searcher(folder.path).load_model_by_id(1)
    return np.array_equal(weights(model), weights(graph(1)))


def test_the_result_takes_the_place_of_the_model(search):
    folder, history = search
    events, pool = [], SimulatedPool(trained)
    updated = fit(search, pool, events=events)
    assert history.records()[1] == updated and len(history.records()) == 2
    assert (updated.phase, updated.state, updated.loss, updated.metric_value) == ("final", "done", 0.2, 0.9)
    assert (updated.epochs, updated.examples_seen, updated.seconds) == (7.0, 700, 13.0)
    assert (updated.lineage_examples, updated.lineage_seconds, updated.seed) == (1100, 21.0, 7)
    assert history.get_meta(PINNED) == 1
    searcher = load_searcher(folder.path)
    assert np.array_equal(weights(searcher.load_best_model()), weights(graph(99)))
    (job,) = pool.sent
    assert job.graph_file == str(folder.model_file(1)) and not job.fresh and job.plan.phase == "final"
    assert [type(event) for event in events] == [CandidateStarted, ModelRecorded]
    assert events[1].record == updated


def test_what_the_job_waits_for_a_worker_counts(search):
    """A worker of this machine takes it off the seconds left; otherwise a cold one would come too late."""
    pool, begun = SimulatedPool(trained), time.time()
    fit(search, pool, seconds=60.0)
    (job,) = pool.sent
    assert begun <= job.sent <= time.time() and job.sender == platform.node()


def test_retrained_models_count_from_zero(search):
    pool = SimulatedPool(trained)
    updated = fit(search, pool, retrain=True)
    assert pool.sent[0].fresh
    assert (updated.epochs, updated.examples_seen, updated.lineage_examples) == (2.0, 200, 200)


def test_a_model_that_was_stopped_early_is_so_no_more(search):
    _, history = search
    history.update(dataclasses.replace(history.records()[1], state="stopped", reason="never evaluated"))
    updated = fit(search, trained)
    assert (updated.state, updated.reason) == ("done", None)


def test_what_was_trained_on_all_data_has_no_metric(search):
    folder, history = search
    history.update(dataclasses.replace(history.records()[1], phase="decay", loss=None, metrics={}))
    updated = fit(search, trained)
    assert updated.loss is None and updated.metric_value is None and updated.metrics == {}
    assert updated.is_unmeasured


def test_failures_leave_the_model_as_it_was(search):
    with pytest.raises(SearchError, match="model 1 failed, the model is as it was: out of memory"):
        fit(search, lambda job: trained(job, reason="out of memory", cause="memory"))
    with pytest.raises(SearchError, match="its worker died"):
        fit(search, lambda job: OSError("gone"))
    assert is_as_it_was(search) and search[1].get_meta(PINNED) is None


def test_late_ones_leave_the_model_as_it_was_with_a_warning(search, monkeypatch):
    monkeypatch.setattr(jobs, "GRACE", 0.05)
    pool = SimulatedPool(lambda job: None)
    with pytest.warns(UserWarning, match="time limit came before model 1 was trained"):
        fit(search, pool, seconds=0.01)
    assert is_as_it_was(search) and search[1].get_meta(PINNED) == 1
    assert (1, False) in pool.abandoned


class Interrupted(SimulatedPool):
    """Ctrl-C arrives at the first wait; then the worker ends its training, or it does not."""

    def __init__(self, ends):
        super().__init__(lambda job: None)
        self.ends = ends

    def submit(self, fn, job):
        self.future = super().submit(fn, job)
        return self.future

    def wait(self, handles, timeout):
        (job,) = self.sent
        if not Path(job.stop_file).exists():
            raise KeyboardInterrupt
        if self.ends and not self.future.done():
            self.future.set_result(trained(job, stopped="stopped"))
        super().wait(handles, timeout)


def test_interrupted_training_that_ends_in_time_is_kept(search):
    pool = Interrupted(ends=True)
    with pytest.raises(KeyboardInterrupt):
        fit(search, pool)
    assert search[1].records()[1].phase == "final" and search[1].records()[1].epochs == 7.0
    assert (0, True) in pool.abandoned


def test_training_that_fails_leaves_the_model_as_it_was(search):
    with pytest.raises(SearchError, match="failed, the model is as it was: weights are not finite"):
        fit(search, lambda job: trained(job, stopped="weights are not finite"))
    assert is_as_it_was(search)


def test_interrupted_training_of_new_weights_is_not_kept(search):
    with pytest.raises(KeyboardInterrupt):
        fit(search, Interrupted(ends=True), retrain=True)
    assert is_as_it_was(search)


def test_interrupted_training_that_no_example_judges_is_not_kept(search):
    folder, history = search
    merged = dataclasses.replace(plan_of(history.records()[1]), merge_validation=True, keep_best=False)
    model, pool = history.records()[1], Interrupted(ends=True)
    with pytest.raises(KeyboardInterrupt):
        train_final(folder, history, model, folder.scratch, merged, False, lambda event: None, pool)
    assert is_as_it_was(search)


def test_a_network_apart_that_is_late_is_none_with_a_warning(search, monkeypatch):
    monkeypatch.setattr(jobs, "GRACE", 0.0)
    folder, history = search
    model, problem = history.records()[1], classification_of_images(graph(1))
    with pytest.warns(UserWarning, match="model is as it was. Give more time"):
        found = train_apart(
            folder,
            model,
            plan_of(model, seconds=0.05),
            lambda event: None,
            SimulatedPool(lambda job: None),
            None,
            problem,
        )
    assert found is None and is_as_it_was(search)


def test_interrupted_training_that_does_not_end_is_given_up(search, monkeypatch):
    monkeypatch.setattr("kmorph.search.final.FAREWELL", 0.05)
    pool = Interrupted(ends=False)
    with pytest.raises(KeyboardInterrupt):
        fit(search, pool)
    assert is_as_it_was(search) and (1, True) in pool.abandoned


# Its plan.


def test_a_model_is_trained_on_at_a_lower_learning_rate():
    plan, start = plan_of(record(0)), Hyperparameters()
    assert plan.hyperparameters.learning_rate == pytest.approx(0.2 * start.learning_rate)
    assert (plan.max_epochs, plan.patience, plan.keep_best) == (FINAL_EPOCHS, FINAL_PATIENCE, True)
    assert plan.seconds is None and plan.seconds_left is None and not plan.merge_validation
    for changes in ({"retrain": True}, {"learning_rate_given": True}):
        same = plan_of(record(0), **changes).hyperparameters.learning_rate
        assert same == start.learning_rate


def test_what_the_user_asks_for_counts():
    plan = plan_of(record(0), max_epochs=4, patience=2, min_loss_decrease=0.1, seconds=50.0)
    assert (plan.max_epochs, plan.patience, plan.min_loss_decrease) == (4, 2, 0.1)
    assert plan.seconds == plan.seconds_left == 50.0
    assert plan_of(record(0), seconds=-3.0).seconds == 1.0


def test_without_validation_data_a_model_that_saw_all_data_is_trained_for_a_fixed_time():
    seen_all = record(0, phase="decay", loss=None)
    plan = plan_of(seen_all, patience=5)
    assert (plan.max_epochs, plan.patience) == (FINAL_PATIENCE, None)
    assert plan.merge_validation and not plan.keep_best
    for changes in ({"retrain": True}, {"has_validation": True}):
        plan = plan_of(seen_all, **changes)
        assert not plan.merge_validation and plan.keep_best and plan.patience == FINAL_PATIENCE


def test_images_are_changed_where_enough_epochs_are_to_come():
    def kinds(epochs):
        plan = final_plan(record(0), Hyperparameters(), ("shift", "erase"), seed=0, max_epochs=epochs)
        return plan.hyperparameters.augment

    assert [kinds(epochs) for epochs in (2, 10, None)] == [(), ("shift",), ("shift", "erase")]
