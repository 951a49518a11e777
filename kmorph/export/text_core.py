"""Files that encode texts, for formats that hold only what comes after it."""

from __future__ import annotations

import json
from pathlib import Path

from kmorph.problem.inputs.text import TextInput

TEXT_FILES = ("vocabulary.json", "encode_texts.py")
"""Names of the files that `write_text_core` writes."""

_ENCODE = '''\
"""Texts as the numbers that the network beside this file reads; needs NumPy alone.

    from encode_texts import encode
    rows = encode(["a text", "another one"])  # float32, shape (2, {positions})
"""

import json
import re
import string
from pathlib import Path

import numpy as np

KEPT = json.loads(Path(__file__).with_name("vocabulary.json").read_text("utf-8"))
# Entry 0 is no word, 1 is a word that is not in the vocabulary.
ENTRIES = {{token: i for i, token in enumerate(KEPT["vocabulary"], 2)}}
PLAIN = str.maketrans(string.ascii_uppercase, string.ascii_lowercase, string.punctuation)


def encode(texts):
    """Entries of the words of each text, then those of its pairs of words."""
    rows = np.zeros((len(texts), KEPT["words"] + KEPT["pairs"]), np.float32)
    for row, text in zip(rows, texts):
        plain = text.encode("utf-8", "replace").decode("utf-8").translate(PLAIN)
        words = re.findall("[^ \\t\\n\\v\\f\\r]+", plain) if KEPT["split"] == "whitespace" else list(plain)
        pairs = [" ".join(pair) for pair in zip(words, words[1:])]
        for part, begin, most in ((words, 0, KEPT["words"]), (pairs, KEPT["words"], KEPT["pairs"])):
            row[begin : begin + min(len(part), most)] = [ENTRIES.get(token, 1) for token in part[:most]]
    return rows
'''


def write_text_core(folder: Path, input: TextInput) -> tuple[Path, Path]:
    """Write what encodes texts as kmorph does: a vocabulary, and a few lines of Python that use it.

    The network beside them takes what ``encode(texts)`` gives, float32 of shape ``(n, words + pairs)``. That
    needs NumPy alone.

    Parameters
    ----------
    folder : Path
        Exists; files of the names `TEXT_FILES` in it are replaced.
    input : TextInput
        Of the fitted estimator.

    Returns
    -------
    (Path, Path)
        ``vocabulary.json`` and ``encode_texts.py``.

    Raises
    ------
    OSError
        If they cannot be written.
    """
    vocabulary, encode = (folder / name for name in TEXT_FILES)
    vocabulary.write_text(json.dumps(input.to_json(), ensure_ascii=False, indent=1), "utf-8")
    encode.write_text(_ENCODE.format(positions=input.words + input.pairs), "utf-8")
    return vocabulary, encode
