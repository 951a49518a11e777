"""Training of classifiers of texts from pretrained encoders.

A head is fitted on the encoder's vectors first, by logistic regression, which takes little longer than
encoding the texts once. If there are enough texts and time, all weights are trained from there, and the
weights with the lowest loss on held-out texts are kept.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kmorph.errors import DataError
from kmorph.files import UserPath
from kmorph.presets import check_place, find_preset, keras_hub, load_preset, save_preset
from kmorph.presets.tokens import Texts, Tokens
from kmorph.pretrained.text_head import (
    fit_head,
    layers_of_mean,
    log_loss,
    make_classifier,
    set_to_identity,
    with_mean,
)
from kmorph.pretrained.text_model import (
    BATCH,
    LABELS,
    TASK_WEIGHTS,
    read_labels,
    set_length,
)
from kmorph.problem.split import stratified_split, validation_fraction
from kmorph.tasks.options import check_count
from kmorph.training.backend import load_backend
from kmorph.training.fine_tuning import EPOCHS, EVERY, FineTuning, Part, outputs_of, seconds_needed

FEW = 300  # texts; with fewer the encoder stays as it is: a held-out part would be too small to judge
HEAD_TEXTS = 4000  # texts that the head is fitted on, where all weights are trained afterwards
MOST_HELD = 0.2  # of the texts
ENCODING_SHARE = 0.7  # of the time, at most, for encoding before the first head
SAVING = 3.0  # seconds kept back for writing the preset


@dataclass
class Training:
    """One training of a classifier of texts.

    Parameters
    ----------
    texts : sequence of str
        Checked.
    targets : ndarray of shape (n, classes)
        Probabilities of the classes.
    validation : tuple (texts, targets), optional
    preset : path-like
        The encoder.
    folder : path-like
        Where the preset is written.
    labels : dict
        What is written beside it.
    sequence_length : int, optional
    time_limit : float, optional
    seed : int, optional
    verbose : bool
    """

    texts: Texts
    targets: np.ndarray
    validation: tuple[Texts, np.ndarray] | None
    preset: UserPath
    folder: UserPath
    labels: dict[str, Any]
    sequence_length: int | None
    time_limit: float | None = None
    seed: int | None = None
    verbose: bool = True
    clock: Callable[[], float] = time.monotonic
    begun: float = field(default_factory=time.monotonic)
    _has_mean: bool = False  # whether layers were added, which take the mean

    def run(self) -> Path:
        """Train, and write the preset; return its folder."""
        check_count("sequence_length", self.sequence_length, least=3)
        check_place(self.folder)
        load_backend()
        seed = random.SystemRandom().randrange(2**31) if self.seed is None else self.seed
        with _seeded(seed):
            classifier = self._new_classifier()
            self._fit(classifier, seed)
        if self.seconds_left() < 0:
            self.say(f"the time limit of {self.time_limit:g} s is over; what there is is written")
        place = save_preset(_Labelled(classifier, self.labels), self.folder)
        self.say(f"written to {place}")
        return place

    def say(self, text: str) -> None:
        """Print a line, with the seconds since the beginning."""
        if self.verbose:
            try:
                print(f"[{self.clock() - self.begun:4.0f} s] {text}", flush=True)
            except (OSError, ValueError):  # nobody reads any longer
                self.verbose = False

    def seconds_left(self, share: float = 1.0) -> float:
        """Seconds until a share of the time limit is over, but for saving."""
        if self.time_limit is None:
            return float("inf")
        return self.begun + share * max(0.0, self.time_limit - SAVING) - self.clock()

    def _new_classifier(self) -> Any:
        keras_hub("TextClassifier", "TextClassifierPreprocessor")
        folder = find_preset(self.preset)
        backbone = load_preset("Backbone", folder)
        preprocessor = load_preset("TextClassifierPreprocessor", folder)
        set_length(preprocessor, backbone, self.sequence_length)
        # A classifier that was trained here has its mean already.
        longer = None if (folder / TASK_WEIGHTS).is_file() and read_labels(folder) else with_mean(backbone)
        self._has_mean = longer is not None
        width = self.targets.shape[1]
        classifier = make_classifier(backbone if longer is None else longer, preprocessor, width)
        pooled = getattr(classifier, "pooled_dense", None)
        if longer is not None and pooled is not None and pooled.kernel.shape[0] == pooled.kernel.shape[1]:
            set_to_identity(pooled)
        return classifier

    def _fit(self, classifier: Any, seed: int) -> None:
        import keras

        network = keras.Model(classifier.inputs, classifier.output_dense.input)
        n, rng = len(self.texts), np.random.default_rng(seed)
        codes = self.targets.argmax(1)
        judged = n >= FEW or self.validation is not None
        if self.validation is not None:
            train, (held_texts, held_targets) = np.arange(n), self.validation
        elif judged:
            train, held = stratified_split(codes, min(MOST_HELD, validation_fraction(n)), seed)
            held_texts, held_targets = [self.texts[i] for i in held], self.targets[held]
        else:
            train, held_texts, held_targets = np.arange(n), [], self.targets[:0]
        train = _mixed(rng.permutation(train), codes)
        self.say(f"{len(train):,} texts for training, {len(held_texts):,} held out")

        encoder = _Encoder(self, classifier.preprocessor, network)
        x_held = encoder.encode(held_texts, float("inf"))
        first = train[:HEAD_TEXTS]
        x = encoder.encode([self.texts[i] for i in first], self.seconds_left(ENCODING_SHARE))
        needed = seconds_needed(encoder.start, encoder.seconds(len(train)))
        tunes = n >= FEW and needed < self.seconds_left()
        if not tunes and len(x) == len(first):
            rest = [self.texts[i] for i in train[len(first) :]]
            x = np.concatenate([x, encoder.encode(rest, self.seconds_left())])
        used = train[: len(x)]
        kernel, bias = fit_head(x, self.targets[used], seed)
        if judged:
            self.say(f"head on {len(x):,} texts: {_judge(x_held @ kernel + bias, held_targets)}")
        best = log_loss(x_held @ kernel + bias, held_targets) if judged else None
        classifier.output_dense.set_weights([kernel, bias])
        if tunes and best is not None:
            held_tokens = Tokens.of(classifier.preprocessor, held_texts)
            if self._tune(classifier, train, held_tokens, held_targets, best, encoder, rng):
                return
        if judged and self.validation is None:
            x, targets = np.concatenate([x, x_held]), np.concatenate([self.targets[used], held_targets])
            kernel, bias = fit_head(x, targets, seed)
            classifier.output_dense.set_weights([kernel, bias])
        self.say(f"the encoder stays as it was; head on {len(x):,} texts")

    def _tune(
        self,
        classifier: Any,
        train: np.ndarray,
        held: Tokens,
        held_targets: np.ndarray,
        best: float,
        encoder: _Encoder,
        rng: np.random.Generator,
    ) -> bool:
        """Train all weights; return whether that lowered the held-out loss. The best weights are set."""
        import keras

        fixed = layers_of_mean(classifier) if self._has_mean else []
        for layer in fixed:
            layer.trainable = False

        def judge(logits: np.ndarray) -> tuple[tuple[float], str]:
            return (log_loss(logits, held_targets),), _judge(logits, held_targets)

        tuning = FineTuning(
            keras.Model(classifier.inputs, classifier.outputs),
            lambda y, logits: keras.ops.categorical_crossentropy(y, logits, from_logits=True),
            judge,
            rng,
            self.seconds_left,
            self.say,
            self.clock,
        )
        self.say(f"training all weights, at most {EPOCHS} epochs")
        tokens = Tokens.of(classifier.preprocessor, [self.texts[i] for i in train])
        examples = Part(tokens, self.targets[train].astype(np.float32))
        improved = tuning.run(examples, Part(held, held_targets), (best,), encoder.seconds(len(held)))
        for layer in fixed:
            layer.trainable = True  # as whoever loads the preset expects
        return improved


class _Encoder:
    """Computes the encoder's vectors of texts, and measures how long that takes."""

    def __init__(self, training: Training, preprocessor: Any, network: Any) -> None:
        self._training = training
        self._preprocessor = preprocessor
        self._network = network
        self._texts = 0
        self._seconds = 0.0
        self.start: float = 0.0  # seconds of the first part, which is compiled

    def encode(self, texts: Texts, seconds: float) -> np.ndarray:
        """The vectors of as many texts as there is time for, of some in any case."""
        clock, part = self._training.clock, BATCH
        begun = said = clock()
        vectors = [np.empty((0, int(self._network.output_shape[-1])), np.float32)]
        for begin in range(0, len(texts), part):
            before = clock()
            if begin and before - begun + self.seconds(part) > seconds:
                break
            some = texts[begin : begin + part]
            vectors.append(outputs_of(self._network, Tokens.of(self._preprocessor, some), BATCH))
            if clock() - said > EVERY:
                said = clock()
                self._training.say(f"encoded {begin + len(some):,} of {len(texts):,} texts")
            if not self.start:
                self.start = clock() - before
            else:
                self._texts, self._seconds = self._texts + len(some), self._seconds + clock() - before
        return np.concatenate(vectors)

    def seconds(self, texts: int) -> float:
        """Seconds that encoding some texts is going to take, compiling aside."""
        if not self._texts:
            return texts * self.start / BATCH
        return texts * self._seconds / self._texts


class _Labelled:
    """A model and its labels, which `save_preset` writes together."""

    def __init__(self, model: Any, labels: dict[str, Any]) -> None:
        self._model = model
        self._labels = labels

    def save_to_preset(self, folder: str) -> None:
        self._model.save_to_preset(folder)
        text = json.dumps(self._labels, ensure_ascii=False, indent=2)
        (Path(folder) / LABELS).write_text(text + "\n", encoding="utf-8")


def _mixed(order: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """The same positions, so that the first ones have two examples of every class if there are any."""
    seen: dict[int, int] = {}
    first = []
    for i, position in enumerate(order):
        code = int(codes[position])
        seen[code] = seen.get(code, 0) + 1
        if seen[code] <= 2:
            first.append(i)
    rest = np.setdiff1d(np.arange(len(order)), first)
    return order[np.concatenate([np.array(first, int), rest])]


def _judge(logits: np.ndarray, targets: np.ndarray) -> str:
    accuracy = np.mean(logits.argmax(1) == targets.argmax(1))
    return f"held-out loss {log_loss(logits, targets):.3f}, accuracy {accuracy:.3f}"


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Let Keras draw the seeds of new layers from `seed`, and leave Python's random numbers as they were."""
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)


def check_validation(validation_data: Any) -> tuple[Any, Any] | None:
    """Texts and labels that the user holds out, as a pair; None if there are none."""
    if validation_data is None:
        return None
    if not isinstance(validation_data, tuple | list) or len(validation_data) != 2:
        raise DataError("validation_data must be a pair (texts, labels)")
    return validation_data[0], validation_data[1]
