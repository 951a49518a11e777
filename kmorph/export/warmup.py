"""Requests that TensorFlow Serving answers before it takes a model into service.

They are `PredictionLog` messages in the TFRecord format. The few fields needed are encoded here, so that no
export depends on the package tensorflow-serving-api.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

FILE = Path("assets.extra") / "tf_serving_warmup_requests"

# Numbers of the fields in tensorflow_serving/apis: prediction_log, predict, classification, input, model.
LOGS = {"classify": 2, "regress": 3, "predict": 6}
REQUEST = 1  # of each kind of log
MODEL_SPEC, SIGNATURE_NAME = 1, 3
INPUTS, KEY, VALUE = 2, 1, 2  # of a predict request: entries of a map
INPUT, EXAMPLE_LIST, EXAMPLE = 2, 1, 1  # of the other requests

LENGTH_DELIMITED = 2


def write_warmup(folder: Path, requests: Iterable[bytes]) -> None:
    """Write requests into the folder of a SavedModel."""
    import tensorflow as tf

    file = folder / FILE
    file.parent.mkdir()
    with tf.io.TFRecordWriter(str(file)) as writer:
        for request in requests:
            writer.write(request)


def warmup_request(api: str, signature: str, input: str, batch: Any) -> bytes:
    """A serialised `PredictionLog`.

    Parameters
    ----------
    api : {"predict", "classify", "regress"}
    signature, input : str
        Names of the signature and of its input.
    batch : ndarray
        What is sent: one example or more. For the latter two APIs serialised `tf.train.Example`\\ s.
    """
    import tensorflow as tf

    spec = _field(MODEL_SPEC, _field(SIGNATURE_NAME, signature.encode()))
    if api == "predict":
        tensor = tf.make_tensor_proto(batch).SerializeToString()
        body = _field(INPUTS, _field(KEY, input.encode()) + _field(VALUE, tensor))
    else:
        body = _field(INPUT, _field(EXAMPLE_LIST, b"".join(_field(EXAMPLE, one) for one in batch)))
    return _field(LOGS[api], _field(REQUEST, spec + body))


def _field(number: int, content: bytes) -> bytes:
    """A field of Protocol Buffers' wire format: tag, length, content."""
    return bytes([number << 3 | LENGTH_DELIMITED]) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])
