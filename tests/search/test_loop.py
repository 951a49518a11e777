"""Real searches: they grow, keep their bounds, go on, and survive what happens to a worker."""

import os
import signal
import time
from dataclasses import replace
from math import inf

import numpy as np
import pytest
from search.real import AMPLE, Impatient, Recorder, search, settings
from sklearn.datasets import load_digits

from kmorph.errors import SearchError
from kmorph.graph import Dense, Flatten, Graph, GraphBuilder
from kmorph.morphs import Limits, Widen
from kmorph.search import load_searcher
from kmorph.search.loop import Search, _Loop
from kmorph.search.space import Range, Space
from kmorph.search.store.folder import RunFolder
from kmorph.search.store.history import History
from kmorph.search.strategy.propose import SurrogateProposer
from kmorph.search.workers.pool import ExecutorPool, InlineExecutor
from kmorph.search.workers.processes import WorkerProcesses
from kmorph.starts import cnn, resnet
from kmorph.training.examples import Data


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    x = x.reshape(-1, 8, 8, 1).astype(np.float32) / 16
    return Data(x[:600], y[:600], x[600:900], y[600:900])


@pytest.fixture(scope="module")
def workers():
    processes = WorkerProcesses()
    yield processes
    processes.kill()


def test_it_grows_children_with_their_parents_weights_and_settles(tmp_path, digits):
    listener = search(tmp_path, digits, InlineExecutor(), settings(max_models=4))
    records = listener.recorded
    assert [record.model_id for record in records] == [0, 1, 2, 3]
    assert records[0].parent_id is None and records[0].change == "start: cnn"
    assert [record.phase for record in records] == ["stable", "stable", "stable", "decay"]
    assert any(record.morphs for record in records)
    for record in records[1:]:
        assert record.lineage_examples == record.examples_seen + records[record.parent_id].lineage_examples
        graph = load_searcher(tmp_path).load_model_by_id(record.model_id)
        assert graph.fingerprint == record.fingerprint and graph.n_parameters == record.n_parameters
    # Warm: one epoch after four is better than the first one alone.
    assert records[3].loss < records[0].loss


def test_under_a_time_limit_the_last_training_is_on_all_data(tmp_path, digits, workers):
    chosen = settings(merge_validation=True, max_epochs=2, max_models=3)
    last = search(tmp_path, digits, workers, chosen, time_limit=AMPLE).recorded[-1]
    assert last.phase == "decay" and last.change.endswith("validation data too")
    assert last.is_unmeasured and last.metrics == {} and last.metric_value is None
    assert last.examples_seen == pytest.approx(last.epochs * (len(digits.x) + len(digits.x_val)))
    assert load_searcher(tmp_path).get_best_model_id() == last.model_id
    # Its metric is missing, not bad: the search goes on from those that have one.
    chosen = replace(chosen, max_models=5)
    more = search(tmp_path, digits, workers, chosen, time_limit=AMPLE, resume=True).recorded
    assert len(more) == 2 and all(record.parent_id != last.model_id for record in more)


def test_a_child_that_loses_is_stopped_and_the_record_says_so(tmp_path, digits, monkeypatch):
    """Every child gets a learning rate far too high; those that it harms are not trained on."""
    monkeypatch.setattr("kmorph.training.trainer.LEAST_RACE", 0.0)

    propose = SurrogateProposer()

    def spoil(situation, rng):
        proposal = propose(situation, rng)
        return proposal and replace(
            proposal, hyperparameters={**proposal.hyperparameters, "learning_rate": 4.0}
        )

    space = Space({"learning_rate": Range(0.01, 5.0, log=True)})
    chosen = settings(max_epochs=12, max_models=4, space=space, kinds=(Widen,))
    listener = search(tmp_path, digits, InlineExecutor(), chosen, time_limit=AMPLE, proposer=spoil)
    stopped = [record for record in listener.recorded if record.state == "stopped"]
    assert stopped and all("above its parent's" in record.reason and record.loss for record in stopped)
    whole = [r for r in listener.recorded if r.state == "done" and r.phase == "stable"]
    assert max(r.epochs for r in stopped) < min(r.epochs for r in whole)
    settled = listener.recorded[-1]
    assert settled.phase == "decay" and settled.parent_id not in {record.model_id for record in stopped}
    assert load_searcher(tmp_path).discarded_share > 0


TWO_STARTS = (("cnn", cnn((8, 8, 1), 10, width=8)), ("resnet", resnet((8, 8, 1), 10, width=8)))


def test_with_time_to_settle_several_their_mean_is_the_best_model(tmp_path, digits, workers):
    chosen = settings(starts=TWO_STARTS, merge_validation=True, ensemble=True, max_epochs=None)
    listener = search(
        tmp_path, digits, workers, chosen, time_limit=AMPLE, listener=Impatient(tmp_path, models=3)
    )
    settled = [record for record in listener.recorded if record.phase == "decay"]
    mean = listener.recorded[-1]
    assert 2 <= len(settled) <= 3 and mean.phase == "ensemble" and mean == listener.best
    searcher = load_searcher(tmp_path)
    graphs = [searcher.load_model_by_id(record.model_id) for record in (*settled, mean)]
    # Last layers become one dense layer with one bias, unless a network grew a skip to its output.
    alike = all(graph.layers[-1].kind == "dense" for graph in graphs[:-1])
    parameters = sum(record.n_parameters for record in settled)
    assert mean.n_parameters == parameters - alike * (len(settled) - 1) * 10
    outputs = [graph.to_keras()(digits.x_val, training=False) for graph in graphs]
    np.testing.assert_allclose(np.mean(outputs[:-1], axis=0), outputs[-1], rtol=1e-3, atol=1e-4)
    # A later search goes on from what was trained, not from the mean.
    chosen = replace(chosen, max_models=len(listener.recorded) + 1)
    more = search(
        tmp_path, digits, workers, chosen, time_limit=AMPLE, resume=True, listener=Impatient(tmp_path)
    )
    assert more.recorded and all(record.parent_id != mean.model_id for record in more.recorded)


def test_where_nothing_grows_all_starts_settle_and_their_mean_is_the_model(
    tmp_path, digits, workers, monkeypatch
):
    monkeypatch.setattr("kmorph.search.strategy.schedule.GROWTH_EPOCHS", inf)
    chosen = settings(starts=TWO_STARTS, ensemble="auto", max_epochs=8)
    listener = search(tmp_path, digits, workers, chosen, time_limit=AMPLE)
    assert [record.phase for record in listener.recorded] == ["stable"] * 2 + ["decay"] * 2 + ["ensemble"]
    assert {record.parent_id for record in listener.recorded[2:4]} == {0, 1}
    # A later search, too, settles both.
    more = search(tmp_path, digits, workers, chosen, time_limit=AMPLE, resume=True)
    assert [record.phase for record in more.recorded] == ["decay"] * 2 + ["ensemble"]


def nothing_to_propose(situation, rng):
    return None


def test_where_no_child_is_left_it_settles_before_its_time(tmp_path, digits, workers):
    listener = search(
        tmp_path, digits, workers, settings(merge_validation=True), AMPLE, proposer=nothing_to_propose
    )
    assert [record.phase for record in listener.recorded] == ["stable", "decay"]


def test_what_is_soon_learned_by_heart_settles_from_new_weights(tmp_path, digits, workers):
    chosen = settings(max_epochs=None, most_epochs=4, ensemble="auto", merge_validation=True)
    listener = search(tmp_path, digits, workers, chosen, AMPLE, proposer=nothing_to_propose)
    start, *settled, mean = listener.recorded
    assert round(start.epochs) == 2 and mean.phase == "ensemble" and len(settled) == 3
    for record in settled:
        assert "from new weights" in record.change and record.parent_id == 0
        assert round(record.epochs) == 4 and record.lineage_examples == record.examples_seen
    graphs = [load_searcher(tmp_path).load_model_by_id(record.model_id) for record in settled]
    assert len({graph.weights[len(graph.layers) - 1, "kernel"][0, 0] for graph in graphs}) == 3

    warm = settings(max_epochs=None, most_epochs=4, starts=(("mine", graphs[0]),))
    assert not warm.settles_anew and settings(most_epochs=4).settles_anew
    assert settings(most_epochs=4).epochs == 1  # what the user says goes before it


def test_with_validation_examples_kept_apart_the_mean_is_measured(tmp_path, digits, workers):
    chosen = settings(starts=TWO_STARTS, ensemble=True, max_epochs=None)
    listener = search(
        tmp_path, digits, workers, chosen, time_limit=AMPLE, listener=Impatient(tmp_path, models=2)
    )
    mean = listener.recorded[-1]
    settled = [record for record in listener.recorded if record.phase == "decay"]
    assert 2 <= len(settled) <= 3 and mean.phase == "ensemble" and mean.examples_seen == 0
    assert mean.loss < np.mean([record.loss for record in settled])
    outputs = load_searcher(tmp_path).load_model_by_id(mean.model_id).to_keras().predict(digits.x_val)
    assert mean.metrics["accuracy"] == pytest.approx(np.mean(outputs.argmax(axis=1) == digits.y_val))


@pytest.mark.slow
def test_two_workers_settle_too(tmp_path, digits):
    two = WorkerProcesses(2)
    try:
        listener = search(tmp_path, digits, two, settings(max_models=5), time_limit=AMPLE, n_workers=2)
    finally:
        two.kill()
    phases = [record.phase for record in listener.recorded]
    assert phases[-1] == "decay" and phases.count("decay") == 1 and phases.count("stable") > 2


@pytest.mark.slow
def test_a_mean_keeps_the_limits(tmp_path, digits, workers):
    start = cnn((8, 8, 1), 10, width=8)
    chosen = settings(
        starts=(("cnn", start),),
        merge_validation=True,
        ensemble=True,
        max_epochs=None,
        limits=Limits(max_parameters=int(1.5 * start.n_parameters)),
    )
    listener = search(
        tmp_path, digits, workers, chosen, time_limit=AMPLE, listener=Impatient(tmp_path, models=3)
    )
    assert all(record.n_parameters <= 1.5 * start.n_parameters for record in listener.recorded)
    assert [record.phase for record in listener.recorded][-1] == "decay"


def test_a_search_goes_on_where_it_ended(tmp_path, digits):
    search(tmp_path, digits, InlineExecutor(), settings(max_models=2))
    listener = search(tmp_path, digits, InlineExecutor(), settings(max_models=4), resume=True)
    assert [record.model_id for record in listener.recorded] == [2, 3]
    assert len(load_searcher(tmp_path).history) == 4
    again = search(tmp_path, digits, InlineExecutor(), settings(max_models=4), resume=True)
    assert again.recorded == []


@pytest.mark.wall
def test_a_time_limit_is_kept_in_a_worker(tmp_path, digits, workers):
    search(tmp_path / "warm", digits, workers, settings(max_epochs=None), time_limit=5)
    begun = time.time()
    listener = search(tmp_path / "timed", digits, workers, settings(max_epochs=None), time_limit=12)
    assert time.time() - begun < 12 + 3
    assert len(listener.recorded) >= 1 and listener.progress
    assert listener.recorded[-1].phase == "decay"


class Killer(Impatient):
    """Kills the worker as soon as the first candidate reports progress."""

    killed, workers = 0, None

    def candidate_progress(self, event):
        super().candidate_progress(event)
        self.kill()

    def kill(self):
        for pid in [] if self.killed else list(self.workers._pool._processes):
            os.kill(pid, signal.SIGKILL)
            self.killed += 1


def test_a_worker_that_is_killed_costs_one_candidate(tmp_path, digits, workers):
    two = (("a", cnn((8, 8, 1), 10, width=8)), ("b", cnn((8, 8, 1), 10, width=16)))
    killer = Killer(tmp_path, images=inf)
    killer.workers = workers
    chosen = settings(starts=two, max_models=2, max_epochs=20)
    listener = search(tmp_path, digits, workers, chosen, listener=killer)
    assert killer.killed == 1
    assert len(listener.failed) == 1 and "worker died" in listener.failed[0].reason
    assert len(listener.recorded) == 2
    assert load_searcher(tmp_path).failures[0]["state"] == "failed"


class SettlingKiller(Killer):
    """Kills the worker in the first settling, after its first checkpoint."""

    phase = None

    def candidate_started(self, event):
        super().candidate_started(event)
        self.phase = event.phase

    def candidate_progress(self, event):
        if self.phase != "decay" or self.killed:
            Impatient.candidate_progress(self, event)
        elif any("checkpoint" in file.read_text() for file in self.path.rglob("*.jsonl")):
            self.kill()


def test_settling_goes_on_from_a_checkpoint_if_the_worker_dies(tmp_path, digits, workers, caplog):
    killer = SettlingKiller(tmp_path, images=20 * 600)
    killer.workers = workers
    chosen = settings(max_epochs=None, max_models=2)
    search(tmp_path, digits, workers, chosen, listener=killer, time_limit=AMPLE)
    assert killer.killed == 1 and "worker died" in killer.failed[0].reason
    *_, first, again = [change for change in killer.started if change.startswith("settle")]
    assert first == again
    last = killer.recorded[-1]
    assert last.phase == "decay" and last.metric_value > 0.9
    # It began where the checkpoint was, not at its parent's weights.
    assert "goes on from its checkpoint" in caplog.text


def test_if_every_start_fails_the_error_says_why(tmp_path, digits):
    builder = GraphBuilder((8, 8, 1))
    builder.add(Flatten())
    graph = builder.build(builder.add(Dense(10))).initialize(0)
    sick = graph.with_weights({key: np.full_like(array, np.nan) for key, array in graph.weights.items()})
    with pytest.raises(SearchError, match="no model could be trained.*not finite|became nan"):
        search(tmp_path, digits, InlineExecutor(), settings(starts=(("sick", sick),), max_models=3))


def test_a_hundredth_of_a_second_still_gives_a_model(tmp_path, digits, workers):
    listener = search(tmp_path, digits, workers, settings(), time_limit=0.01)
    assert len(listener.recorded) == 1
    assert isinstance(load_searcher(tmp_path).load_best_model(), Graph)


def test_recorded_metrics_decide_the_next_proposal(tmp_path, digits):
    two = (("a", cnn((8, 8, 1), 10, width=8)), ("b", cnn((8, 8, 1), 10, width=16)))
    search(tmp_path, digits, InlineExecutor(), settings(starts=two, max_models=3))
    parents = []
    for losses in ({0: 0.1, 1: 2.0}, {0: 2.0, 1: 0.1}):
        with RunFolder.open(tmp_path, resume=True) as folder, History.open(folder.database) as history:
            search_of = Search(
                folder,
                history,
                folder.scratch,
                settings(starts=two),
                Recorder(),
                ExecutorPool(InlineExecutor()),
            )
            loop = _Loop(search_of, None, None)
            loop.models.records.update(
                {i: replace(loop.models.records[i], loss=loss) for i, loss in losses.items()}
            )
            del loop.models.records[2]
            parents.append(loop.chooser.next(loop._standing()).parent_id)
    assert parents == [0, 1]
