"""Bytes, tensors and floats of other libraries as labels, images and weights."""

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf

from kmorph.data import LabelCodec, check_images, check_sample_weight
from kmorph.errors import DataError

jnp = pytest.importorskip("jax.numpy")
torch = pytest.importorskip("torch")

TEXTS = {
    "list of bytes": [b"b", b"a", b"b"],
    "array of bytes": np.array([b"b", b"a", b"b"]),
    "objects": np.array([b"b", "a", np.bytes_(b"b")], object),
    "text of TensorFlow": tf.constant(["b", "a", "b"]),
    "texts of TensorFlow": [tf.constant(text) for text in "bab"],
}
NUMBERS = {
    "TensorFlow": [tf.constant(i) for i in (5, 3, 5)],
    "PyTorch": [torch.tensor(i) for i in (5, 3, 5)],
    "JAX": [jnp.array(i) for i in (5, 3, 5)],
    "NumPy": [np.array(i) for i in (5, 3, 5)],
    "bfloat16": np.array([5, 3, 5], ml_dtypes.bfloat16),
    "bfloat16 of PyTorch": torch.tensor([5, 3, 5], dtype=torch.bfloat16),
}


@pytest.mark.parametrize("name", TEXTS)
def test_bytes_are_text(name):
    codec = LabelCodec.from_labels(TEXTS[name])
    assert codec.classes == ("a", "b")
    assert codec.encode(TEXTS[name]).tolist() == codec.encode(["b", "a", "b"]).tolist() == [1, 0, 1]
    assert codec.decode(np.array([0])).tolist() == ["a"]
    assert LabelCodec.from_json(codec.to_json()) == codec


def test_bytes_that_are_no_text():
    with pytest.raises(DataError, match="position 1.*decode"):
        LabelCodec.from_labels([b"a", b"\xff"])


@pytest.mark.parametrize("name", NUMBERS)
def test_tensors_without_axes_are_their_values(name):
    codec = LabelCodec.from_labels(NUMBERS[name])
    assert codec.classes == (3, 5)
    assert codec.encode(NUMBERS[name]).tolist() == [1, 0, 1]


IMAGES = np.random.default_rng(0).random((2, 4, 4, 1), np.float32).astype(ml_dtypes.bfloat16)
BFLOAT16 = {
    "ml_dtypes": IMAGES,
    "TensorFlow": tf.constant(IMAGES.astype(np.float32), tf.bfloat16),
    "JAX": jnp.asarray(IMAGES),
    "PyTorch": torch.tensor(IMAGES.astype(np.float32)).bfloat16(),
}


@pytest.mark.parametrize("name", BFLOAT16)
def test_images_in_bfloat16(name):
    images = check_images(BFLOAT16[name])
    assert images.dtype == np.float32
    np.testing.assert_array_equal(images, IMAGES.astype(np.float32))


def test_images_in_bfloat16_that_are_not_finite():
    images = IMAGES.copy()
    images[1, 0, 0, 0] = np.inf
    with pytest.raises(DataError, match="infinity, first in image 1"):
        check_images(images)


def test_weights_of_examples_in_bfloat16():
    weights = check_sample_weight(np.array([1, 2], ml_dtypes.bfloat16), 2)
    assert weights.dtype == np.float32 and weights.tolist() == [1, 2]
