"""Classifiers of texts from presets: loading them, encoding texts, and what both ready models share."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np

from kmorph.data.labels import LabelCodec
from kmorph.data.texts import check_texts, decoded
from kmorph.errors import DataError, PresetError
from kmorph.files import UserPath
from kmorph.locks import ForkSafeLock
from kmorph.presets import find_preset, keras_hub, load_preset
from kmorph.presets.tokens import CHUNK, Tokens
from kmorph.tasks.options import check_count
from kmorph.training.backend import load_backend
from kmorph.training.fine_tuning import outputs_of

LABELS = "labels.json"
"""File beside a preset's own, with the labels of its classes and, for sentiment, their polarities."""
TASK, TASK_WEIGHTS = "task.json", "task.weights.h5"

BATCH = 32  # texts computed at once


def check_filled_texts(texts: Any, name: str) -> np.ndarray:
    """Check texts as `check_texts` does, and that there is something to read in each.

    Raises
    ------
    DataError
        If that is not so; empty texts are counted, and the first is named.
    """
    array = check_texts(texts, name)
    empty = [i for i, text in enumerate(array) if is_empty(text)]
    if empty:
        more = f", and so are {len(empty) - 1} more" if len(empty) > 1 else ""
        raise DataError(
            f"{name}[{empty[0]}] is an empty text ({array[empty[0]]!r:.40}){more}: nothing can be read from "
            f"it. Leave such texts out, for example by [text for text in {name} if text.strip()]"
        )
    return array


def is_empty(text: str) -> bool:
    """Return whether a text has no character but white space and control characters."""
    return all(character.isspace() or unicodedata.category(character)[0] == "C" for character in text)


class TextModel:
    """Base of the ready models for texts: a preset, loaded when it is first needed."""

    training = "train_topic_classifier"  # the function that makes presets for it

    def __init__(
        self, preset: UserPath, *, sequence_length: int | None = None, batch_size: int = BATCH
    ) -> None:
        self.preset = preset
        self.sequence_length = sequence_length
        self.batch_size = batch_size
        self._lock = ForkSafeLock()
        self._loaded: _Loaded | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.preset)!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key not in ("_lock", "_loaded")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=ForkSafeLock(), _loaded=None)

    def load(self) -> Any:
        """Load the preset now rather than at the first prediction.

        Returns
        -------
        self

        Raises
        ------
        PresetError
            If it is not found, is damaged, or holds something else.
        """
        self._model()
        return self

    def _model(self) -> _Loaded:
        with self._lock.held():
            if self._loaded is None:
                self._loaded = self._read()
            return self._loaded

    def _read(self) -> _Loaded:
        check_count("sequence_length", self.sequence_length)
        if check_count("batch_size", self.batch_size) is None:
            raise DataError("batch_size must be a whole number from 1, got None")
        load_backend()
        keras_hub("TextClassifier")
        folder = find_preset(self.preset)
        labels = read_labels(folder)
        if not (folder / TASK).is_file() or not (folder / TASK_WEIGHTS).is_file():
            missing = TASK if not (folder / TASK).is_file() else TASK_WEIGHTS
            raise PresetError(
                f"the preset {folder} has no trained classes (there is no {missing}): it may be an encoder "
                f"of texts, or made for something else. kmorph.pretrained.{self.training}(…, preset=…) "
                "makes a classifier from an encoder"
            )
        classifier = load_preset("TextClassifier", folder)
        if classifier.preprocessor is None:
            raise PresetError(f"the preset {folder} has no preprocessor, so that it cannot read texts")
        return _Loaded(folder, classifier, labels, self.sequence_length)

    def _scores(self, texts: np.ndarray) -> np.ndarray:
        """Probabilities of the classes, of shape (n, classes)."""
        loaded = self._model()
        with self._lock.held():
            return loaded.scores(texts, int(self.batch_size))

    def _texts(self, x: Any) -> tuple[np.ndarray, bool]:
        """Checked texts, and whether it was one text alone."""
        if isinstance(x, bytes):
            x = decoded(x, "x")
        if isinstance(x, str):
            if is_empty(x):
                raise DataError(f"the text is empty ({x!r:.40}): nothing can be read from it")
            return check_texts([x]), True
        return check_filled_texts(x, "x"), False


class _Loaded:
    """A classifier of KerasHub's, ready to predict."""

    def __init__(
        self, folder: Path, classifier: Any, labels: dict[str, Any] | None, sequence_length: int | None
    ) -> None:
        import keras

        self.folder = folder
        self.labels = labels
        self.width = int(classifier.output_shape[-1])
        self.preprocessor = classifier.preprocessor
        set_length(self.preprocessor, classifier.backbone, sequence_length)
        activation = keras.activations.serialize(classifier.activation)
        self._is_probability = activation in ("softmax", "sigmoid")
        self._network = keras.Model(classifier.inputs, classifier.outputs)
        if labels is not None and len(labels["classes"]) != self.width:
            raise PresetError(
                f"{folder / LABELS} names {len(labels['classes'])} classes, but the network has {self.width}"
            )

    def scores(self, texts: np.ndarray, batch_size: int) -> np.ndarray:
        """Probabilities of the classes; of one output, the probability of it."""
        result = np.empty((len(texts), self.width), np.float32)
        for begin in range(0, len(texts), CHUNK):
            tokens = Tokens.of(self.preprocessor, texts[begin : begin + CHUNK])
            outputs = outputs_of(self._network, tokens, batch_size)
            result[begin : begin + CHUNK] = outputs if self._is_probability else probabilities(outputs)
        if not np.isfinite(result).all():
            raise PresetError(f"the preset {self.folder} gives no numbers: its weights are damaged")
        return result


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Softmax; of a single output, the logistic function."""
    if logits.shape[1] == 1:
        return np.exp(-np.logaddexp(0, -logits))
    exps = np.exp(logits - logits.max(1, keepdims=True))
    return exps / exps.sum(1, keepdims=True)


def set_length(preprocessor: Any, backbone: Any, length: int | None) -> None:
    """Set how many tokens of a text are read, if that is given; at most as many as the encoder has places."""
    length = preprocessor.sequence_length if length is None else int(length)
    most = getattr(backbone, "max_sequence_length", None)
    preprocessor.sequence_length = length if most is None else min(length, most)


def read_labels(folder: Path) -> dict[str, Any] | None:
    """The labels of a preset's classes; None if there is no file with them.

    Raises
    ------
    PresetError
        If the file is damaged.
    """
    file = folder / LABELS
    if not file.is_file():
        return None
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        classes = LabelCodec.from_json(data)
        polarities = data.get("polarities")
        if polarities is not None:
            polarities = tuple(float(value) for value in polarities)
            if len(polarities) != len(classes.classes) or not all(0 <= value <= 1 for value in polarities):
                raise ValueError("polarities must be numbers from 0 to 1, one a class")
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise PresetError(
            f"{file} cannot be read ({error}): copy the preset again, or train it again"
        ) from error
    return {"classes": classes.classes_array, "polarities": polarities}
