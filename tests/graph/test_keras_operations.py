"""Operations of keras.ops in models that users bring."""

import numpy as np
import pytest
from keras import layers as L
from keras import ops
from keras_samples import functional, kinds, round_trip

OPERATIONS = {
    "add": (lambda t: t + L.ReLU()(t), ["activation", "add"]),
    "add twice the same": (lambda t: t + t, ["add"]),
    "add a number": (lambda t: t + 3, ["rescale"]),
    "number minus tensor": (lambda t: 1.0 - t, ["rescale"]),
    "tensor minus number": (lambda t: t - 0.5, ["rescale"]),
    "subtract": (lambda t: t - ops.relu(t), ["activation", "rescale", "add"]),
    "multiply": (lambda t: ops.multiply(t, ops.sigmoid(t)), ["activation", "multiply"]),
    "scale": (lambda t: 2 * t / 3, ["rescale", "rescale"]),
    "negative": (lambda t: -t, ["rescale"]),
    "square": (ops.square, ["multiply"]),
    "channel means": (lambda t: t - np.array([1.0, 2, 3, 4], "float32"), ["normalize"]),
    "relu6": (ops.relu6, ["activation"]),
    "silu": (ops.silu, ["activation"]),
    "hard_silu": (ops.hard_silu, ["activation"]),
    "tanh": (ops.tanh, ["activation"]),
    "exp": (ops.exp, ["activation"]),
    "leaky_relu": (lambda t: ops.leaky_relu(t, negative_slope=0.3), ["activation"]),
    "gelu": (lambda t: ops.gelu(t, approximate=False), ["activation"]),
    "softmax": (ops.softmax, ["activation"]),
    "mean over space": (lambda t: ops.mean(t, axis=(1, 2)), ["global_pool"]),
    "max over space": (lambda t: ops.max(t, axis=[1, -2], keepdims=True), ["global_pool"]),
    "concatenate": (lambda t: ops.concatenate([t, ops.relu(t)], axis=-1), ["activation", "concat"]),
    "reshape": (lambda t: ops.reshape(t, (-1, 64, 4)), ["reshape"]),
    "squeeze": (
        lambda t: ops.squeeze(ops.mean(t, axis=(1, 2), keepdims=True), (1, 2)),
        ["global_pool", "reshape"],
    ),
    "cast": (lambda t: ops.relu(ops.cast(t, "float32")), ["activation"]),
    "approximate gelu": (ops.gelu, ["opaque"]),
    "mean over channels": (lambda t: ops.mean(t, axis=-1, keepdims=True), ["opaque"]),
    "transpose": (lambda t: ops.transpose(t, (0, 2, 1, 3)), ["opaque"]),
    "gate over space": (lambda t: t * ops.mean(t, axis=-1, keepdims=True), ["opaque", "opaque"]),
    "matmul": (lambda t: ops.matmul(t, ops.relu(t)), ["activation", "opaque"]),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations(name):
    function, expected = OPERATIONS[name]
    assert kinds(round_trip(functional(function, (8, 8, 4) if name != "matmul" else (4, 4)))) == expected
