"""Resizing as two matrix products: the same as Keras' layer, for every setting, or none at all."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kmorph.graph import Graph, Opaque
from kmorph.graph.resizing import resizing_matrices

INTERPOLATIONS = ["bilinear", "nearest", "bicubic", "lanczos3", "lanczos5"]
if keras.backend.backend() == "torch":
    INTERPOLATIONS = INTERPOLATIONS[:3]  # it has no others
ASPECTS = [{}, {"crop_to_aspect_ratio": True}, {"pad_to_aspect_ratio": True}]


def kept(layer, shape):
    return Opaque.read(layer, "one", shape)[0]


sizes = st.tuples(st.integers(2, 20), st.integers(2, 20))


@settings(max_examples=25)
@given(sizes, sizes, st.sampled_from(INTERPOLATIONS), st.booleans(), st.sampled_from(ASPECTS), st.integers(0))
def test_every_setting(old, new, interpolation, antialias, aspect, seed):
    layer = keras.layers.Resizing(*new, interpolation, antialias=antialias, dtype="float32", **aspect)
    matrices = resizing_matrices(kept(layer, (*old, 2)))
    assert matrices.rows.shape == (new[0], old[0]) and matrices.columns.shape == (new[1], old[1])
    images = np.random.default_rng(seed).uniform(0, 255, (3, *old, 2)).astype(np.float32)
    found = np.einsum("ik,nklc,jl->nijc", matrices.rows, images, matrices.columns)
    expected = keras.ops.convert_to_numpy(layer(images))
    # Places between pixels are known in single precision.
    np.testing.assert_allclose(found, expected, atol=255e-5)


def test_pixels_have_centres():
    """From 2 pixels to 4: places -0.25, 0.25, 0.75 and 1.25, the first and the last beyond the edges."""
    matrices = resizing_matrices(kept(keras.layers.Resizing(4, 1, dtype="float32"), (2, 3, 1)))
    np.testing.assert_allclose(matrices.rows, [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]], atol=1e-6)
    np.testing.assert_allclose(matrices.columns, [[0, 1, 0]], atol=1e-6)


def test_large_images_are_resized_in_parts(monkeypatch):
    layer = kept(keras.layers.Resizing(5, 7, dtype="float32"), (9, 8, 3))
    whole = resizing_matrices(layer)
    resizing_matrices.cache_clear()
    monkeypatch.setattr("kmorph.graph.resizing.CHUNK", 3 * 9 * 8)
    for one, other in zip(whole, resizing_matrices(layer), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (keras.layers.Resizing(8, 8, pad_to_aspect_ratio=True, fill_value=1.0), (8, 6, 1)),
        (keras.layers.Resizing(6, 6, data_format="channels_first"), (3, 8, 8)),
        (keras.layers.UpSampling2D(), (8, 8, 3)),
    ],
    ids=["padding with ones", "channels first", "another layer"],
)
def test_others_have_no_matrices(layer, shape):
    assert resizing_matrices(kept(layer, shape)) is None


def test_within_a_network_of_pytorch():
    """Constants follow where the network is brought to another precision; a fresh one has them, too."""
    torch = pytest.importorskip("torch")
    tensor = keras.Input((9, 12, 3))
    resized = keras.layers.Resizing(16, 10)(tensor)
    graph = Graph.from_keras(keras.Model(tensor, keras.layers.Conv2D(2, 3)(resized)))
    images = np.random.default_rng(0).random((2, 9, 12, 3), np.float32)
    expected = keras.ops.convert_to_numpy(graph.to_keras()(images))
    network = graph.to_torch()
    with torch.no_grad():
        found = network(torch.from_numpy(images))
        np.testing.assert_allclose(found, expected, atol=1e-5)
        rough = network.double()(torch.from_numpy(images).double())
    assert rough.dtype == torch.float64
    np.testing.assert_allclose(rough, expected, atol=1e-5)
    assert graph.to_torch(weights=False)(torch.from_numpy(images)).shape == found.shape
