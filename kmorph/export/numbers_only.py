"""What formats share that take arrays of numbers alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kmorph.errors import ExportError, GraphError
from kmorph.graph import Graph
from kmorph.problem import EncodedImageInput, EncodedTextInput, Input, TextInput


@dataclass(frozen=True)
class NumbersOnly:
    """A network as these formats hold it.

    Parameters
    ----------
    graph : Graph
        Takes arrays; an encoder of images is a part of it.
    texts : TextInput or None
        Reads examples outside of the file.
    """

    graph: Graph
    texts: TextInput | None = None

    @classmethod
    def of(cls, graph: Graph, input: Input | None) -> NumbersOnly:
        """A graph with what reads its examples.

        Raises
        ------
        ExportError
            If examples are read by layers that these formats cannot hold.
        PresetError
            If they are read by an encoder whose preset is gone.
        """
        if isinstance(input, TextInput):
            return cls(graph, input)
        if isinstance(input, EncodedTextInput):
            raise ExportError(
                "this format takes arrays of numbers, and has no operations for the tokenizer in front of "
                f'the encoder {input.encoder}: write a SavedModel (format="saved_model"), which takes texts'
            )
        if isinstance(input, EncodedImageInput):
            return cls(_with_encoder(graph, input))
        if input is not None and type(input).reading is not Input.reading:
            raise ExportError(
                f"this format takes arrays of numbers, but {type(input).__name__} reads examples by layers "
                "of its own in front of the network: write a .keras file or a SavedModel"
            )
        return cls(graph)

    def arrays(self, examples: Any) -> np.ndarray:
        """Examples as the file takes them, float32."""
        if self.texts is not None:
            return self.texts.encode(examples)
        return np.asarray(examples, np.float32)


def _with_encoder(graph: Graph, input: EncodedImageInput) -> Graph:
    try:
        return Graph.from_keras(input.reading(graph.to_keras()))
    except GraphError as error:
        raise ExportError(
            f"this format holds stock layers, and the encoder {input.encoder} has others ({error}): write a "
            'SavedModel (format="saved_model") or a .keras file'
        ) from error
