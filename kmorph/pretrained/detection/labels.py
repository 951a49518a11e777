"""Names of labels: those of COCO, and those that a preset of one's own is saved with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from kmorph.errors import PresetError
from kmorph.files import replace_file

Label: TypeAlias = str | int

FILE = "labels.json"
UNUSED_IDS = (0, 12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91)
"""Numbers of COCO's categories that no box of its pictures has."""


def coco_labels(n: int, library: Any) -> list[Label] | None:
    """The names that a detector of `n` labels has if it was trained on COCO.

    Detectors with 91 outputs number them as COCO's files do, those with 80 without the numbers that are not
    used. Spaces are written as spaces, as in COCO's files.

    Parameters
    ----------
    n : int
    library : module
        `keras_hub`.

    Returns
    -------
    list of str, or None if it is another number of labels
    """
    ids = {80: [i for i in range(92) if i not in UNUSED_IDS], 91: list(range(91))}.get(n)
    if ids is None:
        return None
    return [library.utils.coco_id_to_name(i).replace("_", " ") for i in ids]


def read_labels(folder: Path, n: int) -> list[Label] | None:
    """The names beside a preset, or None if there are none.

    Raises
    ------
    PresetError
        If the file is damaged, or has not `n` names.
    """
    file = folder / FILE
    if not file.is_file():
        return None
    try:
        names = json.loads(file.read_text(encoding="utf-8"))["labels"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise PresetError(
            f'{file} cannot be read ({error}); expected {{"labels": [names of the labels]}}'
        ) from error
    if not isinstance(names, list) or not all(type(name) in (str, int) for name in names):
        raise PresetError(f"{file} must hold a list of names, each text or a whole number")
    if len(names) != n:
        raise PresetError(f"{file} names {len(names)} labels, the detector beside it has {n}")
    return names


def write_labels(folder: Path, names: Sequence[Label]) -> None:
    """Write names of labels beside a preset."""
    content = json.dumps({"labels": list(names)}, ensure_ascii=False, indent=1)
    replace_file(folder / FILE, lambda file: file.write_text(content, encoding="utf-8"))
