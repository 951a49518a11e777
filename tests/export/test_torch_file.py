"""The export for PyTorch, opened where kmorph, Keras and TensorFlow cannot be imported."""

import errno
import json
import os
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from runpy import run_path

import numpy as np
import pytest
from graph_samples import residual, run_python, with_random_weights
from sklearn.datasets import load_digits

from kmorph import ImageClassifier, ImageRegressor, starts
from kmorph.errors import ExportError
from kmorph.export import Views, export, wrap, write_torch
from kmorph.export.text_core import write_text_core
from kmorph.export.wrap import checked_target
from kmorph.graph import Activation, Dense, Embedding, Graph, GraphBuilder, Rescale
from kmorph.graph.torch_layers import CODE
from kmorph.problem import ImageInput, LabelSets, Numbers, TextInput

pytestmark = pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")

NAMES = ("ankle boot", "Stiefel, groß", "\ud800")  # the last one is half of a character
FILES = ["model.json", "model.pt2", "model.py", "model.safetensors"]
INPUT = ImageInput((8, 8, 2), (100.0, 100.0), (5000.0, 5000.0))

OPENED = """
import json, sys
sys.modules |= dict.fromkeys(("kmorph", "keras", "tensorflow", "jax"))  # importing them fails
sys.path.insert(0, sys.argv[1])
import numpy as np, torch
from model import load
data = np.load(sys.argv[2], allow_pickle=True)
x, expected = torch.from_numpy(data["x"]), data["scores"]
model = load()
assert not model.training
other = torch.export.load(sys.argv[1] + "/model.pt2").module()
for found in (model(x), other(x.float())):
    found = found.detach().numpy()
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()
assert other(x[:1].float()).shape == expected[:1].shape
"""


def opened_elsewhere(folder, x, scores, then="", **more):
    """Compare an export with scores in a process without kmorph; `then` is run there afterwards."""
    file = folder.with_name("data.npz")
    np.savez(file, x=x, scores=scores, **more)
    return run_python(OPENED + then, folder, file)


def assert_same(folder, x, scores):
    """Compare an export with scores in this process."""
    import torch

    found = run_path(str(folder / "model.py"))["load"]()(torch.from_numpy(x)).detach().numpy()
    assert np.abs(found - scores).max() <= 1e-4 * np.abs(scores).max()


@pytest.fixture(scope="module")
def graph():
    return with_random_weights(residual())


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (6, 8, 8, 2), dtype=np.uint8)


def by_keras(graph, target, x, views=None):
    target = checked_target(graph, target)
    return np.asarray(wrap(graph, target, views)(x.astype(np.float32), training=False))


def test_a_classifier_with_views(graph, images, tmp_path):
    views = Views(INPUT, ("shift", "flip", "erase"))
    folder = export(graph, NAMES, tmp_path / "deep" / "clothes", "torch", views)
    assert folder == tmp_path / "deep" / "clothes" and os.listdir(folder.parent) == ["clothes"]
    assert sorted(path.name for path in folder.iterdir()) == FILES
    assert json.loads((folder / "model.json").read_text())["labels"] == [*NAMES]
    printed = opened_elsewhere(
        folder,
        images,
        by_keras(graph, NAMES, images, views),
        "assert ascii(list(model.labels)) == ascii(json.load(open(sys.argv[1] + '/model.json'))['labels'])\n"
        "print(type(model).__name__, type(model.network.conv_1).__name__)\n",
    )
    assert printed.split() == ["Model", "Conv2d"]


@pytest.mark.parametrize("kinds", [(), ("shift",), ("flip",), ("jitter",)])
def test_other_views(graph, images, tmp_path, kinds):
    export(graph, NAMES, tmp_path / "model", "torch", Views(INPUT, kinds))
    assert ("views_of" in (tmp_path / "model" / "model.py").read_text()) == (kinds in [("shift",), ("flip",)])


@pytest.mark.parametrize(
    "target",
    [Numbers((3.0, -5.0, 100.0), (2.0, 1.0, 10.0), flat=False), LabelSets((None, 1.0, None, None), "<i8")],
)
def test_other_targets(graph, images, tmp_path, target):
    folder = write_torch(graph, target, tmp_path / "model")
    assert_same(folder, images, by_keras(graph, target, images))
    about = json.loads((folder / "model.json").read_text())
    assert about["output"]["shape"] == ["n", len(target.names)] and ("labels" in about) != target.is_numeric


def test_a_function_that_is_there_is_not_doubled(graph, tmp_path):
    b = GraphBuilder.from_graph(graph)
    b.add(Activation("softmax"), weights={})
    folder = write_torch(b.build(), NAMES, tmp_path / "model")
    assert "class Scores" not in (folder / "model.py").read_text()


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    return x.reshape(-1, 8, 8, 1).astype(np.uint8), y


def fitted(kind, x, y, folder):
    few = {"trainer_args": {"max_iter_num": 2}}
    estimator = kind(
        path=folder, seed=0, verbose=False, max_models=1, starts=[("cnn", {"width": 8})], augment=False,
        searcher_args=few,
    )  # fmt: skip
    return estimator.fit(x[:400], y[:400])


def test_an_estimator_of_labels(digits, tmp_path):
    x, y = digits
    clf = fitted(ImageClassifier, x, np.array([f"digit {i}" for i in y]), tmp_path / "run")
    folder = clf.export(tmp_path / "digits", format="torch")
    then = (
        "labels = [model.labels[i] for i in model(x).argmax(1)]\n"
        "assert labels == data['labels'].tolist()\n"
        # Training on, by an ordinary loop.
        "model.train()\n"
        "optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)\n"
        "y = torch.tensor([model.labels.index(label) for label in data['y']])\n"
        "losses = []\n"
        "for _ in range(20):\n"
        "    optimizer.zero_grad()\n"
        "    loss = torch.nn.functional.cross_entropy(model.network(x), y)\n"
        "    loss.backward()\n"
        "    optimizer.step()\n"
        "    losses.append(loss.item())\n"
        "assert losses[-1] < 0.5 * losses[0]\n"
    )
    some = x[400:464]
    truth = np.array([f"digit {i}" for i in y[400:464]])
    opened_elsewhere(folder, some, clf.predict_proba(some), then, labels=clf.predict(some), y=truth)


def test_an_estimator_of_numbers(digits, tmp_path):
    x, _ = digits
    regressor = fitted(ImageRegressor, x, 1000 + x.sum(axis=(1, 2, 3)), tmp_path / "run")
    folder = regressor.export(tmp_path / "ink", format="torch")
    then = "assert [n for n, p in model.named_parameters() if not p.requires_grad] == "
    then += "['scores.dense_0.weight', 'scores.dense_0.bias']\n"
    opened_elsewhere(folder, x[400:420], regressor.predict(x[400:420])[:, None], then)


TEXTS = [
    "It's a GOOD day",
    "a bad, bad day",
    "",
    "Größe\u2003zählt!",
    "x" * 50,
    "no \ud800 good",
    "a good day\n",
] * 3


@pytest.fixture(scope="module")
def text_input():
    return TextInput.learn(np.array(TEXTS, object))


def test_texts_are_encoded_beside_the_model(text_input, tmp_path):
    graph = starts.bag(text_input.shape, 2, preprocessing=[Embedding(text_input.entries, 8)])
    graph = with_random_weights(graph)
    folder = export(graph, ("good", "bad"), tmp_path / "texts", "torch", input=text_input)
    x = text_input.encode(TEXTS)
    assert sorted(path.name for path in folder.iterdir()) == ["encode_texts.py", *FILES, "vocabulary.json"]
    then = "import encode_texts\nassert 'encode_texts.encode(texts)' in sys.modules['model'].__doc__\n"
    then += "assert np.array_equal(encode_texts.encode(data['texts'].tolist()), data['x'])\n"
    opened_elsewhere(folder, x, by_keras(graph, ("good", "bad"), x), then, texts=np.array(TEXTS, object))


@pytest.mark.parametrize("split", ["whitespace", "character"])
def test_text_core_alone(text_input, tmp_path, split):
    text_input = replace(text_input, split=split, words=3)
    files = write_text_core(tmp_path, text_input)
    np.testing.assert_array_equal(run_path(str(files[1]))["encode"](TEXTS), text_input.encode(TEXTS))
    assert [file.name for file in files] == ["vocabulary.json", "encode_texts.py"]
    assert TextInput.from_json(json.loads(files[0].read_text("utf-8"))) == text_input


@pytest.mark.parametrize("backend", [pytest.param("jax", marks=pytest.mark.slow), "torch"])
def test_from_other_backends(graph, images, tmp_path, monkeypatch, backend):
    pytest.importorskip(backend)
    monkeypatch.setenv("KERAS_BACKEND", backend)
    graph.save(tmp_path / "graph.safetensors")
    run_python(
        "import sys\nfrom kmorph import Graph\nfrom kmorph.export import export\n"
        "export(Graph.load(sys.argv[1]), ('a', 'b', 'c'), sys.argv[2], 'torch')\n"
        "assert 'tensorflow' not in sys.modules\n",
        tmp_path / "graph.safetensors",
        tmp_path / "model",
    )
    assert_same(tmp_path / "model", images, by_keras(graph, ("a", "b", "c"), images))


@pytest.fixture
def small():
    return with_random_weights(Graph((4,), [Dense(3)], [[0]]))


def test_an_earlier_export_is_replaced(small, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    write_torch(small, NAMES, folder)
    before = (folder / "model.safetensors").read_bytes()
    (folder / "__pycache__").mkdir()
    assert write_torch(with_random_weights(small, seed=1), NAMES, str(folder)) == folder
    assert (folder / "model.safetensors").read_bytes() != before
    assert os.listdir(tmp_path) == ["model"] and sorted(os.listdir(folder)) == FILES


def test_what_is_not_an_export_is_left_alone(small, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ExportError, match=r"other files, such as 'notes\.txt'; name a new folder"):
        write_torch(small, NAMES, tmp_path)
    with pytest.raises(ExportError, match="it is a file; name a folder"):
        write_torch(small, NAMES, tmp_path / "notes.txt")
    with pytest.raises(ExportError, match="choose another place"):
        write_torch(small, NAMES, tmp_path / "notes.txt" / "model")
    assert os.listdir(tmp_path) == ["notes.txt"]


def test_files_of_the_user_that_are_called_as_ours_are_left_alone(small, tmp_path):
    (tmp_path / "model.py").write_text("mine")
    for description in (None, "[]", "{}", '{"producer": "another"}'):
        if description is not None:
            (tmp_path / "model.json").write_text(description)
        with pytest.raises(ExportError, match=r"other files, such as 'model\.(json|py)'; name a new folder"):
            write_torch(small, NAMES, tmp_path)
    assert (tmp_path / "model.py").read_text() == "mine"


def test_a_full_disk_leaves_what_was_there(small, tmp_path, monkeypatch):
    folder = write_torch(small, NAMES, tmp_path / "model")
    before = (folder / "model.safetensors").read_bytes()
    write = Path.write_bytes

    def full(path, content):
        if path.name == "model.pt2":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ExportError, match="No space left.*choose another place"):
        write_torch(with_random_weights(small, seed=1), NAMES, folder)
    assert os.listdir(tmp_path) == ["model"] and (folder / "model.safetensors").read_bytes() == before


def test_without_pytorch(small, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ExportError, match=r"pip install 'kmorph\[torch\]'"):
        write_torch(small, NAMES, tmp_path / "deep" / "model")
    assert not list(tmp_path.iterdir())


def test_what_differs_is_not_written(tmp_path, monkeypatch):
    graph = with_random_weights(Graph((4,), [Rescale(0.5), Dense(3)], [[0], [1]]))
    monkeypatch.setitem(CODE, Rescale, lambda layer, piece: f"2 * {piece.x}")
    with pytest.raises(ExportError, match=r"model\.py, run by PyTorch, differs"):
        write_torch(graph, NAMES, tmp_path / "model")
    assert not list(tmp_path.iterdir())


class OwnViews(ImageInput):
    """An input with views of its own."""

    kind = "own_views"

    def views(self, examples, kinds):
        return [[examples, -examples]]


class OwnReading(ImageInput):
    """An input whose exported models read files."""

    kind = "own_reading"

    def reading(self, model):
        return model


def test_what_pytorch_has_not_is_refused_before_anything_is_written(graph, tmp_path):
    own = OwnViews(INPUT.shape, INPUT.mean, INPUT.variance)
    with pytest.raises(ExportError, match="the views of OwnViews.*views=False"):
        write_torch(graph, NAMES, tmp_path / "deep" / "model", Views(own, ()))
    own = OwnReading(INPUT.shape, INPUT.mean, INPUT.variance)
    with pytest.raises(ExportError, match=r"OwnReading.*\.keras file"):
        write_torch(graph, NAMES, tmp_path / "deep" / "model", None, own)
    assert not list(tmp_path.iterdir())


def test_examples_of_another_shape_are_refused(graph, tmp_path):
    import torch

    folder = write_torch(graph, NAMES, tmp_path / "model")
    model = run_path(str(folder / "model.py"))["load"]()
    with pytest.raises(ValueError, match=r"expected examples of shape \(8, 8, 2\), got .*\(1, 8, 8, 1\)"):
        model(torch.zeros(1, 8, 8, 1))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "then"), [("kmorph", "print('triton' in sys.modules)"), ("tensorflow", "export()")]
)
def test_triton_that_ends_processes_with_tensorflow(tmp_path, first, then):
    """Triton 3.8 does so if it comes second; PyTorch for CPUs has none, so another one does it here."""
    (tmp_path / "triton").mkdir()
    (tmp_path / "triton" / "__init__.py").write_text(
        "import os, sys\nif 'tensorflow' in sys.modules:\n    os._exit(139)\n"
    )
    code = f"""
import os, sys
sys.path.insert(0, {str(tmp_path)!r})
os.environ["PYTHONPATH"] = {str(tmp_path)!r}
import {first}
from kmorph import starts
from kmorph.errors import ExportError
from kmorph.export import write_torch
from kmorph.training.backend import load_backend
load_backend()

def export():
    try:
        write_torch(starts.mlp((4,), 2).initialize(0), ("a", "b"), {str(tmp_path / "model")!r})
    except ExportError as error:
        print(error)

{then}
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    expected = "True" if first == "kmorph" else "`import triton` in front of `import tensorflow`"
    assert done.returncode == 0 and expected in done.stdout, (done.returncode, done.stderr[-2000:])
