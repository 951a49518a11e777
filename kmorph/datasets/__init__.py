"""Well-known data sets of real images, read from files or fetched through ``keras.datasets``.

Every function returns ``((x, y), (x_test, y_test))``: images uint8 ``(n, h, w, c)``, labels int64 ``(n,)``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from kmorph.datasets.cifar import Split, read_cifar10
from kmorph.datasets.idx import read_idx
from kmorph.errors import DataError
from kmorph.files import UserPath, user_path

__all__ = ["load_cifar10", "load_fashion_mnist", "load_mnist", "read_idx"]

FASHION_MNIST_PACKAGE = Path("/usr/share/datasets/fashion-mnist")


def load_fashion_mnist(folder: UserPath | None = None) -> tuple[Split, Split]:
    """Load Fashion-MNIST: 60,000 and 10,000 grey images of clothes in ten classes.

    Parameters
    ----------
    folder : str or path, default=None
        Folder with the four IDX files, raw or compressed by gzip; then only this folder is looked at.
        ``None``: the files of Debian's package ``dataset-fashion-mnist``, else ``keras.datasets``, which
        downloads them.

    Returns
    -------
    ((x, y), (x_test, y_test))
        Images uint8 (n, 28, 28, 1) and labels int64 (n,), 0 to 9.

    Raises
    ------
    DataError
        If the data cannot be had, or the files are damaged.
    """
    if folder is not None:
        return _read_idx_folder(user_path(folder))
    if FASHION_MNIST_PACKAGE.is_dir():
        return _read_idx_folder(FASHION_MNIST_PACKAGE)
    try:
        return _from_keras("fashion_mnist")
    except Exception as error:
        raise DataError(
            f"Fashion-MNIST was not found ({error}). There are three ways to it: (1) install Debian's "
            "package with `apt-get install dataset-fashion-mnist`, which puts the files into "
            f"{FASHION_MNIST_PACKAGE}; (2) name a folder that holds the four IDX files, "
            "`load_fashion_mnist(folder)`; (3) let keras.datasets download it, with a connection to the "
            "internet."
        ) from error


def load_mnist(folder: UserPath | None = None) -> tuple[Split, Split]:
    """Load MNIST: 60,000 and 10,000 grey images of handwritten digits.

    Parameters
    ----------
    folder : str or path, default=None
        Folder with the four IDX files, raw or compressed by gzip; then only this folder is looked at.
        ``None``: ``keras.datasets``, which downloads them.

    Returns
    -------
    ((x, y), (x_test, y_test))
        Images uint8 (n, 28, 28, 1) and labels int64 (n,), 0 to 9.

    Raises
    ------
    DataError
        If the data cannot be had, or the files are damaged.
    """
    return _from_folder_or_keras(folder, _read_idx_folder, "mnist", "MNIST", "the four IDX files")


def load_cifar10(folder: UserPath | None = None) -> tuple[Split, Split]:
    """Load CIFAR-10: 50,000 and 10,000 colour images in ten classes.

    Parameters
    ----------
    folder : str or path, default=None
        Folder with the batches of the binary or the python version, or with the unpacked archive's own
        folder; then only this folder is looked at, and no code in the files is run. ``None``:
        ``keras.datasets``, which downloads them.

    Returns
    -------
    ((x, y), (x_test, y_test))
        Images uint8 (n, 32, 32, 3) and labels int64 (n,), 0 to 9.

    Raises
    ------
    DataError
        If the data cannot be had, or the files are damaged.
    """
    return _from_folder_or_keras(folder, read_cifar10, "cifar10", "CIFAR-10", "its unpacked batches")


def _from_folder_or_keras(
    folder: UserPath | None, read: Callable[[Path], tuple[Split, Split]], name: str, title: str, files: str
) -> tuple[Split, Split]:
    if folder is not None:
        return read(user_path(folder))
    try:
        return _from_keras(name)
    except Exception as error:
        raise DataError(
            f"{title} was not found ({error}). There are two ways to it: (1) name a folder that holds "
            f"{files}, `load_{name}(folder)`; (2) let keras.datasets download it, with a connection to the "
            "internet."
        ) from error


def _from_keras(name: str) -> tuple[Split, Split]:
    (x, y), (x_test, y_test) = importlib.import_module(f"keras.datasets.{name}").load_data()
    return _with_usual_axes(x, y), _with_usual_axes(x_test, y_test)


def _with_usual_axes(x: np.ndarray, y: np.ndarray) -> Split:
    return x if x.ndim == 4 else x[..., None], y.reshape(-1).astype(np.int64)


def _read_idx_folder(folder: Path) -> tuple[Split, Split]:
    return _read_idx_pair(folder, "train"), _read_idx_pair(folder, "t10k")


def _read_idx_pair(folder: Path, part: str) -> Split:
    x = read_idx(_find(folder, f"{part}-images", "idx3-ubyte"))
    y = read_idx(_find(folder, f"{part}-labels", "idx1-ubyte"))
    if x.dtype != np.uint8 or x.ndim != 3 or not x.size or y.dtype != np.uint8 or y.shape != x.shape[:1]:
        raise DataError(
            f"The {part} files in {folder} hold {x.dtype} images of shape {x.shape} and {y.dtype} labels of "
            f"shape {y.shape}; expected uint8 (n, h, w) and uint8 (n,), n at least 1. Download both files "
            "again."
        )
    return x[..., None], y.astype(np.int64)


def _find(folder: Path, stem: str, kind: str) -> Path:
    names = [f"{stem}{separator}{kind}{suffix}" for separator in "-." for suffix in ("", ".gz")]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise DataError(
        f"{folder} holds no file {names[0]} or {names[1]}. Name the folder that holds the four IDX files: "
        "train-images, train-labels, t10k-images and t10k-labels."
    )
