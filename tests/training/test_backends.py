"""The same training with Keras on TensorFlow, JAX and PyTorch."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from kmorph.errors import BackendError, DataError
from kmorph.training.backend import backend_name, require_backend
from kmorph.training.distribute import pack_strategy

SCRIPT = Path(__file__).with_name("one_backend.py")
OTHERS = [
    pytest.param(name, marks=pytest.mark.skipif(find_spec(name) is None, reason=f"{name} is not installed"))
    for name in ("jax", "torch")
]


def run(backend, what, target) -> str:
    environment = {**os.environ, "KERAS_BACKEND": backend}
    done = subprocess.run(
        [sys.executable, SCRIPT, what, target], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def on_tensorflow(tmp_path_factory):
    file = tmp_path_factory.mktemp("steps") / "tensorflow.npz"
    run("tensorflow", "step", file)
    return np.load(file)


@pytest.mark.parametrize("backend", OTHERS)
def test_a_step_is_the_same_on_every_backend(backend, on_tensorflow, tmp_path):
    run(backend, "step", tmp_path / "steps.npz")
    found = np.load(tmp_path / "steps.npz")
    assert set(found.files) == set(on_tensorflow.files)
    for name in found.files:
        np.testing.assert_allclose(found[name], on_tensorflow[name], rtol=1e-4, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("backend", [pytest.param("jax", marks=pytest.mark.slow), "torch"])
def test_a_search_runs_without_tensorflow(backend, tmp_path):
    pytest.importorskip(backend)
    found = json.loads(run(backend, "search", tmp_path / "run").splitlines()[-1])
    assert found["trained"] > 0.85 and found["searched"] > 0.6
    assert found["models"] == 2 and found["exported"] and found["speed"] > 0
    assert "tensorflow" not in found["modules"] and backend in found["modules"]
    # What one backend trained another one loads.
    import keras

    model = keras.saving.load_model(tmp_path / "run" / "best.keras")
    assert model.output_shape == (None, 10) or "scores" in str(model.output_shape)


def test_a_backend_that_is_not_there_is_told(monkeypatch):
    assert backend_name() == "tensorflow" == require_backend()
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    monkeypatch.setenv("KERAS_BACKEND", "numpy")
    with pytest.raises(BackendError, match="cannot train.*tensorflow, jax, torch"):
        require_backend()
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setattr("kmorph.training.backend.find_spec", lambda name: None)
    monkeypatch.delitem(sys.modules, "jax", raising=False)
    with pytest.raises(BackendError, match="pip install jax"):
        require_backend()


def test_several_devices_need_tensorflow(monkeypatch):
    monkeypatch.setattr("kmorph.training.distribute.backend_name", lambda: "jax")
    assert pack_strategy(None) is None
    with pytest.raises(DataError, match="KERAS_BACKEND=tensorflow"):
        pack_strategy("mirrored")


def test_the_backend_is_found_where_keras_looks(monkeypatch, tmp_path):
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert backend_name() == "tensorflow"
    (tmp_path / "keras.json").write_text('{"backend": "torch"}')
    assert backend_name() == "torch"
    (tmp_path / "keras.json").write_text("no JSON")
    assert backend_name() == "tensorflow"


@pytest.mark.slow
def test_workers_without_a_gpu_leave_out_grappler():
    """In the process of a program that uses kmorph TensorFlow stays as it was."""
    code = (
        "from kmorph.training.backend import load_backend; load_backend({}); import tensorflow as tf; "
        "gpus = tf.config.list_physical_devices('GPU'); "
        "options = tf.config.optimizer.get_experimental_options(); "
        "print(not gpus, options.get('disable_meta_optimizer', False))"
    )
    worker, program = (
        subprocess.run(
            [sys.executable, "-c", code.format(threads)], capture_output=True, text=True
        ).stdout.split()
        for threads in ("1", "")
    )
    assert worker[0] == worker[1] and program[1] == "False"
