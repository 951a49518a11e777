"""What estimators do about pretrained encoders: find them, and keep what they make of the examples."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kmorph.data.encodings import Encodings
from kmorph.errors import DataError, SearchError
from kmorph.files import absolute_path
from kmorph.presets import find_preset
from kmorph.presets.finding import is_local, preset_digest
from kmorph.problem import EncodedInput, Input
from kmorph.problem.inputs.base import InputKind
from kmorph.problem.inputs.encoded import EMBEDDINGS, locate
from kmorph.search.store.folder import RunFolder
from kmorph.search.store.history import History
from kmorph.tasks.arguments import Arguments
from kmorph.tasks.fitting import Origin
from kmorph.tasks.reading import Line
from kmorph.training.backend import load_backend


@dataclass(frozen=True)
class Encoding:
    """How an estimator reads its examples in one call.

    Parameters
    ----------
    kind : InputKind
        The estimator's class of inputs, or what stands for it with an encoder.
    encodings : Encodings
    encoder : path-like, optional
    features : str
        Both as the user gave them.
    """

    kind: InputKind
    encodings: Encodings
    encoder: Any = None
    features: str = EMBEDDINGS

    @classmethod
    def of(cls, estimator: Any, arguments: Arguments, folder: Path | None = None) -> Encoding:
        """The encoder of an estimator, if it has one, and the place of its encodings.

        Parameters
        ----------
        estimator : Estimator
        arguments : Arguments
        folder : Path, optional
            Of the search to go on with. None: that of the estimator, if `fit` is going to write there.

        Raises
        ------
        DataError
            If there are no encoders of such examples, or this one is not found.
        """
        own, encoder, features = estimator.input, estimator.encoder, estimator.encoder_features
        writes = True
        if folder is None and estimator.path is not None:
            folder = absolute_path(estimator.path, SearchError)
            # A search that is going to be renamed aside is read from, and not added to.
            writes = estimator.resume or not History.exists(folder / RunFolder.DATABASE)
        encodings = Encodings(
            folder, writes, Line(estimator.verbose), load_backend, seconds=arguments.time_limit
        )
        if folder is not None and folder.exists() and not folder.is_dir():
            raise SearchError(f"{folder} is a file, a search needs a folder: choose another path")
        if encoder is None:
            if features != EMBEDDINGS:
                raise DataError(f"encoder_features={features!r} goes with encoder=…: give both, or neither")
            return cls(own, encodings)
        _load_for(encoder)
        kind = own.encoded_by(encoder, features, encodings)
        return cls(kind, encodings, encoder, features)

    def used_by(self, origin: Origin) -> Origin:
        """An origin whose input keeps its encodings here, and finds its encoder where the user says."""
        if origin.input is None:
            return origin
        found = with_encoder(origin.input, self.encoder)
        if self.encoder is not None and isinstance(found, EncodedInput) and not found.has(self.features):
            raise SearchError(
                f"the search was not made with encoder_features={self.features!r}: leave that out, or begin "
                "a new search"
            )
        return replace(origin, input=found.keeping(self.encodings))


def with_encoder(input: Input, encoder: Any, place: Path | None = None) -> Input:
    """The input of a search, with its encoder at the place that the user names now.

    Parameters
    ----------
    input : Input
    encoder : path-like or None
        None: where it was.
    place : Path, optional
        Folder of the search, for messages.

    Raises
    ------
    SearchError
        If the search was made without an encoder, or with another one.
    """
    if encoder is None:
        return input
    where = "the search" if place is None else f"the search in {place}"
    if not isinstance(input, EncodedInput):
        raise SearchError(f"{where} was made without an encoder: leave out encoder=, or begin a new search")
    if isinstance(encoder, str | bytes | os.PathLike) and os.fsdecode(encoder) == input.encoder:
        return input
    _load_for(encoder)
    if preset_digest(find_preset(encoder)) != input.digest:
        raise SearchError(
            f"{where} was made with another encoder ({input.encoder}) than {str(encoder)!r}: give that one, "
            "or begin a new search"
        )
    return replace(input, encoder=locate(encoder)[0])


def _load_for(encoder: Any) -> None:
    """Load the backend where KerasHub has to be asked what a name means."""
    if not is_local(encoder):
        load_backend()
