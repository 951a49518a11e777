"""Pictures as users give them, fitted into the input of a network, and drawn with boxes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kmorph.errors import DataError, PresetError
from kmorph.files import UserPath, user_path

FILL = 114  # grey level beside a picture that does not have the shape of the input
MOST_PIXELS = 300_000_000  # of a file; Pillow's own limit is a warning at 90 million
COLOURS = ("#e6194b", "#0082c8", "#3cb44b", "#f58231", "#911eb4", "#008080", "#f032e6", "#aa6e28", "#808000")


def is_single(pictures: Any) -> bool:
    """Return whether this is one picture, not several: a path, a Pillow image, an array (h, w[, c])."""
    if isinstance(pictures, str | bytes | os.PathLike):
        return True
    if isinstance(pictures, list | tuple):
        return False
    if hasattr(pictures, "getbands"):
        return True
    shape = getattr(pictures, "shape", None)
    if shape is None or len(shape) not in (2, 3, 4) or (len(shape) == 3 and shape[-1] not in (1, 3, 4)):
        got = f"an array of shape {tuple(shape)}" if shape is not None else type(pictures).__name__
        raise DataError(
            f"pictures must be a path, an array (height, width, 3), or a list of these, or an array "
            f"(pictures, height, width, 3), got {got}"
        )
    return len(shape) != 4


def read_picture(picture: Any, name: str = "the picture") -> np.ndarray:
    """Read a picture as uint8 of shape (height, width, 3).

    Parameters
    ----------
    picture : path-like, PIL.Image.Image or array
        Files are turned as their EXIF data say. Arrays are grey (height, width[, 1]), RGB or RGBA; numbers
        from 0 to 255 or, of a float array without any above 1, from 0 to 1; uint16 from 0 to 65535.
        What is transparent is shown on white.
    name : str
        How errors call it.

    Raises
    ------
    DataError
        If it is no picture.
    """
    if isinstance(picture, str | bytes | os.PathLike):
        return _from_file(user_path(picture, DataError), name)
    if hasattr(picture, "getbands"):
        return _from_pillow(picture)
    return _from_array(picture, name)


def pillow() -> Any:
    """The module `PIL.Image`, or an error that says how to install it."""
    try:
        from PIL import Image
    except ImportError as error:
        raise PresetError(
            "pictures are read by Pillow, which is not installed: pip install pillow"
        ) from error
    return Image


def _from_file(file: Path, name: str) -> np.ndarray:
    if not file.exists():
        raise DataError(f"{name}: there is no file {file}")
    if not file.is_file():
        raise DataError(f"{name}: {file} is a folder, expected a file; give a list of its files instead")
    image_module = pillow()
    try:
        with image_module.open(file) as opened:
            if opened.width * opened.height > MOST_PIXELS:
                raise DataError(f"{name}: {file} has {opened.width} x {opened.height} pixels: scale it down")
            return _from_pillow(opened)
    except (DataError, MemoryError):
        raise
    except Exception as error:  # Pillow's decoders raise what they like on damaged files
        raise DataError(
            f"{name}: {file} is no picture that Pillow can read, or is damaged ({error}); expected a JPEG, "
            "PNG or other picture file"
        ) from error


def _from_pillow(image: Any) -> np.ndarray:
    from PIL import Image, ImageOps

    turned: Any = ImageOps.exif_transpose(image) or image
    if turned.mode.startswith("I") or turned.mode == "F":  # 16 bits, or floats
        return _from_array(np.asarray(turned).astype("uint16" if turned.mode != "F" else "float32"), "it")
    if "A" in turned.getbands() or "transparency" in turned.info:
        layer = turned.convert("RGBA")
        turned = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return np.asarray(turned.convert("RGB"))


def _from_array(picture: Any, name: str) -> np.ndarray:
    try:
        array = np.asarray(picture)
    except Exception as error:
        raise DataError(f"{name} is no array ({error}): expected (height, width, 3)") from error
    if array.dtype.kind not in "buif" or array.ndim not in (2, 3):
        raise DataError(
            f"{name} is no picture: expected a path or an array of numbers (height, width, 3), got "
            f"{array.dtype} of shape {array.shape}"
        )
    if array.ndim == 2:
        array = array[..., None]
    if array.shape[-1] not in (1, 3, 4) or not array.size:
        raise DataError(
            f"{name} must have the shape (height, width, 3), or 1 or 4 channels, with at least one pixel, "
            f"got {np.shape(picture)}; channels come last"
        )
    array = _as_bytes(array, name)
    if array.shape[-1] == 4:
        share = array[..., 3:] / 255.0
        array = np.round(array[..., :3] * share + 255 * (1 - share)).astype("uint8")
    return np.ascontiguousarray(np.broadcast_to(array, (*array.shape[:2], 3)))


def _as_bytes(array: np.ndarray, name: str) -> np.ndarray:
    if array.dtype == "uint8":
        return array
    if array.dtype.kind == "b":
        return array.astype("uint8") * np.uint8(255)
    if not np.isfinite(array).all():
        raise DataError(f"{name} has pixels that are NaN or infinite")
    low, high = array.min(), array.max()
    most = 65535 if array.dtype == "uint16" and high > 255 else 255
    if low < 0 or high > most:
        raise DataError(
            f"{name} has pixels from {low:g} to {high:g}: expected 0 to 255, or 0 to 1; undo its "
            "normalisation"
        )
    if array.dtype.kind == "f" and high <= 1:
        array = array * 255.0
    elif most > 255:
        array = array / 257.0
    return np.round(array).astype("uint8")


@dataclass(frozen=True)
class Frame:
    """How a picture lies in the input of a network: scaled by `scale`, then moved by `offset`, each (x, y).

    Attributes
    ----------
    size : (int, int)
        Height and width of the picture.
    scale, offset : (float, float)
    """

    size: tuple[int, int]
    scale: tuple[float, float]
    offset: tuple[float, float]

    def to_input(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes in pixels of the picture, in pixels of the input."""
        return np.asarray(boxes, "float64") * (self.scale * 2) + self.offset * 2

    def to_picture(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes in pixels of the input, in pixels of the picture."""
        return (np.asarray(boxes, "float64") - self.offset * 2) / (self.scale * 2)


def fit_picture(picture: np.ndarray, size: tuple[int, int], keep_ratio: bool) -> tuple[np.ndarray, Frame]:
    """Resize a picture to the input of a network.

    Parameters
    ----------
    picture : array (h, w, 3) of uint8
    size : (int, int)
        Height and width of the input.
    keep_ratio : bool
        True: centred with grey borders; False: stretched.

    Returns
    -------
    array (*size, 3) of uint8, Frame
    """
    (height, width), (rows, columns) = picture.shape[:2], size
    inner = rows, columns
    if keep_ratio:
        scale = min(rows / height, columns / width)
        inner = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = (rows - inner[0]) // 2, (columns - inner[1]) // 2
    resized = picture
    if inner != (height, width):
        image = pillow()
        bilinear = image.Resampling.BILINEAR
        resized = np.asarray(image.fromarray(picture).resize(inner[::-1], bilinear))
    if inner != size:
        canvas = np.full((rows, columns, 3), FILL, "uint8")
        canvas[top : top + inner[0], left : left + inner[1]] = resized
        resized = canvas
    return resized, Frame((height, width), (inner[1] / width, inner[0] / height), (left, top))


def draw_boxes(picture: np.ndarray, found: Sequence[dict[str, Any]], file: UserPath) -> Path:
    """Write a picture with boxes, their labels and scores, in the format that the file's ending names.

    Parameters
    ----------
    picture : array (h, w, 3) of uint8
    found : sequence of dict
        As `ObjectDetector.predict` gives them.
    file : path-like
    """
    from PIL import ImageDraw, ImageFont

    path = user_path(file, DataError)
    image = pillow().fromarray(picture)
    pen = ImageDraw.Draw(image)
    line = max(1, round(min(image.size) / 250))
    font = ImageFont.load_default(max(10, round(min(image.size) / 40)))
    names = sorted({str(item["label"]) for item in found})
    for item in reversed(found):  # the highest score comes last, on top
        x0, y0, x1, y1 = item["box"]
        colour = COLOURS[names.index(str(item["label"])) % len(COLOURS)]
        pen.rectangle((x0, y0, max(x0, x1), max(y0, y1)), outline=colour, width=line)
        text = f"{item['label']} {item['score']:.2f}"
        left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
        x = min(max(0, x0), max(0, image.width - (right - left) - 2))
        y = y0 - (bottom + 2) if y0 >= bottom + 2 else y0
        pen.rectangle((x, y, x + right - left + 2, y + bottom + 1), fill=colour)
        pen.text((x + 1 - left, y), text, fill="white", font=font)
    try:
        image.save(path)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"the picture cannot be written to {path} ({error}): give a file that ends in .png or .jpg, in a "
            "folder that exists"
        ) from error
    return path
