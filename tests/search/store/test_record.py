"""A record is checked when it is made, and its JSON is standard and exact."""

import json
import math

import numpy as np
import pytest

from kmorph.errors import SearchError
from kmorph.search.store.record import FORMAT_VERSION, RENAMED, FailureRecord, ModelRecord

HISTORY_KEYS = (
    "model_id parent_id change morphs metric_value objective loss metrics hyperparameters n_parameters flops "
    "epochs examples_seen seconds state reason phase lineage_examples lineage_seconds examples_per_second "
    "fingerprint seed created replicas"
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
        "examples_seen": 12_500,
        "seconds": 7.25,
        "state": "done",
        "phase": "decay",
        "lineage_examples": 30_000,
        "lineage_seconds": 21.0,
        "examples_per_second": 1_100.5,
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


@pytest.mark.parametrize("by_loss", [False, True])
def test_records_of_the_first_version_are_read(by_loss):
    record = full_record()
    values = json.loads(record.to_json())
    for name in ("replicas", "objective"):
        del values[name]
    for old, new in RENAMED.items():
        values[old] = values.pop(new)
    values |= {"format": 1, "metric_value": values["loss"] if by_loss else 0.5}
    read = ModelRecord.from_json(json.dumps(values))
    assert read.replicas == 1 and read.objective == ("loss" if by_loss else "accuracy")
    assert read.examples_seen == record.examples_seen
    assert read.lineage_examples == record.lineage_examples
    assert json.loads(read.to_json())["format"] == FORMAT_VERSION == 2


@pytest.mark.parametrize("key", sorted(HISTORY_KEYS))
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


@pytest.mark.parametrize("parent_id", [3, 4])
def test_a_parent_comes_before_its_children(parent_id):
    with pytest.raises(SearchError, match="parent_id must be below model_id"):
        full_record(parent_id=parent_id)


def test_a_model_is_not_read_as_a_failure_nor_a_failure_as_a_model():
    model, failure = full_record(), FailureRecord(parent_id=2, reason="out of memory")
    with pytest.raises(SearchError, match="expected the record of a failure, got state 'done'"):
        FailureRecord.from_json(model.to_json())
    with pytest.raises(SearchError, match="expected the record of a model, got state 'failed'"):
        ModelRecord.from_json(failure.to_json())
    for text in (
        failure.to_json().replace('"model_id": null', '"model_id": 0'),
        model.to_json().replace('"model_id": 3', '"model_id": null'),
    ):
        for kind in (ModelRecord, FailureRecord):
            with pytest.raises(SearchError, match="a failed candidate has no model_id"):
                kind.from_json(text)
