"""Training and searching under settings that users made for all of Keras."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits

from kmorph import ImageClassifier
from kmorph.search.workers.pool import InlineExecutor

STEP = """
import sys
import numpy as np
from kmorph import starts
from kmorph.graph import Normalize
from kmorph.training.backend import load_backend
from kmorph.training.plan import Hyperparameters
from kmorph.training.step_factory import make_step

load_backend(threads=1)
rng = np.random.default_rng(0)
x, y = rng.integers(0, 255, (48, 9, 8, 3), np.uint8), rng.integers(0, 4, 48).astype(np.int32)
norm = Normalize((100.1, 101.2, 99.3), (5329.0, 5400.0, 70000.0))
graph = starts.cnn((9, 8, 3), 4, width=4, stages=1, depth=0, dropout=0.2, preprocessing=[norm]).initialize(0)
step = make_step(graph, Hyperparameters(batch_size=24, augment=("flip", "shift", "erase")), 0)
losses = [float(step.train(x[i : i + 24], y[i : i + 24], 0.01, i)) for i in (0, 24)]
step.average(0.5)
step.swap()
step.recalibrate([x])
logits = step.predict(x, 20)
weights = step.to_graph().weights
assert logits.dtype == np.float32 and {array.dtype for array in weights.values()} == {np.dtype(np.float32)}
arrays = {f"{i}/{name}": array for (i, name), array in weights.items()}
np.savez(sys.argv[1], losses=losses, logits=logits, **arrays)
"""


def configured(folder, backend, **settings):
    """An environment whose Keras configuration file has these settings."""
    folder.mkdir()
    (folder / "keras.json").write_text(json.dumps({"backend": backend, **settings}))
    return {**os.environ, "KERAS_HOME": str(folder), "KERAS_BACKEND": backend}


@pytest.mark.parametrize(
    "backend", ["tensorflow", *(pytest.param(name, marks=pytest.mark.slow) for name in ("jax", "torch"))]
)
def test_steps_do_not_depend_on_the_configuration_file(backend, tmp_path):
    pytest.importorskip(backend)
    results = []
    settings = {"floatx": "float16", "image_data_format": "channels_first", "epsilon": 0.1}
    for name, values in (("plain", {}), ("set", settings)):
        environment = configured(tmp_path / name, backend, **values)
        file = tmp_path / f"{name}.npz"
        subprocess.run([sys.executable, "-c", STEP, file], env=environment, check=True, timeout=200)
        results.append(dict(np.load(file)))
    plain, other = results
    for name, array in plain.items():
        np.testing.assert_allclose(other[name], array, rtol=1e-3, atol=1e-4, err_msg=name)


def digits():
    x, y = load_digits(return_X_y=True)
    return x.reshape(-1, 8, 8, 1).astype(np.uint8)[:400], y[:400]


def search(folder, **arguments):
    return ImageClassifier(
        path=folder,
        verbose=False,
        seed=0,
        max_models=2,
        searcher_args={"trainer_args": {"max_iter_num": 2}},
        starts=[("cnn", {"width": 8})],
        **arguments,
    )


@pytest.fixture
def settings_restored():
    held = keras.config.image_data_format(), keras.config.floatx(), keras.config.dtype_policy()
    yield
    keras.config.set_image_data_format(held[0])
    keras.config.set_floatx(held[1])
    keras.config.set_dtype_policy(held[2])


def test_a_search_in_this_process(tmp_path, settings_restored):
    keras.config.set_image_data_format("channels_first")
    keras.config.set_dtype_policy("mixed_bfloat16")
    x, y = digits()
    classifier = search(tmp_path / "run", executor=InlineExecutor()).fit(x, y)
    assert not classifier.failures
    scores = classifier.predict_proba(x)
    exported = keras.models.load_model(classifier.export_keras_model(tmp_path / "best.keras"))
    keras.config.set_image_data_format("channels_last")
    keras.config.set_dtype_policy("float32")
    found = exported.predict(x, verbose=0)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, scores, atol=1e-4)
    assert classifier.feature_extractor().compute_dtype == "float32"


@pytest.mark.slow
def test_a_search_in_worker_processes_that_read_the_configuration_file(tmp_path):
    code = """
import sys
import numpy as np
from kmorph import ImageClassifier
data = np.load(sys.argv[1] + "/data.npz")
classifier = ImageClassifier(path=sys.argv[1] + "/run", verbose=False, seed=0, max_models=2)
classifier.starts = [("cnn", {"width": 8})]
classifier.searcher_args = {"trainer_args": {"max_iter_num": 2}}
classifier.fit(data["x"], data["y"])
assert not classifier.failures, classifier.failures
import keras
assert keras.config.image_data_format() == "channels_first" and keras.config.floatx() == "float64"
np.save(sys.argv[1] + "/scores.npy", classifier.predict_proba(data["x"]))
classifier.export_keras_model(sys.argv[1] + "/best.keras")
"""
    x, y = digits()
    np.savez(tmp_path / "data.npz", x=x, y=y)
    settings = {"floatx": "float64", "image_data_format": "channels_first"}
    environment = configured(tmp_path / "home", "tensorflow", **settings)
    subprocess.run([sys.executable, "-c", code, tmp_path], env=environment, check=True, timeout=280)
    found = keras.models.load_model(tmp_path / "best.keras").predict(x, verbose=0)
    np.testing.assert_allclose(found, np.load(tmp_path / "scores.npy"), atol=1e-4)
