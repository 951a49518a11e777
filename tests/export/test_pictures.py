"""Encoded pictures as a network of images reads them."""

import io

import numpy as np
import pytest
from PIL import Image

from kmorph.export.pictures import Pictures
from kmorph.problem import ArrayInput, ImageInput

SIZE = (5, 4)


def encoded(pixels, mode, format="png"):
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, format)
    return file.getvalue()


@pytest.fixture(scope="module")
def colors():
    return np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P"])
def test_channels_are_matched(colors, channels, mode):
    files = [encoded(colors, mode), encoded(colors[::-1], mode)]
    found = Pictures((*SIZE, channels), 1.0).decode(files).numpy()
    wanted = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels]
    for file, one in zip(files, found, strict=True):
        expected = np.asarray(Image.open(io.BytesIO(file)).convert(wanted), np.float32)
        np.testing.assert_allclose(one, expected.reshape(one.shape), atol=1.5)  # grays are rounded


@pytest.mark.parametrize("format", ["png", "bmp", "gif", "jpeg", "webp"])
def test_formats(colors, format):
    smooth = np.full_like(colors, (200, 100, 50))
    (found,) = Pictures((*SIZE, 3), 255.0).decode([encoded(smooth, "RGB", format)]).numpy()
    np.testing.assert_allclose(found, smooth / 255, atol=0.02)


def test_other_sizes_are_resized():
    large = np.zeros((50, 40, 3), np.uint8)
    large[:, 20:] = 200
    (found,) = Pictures((*SIZE, 3), 1.0).decode([encoded(large, "RGB")]).numpy()
    assert found.shape == (*SIZE, 3)
    np.testing.assert_allclose(found[:, [0, 3]].mean(axis=(0, 2)), [0, 200], atol=5)


@pytest.mark.parametrize(
    "mean, variance, divisor",
    [
        ((33.0,), (6000.0,), 1.0),
        ((0.13,), (0.09,), 255.0),
        ((0.5,), (0.25,), 255.0),  # zeros and ones
        ((0.4, 0.0), (0.1, 1.0), 255.0),  # the second channel never changes
        ((0.0,), (1.0,), 1.0),
        ((0.0,), (0.99,), None),  # standardised
        ((-0.1,), (0.3,), None),
        ((30_000.0,), (9e7,), None),  # sixteen bits
    ],
)
def test_the_range_is_that_of_the_training_images(mean, variance, divisor):
    pictures = Pictures.of((5, 4, len(mean)), ImageInput((5, 4, len(mean)), mean, variance))
    assert (pictures and pictures.divisor) == divisor


def test_what_pictures_cannot_be():
    assert Pictures.of((5, 4, 5), None) is None
    assert Pictures.of((5, 4), None) is None
    assert Pictures.of((5, 4, 3), ArrayInput((5, 4, 3), (9.0,) * 3, (9.0,) * 3)) is None
    assert Pictures.of((5, 4, 3), None) == Pictures((5, 4, 3), 1.0)


@pytest.mark.parametrize("divisor", [1.0, 255.0])
def test_rounded_images_survive_encoding(divisor):
    pictures = Pictures((*SIZE, 2), divisor)
    images = pictures.rounded(np.random.default_rng(0).normal(0.5, 0.5, (3, *SIZE, 2)) * 255 / divisor)
    np.testing.assert_array_equal(pictures.decode(pictures.encode(images)).numpy(), images)
