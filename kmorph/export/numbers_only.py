"""What formats share that take arrays of numbers alone."""

from __future__ import annotations

from kmorph.errors import ExportError
from kmorph.problem import Input, TextInput


def text_input(input: Input | None) -> TextInput | None:
    """The input if it reads texts: it stays outside of these formats.

    Raises
    ------
    ExportError
        If examples of another kind are read by layers in front of the network.
    """
    if isinstance(input, TextInput):
        return input
    if input is not None and type(input).reading is not Input.reading:
        raise ExportError(
            f"this format takes arrays of numbers, but {type(input).__name__} reads examples by layers "
            "of its own in front of the network: write a .keras file or a SavedModel"
        )
    return None
