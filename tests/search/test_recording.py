"""Writing down what became of a candidate."""

from __future__ import annotations

import numpy as np
import pytest
from search.simulated import Clock

from kmorph import starts
from kmorph.errors import SearchError
from kmorph.graph import Graph
from kmorph.search.candidate import Candidate, Result, outputs_beside
from kmorph.search.events import CandidateFailed, ModelRecorded
from kmorph.search.recording import MOST_REMEMBERED, Recorder
from kmorph.search.settings import Settings
from kmorph.search.store.folder import RunFolder
from kmorph.search.store.history import FINE_TUNED, PINNED, History
from kmorph.search.store.models import Models
from kmorph.training.plan import Hyperparameters, Plan

GRAPH = starts.mlp((4,), 3, width=4)
METRICS = {"loss": 0.5, "accuracy": 0.75}


@pytest.fixture
def recorder(tmp_path):
    with RunFolder.open(tmp_path) as folder, History.create(folder.database) as history:
        events = []
        settings = Settings(starts=(("mlp", GRAPH),), n_train=100)
        recorder = Recorder(folder, history, Models(), settings, events.append, Clock())
        recorder.events = events
        yield recorder


def candidate(parent=None, change="start: mlp", phase="stable", members=(), **plan) -> Candidate:
    plan = Plan(phase=phase, seed=3, hyperparameters=Hyperparameters(learning_rate=0.05), **plan)
    return Candidate(parent, (), GRAPH, change, phase, plan, 3, members)


def trained(recorder, name="0001", metrics=METRICS, **values) -> tuple[Result, object]:
    """A result whose files lie in the scratch folder."""
    file = GRAPH.initialize(0).save(recorder.folder.scratch / f"{name}.aa.safetensors")
    np.save(outputs_beside(file), np.zeros((2, 3), np.float32))
    return Result(metrics=metrics, images=200, seconds=2.0, epochs=2.0, file=str(file), **values), file


def test_what_was_made_of_the_best_model_counts_until_there_is_a_new_one(recorder):
    recorder.history.update_all([], {PINNED: 3, FINE_TUNED: {"file": "tuned-1.safetensors"}})
    tuned = recorder.folder.new_tuned_file()
    tuned.touch()
    recorder.failure(candidate(), Result(reason="it diverged"), "0000")
    assert recorder.history.get_meta(PINNED) == 3 and tuned.exists()
    recorder.model(candidate(), *trained(recorder), "0001")
    assert recorder.history.get_meta(PINNED) is None and recorder.history.get_meta(FINE_TUNED) is None
    assert not tuned.exists()


def test_one_death_counts_once(recorder):
    for cause in ("died", "lost", "lost"):
        recorder.failure(candidate(), Result(reason="its worker died", cause=cause), "0000")
    assert recorder.failures_in_a_row == 1 and len(recorder.failed_starts) == 1


def test_a_model_is_in_its_place_before_its_record_is_there(recorder):
    def look(event):
        assert Graph.load(recorder.folder.model_file(0)).has_weights
        assert recorder.history.records() == [event.record]
        recorder.events.append(event)

    recorder.listener = look
    record = recorder.model(candidate(), *trained(recorder), "0001")
    assert (record.model_id, record.parent_id, record.loss, record.metric_value) == (0, None, 0.5, 0.75)
    assert record.hyperparameters["learning_rate"] == 0.05 and record.created > 1e5
    assert recorder.folder.outputs_file(0).exists() and not list(recorder.folder.scratch.glob("0001*"))
    assert [type(event) for event in recorder.events] == [ModelRecorded]
    assert recorder.models.records == {0: record} and not recorder.models.structures[0].has_weights


def test_lineages_add_up(recorder):
    first = recorder.model(candidate(), *trained(recorder), "0001")
    child = recorder.model(candidate(first, "wider"), *trained(recorder, "0002"), "0002")
    assert (child.model_id, child.parent_id) == (1, 0)
    assert (child.lineage_examples, child.lineage_seconds) == (400, 4.0)
    assert recorder.models.lineage(child) == [child, first]
    mean = recorder.model(
        candidate(first, "mean", "ensemble", members=(first, child)), *trained(recorder, "0003"), "0003"
    )
    assert mean.lineage_examples == 200 + 200 + 400


def test_what_was_trained_on_the_validation_data_has_no_metric(recorder):
    first = recorder.model(candidate(), *trained(recorder), "0001")
    merged = candidate(first, "settle", "decay", merge_validation=True)
    better = recorder.model(merged, *trained(recorder, "0002", {"loss": 0.1, "accuracy": 0.9}), "0002")
    assert better.metrics == {} and better.loss is None and better.is_unmeasured
    # Worse on what it was trained on: that says something.
    worse = recorder.model(merged, *trained(recorder, "0003", {"loss": 0.9, "accuracy": 0.1}), "0003")
    assert worse.loss == 0.9 and not worse.is_unmeasured


def test_failures_are_remembered_and_counted(recorder):
    failure = recorder.failure(candidate(), Result(reason="out of memory", seconds=1.5), "0001")
    assert failure.reason == "out of memory" and recorder.history.failures() == [failure]
    assert recorder.failed_starts == [GRAPH.fingerprint] and recorder.failures_in_a_row == 1
    assert recorder.models.failed_seconds == 1.5
    assert [type(event) for event in recorder.events] == [CandidateFailed]
    first = recorder.model(candidate(), *trained(recorder), "0002")
    assert recorder.failures_in_a_row == 0
    for number in range(MOST_REMEMBERED + 5):
        recorder.failure(candidate(first, f"child {number}"), Result(reason="nan"), f"{number:04d}")
    assert len(recorder.failed_children) == MOST_REMEMBERED
    assert recorder.failed_children[-1].change == f"child {MOST_REMEMBERED + 4}"


def test_a_file_that_is_gone_is_told_and_nothing_recorded(recorder):
    result, file = trained(recorder)
    file.unlink()
    with pytest.raises(SearchError, match="cannot be used"):
        recorder.model(candidate(), result, file, "0001")
    assert recorder.history.records() == [] and recorder.events == [] and len(recorder.models) == 0


def test_each_event_is_logged_under_the_candidates_name(recorder, caplog):
    with caplog.at_level("INFO", logger="kmorph.search"):
        recorder.model(candidate(), *trained(recorder), "0001")
        recorder.failure(candidate(), Result(reason="nan"), "0002")
    told = [(entry.candidate, entry.state) for entry in caplog.records if hasattr(entry, "candidate")]
    assert told == [("0001", "done"), ("0002", "failed")]
