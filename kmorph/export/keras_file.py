"""The ``.keras`` format."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kmorph.errors import ExportError
from kmorph.export.compare import check_equal, outputs_of, run, samples
from kmorph.export.views import Views
from kmorph.export.wrap import checked_target, wrap
from kmorph.files import UserPath, user_path
from kmorph.graph import Graph
from kmorph.problem import Input, Target
from kmorph.training.backend import backend_name


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
    written beside its place, loaded, compared with the network and then moved there.

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
        If the suffix is another, the file cannot be written, the graph cannot be exported, or the file does
        not load or gives other numbers than the network.
    """
    file = user_path(file, ExportError)
    if file.suffix != ".keras":
        example = f"{file.stem or 'model'}.keras"
        raise ExportError(f"{str(file)!r} must end in .keras, for example {example!r}")
    if file.is_dir():
        raise ExportError(f"cannot write {file}: it is a folder; name a file in it")
    predicted = checked_target(graph, classes)
    model = wrap(graph, predicted, views, input)
    examples = samples(graph, input)
    expected, _ = outputs_of(graph, predicted, views, input, examples)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{file.stem}.", dir=file.parent) as folder:
            # Keras wants the suffix, so the temporary place is a folder.
            temporary = Path(folder) / file.name
            model.save(temporary)
            found = _loaded(temporary)
            if input is not None and found.inputs[0].dtype == "string" and backend_name() != "tensorflow":
                # Only TensorFlow reads texts: here the network behind that, the last part of the model, runs.
                found, examples = found.layers[-1], input.encode(examples)
            check_equal(expected, run(found, examples), f"the file {file.name}")
            os.replace(temporary, file)
    except OSError as error:
        raise ExportError(f"cannot write {file}: {error.strerror or error}; choose another place") from error
    return file


def _loaded(file: Path) -> Any:
    """The model in a file, as those who have no kmorph load it."""
    import keras

    try:
        return keras.models.load_model(file, safe_mode=True)
    except (ValueError, TypeError) as error:
        raise ExportError(
            f"the model cannot be loaded in Keras' safe mode, so that nothing was written: {error}. Register "
            "classes of your own by keras.saving.register_keras_serializable, and use no Lambda layers"
        ) from error
