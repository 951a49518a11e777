"""A record is checked when it is made, and its JSON is standard and exact."""

import dataclasses
import json
import math

import numpy as np
import pytest

from kmorph.errors import SearchError
from kmorph.search.store.ranking import best_record, discarded_seconds
from kmorph.search.store.record import FORMAT_VERSION, FailureRecord, ModelRecord

HISTORY_KEYS = (
    "model_id parent_id change morphs metric_value loss metrics hyperparameters n_parameters flops epochs "
    "images_seen seconds state reason phase lineage_images lineage_seconds images_per_second fingerprint "
    "seed created replicas"
).split()


def full_record(**changes):
    values = {
        "model_id": 3,
        "parent_id": 1,
        "change": "widen layer 7 to 96",
        "morphs": ({"kind": "Widen", "layer": 7, "to": 96, "seed": 2**100},),
        "metric_value": 0.875,
        "loss": 0.41,
        "metrics": {"accuracy": 0.875, "loss": 0.41},
        "hyperparameters": {"learning_rate": 0.1, "augment": None, "sizes": [1, 2], "name": "größer"},
        "n_parameters": 113_000,
        "flops": 5_000_000,
        "epochs": 2.5,
        "images_seen": 12_500,
        "seconds": 7.25,
        "state": "done",
        "phase": "decay",
        "lineage_images": 30_000,
        "lineage_seconds": 21.0,
        "images_per_second": 1_100.5,
        "fingerprint": "ab12",
        "seed": 5,
        "created": 1_700_000_000.125,
    }
    return ModelRecord(**{**values, **changes})


def test_json_gives_the_same_record():
    record = full_record()
    assert ModelRecord.from_json(record.to_json()) == record


def test_failure_gives_the_same_record():
    record = FailureRecord(parent_id=2, reason="out of memory")
    assert FailureRecord.from_json(record.to_json()) == record
    assert record.to_dict()["reason"] == "out of memory"


def test_to_dict_has_the_keys_of_the_interface():
    values = full_record().to_dict()
    assert sorted(values) == sorted(HISTORY_KEYS)
    assert values["morphs"][0]["kind"] == "Widen"


def test_to_dict_is_a_copy():
    record = full_record()
    values = record.to_dict()
    values["hyperparameters"]["sizes"].append(3)
    values["morphs"].clear()
    assert record == full_record()


def test_arguments_are_copied():
    hyperparameters = {"sizes": [1]}
    record = full_record(hyperparameters=hyperparameters)
    hyperparameters["sizes"].append(2)
    assert record.hyperparameters == {"sizes": [1]}


def test_numpy_values_become_plain():
    record = full_record(
        model_id=np.int64(4),
        loss=np.float32(0.5),
        metrics={"accuracy": np.float64(1)},
        hyperparameters={"n": np.int32(2), "on": np.bool_(True), "t": (1, np.float32(2))},
    )
    assert type(record.model_id) is int and type(record.loss) is float
    assert record.hyperparameters == {"n": 2, "on": True, "t": [1, 2.0]}
    assert ModelRecord.from_json(record.to_json()) == record


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_sick_numbers_stay_standard_json(value):
    text = full_record(loss=value, metrics={"a": value}, hyperparameters={"rate": value}).to_json()

    def refuse(name):
        raise AssertionError(f"{name} is not standard JSON")

    json.loads(text, parse_constant=refuse)
    back = ModelRecord.from_json(text)
    assert str(back.loss) == str(value) and str(back.metrics["a"]) == str(value)
    assert back.hyperparameters == {"rate": None}


def test_text_that_utf8_cannot_hold_is_kept_readable():
    record = FailureRecord(reason="bad \udcff byte")
    assert FailureRecord.from_json(record.to_json()) == record
    assert record.reason == "bad \\udcff byte"


def test_unknown_keys_of_the_same_format_are_ignored():
    values = json.loads(full_record().to_json())
    assert ModelRecord.from_json(json.dumps({**values, "addition": 1})) == full_record()


def test_newer_format_is_refused_with_advice():
    values = json.loads(full_record().to_json())
    with pytest.raises(SearchError, match="newer kmorph"):
        ModelRecord.from_json(json.dumps({**values, "format": FORMAT_VERSION + 1, "addition": 1}))


def test_replicas_need_not_be_told():
    values = json.loads(full_record().to_json())
    del values["replicas"]
    assert ModelRecord.from_json(json.dumps(values)).replicas == 1


@pytest.mark.parametrize("key", sorted({*HISTORY_KEYS} - {"replicas"}))
def test_missing_key_is_named(key):
    values = json.loads(full_record().to_json())
    del values[key]
    with pytest.raises(SearchError, match=key):
        ModelRecord.from_json(json.dumps(values))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "3",
        "NaN",
        '{"format": NaN}',
        '{"format": true}',
        '{"format": 0}',
        '{"format": "1"}',
        '{"format": 1}',
        "[" * 100_000,
        '{"format": ' + "9" * 5_000 + "}",
        '{"format": ' + "9" * 4_000 + "}",
    ],
    ids=range(14),
)
def test_hostile_text(text):
    with pytest.raises(SearchError) as caught:
        ModelRecord.from_json(text)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "changes",
    [
        {"model_id": -1},
        {"model_id": 1.0},
        {"model_id": True},
        {"model_id": 2**63},
        {"model_id": "1"},
        {"model_id": None},
        {"parent_id": -1},
        {"change": None},
        {"morphs": "Widen"},
        {"morphs": [1]},
        {"morphs": {"kind": "Widen"}},
        {"morphs": [{"layer": object()}]},
        {"metric_value": "0.5"},
        {"loss": True},
        {"loss": 10**400},
        {"metrics": [1]},
        {"metrics": {1: 1.0}},
        {"metrics": {"a": None}},
        {"hyperparameters": None},
        {"hyperparameters": {1: 2}},
        {"hyperparameters": {"huge": 10**5_000}},
        {"hyperparameters": {"deep": json.loads("[" * 200 + "]" * 200)}},
        {"n_parameters": 1.5},
        {"flops": None},
        {"epochs": None},
        {"state": "failed"},
        {"state": "running"},
        {"state": ["done"]},
        {"reason": 3},
        {"phase": "warm"},
        {"seed": -1},
        {"model_id": None, "state": "failed"},
    ],
)
def test_wrong_values_are_refused(changes):
    with pytest.raises(SearchError) as caught:
        full_record(**changes)
    assert len(str(caught.value)) < 500


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
    assert best_record([*stable, settled, measured(3, 0.89, 0.20)], "loss").model_id == 3


def test_a_model_trained_on_the_validation_data_too_is_the_best():
    def unmeasured(model_id, seconds):
        return ModelRecord(model_id=model_id, state="done", phase="decay", lineage_seconds=seconds)

    rest = [measured(0, 0.99, 0.01), measured(1, 0.99, 0.01, "decay")]
    assert unmeasured(2, 9.0).is_unmeasured and not rest[1].is_unmeasured
    assert best_record([*rest, unmeasured(2, 9.0), unmeasured(3, 5.0)]).model_id == 2
    assert best_record([*rest, unmeasured(2, 9.0)], "loss").model_id == 0


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
