"""KerasHub itself, which is not always there."""

from __future__ import annotations

import sys
from typing import Any

from kmorph.errors import PresetError

LEAST_PYTHON = (3, 11)
INSTALL = "pip install 'kmorph[pretrained]'"


def keras_hub(*names: str) -> Any:
    """The module `keras_hub`; call `kmorph.training.backend.load_backend` first.

    Parameters
    ----------
    *names : str
        Classes of `keras_hub.models` or `keras_hub.layers` that are going to be used.

    Raises
    ------
    PresetError
        If KerasHub is not installed, cannot be imported, or lacks one of the classes.
    """
    try:
        import keras_hub as library
    except ImportError as error:
        if sys.version_info < LEAST_PYTHON:
            version = ".".join(map(str, sys.version_info[:2]))
            raise PresetError(
                f"pretrained models come from KerasHub, which needs Python 3.11 or later; this is {version}"
            ) from error
        if getattr(error, "name", None) == "keras_hub":
            raise PresetError(
                f"pretrained models come from KerasHub, which is not installed: {INSTALL}"
            ) from error
        raise PresetError(
            f"KerasHub is installed, but cannot be imported ({error}): {INSTALL} --upgrade"
        ) from error
    for name in names:
        if class_of(library, name) is None:
            raise PresetError(
                f"KerasHub {library.__version__} has no {name}: install a later version, "
                "pip install --upgrade keras-hub"
            )
    return library


def class_of(library: Any, name: str) -> Any:
    """A class of KerasHub by its name; None if there is none."""
    return getattr(library.models, name, None) or getattr(library.layers, name, None)
