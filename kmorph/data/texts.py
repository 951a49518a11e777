"""Texts as users hand them in, and the tokens they are made of."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from math import ceil
from typing import Any

import numpy as np

from kmorph.errors import DataError

# What `keras.layers.TextVectorization` does by "lower_and_strip_punctuation": letters of ASCII become small,
# its punctuation goes; and by "whitespace" and "character".
_PLAIN = {
    **dict.fromkeys(map(ord, string.punctuation)),
    **dict(zip(map(ord, string.ascii_uppercase), string.ascii_lowercase, strict=True)),
}
_WORD = re.compile("[^ \t\n\v\f\r]+")
SPLITS = ("whitespace", "character")
NO_TOKEN = "[]"  # is found in no text, as its punctuation goes; Keras takes no empty vocabulary
JUDGED_FROM = 2_000  # texts by which it is decided whether words are set apart by spaces
UNSPACED = 12  # characters of a word: where they have more on average, words are not set apart by spaces


def check_texts(x: Any, name: str = "x") -> np.ndarray:
    """Check texts and bring them into one array.

    Parameters
    ----------
    x : sequence of str, or array of shape (n,) or (n, 1)
    name : str, default="x"
        What messages call it.

    Returns
    -------
    ndarray of object, shape (n,)

    Raises
    ------
    DataError
        If it is one text, holds something else than texts, bytes that are no UTF-8, or nothing.
    """
    if isinstance(x, str | bytes):
        raise DataError(f"{name} is one text; expected a list of texts, such as [{x[:20]!r}]")
    if x is None or not hasattr(x, "__len__") or isinstance(x, dict | set | frozenset):
        raise DataError(f"{name} is {type(x).__name__}; expected a list of texts")
    rows = np.asarray(x, object) if hasattr(x, "__array__") else x  # also of pandas
    if isinstance(rows, np.ndarray) and rows.ndim == 2 and rows.shape[1] == 1:
        rows = rows[:, 0]
    if isinstance(rows, np.ndarray) and rows.ndim != 1:
        raise DataError(f"{name} has shape {rows.shape}; expected texts of shape (n,)")
    array = np.empty(len(rows), object)
    if not len(array):
        raise DataError(f"{name} holds nothing. Give at least one text.")
    for i, text in enumerate(rows):
        if isinstance(text, bytes):
            text = decoded(text, f"{name}[{i}]")
        if not isinstance(text, str):
            missing = text is None or (isinstance(text, float) and text != text)
            hint = (
                "Replace missing texts, with '' for example."
                if missing
                else "Give texts, with str() if need be."
            )
            raise DataError(f"{name}[{i}] is {_short(text)}, no text ({type(text).__name__}). {hint}")
        array[i] = text
    return array


def decoded(text: bytes, where: str) -> str:
    """Read bytes as UTF-8.

    Raises
    ------
    DataError
        If they are in another encoding, which only their owner knows.
    """
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise DataError(
            f"{where} is {_short(text)}, bytes that are no UTF-8 text ({error.reason} at {error.start}): "
            "decode it first, e.g. text.decode('latin-1')"
        ) from None


def split_of(texts: np.ndarray) -> str:
    """How to split texts: at white space, or into characters where that gives long words."""
    some = texts[:: ceil(len(texts) / JUDGED_FROM)]
    sizes = [len(word) for text in some for word in tokens_of(text, "whitespace")]
    return "character" if sizes and float(np.mean(sizes)) > UNSPACED else "whitespace"


def tokens_of(text: str, split: str) -> list[str]:
    """Words of a text, or its characters, as `keras.layers.TextVectorization` finds them."""
    if not text.isascii():  # half a character cannot be written as UTF-8
        text = text.encode("utf-8", "replace").decode("utf-8")
    plain = text.translate(_PLAIN)
    return _WORD.findall(plain) if split == "whitespace" else list(plain)


def pairs_of(tokens: Sequence[str]) -> list[str]:
    """Each token with the next one."""
    return [f"{one} {other}" for one, other in zip(tokens, tokens[1:], strict=False)]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}…"
