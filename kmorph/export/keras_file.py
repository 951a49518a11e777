"""The ``.keras`` format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kmorph.errors import ExportError
from kmorph.export.compare import check_equal, encoded, outputs_of, run, samples
from kmorph.export.placing import file_target, write_placed
from kmorph.export.views import Views
from kmorph.export.wrap import checked_target, wrap
from kmorph.files import UserPath
from kmorph.graph import Graph
from kmorph.problem import EncodedInput, EncodedTextInput, Input, Target
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
    file = file_target(file, ".keras")
    predicted = checked_target(graph, classes)
    if isinstance(input, EncodedTextInput):
        raise ExportError(
            f"a .keras file cannot hold the tokenizer in front of the encoder {input.encoder}: Keras builds "
            "a model before it reads the tokenizer's vocabulary, so that the file would not load. Write a "
            'SavedModel (format="saved_model"), which takes texts'
        )
    model = wrap(graph, predicted, views, input)
    examples = samples(graph, input)
    expected, _ = outputs_of(graph, predicted, views, input, examples)

    def write(temporary: Path) -> None:
        model.save(temporary)
        found, given = _loaded(temporary, input), examples
        if found.inputs[0].dtype == "string" and backend_name() != "tensorflow":
            # Only TensorFlow reads texts: here the network behind that, the last part of the model, runs.
            found, given = found.layers[-1], encoded(input, examples)
        check_equal(expected, run(found, given), f"the file {file.name}")

    return write_placed(file, write)


def _loaded(file: Path, input: Input | None) -> Any:
    """The model in a file, as those who have no kmorph load it."""
    import keras

    try:
        return keras.models.load_model(file, safe_mode=True)
    except (ValueError, TypeError) as error:
        if isinstance(input, EncodedInput):
            reason = " ".join(str(error).split())[-300:]  # the last of nested errors is the cause
            raise ExportError(
                f"a .keras file with the encoder {input.encoder} cannot be loaded, so that nothing was "
                f'written: write a SavedModel (format="saved_model"). Keras says: …{reason}'
            ) from error
        raise ExportError(
            f"the model cannot be loaded in Keras' safe mode, so that nothing was written: {error}. Register "
            "classes of your own by keras.saving.register_keras_serializable, and use no Lambda layers"
        ) from error
