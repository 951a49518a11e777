"""Hostile files: only kmorph's own errors, in bounded time and memory, and no code of theirs runs."""

import io
import json
import os
import pickle
import random
import shutil
import sqlite3
import struct
import tarfile
import time
import warnings
import zipfile

import keras
import numpy as np
import pytest
from loaders import LOADERS
from safetensors.numpy import save

from kmorph.errors import KmorphError

resource = pytest.importorskip("resource", reason="memory is not counted on this system")

MUTATIONS = 2_000  # over all loaders; five times as many in the slow test
MOST_SECONDS = 5.0  # of the processor, for one file
MOST_MEMORY = 300e6  # bytes more than before, over all


class Bomb:
    """Whoever unpickles it makes a file."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


def _zip(entries):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return stream.getvalue()


def _tar(name):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo(name))
    return stream.getvalue()


def _safetensors(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def _graph(structure, arrays=None):
    return save(arrays or {}, metadata={"kmorph.graph": json.dumps(structure)})


def _layers(*layers, shape=(4,)):
    return _graph({"format": 1, "input_shape": list(shape), "layers": list(layers), "has_weights": False})


def _dense(units, inputs=(0,)):
    return {"kind": "dense", "units": units, "inputs": list(inputs)}


def _lambda_model(target):
    """A .keras file with a Lambda layer that would make a folder."""
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Lambda(lambda x: x)(inputs))
    file = target.with_suffix(".keras")
    model.save(file)
    return file.read_bytes()


def _database(*statements):
    connection = sqlite3.connect(":memory:")
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    return connection.serialize()


RECORD = "INSERT INTO models VALUES (0, '{}')"
TABLES = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE models (model_id INTEGER PRIMARY KEY, record TEXT NOT NULL)",
    "CREATE TABLE failures (failure_id INTEGER PRIMARY KEY, record TEXT NOT NULL)",
    "PRAGMA user_version = 1",
    "INSERT INTO meta VALUES ('format_version', '1')",
    "INSERT INTO meta VALUES ('epoch', '1')",
)
OPAQUE = {"kind": "opaque", "module": "keras.layers", "input_shapes": [[4]], "shape": [4], "inputs": [0]}

HOSTILE = {
    "nothing": lambda target: b"",
    "zeros": lambda target: bytes(1000),
    "text": lambda target: b"hello " * 1000,
    "pickle": lambda target: pickle.dumps(Bomb(target)),
    "pickle, protocol 0": lambda target: pickle.dumps(Bomb(target), 0),
    "pickled array": lambda target: _npy(np.array([Bomb(target)], object)),
    "zip slip": lambda target: _zip({"../../" + target.name: b"x", "/" + target.name: b"x"}),
    "zip bomb": lambda target: _zip({"model": bytes(10_000_000)}),
    "tar slip": lambda target: _tar("../../" + target.name),
    "Keras file": lambda target: _zip({"config.json": b'{"module": "os", "class_name": "system"}'}),
    "Keras file with Lambda": _lambda_model,
    "HDF5": lambda target: b"\x89HDF\r\n\x1a\n" + bytes(500),
    "header of 2^63 bytes": lambda target: struct.pack("<Q", 2**63) + b"{}",
    "header of 2^64 - 1 bytes": lambda target: struct.pack("<Q", 2**64 - 1) + b"{}",
    "header longer than the file": lambda target: struct.pack("<Q", 10_000) + b"{}",
    "header nested a million times": lambda target: _safetensors(b"[" * 1_000_000 + b"]" * 1_000_000),
    "header with a tensor of 2^60 numbers": lambda target: _safetensors(
        {"0/kernel": {"dtype": "F32", "shape": [2**30, 2**30], "data_offsets": [0, 2**62]}}
    ),
    "header with overlapping tensors": lambda target: _safetensors(
        {
            "0/kernel": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]},
            "0/bias": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]},
        },
        bytes(16),
    ),
    "structure nested deeply": lambda target: save(
        {}, metadata={"kmorph.graph": '{"layers":' + "[" * 100_000 + "]" * 100_000 + "}"}
    ),
    "billions of layers": lambda target: _graph(
        {"format": 1, "input_shape": [4], "layers": 10**10, "has_weights": False}
    ),
    "a hundred thousand layers": lambda target: _layers(*[_dense(1, [i]) for i in range(100_000)]),
    "a layer of 2^62 units": lambda target: _layers(_dense(2**62)),
    "4 TB of weights that are not there": lambda target: _graph(
        {
            "format": 1,
            "input_shape": [4],
            "layers": [_dense(2**20), _dense(2**20, [1])],
            "has_weights": True,
        }
    ),
    "10^1000 units": lambda target: _graph_text('{"kind":"dense","units":1' + "0" * 1000 + ',"inputs":[0]}'),
    "infinite units": lambda target: _graph_text('{"kind":"dense","units":Infinity,"inputs":[0]}'),
    "a layer that reads itself": lambda target: _layers(_dense(4, [1])),
    "a layer that reads node -1": lambda target: _layers(_dense(4, [-1])),
    "a shape of a million axes": lambda target: _layers(
        {"kind": "flatten", "inputs": [0]}, shape=[1] * 10**6
    ),
    "opaque Lambda": lambda target: _layers({**OPAQUE, "class_name": "Lambda", "config": "{}"}),
    "opaque os.system": lambda target: _layers(
        {
            **OPAQUE,
            "module": "os",
            "class_name": "system",
            "config": json.dumps({"command": f"mkdir {target}"}),
        }
    ),
    "opaque layer around a Lambda": lambda target: _layers(
        {
            **OPAQUE,
            "class_name": "TimeDistributed",
            "config": json.dumps({"layer": {"module": "keras.layers", "class_name": "Lambda", "config": {}}}),
        }
    ),
    "a value of 100 MB in the database": lambda target: _database(
        *TABLES, "INSERT INTO meta VALUES ('labels', CAST(zeroblob(100000000) AS TEXT))"
    ),
    "endless view": lambda target: _database(
        *TABLES[3:4],
        "CREATE VIEW models AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
        "SELECT i AS model_id, '' AS record FROM n",
    ),  # fmt: skip
    "record that is no JSON": lambda target: _database(*TABLES, RECORD.format("[" * 100_000)),
    "record with huge numbers": lambda target: _database(*TABLES, RECORD.format("1" * 100_000)),
    "record of a model 10^30": lambda target: _database(
        *TABLES, RECORD.format('{"format":1,"model_id":1e30}')
    ),
    "epoch that is no number": lambda target: _database(
        *TABLES[:-1], "INSERT INTO meta VALUES ('epoch', '\"one\"')", RECORD.format("{}")
    ),
}


def _npy(array):
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def _graph_text(layer):
    text = '{"format":1,"input_shape":[4],"layers":[' + layer + '],"has_weights":false}'
    return save({}, metadata={"kmorph.graph": text})


def attempt(loader, folder):
    """Read; whether it was refused with one of kmorph's errors. Anything else raises."""
    begun = time.process_time()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that another model is the best now
            loader.read(folder)
        refused = False
    except KmorphError as error:
        assert len(str(error)) < 2000
        refused = True
    assert time.process_time() - begun < MOST_SECONDS
    return refused


@pytest.mark.parametrize("loader", LOADERS, ids=lambda loader: loader.id)
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused(tmp_path, loader, name):
    target = tmp_path / "harm"
    content = HOSTILE[name](target)
    target.with_suffix(".keras").unlink(missing_ok=True)
    folder = tmp_path / "place"
    folder.mkdir()
    loader.make(folder)
    (folder / loader.file).write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    empty_history = loader.id == "resume" and name == "nothing"  # then it was never begun
    assert attempt(loader, folder) or empty_history
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MOST_MEMORY
    assert not target.exists() and sorted(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("loader", LOADERS, ids=lambda loader: loader.id)
def test_mutated_files(tmp_path, loader):
    try_mutations(tmp_path, loader, MUTATIONS // len(LOADERS), 0)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("loader", LOADERS, ids=lambda loader: loader.id)
def test_ten_thousand_mutated_files(tmp_path, loader):
    try_mutations(tmp_path, loader, 5 * MUTATIONS // len(LOADERS), 1)


def try_mutations(tmp_path, loader, number, seed):
    good = tmp_path / "good"
    good.mkdir()
    loader.make(good)
    content = (good / loader.file).read_bytes()
    place = tmp_path / "place"
    shutil.copytree(good, place)
    assert not attempt(loader, place)
    chance, refused = random.Random(f"{loader.id} {seed}"), 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(number):
        for leftover in place.glob("search.db-*"):
            leftover.unlink()
        (place / loader.file).write_bytes(mutated(content, chance))
        refused += attempt(loader, place)
    assert refused > number / 20
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MOST_MEMORY


def mutated(content, chance):
    """Bytes set, cut out, put in, repeated, or cut off; often at the beginning, where structure is."""
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 5, 30))):
        at = chance.randrange(min(len(changed), chance.choice((16, 200, 4000, len(changed)))) or 1)
        length = chance.choice((1, 1, 2, 8, 100))
        kind = chance.randrange(6)
        if kind == 0:
            changed[at : at + 1] = bytes([chance.randrange(256)])
        elif kind == 1:
            changed[at : at + length] = chance.randbytes(length)
        elif kind == 2:
            del changed[at : at + length]
        elif kind == 3:
            changed[at:at] = chance.choice(b'0123456789-{}[]",:.eE').to_bytes(1, "little") * length
        elif kind == 4:
            changed[at:at] = changed[at : at + length]
        elif chance.random() < 0.1:
            del changed[at:]
        if not changed:
            return b""
    return bytes(changed)
