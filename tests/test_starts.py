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


@pytest.mark.parametrize("kind", CONVOLUTIONAL)
@pytest.mark.parametrize("shape", [(28, 28, 1), (40, 3), (9, 9, 9, 2)])
def test_the_default_width_is_told(kind, shape):
    width = starts.default_width(kind, shape)
    assert starts.KINDS[kind](shape, 4, width=width) == starts.KINDS[kind](shape, 4)


@pytest.mark.parametrize(
    ("width", "first"), [(16, 8), (32, 8), (64, 16), (80, 16), (96, 32), (128, 32), (256, 64)]
)
def test_a_plain_network_begins_narrow_in_whole_blocks(width, first):
    kernels = [
        layer.filters for layer in starts.cnn((32, 32, 3), 10, width=width).layers if isinstance(layer, Conv)
    ]
    assert kernels[1:] == [first, first, width, width, width, width]


@pytest.mark.parametrize(
    ("shape", "last"),
    [
        ((28, 28, 1), (3, 3)),
        ((32, 32, 3), (3, 3)),
        ((8, 8, 1), (2, 2)),
        ((5, 9, 1), (1, 2)),
        ((1, 40, 3), (1, 5)),
    ],
)
def test_a_plain_network_pools_at_once_and_drops_odd_rows(shape, last):
    graph = starts.cnn(shape, 10, width=16)
    pooled = [node for node in graph.node_shapes if len(node) == 3]
    assert pooled[-1][:2] == last


def test_a_plain_network_works_at_a_lower_resolution_if_asked():
    whole, half = (starts.cnn((32, 32, 3), 10, resolution=size) for size in (None, 16))
    assert half.flops < 0.3 * whole.flops


def test_a_dense_network_takes_any_shape():
    for shape in [(3,), (8, 8, 1), (2, 2, 2, 2)]:
        assert starts.mlp(shape, 2).output_shape == (2,)
