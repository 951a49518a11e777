"""The ``.keras`` format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kmorph.export.placing import file_target, write_placed
from kmorph.export.views import Views
from kmorph.export.wrap import checked_target, wrap
from kmorph.files import UserPath
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
    file = file_target(file, ".keras")
    model = wrap(graph, checked_target(graph, classes), views, input)
    return write_placed(file, model.save)
