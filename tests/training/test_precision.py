"""Mixed precision: training computes in bfloat16, everything that stays is float32."""

import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_digits

from kmorph import starts
from kmorph.graph import Normalize
from kmorph.training.backend import let_memory_grow
from kmorph.training.plan import Hyperparameters
from kmorph.training.precision import computing_in, fitting_policy
from kmorph.training.tensorflow_step import TensorFlowStep


def small():
    return starts.resnet((8, 8, 1), 10, width=8, preprocessing=[Normalize((4.9,), (36.2,))]).initialize(0)


def test_a_bfloat16_step_learns_and_leaves_a_float32_graph():
    x, y = load_digits(return_X_y=True)
    x, y = x.reshape(-1, 8, 8, 1).astype(np.uint8), y.astype(np.int32)
    step = TensorFlowStep(small(), Hyperparameters(), 0, "mixed_bfloat16")
    rng = np.random.default_rng(0)
    for i in range(150):
        part = rng.permutation(1400)[:64]
        step.train(x[part], y[part], 0.1 * (1 - i / 150), i)
        step.average(0.8)
    step.swap()
    step.recalibrate([x[:500], x[500:1000]])
    logits = step.predict(x[1400:], 100)
    assert np.mean(logits.argmax(1) == y[1400:]) > 0.85
    graph = step.to_graph()
    assert {array.dtype for array in graph.weights.values()} == {np.dtype(np.float32)}
    # What was measured is what the exported model says: evaluation computes in float32.
    exported = graph.to_keras()
    assert np.allclose(exported.predict(x[1400:], verbose=0), logits, atol=1e-4)
    assert {layer.compute_dtype for layer in exported.layers} == {"float32"}


def test_bfloat16_is_really_computed_in():
    x, y = (
        np.random.default_rng(0).integers(0, 16, (64, 8, 8, 1)).astype(np.uint8),
        np.arange(64, dtype=np.int32) % 10,
    )
    steps = [
        TensorFlowStep(small(), Hyperparameters(), 0, policy) for policy in ("float32", "mixed_bfloat16")
    ]
    full, mixed = (float(step.train(x, y, 0.1, 0)) for step in steps)
    assert full != mixed and mixed == pytest.approx(full, rel=0.02)
    graphs = [
        step._part.get_concrete_function(tf.constant(x), tf.constant(y), None, tf.zeros(2, tf.int32)).graph
        for step in steps
    ]
    inputs = [
        {operation.inputs[0].dtype for operation in graph.get_operations() if operation.type == "Conv2D"}
        for graph in graphs
    ]
    assert inputs == [{tf.float32}, {tf.bfloat16}]


def test_layers_get_their_policies_back():
    model = small().to_keras()
    with computing_in(model, "mixed_bfloat16"):
        kinds = {type(layer).__name__: layer.compute_dtype for layer in model.layers}
    assert (
        kinds["Conv2D"] == kinds["BatchNormalization"] == "bfloat16" and kinds["Normalization"] == "float32"
    )
    assert model.layers[-1].dtype_policy.name == "float32" == kinds["Dense"]
    # No CPU has instructions for functions of bfloat16.
    assert tf.config.list_physical_devices("GPU") or kinds["Activation"] == "float32"
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}


@pytest.mark.parametrize(
    ("capabilities", "policy"),
    [
        ([], "float32"),
        ([(7, 5)], "float32"),
        ([None], "float32"),
        ([(8, 0), (7, 0)], "float32"),
        ([(8, 6), (9, 0)], "mixed_bfloat16"),
    ],
)
def test_the_policy_follows_the_slowest_gpu(monkeypatch, capabilities, policy):
    details = [
        {} if capability is None else {"compute_capability": capability} for capability in capabilities
    ]
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: range(len(details)))
    monkeypatch.setattr(tf.config.experimental, "get_device_details", details.__getitem__)
    assert fitting_policy() == policy


def test_memory_of_every_gpu_grows():
    grown = []

    class Config:
        experimental = type("", (), {"set_memory_growth": staticmethod(lambda *call: grown.append(call))})

        @staticmethod
        def list_physical_devices(kind):
            return [f"{kind}:0", f"{kind}:1"]

    let_memory_grow(Config)
    assert grown == [("GPU:0", True), ("GPU:1", True)]
