"""From what a user calls a preset to a folder on this machine."""

from __future__ import annotations

import hashlib
import json
import os
import textwrap
from pathlib import Path
from typing import Any

from kmorph.errors import DataError, PresetError, did_you_mean
from kmorph.files import UserPath, user_path
from kmorph.presets.library import keras_hub

CONFIG = "config.json"
WEIGHTS = (
    "model.weights.h5",
    "model.weights.json",  # of weights in several files
    "model.safetensors",
    "model.safetensors.index.json",
)
NEEDED = ["*.json", "*.txt", "*.model", "*.h5", "*.safetensors", "assets/*"]
"""Files that a preset is made of, among those of a repository of Hugging Face."""
UNIMPORTANT = (".md", ".py", ".pyc")  # do not change what a preset computes
END = 4 << 20  # bytes at both ends of a file that count
KAGGLE, HUGGING_FACE = "kaggle://", "hf://"


def find_preset(preset: UserPath) -> Path:
    """The folder of a preset.

    A folder is taken as it is, and so is what an earlier download left in the caches of Kaggle and Hugging
    Face: then nothing is asked of the network. Only what is not here is downloaded.

    Parameters
    ----------
    preset : path-like
        A folder, one of KerasHub's own names (``"bert_tiny_en_uncased_sst2"``), or an address that begins
        with ``kaggle://`` or ``hf://``. A folder ``name`` goes before a preset of that name.

    Raises
    ------
    PresetError
        If it is nowhere to be found. The message says where was looked, and where to place it.
    """
    if not isinstance(preset, str | bytes | os.PathLike):
        raise PresetError(
            f"a preset is the name or the folder of a pretrained model, got {type(preset).__name__}"
        )
    name = os.fsdecode(preset)
    folder = user_path(preset, DataError)
    if folder.is_dir():
        return _checked(folder)
    if folder.exists():
        raise PresetError(f"the preset {folder} is a file; give the folder that holds {CONFIG} and weights")
    handle = _known(name)
    if handle.startswith(KAGGLE):
        return _checked(_from_kaggle(name, handle.removeprefix(KAGGLE)))
    if handle.startswith(HUGGING_FACE):
        return _checked(_from_hugging_face(name, handle.removeprefix(HUGGING_FACE)))
    raise PresetError(
        f"no preset {name!r}: {folder.absolute()} is no folder, and KerasHub has none of this name"
        f"{did_you_mean(name, _presets())}. Give the folder of a preset, or an address as hf://user/model"
    )


def _known(name: str) -> str:
    """The address behind one of KerasHub's names; anything else as it is."""
    known = _presets().get(name)
    return name if known is None else str(known["kaggle_handle"])


def _presets() -> dict[str, Any]:
    return dict(keras_hub().models.Backbone.presets) | dict(keras_hub().models.Task.presets)


def _from_kaggle(name: str, handle: str) -> Path:
    import kagglehub
    from kagglehub.config import get_cache_folder

    place = Path(get_cache_folder()) / "models" / handle
    if (place / CONFIG).is_file() and _has_weights(place):
        return place
    try:
        return Path(kagglehub.model_download(handle))
    except Exception as error:
        raise PresetError(
            f"the preset {name!r} is not on this machine, and cannot be downloaded "
            f"({type(error).__name__}: {_first_line(error)}). It was looked for in {place}. Where there is "
            f"network, kagglehub.model_download({handle!r}) gives its folder: copy that to {place}, or "
            "anywhere, and give the folder in place of the name"
        ) from error


def _from_hugging_face(name: str, handle: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.constants import HF_HUB_CACHE

    try:
        return Path(snapshot_download(handle, allow_patterns=NEEDED, local_files_only=True))
    except Exception:  # it is not here, whatever the library calls that
        pass
    try:
        return Path(snapshot_download(handle, allow_patterns=NEEDED))
    except Exception as error:
        raise PresetError(
            f"the preset {name!r} is not on this machine, and cannot be downloaded "
            f"({type(error).__name__}: {_first_line(error)}). It was looked for in {HF_HUB_CACHE}. Where "
            f"there is network, huggingface_hub.snapshot_download({handle!r}) gives its folder: copy that "
            "anywhere, and give the folder in place of the name"
        ) from error


def _checked(folder: Path) -> Path:
    """A folder in which there is a configuration, and weights that can be read."""
    if not (folder / CONFIG).is_file():
        raise PresetError(f"{folder} is no preset: there is no {CONFIG} in it. {_expected()}")
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise PresetError(f"{folder / CONFIG} cannot be read ({error}): copy the preset again") from error
    if not isinstance(config, dict):
        raise PresetError(f"{folder / CONFIG} holds {type(config).__name__}, no configuration. {_expected()}")
    if not _has_weights(folder):
        raise PresetError(f"{folder} holds no weights: {_expected()}")
    for file in folder.glob("*.safetensors"):
        _check_safetensors(file)
    return folder


def _has_weights(folder: Path) -> bool:
    return any((folder / file).is_file() for file in WEIGHTS)


def _expected() -> str:
    return (
        f"A preset has {CONFIG} and {WEIGHTS[0]}, as `save_to_preset` of KerasHub's models writes them, or "
        f"{CONFIG} and {WEIGHTS[2]}, as Hugging Face has them"
    )


def _check_safetensors(file: Path) -> None:
    """Read where a file's arrays are, and that it holds them all."""
    import safetensors

    try:
        with safetensors.safe_open(str(file), framework="numpy") as opened:
            opened.keys()
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise PresetError(
            f"{file} is damaged ({_first_line(error)}), or was not copied to its end: copy it again"
        ) from error


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return textwrap.shorten(lines[0], 200, placeholder=" …") if lines else type(error).__name__


def is_local(preset: UserPath) -> bool:
    """Return whether a preset is a folder, which is found without KerasHub."""
    return isinstance(preset, str | bytes | os.PathLike) and user_path(preset, PresetError).is_dir()


def preset_digest(folder: Path) -> str:
    """A digest of a preset's files, the same wherever the folder lies.

    Configurations and vocabularies are read to their end; of weights, size and both ends.
    """
    digest = hashlib.blake2b(digest_size=16)
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder)
        if not file.is_file() or name.parts[0].startswith(".") or file.suffix in UNIMPORTANT:
            continue
        size = file.stat().st_size
        digest.update(f"{name.as_posix()} {size}\n".encode())
        with file.open("rb") as opened:
            digest.update(opened.read(END))
            if size > END:
                opened.seek(max(END, size - END))
                digest.update(opened.read())
    return digest.hexdigest()
