"""Topics of texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kmorph.data.labels import LabelCodec
from kmorph.errors import DataError, PresetError
from kmorph.files import UserPath
from kmorph.pretrained.text_model import BATCH, TextModel, _Loaded, check_filled_texts
from kmorph.pretrained.text_training import Training, check_validation
from kmorph.tasks.options import check_count, check_number

SEQUENCE_LENGTH = 256
"""Tokens of a text that are read: of English about two hundred words."""


class TopicClassifier(TextModel):
    """Tells what texts are about, by a classifier that was trained already.

    Parameters
    ----------
    preset : path-like
        What `train_topic_classifier` wrote, or any other preset of a KerasHub ``TextClassifier``; see
        `kmorph.presets.find_preset`. There is no default, for no public preset of topics is known. It is
        loaded when it is first needed, or by `load`; a folder never touches the network.
    labels : sequence, optional
        Names of the classes, in the order of the network's outputs. None: those that are stored beside the
        preset, or the numbers of the classes if there are none.
    sequence_length : int, optional
        Tokens of a text that are read; None: as the preset says.
    batch_size : int, default=32
        Texts that are computed at once.

    Examples
    --------
    >>> topics = TopicClassifier("topics")                          # doctest: +SKIP
    >>> topics.predict("The keeper saved two penalties.")           # doctest: +SKIP
    'sports'
    """

    def __init__(
        self,
        preset: UserPath,
        *,
        labels: Sequence[Any] | None = None,
        sequence_length: int | None = None,
        batch_size: int = BATCH,
    ) -> None:
        super().__init__(preset, sequence_length=sequence_length, batch_size=batch_size)
        self.labels = labels

    @property
    def classes_(self) -> np.ndarray:
        """The classes, in the order of the columns of `predict_proba`; this loads the preset."""
        loaded = self._model()
        if self.labels is not None:
            return _names(self.labels)
        return np.arange(loaded.width) if loaded.labels is None else loaded.labels["classes"]

    def predict(self, x: Any) -> Any:
        """The class of a text, or of each text of a list.

        Parameters
        ----------
        x : str, or sequence of str

        Returns
        -------
        str, or ndarray of shape (n,)
            Labels as they were in training: names, or numbers.

        Raises
        ------
        DataError
            If a text is empty, or no text.
        PresetError
            If the preset cannot be used.
        """
        texts, single = self._texts(x)
        labels = self.classes_[self._scores(texts).argmax(1)]
        return labels[0:1].tolist()[0] if single else labels

    def predict_proba(self, x: Any) -> np.ndarray:
        """Probabilities of the classes, in the order of `classes_`.

        Parameters
        ----------
        x : str, or sequence of str

        Returns
        -------
        ndarray of shape (classes,) for one text, (n, classes) for a sequence
        """
        texts, single = self._texts(x)
        scores = self._scores(texts)
        return scores[0] if single else scores

    def _read(self) -> _Loaded:
        loaded = super()._read()
        if loaded.width < 2:
            raise PresetError(f"the preset {loaded.folder} has a single output, and so no classes")
        if self.labels is not None and len(_names(self.labels)) != loaded.width:
            raise DataError(
                f"labels names {len(_names(self.labels))} classes, but the preset {loaded.folder} has "
                f"{loaded.width}"
            )
        return loaded


def train_topic_classifier(
    texts: Any,
    labels: Any,
    folder: UserPath,
    *,
    preset: UserPath,
    time_limit: float | None = None,
    validation_data: Any = None,
    sequence_length: int = SEQUENCE_LENGTH,
    seed: int | None = None,
    verbose: bool = True,
) -> TopicClassifier:
    """Train a classifier of texts from a pretrained encoder, and save it as a preset.

    Parameters
    ----------
    texts : sequence of str
        None of them empty.
    labels : array-like of shape (n,)
        The class of each: strings or integers.
    folder : path-like
        A new folder, or one with an earlier preset, which is replaced when training is done.
    preset : path-like
        The encoder: a folder of KerasHub's or in the layout of Hugging Face (``config.json``,
        ``model.safetensors``, ``vocab.txt``), or a name that KerasHub knows.
    time_limit : float, optional
        Seconds, of which a few are kept for saving. None: three epochs.
    validation_data : tuple (texts, labels), optional
        What the weights are chosen by. By default a part of the texts, where there are at least 300.
    sequence_length : int, default=256
        Tokens of a text that are read, in training and later.
    seed : int, optional
        Of the division and of all that is random.
    verbose : bool, default=True
        Whether to print how training goes on.

    Returns
    -------
    TopicClassifier
        Of `folder`.

    Raises
    ------
    DataError
        If texts, labels or the folder cannot be used; nothing was trained then.
    PresetError
        If the encoder cannot be used.

    Notes
    -----
    With fewer than 300 texts, or too little time, only the last layer is trained, on the encoder's vectors;
    see `kmorph.pretrained.text_training`. The folder is also one for
    ``keras_hub.models.TextClassifier.from_preset``.
    """
    x = check_filled_texts(texts, "texts")
    codec = LabelCodec.from_labels(labels, len(x))
    held = check_validation(validation_data)
    if held is not None:
        held_x = check_filled_texts(held[0], "the texts of validation_data")
        held = held_x, one_hot(codec.encode(held[1], len(held_x)), len(codec.classes))
    training = Training(
        x,
        one_hot(codec.encode(labels, len(x)), len(codec.classes)),
        held,
        preset,
        folder,
        codec.to_json(),
        sequence_length,
        check_number("time_limit", time_limit, above=True),
        check_count("seed", seed, least=0),
        verbose,
    )
    return TopicClassifier(training.run())


def one_hot(codes: np.ndarray, classes: int) -> np.ndarray:
    """Rows of zeros with a one, of shape (n, classes)."""
    return np.eye(classes, dtype=np.float32)[codes]


def _names(labels: Sequence[Any]) -> np.ndarray:
    return np.array(list(labels))
