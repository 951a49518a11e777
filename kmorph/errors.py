"""The errors kmorph raises on purpose.

A message says what was given, what was expected, and what to do about it.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class KmorphError(Exception):
    """Base of every error that kmorph raises on purpose."""


class GraphError(KmorphError, ValueError):
    """A network that cannot be built, or a change that does not fit it."""


class UnknownLayerError(GraphError):
    """A network with a kind of layer that another program registered, and this one did not."""


class DataError(KmorphError, ValueError):
    """Data or arguments that cannot be used as they were given."""


class PresetError(DataError):
    """A pretrained model that cannot be found or used, or no library that knows it."""


class SearchError(KmorphError, RuntimeError):
    """A search that cannot start, go on or be read."""


class ExportError(KmorphError, RuntimeError):
    """A model that cannot be written in the requested form."""


class BackendError(KmorphError, ImportError):
    """A Keras backend that is not installed, or that kmorph cannot train with."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The known names that are nearly this one, for the middle of a message; empty if there is none."""
    near = get_close_matches(name, list(known), n=3)
    return f" (did you mean {', '.join(map(repr, near))}?)" if near else ""
