"""The ``.keras`` format."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from kmorph.errors import ExportError
from kmorph.export.views import Views
from kmorph.export.wrap import checked_target, wrap
from kmorph.files import UserPath, user_path
from kmorph.graph import Graph
from kmorph.problem import Input, Target


def write_keras(
    graph: Graph,
    classes: Sequence[str] | Target,
    file: UserPath,
    views: Views | None = None,
    input: Input | None = None,
) -> Path:
    """Write a network as one ``.keras`` file.

    ``keras.models.load_model(file, safe_mode=True)`` opens it where kmorph is not installed. The model takes
    raw input and returns scores: class probabilities in the order of `classes`, or numbers. The file is
    written beside its place and then moved there.

    Parameters
    ----------
    graph : Graph
    classes : sequence of str, or Target
        Names are checked alone, the format has no place for them.
    file : path
        Ends in ``.keras``; its folder is made if need be.
    views : Views, optional
        Over which outputs are averaged.
    input : Input, optional
        Reads examples as users have them, where these are no arrays.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    ExportError
        If the suffix is another, the file cannot be written, or the graph cannot be exported.
    """
    file = user_path(file, ExportError)
    if file.suffix != ".keras":
        example = f"{file.stem or 'model'}.keras"
        raise ExportError(f"{str(file)!r} must end in .keras, for example {example!r}")
    if file.is_dir():
        raise ExportError(f"cannot write {file}: it is a folder; name a file in it")
    model = wrap(graph, checked_target(graph, classes), views, input)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{file.stem}.", dir=file.parent) as folder:
            # Keras wants the suffix, so the temporary place is a folder.
            temporary = Path(folder) / file.name
            model.save(temporary)
            os.replace(temporary, file)
    except OSError as error:
        raise ExportError(f"cannot write {file}: {error.strerror or error}; choose another place") from error
    return file
