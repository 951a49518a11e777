"""Starts are sized by what they are for."""

import pytest

from kmorph import starts
from kmorph.graph import Conv

CONVOLUTIONAL = ["cnn", "densenet", "resnet"]


def stem(graph):
    return next(layer for layer in graph.layers if isinstance(layer, Conv))


@pytest.mark.parametrize("kind", CONVOLUTIONAL)
def test_small_images_get_a_small_network_and_large_ones_a_strided_stem(kind):
    small, middle, large = (starts.KINDS[kind]((n, n, 3), 10) for n in (8, 28, 224))
    assert stem(small).strides == (1, 1) and stem(large).strides[0] >= 8
    assert small.flops < middle.flops
    # About 5e9 multiply-adds a second are trained on 2 cores: some hundred images of any size.
    assert max(graph.flops for graph in (small, middle, large)) < 20e6


@pytest.mark.parametrize("kind", CONVOLUTIONAL)
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 1), (1, 40, 3), (5, 1), (9, 9, 9, 2)])
def test_odd_shapes_get_a_network(kind, shape):
    assert starts.KINDS[kind](shape, 4).output_shape == (4,)


def test_a_dense_network_takes_any_shape():
    for shape in [(3,), (8, 8, 1), (2, 2, 2, 2)]:
        assert starts.mlp(shape, 2).output_shape == (2,)
