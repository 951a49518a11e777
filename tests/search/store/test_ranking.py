"""Which model is the best, and what the search spent on others."""

import dataclasses

from kmorph.problem.metrics import ACCURACY, LOSS, Objective
from kmorph.search.store.ranking import best_record, discarded_seconds, is_worse
from kmorph.search.store.record import ModelRecord


def measured(model_id, accuracy, loss, phase="stable"):
    metrics = {"accuracy": accuracy, "loss": loss}
    return ModelRecord(model_id=model_id, state="done", loss=loss, metrics=metrics, phase=phase)


def test_the_best_model_is_the_settled_one_unless_another_beats_it_twice():
    settled = measured(2, 0.90, 0.30, "decay")
    stable = [measured(0, 0.85, 0.40), measured(1, 0.85, 0.35)]
    assert best_record(stable).model_id == 1
    assert best_record([*stable, settled]).model_id == 2
    assert best_record([*stable, settled, measured(3, 0.91, 0.31)]).model_id == 2
    assert best_record([*stable, settled, measured(3, 0.89, 0.20)]).model_id == 2
    assert best_record([*stable, settled, measured(3, 0.91, 0.29)]).model_id == 3
    assert best_record([*stable, settled, measured(3, 0.89, 0.20)], LOSS).model_id == 3


def test_a_model_trained_on_the_validation_data_too_is_the_best():
    def unmeasured(model_id, seconds):
        return ModelRecord(model_id=model_id, state="done", phase="decay", lineage_seconds=seconds)

    rest = [measured(0, 0.99, 0.01), measured(1, 0.99, 0.01, "decay")]
    assert unmeasured(2, 9.0).is_unmeasured and not rest[1].is_unmeasured
    assert best_record([*rest, unmeasured(2, 9.0), unmeasured(3, 5.0)]).model_id == 2
    assert best_record([*rest, unmeasured(2, 9.0)], LOSS).model_id == 0
    # Not by a metric that such training need not raise, unless there is no other.
    log_loss = Objective("log_loss", greater_is_better=False, survives_merging=False)
    assert best_record([*rest, unmeasured(2, 9.0)], log_loss).model_id in (0, 1)
    assert best_record([unmeasured(2, 5.0), unmeasured(3, 9.0)], log_loss).model_id == 3


def test_a_search_that_goes_on_without_a_clock_leaves_an_unmeasured_model_behind():
    unmeasured = ModelRecord(model_id=0, state="done", phase="decay", lineage_seconds=60.0)
    later = dataclasses.replace(measured(1, 0.95, 0.2, "decay"), lineage_seconds=600.0)
    earlier = dataclasses.replace(later, lineage_seconds=6.0)
    assert best_record([unmeasured, later]).model_id == 1
    assert best_record([unmeasured, earlier]).model_id == 0


def test_models_never_measured_count_if_there_is_no_other():
    untrained = ModelRecord(model_id=0, state="untrained")
    assert best_record([untrained]) is untrained and best_record([]) is None
    assert best_record([untrained, measured(1, 0.1, 9.0)]).model_id == 1


def test_what_the_best_model_does_not_build_on_was_discarded():
    def model(model_id, parent_id, seconds, phase="stable"):
        return ModelRecord(model_id=model_id, parent_id=parent_id, seconds=seconds, phase=phase, state="done")

    records = [model(0, None, 1.0), model(1, 0, 2.0), model(2, 0, 4.0), model(3, None, 8.0)]
    assert discarded_seconds(records, None) == 15.0
    assert discarded_seconds(records, records[0]) == 14.0
    assert discarded_seconds(records, records[2]) == 10.0
    # A mean builds on all that were settled for it.
    settled = [model(4, 2, 16.0, "decay"), model(5, 3, 32.0, "decay")]
    mean = model(6, 4, 0.0, "ensemble")
    assert discarded_seconds([*records, *settled, mean], mean) == 2.0


def test_worse_than_its_parent_only_in_both_metrics():
    parent = measured(0, 0.8, 0.5)
    assert is_worse({"accuracy": 0.7, "loss": 0.6}, parent, ACCURACY)
    assert not is_worse({"accuracy": 0.9, "loss": 0.6}, parent, ACCURACY)
    assert not is_worse({"accuracy": 0.7, "loss": 0.4}, parent, ACCURACY)
