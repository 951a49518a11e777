"""Histories that are damaged: they are refused with a reason, and left as they are."""

import json
import os
import random
import sqlite3

import pytest
from search_samples import record

from kmorph.errors import SearchError
from kmorph.search.store.database import DATABASE_VERSION
from kmorph.search.store.history import History
from kmorph.search.store.record import FailureRecord


def edit(sql):
    def apply(file):
        connection = sqlite3.connect(file)
        connection.executescript(sql)
        connection.close()

    return apply


DAMAGE = {
    "text file": lambda file: file.write_text("not a database at all " * 100),
    "cut in half": lambda file: os.truncate(file, file.stat().st_size // 2),
    "header only": lambda file: os.truncate(file, 100),
    "foreign tables": edit("DROP TABLE meta; CREATE TABLE mine (x)"),
    "newer format": edit(f"PRAGMA user_version = {DATABASE_VERSION + 1}"),
    "negative format": edit("PRAGMA user_version = -1"),
    "no format in meta": edit("DELETE FROM meta WHERE key = 'format_version'"),
    "meta not JSON": edit("UPDATE meta SET value = '['"),
    "trigger": edit("CREATE TRIGGER t AFTER INSERT ON models BEGIN DELETE FROM models; END"),
    "schema that is no text": lambda file: file.write_bytes(
        file.read_bytes().replace(b"TABLE meta", b"TABLE\xf9meta")
    ),
    "endless view": edit(
        "DROP TABLE models; CREATE VIEW models AS WITH RECURSIVE c(model_id, record) AS "
        "(SELECT 1, '' UNION ALL SELECT model_id + 1, '' FROM c) SELECT * FROM c"
    ),
}


@pytest.mark.parametrize("readonly", [True, False])
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_database_is_refused_and_left_as_it_is(tmp_path, damage, readonly):
    file = tmp_path / "search.db"
    with History.create(file) as history:
        for number in range(20):
            history.add(record(number, change="x" * 500))
    damage(file)
    before = file.read_bytes()
    with (
        pytest.raises(SearchError, match="copy|folder|newer") as caught,
        History.open(file, readonly) as history,
    ):
        history.records()
    assert str(file) in str(caught.value)
    assert History.exists(file)
    with pytest.raises(SearchError):
        History.create(file)
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE models SET record = '['",
        "UPDATE models SET record = x'00ff'",
        "UPDATE models SET record = CAST(x'ff' AS TEXT)",
        "UPDATE models SET record = replace(record, '\"model_id\": 0', '\"model_id\": 1')",
        "UPDATE failures SET record = (SELECT record FROM models)",
        "UPDATE models SET record = (SELECT record FROM failures)",
        "UPDATE models SET record = replace(record, '\"model_id\": 0', '\"model_id\": null')",
        "UPDATE models SET record = replace(record, '\"parent_id\": null', '\"parent_id\": 0')",
        "UPDATE failures SET record = replace(record, '\"model_id\": null', '\"model_id\": 0')",
        "UPDATE meta SET value = '\"x\"' WHERE key = 'epoch'",
    ],
)
def test_damaged_rows(tmp_path, sql):
    file = tmp_path / "search.db"
    with History.create(file) as history:
        history.add(record(0))
        history.add_failure(FailureRecord(parent_id=0, reason="out of memory"))
    edit(sql)(file)
    with pytest.raises(SearchError), History.open(file) as history:
        history.records(), history.failures()


def test_model_whose_parent_is_not_there(tmp_path):
    file = tmp_path / "search.db"
    with History.create(file) as history:
        history.add(record(0))
        history.add(record(1, parent_id=0))
    edit("DELETE FROM models WHERE model_id = 0")(file)
    with pytest.raises(SearchError, match="model 1 has a parent that is not there"), History.open(file) as it:
        it.records()


def test_mutated_databases_raise_nothing_else(tmp_path):
    """Bounded time, only our error; most mutations hit text that is then other text or no JSON."""
    file, mutated = tmp_path / "search.db", tmp_path / "mutated.db"
    with History.create(file, {"labels": list("abc")}) as history:
        for number in range(10):
            history.add(record(number))
        history.add_failure(FailureRecord(parent_id=0, reason="out of memory"))
    content, chance = file.read_bytes(), random.Random(1)
    refused = 0
    for _ in range(300):
        changed = bytearray(content)
        for _ in range(chance.choice((1, 3, 30, 300))):
            changed[chance.randrange(len(changed) if chance.random() < 0.5 else 200)] = chance.randrange(256)
        mutated.write_bytes(changed)
        try:
            with History.open(mutated, readonly=True, timeout=0.1) as history:
                json.dumps([record.to_dict() for record in history.records() + history.failures()])
                history.next_model_id(), history.get_meta("labels")
        except SearchError:
            refused += 1
        for extra in ("-wal", "-shm", "-journal"):
            (tmp_path / f"mutated.db{extra}").unlink(missing_ok=True)
    assert refused > 100
