"""Problems for tests of what trains and measures."""

from kmorph.data import LabelCodec
from kmorph.problem import Classes, ImageInput, Problem


def classes_of_images(shape=(8, 8, 1), classes=10, **others):
    """Images to class numbers, unnormalised."""
    channels = shape[-1]
    codec = LabelCodec(tuple(range(classes)), "column", "int64")
    return Problem.of(ImageInput(shape, (0.0,) * channels, (1.0,) * channels), Classes(codec), **others)


def measured(outputs, y):
    """Loss and accuracy of logits."""
    return classes_of_images(classes=outputs.shape[1]).measure(y, outputs)
