"""What encodes texts, for models that take encoded texts: a vocabulary, and Python without kmorph."""

from __future__ import annotations

import json
from pathlib import Path

from kmorph.problem import TextInput

VOCABULARY, ENCODER = "vocabulary.json", "encode.py"

SOURCE = r'''"""Encode texts for the model: encode(["a text", "another"]) is float32 of shape (n, length)."""
import json, pathlib, re, string
import numpy as np

kept = json.loads(pathlib.Path(__file__).with_name("vocabulary.json").read_text("utf-8"))
entries = {token: i for i, token in enumerate(kept["vocabulary"], 2)}  # 0: behind the end, 1: unknown
small = str.maketrans(string.ascii_uppercase, string.ascii_lowercase, string.punctuation)

def encode(texts):
    rows = np.zeros((len(texts), sum(kept["length"])), np.float32)
    for row, text in zip(rows, texts):
        plain, begin = text.encode("utf-8", "replace").decode().translate(small), 0
        words = list(plain) if kept["split"] == "character" else re.findall("[^ \t\n\v\f\r]+", plain)
        for n, most in zip(kept["ngrams"], kept["length"]):
            tokens = [" ".join(words[i : i + n]) for i in range(len(words) - n + 1)][:most]
            row[begin : begin + len(tokens)] = [entries.get(token, 1) for token in tokens]
            begin += most
    return rows
'''


def write_text_core(folder: Path, input: TextInput) -> None:
    """Write ``vocabulary.json``, and ``encode.py``, a few lines of Python that encode texts with it.

    Parameters
    ----------
    folder : Path
        Made if need be.
    input : TextInput
    """
    kept = {
        "vocabulary": list(input.vocabulary),
        "split": input.split,
        "ngrams": [1, 2],
        "length": [input.words, input.pairs],
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / VOCABULARY).write_text(json.dumps(kept, ensure_ascii=False, indent=1), encoding="utf-8")
    (folder / ENCODER).write_text(SOURCE, encoding="utf-8")
