"""The steps of `fit` and `final_fit` that need no estimator: checked data, its split, its history."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kmorph.data.checks import check_sample_weight, fingerprint
from kmorph.data.images import check_images
from kmorph.data.labels import LabelCodec
from kmorph.data.split import stratified_split, validation_fraction
from kmorph.errors import DataError, SearchError
from kmorph.search.store.folder import RunFolder
from kmorph.search.store.history import History
from kmorph.tasks.audience import Audience
from kmorph.training.examples import Data


@dataclass(frozen=True)
class Examples:
    """Checked training data, with labels as numbers.

    Parameters
    ----------
    x : ndarray of shape (n, height, width, channels)
    codes : ndarray of int of shape (n,)
        Index of each example's class.
    codec : LabelCodec
        Translates labels to codes and back.
    weights : ndarray of shape (n,), optional
        How much each example counts.
    held_out : tuple (x, codes), optional
        Validation data that the user gave.
    """

    x: np.ndarray
    codes: np.ndarray
    codec: LabelCodec
    weights: np.ndarray | None = None
    held_out: tuple[np.ndarray, np.ndarray] | None = None

    @classmethod
    def of(cls, x: Any, y: Any, validation_data: Any = None, sample_weight: Any = None) -> Examples:
        """Check what `fit` was given.

        Raises
        ------
        DataError
            If it cannot be used.
        """
        x = check_images(x)
        codec = LabelCodec.from_labels(y, n=len(x))
        codes = codec.encode(y)
        weights = check_sample_weight(sample_weight, len(x))
        return cls(x, codes, codec, weights, check_validation(validation_data, x, codec))

    @property
    def nbytes(self) -> int:
        """Size of all arrays."""
        arrays = (self.x, self.codes, self.weights, *(self.held_out or ()))
        return sum(array.nbytes for array in arrays if array is not None)

    def split(self, history: History) -> Data:
        """Training and validation data; a search that is resumed gets the split that it began with."""
        if self.held_out is not None:
            return Data(self.x, self.codes, *self.held_out, weights=self.weights)
        fraction, seed = history.get_meta("split_fraction"), history.get_meta("seed")
        train, held = stratified_split(self.codes, fraction, seed)
        weights = None if self.weights is None else self.weights[train]
        return Data(self.x[train], self.codes[train], self.x[held], self.codes[held], weights=weights)


def check_validation(data: Any, x: np.ndarray, codec: LabelCodec) -> tuple[np.ndarray, np.ndarray] | None:
    """Check validation data against training images `x` and their labels; None stays None.

    Raises
    ------
    DataError
        If it is no pair, or does not go with the training data.
    """
    if data is None:
        return None
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise DataError("validation_data must be a pair (x, y)")
    held_x = check_images(data[0], name="validation x", like=x.shape[1:])
    return held_x, codec.encode(data[1], n=len(held_x))


def open_history(
    folder: RunFolder, examples: Examples, task: str, objective: str, seed: int | None, progress: Audience
) -> History:
    """The history of a folder for writing: a new one that describes the task, or the one to go on with.

    Parameters
    ----------
    folder : RunFolder
    examples : Examples
    task, objective : str
        The kind of task, and the metric by which models are compared.
    seed : int or None
        Of a new search; None: a random one.
    progress : Audience
        Shows a message if the data has changed.

    Raises
    ------
    SearchError
        If the search in the folder is of another task, or for data of another form.
    """
    meta = {
        "task": task,
        "objective": objective,
        "labels": examples.codec.to_json(),
        "input_shape": list(examples.x.shape[1:]),
        "seed": seed if seed is not None else int(np.random.default_rng().integers(2**31)),
        "split_fraction": validation_fraction(len(examples.x)),
        "data": fingerprint(examples.x, examples.codes),
    }
    if not folder.holds_search:
        return History.create(folder.database, meta)
    history = History.open(folder.database)
    try:
        for key in ("task", "labels", "input_shape"):
            if history.get_meta(key) != meta[key]:
                raise SearchError(
                    f"the search in {folder.path} was made for other data (its {key} is "
                    f"{history.get_meta(key)!r}, now {meta[key]!r}): use another path, or resume=False"
                )
        if history.get_meta("data") != meta["data"]:
            progress.message("The data is not what this search began with: earlier metrics may not compare")
    except BaseException:
        history.close()
        raise
    return history
