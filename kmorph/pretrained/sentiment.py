"""How positive texts are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kmorph.data.labels import LabelCodec
from kmorph.errors import DataError, PresetError
from kmorph.files import UserPath
from kmorph.numeric import real_number
from kmorph.pretrained.text_model import BATCH, TextModel, _Loaded, check_filled_texts
from kmorph.pretrained.text_training import Training, check_validation
from kmorph.pretrained.topics import one_hot
from kmorph.tasks.options import check_count, check_number

SST2 = "bert_tiny_en_uncased_sst2"
"""KerasHub's preset trained on the Stanford Sentiment Treebank: class 0 is negative, class 1 positive."""
POLARITIES = {"negative": 0.0, "neutral": 0.5, "positive": 1.0}
SEQUENCE_LENGTH = 128


class SentimentAnalysis(TextModel):
    """Tells how positive texts are, by a classifier that was trained already.

    Parameters
    ----------
    preset : path-like, default="bert_tiny_en_uncased_sst2"
        What `train_sentiment` wrote, or any other preset of a KerasHub ``TextClassifier``; see
        `kmorph.presets.find_preset`. The default one is English, 4.4 million parameters, and is downloaded
        where it is not on this machine. It is loaded when it is first needed, or by `load`; a folder never
        touches the network.
    polarities : sequence of float, optional
        Polarity of each class, from 0 (negative) to 1 (positive), in the order of the network's outputs.
        None: those stored beside the preset. If there are none either, two classes are negative and positive,
        as in the default preset, and a single output is positive.
    sequence_length : int, optional
        Tokens of a text that are read; None: as the preset says.
    batch_size : int, default=32
        Texts that are computed at once.

    Examples
    --------
    >>> SentimentAnalysis("sentiment").predict("A joy to watch.")   # doctest: +SKIP
    0.97
    """

    training = "train_sentiment"

    def __init__(
        self,
        preset: UserPath = SST2,
        *,
        polarities: Sequence[float] | None = None,
        sequence_length: int | None = None,
        batch_size: int = BATCH,
    ) -> None:
        super().__init__(preset, sequence_length=sequence_length, batch_size=batch_size)
        self.polarities = polarities

    def predict(self, x: Any) -> Any:
        """The polarity of a text, or of each text of a list.

        Parameters
        ----------
        x : str, or sequence of str

        Returns
        -------
        float, or ndarray of float32, shape (n,)
            From 0 (negative) to 1 (positive): the mean of the classes' polarities, weighted by their
            probabilities. With two classes it is the probability of the positive one.

        Raises
        ------
        DataError
            If a text is empty, or no text.
        PresetError
            If the preset cannot be used.
        """
        texts, single = self._texts(x)
        scores, polarities = self._scores(texts), _polarities_of(self._model(), self.polarities)
        result = np.clip(scores @ np.asarray(polarities, np.float32), 0, 1)
        return float(result[0]) if single else result

    def _read(self) -> _Loaded:
        loaded = super()._read()
        _polarities_of(loaded, self.polarities)
        return loaded


def _polarities_of(loaded: _Loaded, given: Sequence[float] | None) -> tuple[float, ...]:
    """The polarity of each class."""
    if given is not None:
        values = tuple(_polarity(value, "polarities") for value in given)
        if len(values) != loaded.width:
            raise DataError(
                f"there are {len(values)} polarities, but the preset {loaded.folder} has {loaded.width} "
                "classes"
            )
        return values
    if loaded.labels is not None and loaded.labels["polarities"] is not None:
        return loaded.labels["polarities"]
    if loaded.labels is None and loaded.width <= 2:
        return (0.0, 1.0)[-loaded.width :]
    names = loaded.width if loaded.labels is None else ", ".join(map(str, loaded.labels["classes"][:10]))
    raise PresetError(
        f"the preset {loaded.folder} was not trained on sentiment (classes: {names}): use "
        "TopicClassifier, or give the polarity of each class, such as polarities=[0, 0.5, 1]"
    )


def train_sentiment(
    texts: Any,
    labels: Any,
    folder: UserPath,
    *,
    preset: UserPath,
    polarities: Mapping[Any, float] | None = None,
    time_limit: float | None = None,
    validation_data: Any = None,
    sequence_length: int = SEQUENCE_LENGTH,
    seed: int | None = None,
    verbose: bool = True,
) -> SentimentAnalysis:
    """Train a model of sentiment from a pretrained encoder, and save it as a preset.

    Parameters
    ----------
    texts : sequence of str
        None of them empty.
    labels : array-like of shape (n,)
        Polarities from 0 (negative) to 1 (positive), bools among them; or the names ``"negative"``,
        ``"positive"`` and ``"neutral"``, in small letters or capitals; or any other labels of which
        `polarities` says what they mean.
    folder : path-like
        A new folder, or one with an earlier preset, which is replaced when training is done.
    preset : path-like
        The encoder: see `train_topic_classifier`.
    polarities : dict, optional
        The polarity of each label, such as ``{1: 0, 2: 0.25, 3: 0.5, 4: 0.75, 5: 1}`` for stars. Every label
        becomes a class, and polarities are means over the classes.
    time_limit, validation_data, seed, verbose
        As in `train_topic_classifier`.
    sequence_length : int, default=128
        Tokens of a text that are read, in training and later.

    Returns
    -------
    SentimentAnalysis
        Of `folder`.

    Raises
    ------
    DataError
        If texts, labels or the folder cannot be used; nothing was trained then.
    PresetError
        If the encoder cannot be used.
    """
    x = check_filled_texts(texts, "texts")
    scale = _Scale.of(labels, polarities, len(x))
    held = check_validation(validation_data)
    if held is not None:
        held_x = check_filled_texts(held[0], "the texts of validation_data")
        held = held_x, scale.targets(held[1], len(held_x))
    targets = scale.targets(labels, len(x))
    if np.ptp(targets @ np.array(scale.polarities)) == 0:
        raise DataError("all labels have the same polarity: give texts of at least two")
    training = Training(
        x,
        targets,
        held,
        preset,
        folder,
        {**scale.codec.to_json(), "polarities": list(scale.polarities)},
        sequence_length,
        check_number("time_limit", time_limit, above=True),
        check_count("seed", seed, least=0),
        verbose,
    )
    return SentimentAnalysis(training.run())


class _Scale:
    """Classes and their polarities, and what labels mean on them."""

    def __init__(self, codec: LabelCodec, polarities: tuple[float, ...], is_numeric: bool) -> None:
        self.codec = codec
        self.polarities = polarities
        self._is_numeric = is_numeric

    @classmethod
    def of(cls, labels: Any, polarities: Mapping[Any, float] | None, n: int) -> _Scale:
        if polarities is not None:
            if not isinstance(polarities, Mapping):
                raise DataError("polarities must be a dict from labels to numbers from 0 to 1")
            meaning: dict[Any, float] | None = {
                key: _polarity(value, f"polarities[{key!r}]") for key, value in polarities.items()
            }
        elif _is_numeric(labels):
            return cls(LabelCodec.from_labels(["negative", "positive"]), (0.0, 1.0), True)
        else:
            meaning = None
        codec = LabelCodec.from_labels(labels, n)
        if meaning is None:
            meaning = {
                label: POLARITIES[_name(label)] for label in codec.classes if _name(label) in POLARITIES
            }
        unknown = [label for label in codec.classes if label not in meaning]
        if unknown:
            raise DataError(
                f"labels holds {unknown[0]!r}, whose polarity is not known: give that of each label, such as "
                f"polarities={{{unknown[0]!r}: 1.0, …}}, or the labels {', '.join(map(repr, POLARITIES))}"
            )
        return cls(codec, tuple(meaning[label] for label in codec.classes), False)

    def targets(self, labels: Any, n: int) -> np.ndarray:
        """Probabilities of the classes, of shape (n, classes)."""
        if not self._is_numeric:
            return one_hot(self.codec.encode(labels, n), len(self.codec.classes))
        if not _is_numeric(labels):
            raise DataError("labels of validation_data must be numbers, as those of training are")
        values = np.asarray(labels, np.float32).reshape(-1)
        if len(values) != n:
            raise DataError(f"there are {len(values)} labels for {n} texts")
        outside = np.flatnonzero(~((values >= 0) & (values <= 1)))
        if len(outside):
            raise DataError(
                f"labels[{outside[0]}] is {values[outside[0]]:g}: numbers are polarities from 0 (negative) "
                "to 1 (positive). Say what other numbers mean, such as polarities={1: 0, 2: 0.5, 3: 1}"
            )
        return np.stack([1 - values, values], 1)


def _is_numeric(labels: Any) -> bool:
    """Return whether labels are numbers, or bools, one each."""
    try:
        array = np.asarray(labels)
    except (ValueError, TypeError, RuntimeError):  # `LabelCodec` says what is wrong
        return False
    return array.dtype.kind in "biuf" and (array.ndim == 1 or array.shape[1:] == (1,))


def _polarity(value: Any, name: str) -> float:
    try:
        number = float(real_number(value))
    except (TypeError, OverflowError):
        number = -1.0
    if not 0 <= number <= 1:
        raise DataError(f"{name} must be numbers from 0 to 1, got {value!r}")
    return number


def _name(label: Any) -> str:
    return str(label).strip().lower()
