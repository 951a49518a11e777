"""KerasHub's models from presets, and presets from KerasHub's models."""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path
from typing import Any

from kmorph.errors import DataError, PresetError
from kmorph.files import UserPath, user_path
from kmorph.presets.finding import CONFIG, find_preset
from kmorph.presets.library import class_of, keras_hub


def load_preset(kind: str, preset: UserPath, **arguments: Any) -> Any:
    """Load a model, or a part of one, from a preset.

    Parameters
    ----------
    kind : str
        Class of `keras_hub.models` or `keras_hub.layers`: ``"ObjectDetector"``, ``"TextClassifier"``,
        ``"Backbone"``, ``"ImageConverter"``; whichever subclass goes with the preset is made.
    preset : path-like
        See `find_preset`.
    **arguments
        For KerasHub's ``from_preset``.

    Raises
    ------
    PresetError
        If the preset is not found, is one for something else, or its weights do not go with it.
    """
    library = keras_hub(kind)
    folder = find_preset(preset)
    try:
        return class_of(library, kind).from_preset(str(folder), **arguments)
    except MemoryError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        name = os.fsdecode(preset)
        where = "" if name == str(folder) else f" ({folder})"
        raise PresetError(
            f"the preset {name!r}{where} cannot be loaded as {kind}: it is made for "
            f"something else, is damaged, or KerasHub {library.__version__} does not know its parts. "
            f"KerasHub says: {type(error).__name__}: {reason}"
        ) from error


def save_preset(model: Any, folder: UserPath) -> Path:
    """Write a model of KerasHub as a preset, complete or not at all.

    Parameters
    ----------
    model : keras_hub.models.Task or Backbone
    folder : path-like
        A new folder, or one with an earlier preset, which is replaced.

    Returns
    -------
    Path

    Raises
    ------
    DataError
        If `folder` holds something else, or cannot be written.
    """
    folder = check_place(folder)
    temporary = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        model.save_to_preset(str(temporary))
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
    except OSError as error:
        raise DataError(
            f"the preset cannot be written to {folder} ({error.strerror or error}): choose another folder"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def check_place(folder: UserPath) -> Path:
    """Check that a preset may be written to a folder: it is new, empty, or holds an earlier one.

    Raises
    ------
    DataError
        If that is not so.
    """
    folder = user_path(folder, DataError)
    if folder.exists() and not (
        folder.is_dir() and (not any(folder.iterdir()) or (folder / CONFIG).exists())
    ):
        raise DataError(f"{folder} holds something else than a preset: choose a new folder")
    return folder
