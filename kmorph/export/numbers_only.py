"""What formats share that take arrays of numbers alone, and name classes by texts."""

from __future__ import annotations

from collections.abc import Sequence

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


def need_utf8(names: Sequence[str], format: str) -> None:
    """Check that a format can hold the names of classes.

    Raises
    ------
    ExportError
    """
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise ExportError(
                f"the class name {name!r} cannot be written as UTF-8, as {format} holds text: it has a "
                "surrogate, half of a character. Name the class otherwise, or write a .keras file"
            ) from error
