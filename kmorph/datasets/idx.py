"""The IDX format of MNIST and its relatives.

A file is a four-byte magic number (two zero bytes, the code of the element type, the number of axes), one
big-endian 32-bit size for each axis, and the elements in C order, big-endian. It may be compressed by gzip.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from kmorph.errors import DataError
from kmorph.files import UserPath, user_path

_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MAX_AXES = 8
_MAX_BYTES = 4 << 30
_CHUNK = 16 << 20


def read_idx(file: UserPath) -> np.ndarray:
    """Read one IDX file.

    Parameters
    ----------
    file : str or path
        An IDX file, raw or compressed by gzip; the content decides which, not the name.

    Returns
    -------
    numpy.ndarray
        The array, with the shape and the element type that the header states, in native byte order.

    Raises
    ------
    DataError
        If the file cannot be read, its header is not an IDX header, or its length is not what the header
        promises.
    """
    path = user_path(file)
    try:
        with open(path, "rb") as stream:
            compressed = stream.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if compressed else open(path, "rb") as stream:
            return _read(cast(BinaryIO, stream), path)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read as an IDX file ({error}). Download it again.") from error


def _read(stream: BinaryIO, path: Path) -> np.ndarray:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _DTYPES or not 1 <= magic[3] <= _MAX_AXES:
        raise DataError(
            f"{path} begins with the bytes {magic.hex(' ') or '(none)'}, which is not the header of an IDX "
            "file: expected 00 00, an element type (08, 09, 0b, 0c, 0d or 0e) and the number of axes (1 to "
            "8). Give the IDX file itself, raw or compressed by gzip."
        )
    n_axes = magic[3]
    sizes = stream.read(4 * n_axes)
    if len(sizes) < 4 * n_axes:
        raise DataError(f"{path} ends inside its header of {n_axes} axes. Download it again.")
    shape = struct.unpack(f">{n_axes}I", sizes)
    dtype = np.dtype(_DTYPES[magic[2]])
    expected = math.prod(shape) * dtype.itemsize
    if expected > _MAX_BYTES:
        raise DataError(
            f"{path} promises an array of shape {shape}, {expected:,} bytes; at most {_MAX_BYTES:,} are "
            "read. The header is probably damaged: download the file again."
        )
    # In pieces, so that a header that promises more than the file holds costs no memory; one byte more than
    # promised is asked for, so that a file which is too long is noticed without reading the rest of it.
    body = bytearray()
    while len(body) <= expected:
        piece = stream.read(min(_CHUNK, expected + 1 - len(body)))
        if not piece:
            break
        body += piece
    if len(body) != expected:
        found = f"only {len(body):,}" if len(body) < expected else "more"
        raise DataError(
            f"{path} promises an array of shape {shape}, {expected:,} bytes, but holds {found}. "
            "Download it again."
        )
    return np.frombuffer(body, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)
