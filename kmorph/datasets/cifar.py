"""CIFAR-10 from the files its authors publish: the binary version or the python version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from kmorph.datasets.plain_pickle import read_plain_pickle
from kmorph.errors import DataError
from kmorph.files import UserPath, user_path

_IMAGE_BYTES = 3 * 32 * 32
_RECORD_BYTES = 1 + _IMAGE_BYTES
_TRAIN = tuple(f"data_batch_{number}" for number in range(1, 6))
_TEST = "test_batch"
_FOLDERS = ("", "cifar-10-batches-bin", "cifar-10-batches-py")
# The original files hold 10,000 images each, 31 MB.
_MAX_BYTES = 256 << 20

Split = tuple[np.ndarray, np.ndarray]


def read_cifar10(folder: UserPath) -> tuple[Split, Split]:
    """Read CIFAR-10 from a folder.

    Parameters
    ----------
    folder : str or path
        Folder that holds ``data_batch_1`` to ``data_batch_5`` and ``test_batch``, all with the suffix
        ``.bin`` (binary version) or all without (python version), or that holds one of the folders
        ``cifar-10-batches-bin`` and ``cifar-10-batches-py`` with these files.

    Returns
    -------
    ((x, y), (x_test, y_test))
        Images uint8 (n, 32, 32, 3) and labels int64 (n,), 0 to 9.

    Raises
    ------
    DataError
        If files are missing or damaged, or hold anything but plain data. No code in them is run.
    """
    folder = user_path(folder)
    for place in (folder / name for name in _FOLDERS):
        if (place / f"{_TEST}.bin").is_file():
            return _read_all(place, ".bin")
        if (place / _TEST).is_file():
            return _read_all(place, "")
    raise DataError(
        f"{folder} holds no CIFAR-10: expected data_batch_1.bin to data_batch_5.bin and test_batch.bin "
        "(binary version), or the same names without .bin (python version), in it or in "
        "cifar-10-batches-bin or cifar-10-batches-py inside it. Unpack the archive there."
    )


def _read_all(folder: Path, suffix: str) -> tuple[Split, Split]:
    read = _read_binary if suffix else _read_python
    batches = [read(folder / f"{name}{suffix}") for name in _TRAIN]
    train = np.concatenate([x for x, _ in batches]), np.concatenate([y for _, y in batches])
    return train, read(folder / f"{_TEST}{suffix}")


def _read_bytes(path: Path) -> bytes:
    try:
        with open(path, "rb") as stream:
            content = stream.read(_MAX_BYTES + 1)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error}). Unpack the whole archive again.") from error
    if len(content) > _MAX_BYTES:
        raise DataError(
            f"{path} is larger than {_MAX_BYTES:,} bytes; a batch of CIFAR-10 has about 31 million."
        )
    return content


def _read_binary(path: Path) -> Split:
    content = _read_bytes(path)
    if not content or len(content) % _RECORD_BYTES:
        raise DataError(
            f"{path} has {len(content):,} bytes; expected a multiple of {_RECORD_BYTES} (one label and "
            "3×32×32 values for each image). Unpack the archive again."
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, _RECORD_BYTES)
    return _images(records[:, 1:]), _labels(records[:, 0], path)


def _read_python(path: Path) -> Split:
    batch = read_plain_pickle(_read_bytes(path), str(path))
    data, labels = _entry(batch, "data"), _entry(batch, "labels")
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape[1:] != (_IMAGE_BYTES,):
        raise DataError(
            f"{path} has no uint8 array (n, {_IMAGE_BYTES}) named 'data'. Unpack the archive again."
        )
    if isinstance(labels, list) and all(type(label) is int and 0 <= label < 256 for label in labels):
        labels = np.array(labels, np.int64)
    if not isinstance(labels, np.ndarray) or labels.dtype.kind not in "iu" or labels.shape != (len(data),):
        raise DataError(
            f"{path} has no list named 'labels' with one integer for each of its {len(data)} images."
        )
    return _images(data), _labels(labels, path)


def _entry(batch: Any, name: str) -> Any:
    if not isinstance(batch, dict):
        return None
    return batch.get(name.encode(), batch.get(name))


def _images(rows: np.ndarray) -> np.ndarray:
    """Turn rows (n, 3072), channels first, into images (n, 32, 32, 3)."""
    return np.ascontiguousarray(rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


def _labels(labels: np.ndarray, path: Path) -> np.ndarray:
    if not len(labels) or labels.min() < 0 or labels.max() > 9:
        raise DataError(f"{path} holds labels outside 0 to 9 or none at all. Unpack the archive again.")
    return labels.astype(np.int64)
