"""Views of an image: what a network is shown of it at prediction, to take the mean of its outputs."""

from __future__ import annotations

from typing import Any

from kmorph.graph.layers.base import stock_layer


def view_images(images: Any, kinds: tuple[str, ...]) -> list[list[Any]]:
    """The images as they are, shifted by a pixel along the diagonal both ways, and each of these mirrored.

    Parameters
    ----------
    images : KerasTensor, shape (n, height, width, channels)
    kinds : tuple of str
        Changes that keep what is predicted: "shift" and "flip" count.

    Returns
    -------
    list of list of KerasTensor
        Groups of views. In the mean each group has the same weight, and in a group each view.

    References
    ----------
    Groups and shifts are those of Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU",
    arXiv:2404.00498, 2024, where edges are reflected rather than repeated.
    """
    from keras import ops

    groups = [[images]]
    if "shift" in kinds:
        groups.append([_shifted(images, 1), _shifted(images, -1)])
    if "flip" in kinds:
        groups = [[*group, *(ops.flip(view, axis=2) for view in group)] for group in groups]
    return groups


def _shifted(images: Any, by: int) -> Any:
    """The images moved by a pixel down and to the right (1) or up and to the left (-1), edges repeated."""
    for axis in (1, 2):
        size = images.shape[axis]
        edge = (0, size - 1) if by > 0 else (size - 1, 0)
        rest = (0, 1) if by > 0 else (1, 0)
        parts = [_cropped(images, axis, edge), _cropped(images, axis, rest)]
        images = stock_layer("Concatenate", axis=axis)(parts if by > 0 else parts[::-1])
    return images


def _cropped(images: Any, axis: int, margins: tuple[int, int]) -> Any:
    cropping = (margins, (0, 0)) if axis == 1 else ((0, 0), margins)
    return stock_layer("Cropping2D", cropping=cropping)(images)
