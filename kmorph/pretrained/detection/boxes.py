"""Boxes as arrays (n, 4): their formats, how much they overlap, and which of them are kept.

Everywhere else in kmorph a box is x0, y0, x1, y1 in pixels (``"xyxy"``), with x to the right, y downwards,
and the picture's upper left corner at (0, 0). A size is (height, width), as in the shape of a picture.
"""

from __future__ import annotations

import numpy as np

_ORDERS = {
    "xyxy": (0, 1, 2, 3),
    "yxyx": (1, 0, 3, 2),
    "xywh": (0, 1, 2, 3),
    "center_xywh": (0, 1, 2, 3),
    "center_yxhw": (1, 0, 3, 2),
}
"""For each format, where x, y, and the second pair's x, y are; the order is its own inverse."""

FORMATS = (*_ORDERS, *(f"rel_{name}" for name in _ORDERS))
"""Names of formats, as Keras has them; those with ``rel_`` count in heights and widths of the picture."""


def convert_boxes(
    boxes: np.ndarray, source: str, target: str, size: tuple[int, int] | None = None
) -> np.ndarray:
    """Convert boxes from one format to another.

    Parameters
    ----------
    boxes : array (..., 4)
    source, target : str
        Of `FORMATS`.
    size : (int, int), optional
        Height and width of the picture, which relative formats need.

    Returns
    -------
    array (..., 4) of float
    """
    boxes = np.asarray(boxes, "float64")
    return _from_corners(_to_corners(boxes, source, size), target, size)


def _to_corners(boxes: np.ndarray, source: str, size: tuple[int, int] | None) -> np.ndarray:
    name = source.removeprefix("rel_")
    boxes = boxes[..., _ORDERS[name]]
    first, second = boxes[..., :2], boxes[..., 2:]
    if name == "xywh":
        second = first + second
    elif name.startswith("center"):
        first, second = first - second / 2, first + second / 2
    corners = np.concatenate([first, second], axis=-1)
    return corners * _unit(size) if source != name else corners


def _from_corners(corners: np.ndarray, target: str, size: tuple[int, int] | None) -> np.ndarray:
    name = target.removeprefix("rel_")
    if target != name:
        corners = corners / _unit(size)
    first, second = corners[..., :2], corners[..., 2:]
    if name == "xywh":
        second = second - first
    elif name.startswith("center"):
        first, second = (first + second) / 2, second - first
    return np.concatenate([first, second], axis=-1)[..., _ORDERS[name]]


def _unit(size: tuple[int, int] | None) -> np.ndarray:
    if size is None:
        raise ValueError("relative boxes need the size of the picture")
    height, width = size
    return np.array([width, height, width, height], "float64")


def clip_boxes(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The parts of boxes that are inside a picture; of a box outside, an empty one on its border."""
    return np.clip(boxes, 0, _unit(size))


def areas(boxes: np.ndarray) -> np.ndarray:
    """Areas of boxes, 0 for those whose second corner is not below and right of the first."""
    return np.prod(np.maximum(boxes[..., 2:] - boxes[..., :2], 0), axis=-1)


def intersections(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Areas in which boxes (n, 4) and (m, 4) overlap, of shape (n, m)."""
    first = np.maximum(one[:, None, :2], other[None, :, :2])
    second = np.minimum(one[:, None, 2:], other[None, :, 2:])
    return np.prod(np.maximum(second - first, 0), axis=-1)


def overlaps(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes (n, 4) and (m, 4), of shape (n, m); 0 where both are empty."""
    common = intersections(one, other)
    union = areas(one)[:, None] + areas(other)[None] - common
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)


def suppress_overlaps(
    boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, threshold: float, most: int = 100
) -> np.ndarray:
    """Choose boxes by non-maximum suppression: of those of one label that overlap, the one scored highest.

    Parameters
    ----------
    boxes : array (n, 4)
    scores : array (n,)
    labels : array (n,) of int
    threshold : float
        Boxes of one label whose intersection over union is greater are taken for the same object.
    most : int, default=100
        How many to choose at most.

    Returns
    -------
    array of int
        Indices of the boxes chosen, by falling score; of equal scores, the earlier box first.
    """
    left = np.argsort(-scores, kind="stable")
    chosen: list[int] = []
    while len(left) and len(chosen) < most:
        best, left = left[0], left[1:]
        chosen.append(int(best))
        same = labels[left] == labels[best]
        left = left[~(same & (overlaps(boxes[best][None], boxes[left])[0] > threshold))]
    return np.array(chosen, int)
