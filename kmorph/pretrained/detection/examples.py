"""Pictures with boxes to learn from: checking what users hand in, and drawing batches at random."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kmorph.errors import DataError
from kmorph.pretrained.detection.average_precision import Truth
from kmorph.pretrained.detection.boxes import areas, clip_boxes
from kmorph.pretrained.detection.labels import Label
from kmorph.pretrained.detection.pictures import FILL, Frame, fit_picture, is_single, pillow, read_picture

OUTSIDE = 1.0  # pixels that a box may reach out of its picture, from rounding; it is clipped
KEPT_BYTES = 2**30  # pictures kept in memory, resized; beyond that they are read again in each pass
LOOKED_AT = 50  # pictures by which an input is sized
LEAST_SEEN = 0.3  # share of a box that must be left of it in a changed picture
ZOOM = (0.7, 1.4)
SHIFT = 0.15  # in widths and heights of the input
LIGHT = 0.2  # of brightness and contrast, either way


@dataclass(frozen=True)
class Examples:
    """Pictures with their boxes and labels.

    Attributes
    ----------
    pictures : list
        Paths, Pillow images or arrays.
    truth : list of Truth
        Boxes in pixels, and indices of `names`.
    names : list of str or int
    """

    pictures: list[Any]
    truth: list[Truth]
    names: list[Label]

    def picture(self, index: int) -> np.ndarray:
        """Read a picture; uint8 of shape (h, w, 3)."""
        return read_picture(self.pictures[index], f"images[{index}]")


def check_examples(images: Any, boxes: Any, labels: Any, names: Sequence[Label] | None = None) -> Examples:
    """Check pictures and their boxes before anything is computed.

    Parameters
    ----------
    images : sequence of path-like or array, or array (n, h, w, c)
    boxes : sequence of arrays (k, 4)
    labels : sequence of sequences of str or int
    names : sequence, optional
        Names of labels that are known. None: those that occur, sorted.

    Raises
    ------
    DataError
    """
    pictures = as_pictures(images)
    for name, value in (("boxes", boxes), ("labels", labels)):
        if isinstance(value, str | bytes) or not hasattr(value, "__len__") or np.ndim(len(value)):
            raise DataError(f"{name} must be a list with an item for each picture, got {value!r:.60}")
        if len(value) != len(pictures):
            raise DataError(
                f"there are {len(pictures)} images, but {name} has {len(value)} items: expected one for "
                "each, an empty one for a picture without boxes"
            )
    words = [_checked_labels(of_one, f"labels[{index}]") for index, of_one in enumerate(labels)]
    known = _names(words, names)
    index_of = {name: index for index, name in enumerate(known)}
    truth = []
    for index, (of_one, its_words) in enumerate(zip(boxes, words, strict=True)):
        array = _checked_boxes(of_one, f"boxes[{index}]")
        if len(array) != len(its_words):
            raise DataError(
                f"boxes[{index}] has {len(array)} boxes, but labels[{index}] has {len(its_words)} labels"
            )
        truth.append(Truth(array, np.array([index_of[word] for word in its_words], int)))
    if not sum(len(one.boxes) for one in truth):
        raise DataError("there is no box in any of the pictures: a detector learns from boxes")
    return Examples(pictures, truth, known)


def as_pictures(images: Any) -> list[Any]:
    """The pictures of a list or an array, not read yet."""
    if is_single(images):
        raise DataError(
            "images must be a list of pictures, or an array (pictures, height, width, 3), got one"
        )
    pictures = list(images)
    if not pictures:
        raise DataError("there are no images: expected at least one")
    return pictures


def _checked_labels(labels: Any, name: str) -> list[Label]:
    if isinstance(labels, str | bytes) or not hasattr(labels, "__iter__"):
        raise DataError(f"{name} must be a list with the label of each box, got {labels!r:.60}")
    checked: list[Label] = []
    for label in labels:
        plain = label.item() if isinstance(label, np.generic | np.ndarray) and np.ndim(label) == 0 else label
        if type(plain) not in (str, int):
            raise DataError(f"{name} has the label {label!r:.60}: expected text or whole numbers")
        checked.append(plain)
    return checked


def _names(words: list[list[Label]], names: Sequence[Label] | None) -> list[Label]:
    occurring = {word for of_one in words for word in of_one}
    if names is None:
        if len({type(word) for word in occurring}) > 1:
            raise DataError("some labels are text and some are numbers: use one of them for all")
        return sorted(occurring)
    if unknown := occurring.difference(names):
        raise DataError(
            f"the detector does not know the label {sorted(map(repr, unknown))[0]}; it knows "
            f"{', '.join(map(repr, names[:10]))}{', …' if len(names) > 10 else ''}"
        )
    return list(names)


def _checked_boxes(boxes: Any, name: str) -> np.ndarray:
    try:
        array = np.asarray(boxes, "float64")
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} must be an array (boxes, 4) of numbers ({error})") from error
    if not array.size:
        return np.zeros((0, 4))
    if array.ndim != 2 or array.shape[1] != 4:
        raise DataError(f"{name} must have the shape (boxes, 4): x0, y0, x1, y1 each; got {array.shape}")
    if not np.isfinite(array).all():
        raise DataError(f"{name} has numbers that are NaN or infinite")
    for row, box in enumerate(array):
        if not (box[2] > box[0] and box[3] > box[1]):
            raise DataError(
                f"{name}[{row}] is {box.tolist()}: expected x0, y0, x1, y1 in pixels with x1 > x0 and "
                "y1 > y0. Boxes as x, y, width, height are x, y, x + width, y + height"
            )
    if array.max() <= 1.0:
        raise DataError(f"{name} has no number above 1: boxes are in pixels, multiply by width and height")
    return array


class Batches:
    """Batches for training, in an order and with changes that a seed decides.

    Parameters
    ----------
    examples : Examples
    size : (int, int)
        Height and width of the input.
    keep_ratio : bool
        As for `fit_picture`.
    batch_size : int
    changes : bool
        Whether pictures are mirrored, zoomed, moved, and made lighter or darker at random.
    seed : int or None
    """

    def __init__(
        self,
        examples: Examples,
        size: tuple[int, int],
        keep_ratio: bool,
        batch_size: int,
        changes: bool,
        seed: int | None,
    ) -> None:
        self._examples, self._size, self._keep_ratio = examples, size, keep_ratio
        self._changes, self.batch_size = changes, batch_size
        self._random = np.random.default_rng(seed)
        self._kept: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self.most_boxes = max(1, *(len(one.boxes) for one in examples.truth))
        self.per_pass = max(1, round(len(examples.pictures) / batch_size))

    def check_all(self, until: float | None) -> np.ndarray:
        """Read pictures once, until a time of `time.monotonic`; roots of the areas of their boxes."""
        sides = []
        for index in range(len(self._examples.pictures)):
            if index and until is not None and time.monotonic() >= until:
                break
            sides.append(np.sqrt(areas(self._fitted(index)[1])))
        return np.concatenate(sides)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yield pictures (n, h, w, 3), boxes (n, most, 4) in pixels, and labels (n, most), -1 for none."""
        order: list[int] = []
        while True:
            while len(order) < self.batch_size:
                order.extend(self._random.permutation(len(self._examples.pictures)))
            chosen, order = order[: self.batch_size], order[self.batch_size :]
            pictures = np.empty((self.batch_size, *self._size, 3), "uint8")
            boxes = np.full((self.batch_size, self.most_boxes, 4), -1.0)
            labels = np.full((self.batch_size, self.most_boxes), -1)
            for row, index in enumerate(chosen):
                picture, its_boxes = self._fitted(int(index))
                its_labels = self._examples.truth[index].labels
                if self._changes:
                    picture, its_boxes, left = change_picture(picture, its_boxes, self._random)
                    its_labels = its_labels[left]
                pictures[row] = picture
                boxes[row, : len(its_boxes)] = its_boxes
                labels[row, : len(its_labels)] = its_labels
            yield pictures, boxes, labels

    def _fitted(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """A picture and its boxes in the input."""
        if index in self._kept:
            return self._kept[index]
        picture = self._examples.picture(index)
        boxes = inside(self._examples.truth[index].boxes, picture.shape[:2], f"boxes[{index}]")
        resized, frame = fit_picture(picture, self._size, self._keep_ratio)
        fitted = resized, frame.to_input(boxes)
        if (len(self._kept) + 1) * resized.nbytes <= KEPT_BYTES:
            self._kept[index] = fitted
        return fitted


def suited_size(examples: Examples, largest: int, stride: int) -> tuple[int, int]:
    """An input that has room for the pictures, but is small enough to train fast: a square.

    Parameters
    ----------
    examples : Examples
    largest : int
        Its side at most.
    stride : int
        What the side is a multiple of.
    """
    shapes = [examples.picture(index).shape[:2] for index in range(min(LOOKED_AT, len(examples.pictures)))]
    side = min(largest, max(max(shape) for shape in shapes))
    rounded = max(2, -(-side // stride)) * stride
    return rounded, rounded


def inside(boxes: np.ndarray, size: tuple[int, ...], name: str) -> np.ndarray:
    """Clip boxes to their picture; an error if one lies elsewhere."""
    height, width = size
    clipped = clip_boxes(boxes, (height, width))
    for row in np.flatnonzero((np.abs(clipped - boxes) > max(OUTSIDE, 0.02 * max(size))).any(axis=1)):
        raise DataError(
            f"{name}[{row}] is {boxes[row].tolist()}, outside of its picture of width {width} and height "
            f"{height}: boxes are x0, y0, x1, y1 in pixels of the original"
        )
    return clipped


def change_picture(
    picture: np.ndarray, boxes: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mirror, zoom, move and light a picture at random.

    Returns
    -------
    array (h, w, 3) of uint8, array (m, 4), array of int
        The picture, the boxes of which enough is left, clipped, and their indices.
    """
    height, width = picture.shape[:2]
    if random.random() < 0.5:
        picture = picture[:, ::-1]
        boxes = np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], axis=1)
    zoom = float(np.exp(random.uniform(*np.log(ZOOM))))
    shift = random.uniform(-SHIFT, SHIFT, 2) * (width, height)
    # The centre stays where it is, but for the shift.
    moved = Frame((height, width), (zoom, zoom), tuple(shift + (1 - zoom) * np.array([width, height]) / 2))
    image = pillow()
    x0, y0, x1, y1 = moved.to_picture(np.array([[0, 0, width, height]]))[0]
    turned = image.fromarray(np.ascontiguousarray(picture)).transform(
        (width, height),
        image.Transform.EXTENT,
        (x0, y0, x1, y1),
        resample=image.Resampling.BILINEAR,
        fillcolor=(FILL,) * 3,
    )
    placed = moved.to_input(boxes)
    clipped = clip_boxes(placed, (height, width))
    left = np.flatnonzero(areas(clipped) >= LEAST_SEEN * np.maximum(areas(placed), 1e-9))
    contrast, brightness = 1 + random.uniform(-LIGHT, LIGHT), 255 * random.uniform(-LIGHT, LIGHT) / 2
    lit = (np.asarray(turned, "float32") - FILL) * contrast + FILL + brightness
    return np.clip(np.round(lit), 0, 255).astype("uint8"), clipped[left], left
