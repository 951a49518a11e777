"""Where memory runs out, a model is trained with smaller batches; afterwards all of it is given back."""

import gc
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_digits

from kmorph import starts
from kmorph.graph import Activation, Dense, Dropout, Flatten, GraphBuilder, Normalize
from kmorph.search.candidate import Job
from kmorph.search.workers.worker import evaluate
from kmorph.training import tensorflow_step
from kmorph.training.examples import Data
from kmorph.training.memory import is_out_of_memory, released
from kmorph.training.plan import Hyperparameters, Plan
from kmorph.training.trainer import train


class SmallStep(tensorflow_step.TensorFlowStep):
    """A step on a device that has memory for so many images, fewer after some steps."""

    most, later, most_to_evaluate = 1000, 10**9, 1000
    trained: list[int] = []
    evaluated: list[int] = []

    def train(self, x, y, learning_rate, step, weights=None):
        if len(x) > self.most or (len(self.trained) >= self.later and len(x) > self.most // 4):
            raise tf.errors.ResourceExhaustedError(None, None, f"OOM when allocating tensor[{len(x)}]")
        self.trained.append(len(x))
        return super().train(x, y, learning_rate, step)

    def predict(self, x, batch_size):
        if batch_size > self.most_to_evaluate:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        self.evaluated.append(batch_size)
        return super().predict(x, batch_size)


@pytest.fixture
def step(monkeypatch):
    for name in ("trained", "evaluated"):
        monkeypatch.setattr(SmallStep, name, [])
    monkeypatch.setattr(tensorflow_step, "TensorFlowStep", SmallStep)

    def limit(**limits):
        for name, value in limits.items():
            monkeypatch.setattr(SmallStep, name, value)
        return SmallStep

    return limit


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    x = x.reshape(-1, 8, 8, 1).astype(np.uint8)
    return Data(x[:1400], y[:1400], x[1400:], y[1400:])


def small():
    return starts.cnn((8, 8, 1), 10, width=8, preprocessing=[Normalize((4.9,), (36.2,))]).initialize(0)


def test_the_batch_is_halved_until_it_fits(step, digits):
    step(most=20)
    outcome = train(small(), digits, Plan("decay", max_epochs=2))
    assert set(SmallStep.trained) == {16}
    assert outcome.hyperparameters == Hyperparameters(learning_rate=0.1 / 4, batch_size=16)
    assert outcome.images == pytest.approx(2 * 1400, abs=16)
    assert outcome.metrics["accuracy"] > 0.7


def test_what_was_learned_before_is_kept(step, digits):
    step(most=64, later=60)
    outcome = train(small(), digits, Plan("decay", max_epochs=3))
    assert SmallStep.trained[:60] == [64] * 60 and set(SmallStep.trained[60:]) == {16}
    assert sum(SmallStep.trained) == outcome.images == pytest.approx(3 * 1400, abs=64)
    # What comes after the break, a sixth of it all, would not do for new weights.
    assert outcome.metrics["accuracy"] > 0.7


def test_an_evaluation_takes_smaller_batches_without_training_anew(step, digits):
    step(most_to_evaluate=100)
    outcome = train(small(), digits, Plan("decay", max_epochs=2))
    assert set(SmallStep.trained) == {64} and outcome.hyperparameters.batch_size == 64
    assert set(SmallStep.evaluated) == {397 // 4}
    logits = outcome.graph.to_keras().predict(digits.x_val, verbose=0)
    assert outcome.metrics["accuracy"] == pytest.approx(np.mean(logits.argmax(1) == digits.y_val))


def test_training_goes_on_where_there_is_no_memory_for_a_checkpoint(step, digits, monkeypatch):
    monkeypatch.setattr("kmorph.training.checkpoints.FIRST_CHECKPOINT", 0.0)
    kept, calls = [], []
    whole = SmallStep.recalibrate

    def recalibrate(self, batches):
        calls.append(len(batches))
        if len(calls) == 2:
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
        return whole(self, batches)

    monkeypatch.setattr(SmallStep, "recalibrate", recalibrate)
    step()
    plan = Plan(max_epochs=30, hyperparameters=Hyperparameters(batch_size=64))
    monkeypatch.setattr("kmorph.training.checkpoints.CHECKPOINT_COST", 0.0)
    outcome = train(small(), digits, plan, checkpoint=lambda graph, images: kept.append(images))
    assert len(kept) == 1 and 0 < kept[0] < outcome.images
    assert outcome.hyperparameters.batch_size == 64 and outcome.metrics["accuracy"] > 0.9


def test_a_model_that_does_not_fit_at_all_fails_with_the_reason(step, digits, tmp_path):
    step(most=0)
    digits.save(tmp_path)
    small().save(tmp_path / "start")
    files = [str(tmp_path / name) for name in ("out", "events", "stop")]
    result = evaluate(Job(str(tmp_path / "start"), (), str(tmp_path), Plan(max_epochs=1), *files))
    assert result.reason == "out of memory"


def test_the_result_of_a_worker_tells_the_batch_size_used(step, digits, tmp_path):
    step(most=32)
    digits.save(tmp_path)
    small().save(tmp_path / "start")
    files = [str(tmp_path / name) for name in ("out", "events", "stop")]
    result = evaluate(Job(str(tmp_path / "start"), (), str(tmp_path), Plan(max_epochs=1), *files))
    assert result.reason is None
    assert (result.hyperparameters["batch_size"], result.hyperparameters["learning_rate"]) == (32, 0.05)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="address spaces are limited on Linux")
def test_a_process_without_memory_goes_on_with_less():
    program = Path(__file__).with_name("little_memory.py")
    # oneDNN keeps what it once took, and waits ten seconds for more.
    environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": "0", "MALLOC_ARENA_MAX": "1"}
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["batch_size"] in (2, 4, 8, 16, 32)
    assert result["learning_rate"] == pytest.approx(0.001 * result["batch_size"])
    assert result["images"] == 64 and np.isfinite(result["loss"])


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (tf.errors.ResourceExhaustedError(None, None, "x"), True),
        (tf.errors.InternalError(None, None, "Failed to allocate memory for 3 bytes"), True),
        (tf.errors.InternalError(None, None, "CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 3 bytes"), True),
        (RuntimeError("CUDA error: device-side assert"), False),
        (ValueError("out of memory"), False),
        (tf.errors.InvalidArgumentError(None, None, "shape"), False),
    ],
)
def test_out_of_memory_is_told_from_other_errors(error, expected):
    assert is_out_of_memory(error) is expected


def test_nothing_stays_of_what_was_compiled(digits):
    """Swish has a custom gradient, of which TensorFlow keeps a reference to all that was traced."""
    builder = GraphBuilder((8, 8, 1))
    for layer in (Flatten(), Dense(8), Activation("silu"), Dropout(0.1), Dense(10)):
        builder.add(layer)
    graph = builder.build().initialize(0)
    gc.collect()
    before = traced()
    for _ in range(2):
        with released():
            train(graph, digits, Plan(max_epochs=1))
    assert traced() <= before


def traced():
    """Ids of the graphs that TensorFlow has traced and that are still there; other tests have theirs."""
    return {id(value) for value in gc.get_objects() if type(value).__name__ == "FuncGraph"}


def test_gradients_of_the_users_own_stay(digits):
    from tensorflow.python.framework import ops

    @tf.function
    def swish(x):
        return tf.nn.silu(x)

    with tf.GradientTape() as tape:
        x = tf.Variable(1.0)
        y = swish(x)
    known = set(ops.gradient_registry._registry)
    with released():
        train(small(), digits, Plan(max_epochs=1))
    assert known <= set(ops.gradient_registry._registry)
    assert tape.gradient(y, x) > 0
