"""Encoders and networks that resize images, in formats without such a resizing of their own."""

from importlib.util import find_spec

import numpy as np
import pytest
from export.test_table import PACKAGES, RUN, SUFFIXES

from kmorph.errors import ExportError
from kmorph.export import export
from kmorph.graph import Graph
from kmorph.presets.image_encoder import ImageEncoder
from kmorph.problem import Numbers
from kmorph.training.backend import load_backend

pytest.importorskip("keras_hub")
load_backend()

import keras  # noqa: E402
import preset_samples  # noqa: E402


@pytest.mark.parametrize("shape", [(21, 15, 1), (16, 40, 3)])
@pytest.mark.parametrize(
    "resizing", [{"antialias": True}, {"crop_to_aspect_ratio": True, "interpolation": "bicubic"}]
)
def test_ways_of_resizing(shape, resizing, tmp_path):
    """The encoder alone, whose vectors are the numbers; gray images, and those cropped at their sides."""
    encoder = ImageEncoder(preset_samples.tiny_resnet(tmp_path / "resnet", **resizing))
    width = preset_samples.RESNET_WIDTH
    numbers = Numbers((0.0,) * width, (1.0,) * width, flat=False)
    images = np.random.default_rng(0).integers(0, 256, (3, *shape)).astype(np.float32)
    expected = encoder.encode(images)
    graph = Graph.from_keras(encoder.reading(shape))
    for format in ("onnx", "torch"):
        if find_spec(PACKAGES[format]) is not None:
            file = export(graph, numbers, tmp_path / f"vectors{SUFFIXES.get(format, '')}", format)
            np.testing.assert_allclose(RUN[format](file, images), expected, atol=1e-5 * np.ptp(expected))


def test_resizing_that_is_no_product_of_matrices(tmp_path):
    """Images padded with gray; the message says which layer it is."""
    tensor = keras.Input((8, 6, 1))
    padded = keras.layers.Resizing(8, 8, pad_to_aspect_ratio=True, fill_value=127.0)(tensor)
    graph = Graph.from_keras(keras.Model(tensor, keras.layers.GlobalAveragePooling2D()(padded)))
    for format in ("onnx", "torch"):
        if find_spec(PACKAGES[format]) is not None:
            with pytest.raises(ExportError, match="Resizing"):
                export(graph, ["one"], tmp_path / f"images{SUFFIXES.get(format, '')}", format)
    assert not list(tmp_path.iterdir())
