"""Finding objects in pictures, with detectors of KerasHub's, and training these on boxes of one's own."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from kmorph.errors import DataError
from kmorph.files import UserPath
from kmorph.pretrained.detection.average_precision import THRESHOLDS, Found, mean_average_precision
from kmorph.pretrained.detection.examples import Batches, Examples, check_examples, suited_size
from kmorph.pretrained.detection.labels import Label
from kmorph.pretrained.detection.measuring import measure
from kmorph.pretrained.detection.network import Network, new_network
from kmorph.pretrained.detection.pictures import draw_boxes, is_single, read_picture
from kmorph.pretrained.detection.progress import ProgressLine
from kmorph.pretrained.detection.settings import seeded, stock_settings
from kmorph.pretrained.detection.training import LEARNED_RATE, NEW_RATE, Plan, train
from kmorph.tasks import options
from kmorph.tasks.fitted import NotFittedError

DEFAULT = "dfine_nano_coco"
PASSES = 100  # if neither `time_limit` nor `epochs` is given
LARGEST = 256  # height and width of the input of a new network, unless `image_size` says otherwise
STRIDE = 32  # of the coarsest level of features, which sizes must be multiples of
READING_SHARE = 0.2  # of the time, in which all pictures are read before training
MEASURING_SHARE = 0.15  # of the time, kept for validation data


class ObjectDetector(BaseEstimator):
    """Finds objects in pictures, and learns from pictures with boxes.

    Without `fit` it finds what its preset has learned: objects of COCO's 80 kinds by default. `fit` trains it
    on kinds of one's own.

    Parameters
    ----------
    preset : path-like or None, default="dfine_nano_coco"
        A detector of KerasHub's (D-FINE, RetinaNet): its name, or the folder of a preset, such as one that
        `save` wrote. None: a small RetinaNet with new weights, which `fit` has to train first.
    threshold : float, default=0.5
        `predict` leaves out boxes with a smaller score.
    image_size : int or (int, int), optional
        Height and width to which pictures are resized for the network, multiples of 32. None: those of the
        preset; of a new network the largest side of the pictures, at most 256.
    batch_size : int, default=8
        Pictures in a step of training, and predicted together.
    epochs : int, optional
        Passes over the pictures at most. None: as many as `time_limit` allows; without that, 100.
    learning_rate : float, optional
        The highest; it rises at first, and falls to zero at the end. None: 0.001 for new networks, 0.0002 for
        presets.
    augment : bool, default=True
        Whether pictures are mirrored, zoomed, moved and lit at random in training. Turn it off where left and
        right are different labels.
    time_limit : float, optional
        Seconds that `fit` takes.
    seed : int, optional
        Decides new weights, the order of pictures and their changes.
    verbose : bool, default=True
        Whether `fit` shows a line of progress.

    Attributes
    ----------
    classes_ : list of str or int
        The labels it knows.
    validation_score_ : float
        After `fit` with validation data: mean average precision.

    Examples
    --------
    >>> ObjectDetector().predict("street.jpg", "boxes.png")             # doctest: +SKIP
    [{'label': 'car', 'score': 0.91, 'box': (14.2, 80.5, 190.0, 163.7)}]
    >>> detector = ObjectDetector().fit(files, boxes, labels, time_limit=3600)  # doctest: +SKIP
    >>> detector.evaluate(*test)                                         # doctest: +SKIP
    0.61
    >>> detector.save("my-detector")                                     # doctest: +SKIP
    """

    def __init__(
        self,
        preset: UserPath | None = DEFAULT,
        *,
        threshold: float = 0.5,
        image_size: int | tuple[int, int] | None = None,
        batch_size: int = 8,
        epochs: int | None = None,
        learning_rate: float | None = None,
        augment: bool = True,
        time_limit: float | None = None,
        seed: int | None = None,
        verbose: bool = True,
    ) -> None:
        self.preset = preset
        self.threshold = threshold
        self.image_size = image_size
        self.batch_size = batch_size
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.augment = augment
        self.time_limit = time_limit
        self.seed = seed
        self.verbose = verbose

    _network: Network
    _origin: tuple[UserPath, int | tuple[int, int] | None] | None
    """Preset and size of a network that was loaded; None of one that `fit` has trained."""

    # Finding.

    def predict(self, image_or_path: Any, output_file_path: Any = None) -> list[Any]:
        """Find objects.

        Parameters
        ----------
        image_or_path : path-like, array, PIL.Image.Image, or several of these
            Several are a list, or an array (n, height, width, channels). Arrays are grey, RGB or RGBA, from 0
            to 255 or, as floats, from 0 to 1.
        output_file_path : path-like, or list of these, optional
            Where to write the picture with its boxes drawn; for several pictures, a list of as many.

        Returns
        -------
        list of dict, or for several pictures a list of such lists
            ``"label"``, ``"score"`` and ``"box"``: (x0, y0, x1, y1) in pixels of the picture as it was given.
            The highest score comes first.
        """
        single = is_single(image_or_path)
        given = [image_or_path] if single else list(image_or_path)
        files = _files(output_file_path, single, len(given))
        threshold = _share("threshold", self.threshold)
        network = self._ready()
        names = ["the picture"] if single else [f"picture {index}" for index in range(len(given))]
        answers: list[list[dict[str, Any]]] = []
        pictures = map(read_picture, given, names)
        with stock_settings():
            for index, (picture, found) in enumerate(
                network.find_all(pictures, threshold, self._batch_size())
            ):
                answers.append(_as_dicts(found, network.labels))
                if files is not None:
                    draw_boxes(picture, answers[-1], files[index])
        return answers[0] if single else answers

    def evaluate(self, images: Any, boxes: Any, labels: Any) -> float:
        """Mean average precision, as COCO defines it: over overlaps of 0.5, 0.55, …, 0.95, and over labels.

        Parameters
        ----------
        images, boxes, labels
            As for `fit`.
        """
        return mean_average_precision(self._precisions(images, boxes, labels, THRESHOLDS))

    def average_precision(
        self, images: Any, boxes: Any, labels: Any, overlap: Any = None
    ) -> dict[Label, float]:
        """Average precision of each label that is in the pictures.

        Parameters
        ----------
        images, boxes, labels
            As for `fit`.
        overlap : float, optional
            Intersection over union from which a box counts as found: 0.5 for what is known as AP50. None:
            the mean over 0.5, 0.55, …, 0.95.
        """
        thresholds = THRESHOLDS if overlap is None else (_share("overlap", overlap),)
        table = self._precisions(images, boxes, labels, thresholds)
        names = self._ready().labels
        return {
            name: float(column.mean())
            for name, column in zip(names, table.T, strict=True)
            if not np.isnan(column).any()
        }

    def _precisions(self, images: Any, boxes: Any, labels: Any, thresholds: tuple[float, ...]) -> np.ndarray:
        check_examples(images, boxes, labels)
        network = self._ready()
        examples = check_examples(images, boxes, labels, network.labels)
        with stock_settings():
            return measure(network, examples, thresholds, self._batch_size())[0]

    # Learning.

    def fit(
        self,
        images: Any,
        boxes: Any,
        labels: Any,
        time_limit: float | None = None,
        validation_data: Any = None,
    ) -> ObjectDetector:
        """Train on pictures with boxes, from the preset; of that, all but the last layers keep their weights.

        Called again, it begins anew. To go on from what was learned, `save` that and give its folder as
        `preset`.

        Parameters
        ----------
        images : list of path-like or array, or array (n, height, width, channels)
            As for `predict`. Pictures may differ in size.
        boxes : list of arrays (k, 4)
            For each picture x0, y0, x1, y1 of its boxes, in its pixels; empty where it has none.
        labels : list of lists of str or int
            For each picture the labels of its boxes.
        time_limit : float, optional
            Seconds; overrules the constructor's. Ctrl-C ends training earlier, and keeps what was learned.
        validation_data : (images, boxes, labels), optional
            Other pictures, whose mean average precision is measured at the end, within the time; it is
            `validation_score_`.

        Returns
        -------
        ObjectDetector
            Itself.
        """
        began = time.monotonic()
        limit = options.check_number("time_limit", time_limit, above=True)
        if limit is None:
            limit = options.check_number("time_limit", self.time_limit, above=True)
        deadline = None if limit is None else began + limit
        epochs = options.check_count("epochs", self.epochs)
        rate = options.check_number("learning_rate", self.learning_rate, above=True)
        self._batch_size(), self._size()
        augment = bool(options.check_flag("augment", self.augment, auto=False))
        seed = options.check_count("seed", self.seed, 0)
        verbose = bool(options.check_flag("verbose", self.verbose, auto=False))
        examples = check_examples(images, boxes, labels)
        validation = _validation(validation_data, examples.names)
        with stock_settings(), seeded(seed), ProgressLine(verbose) as progress:
            reading_until = None if limit is None else began + READING_SHARE * limit
            network, batches = self._begin(examples, augment, seed, reading_until)
            reserve = 0.0 if limit is None or validation is None else MEASURING_SHARE * limit
            plan = Plan(
                deadline=None if deadline is None else deadline - reserve,
                passes=PASSES if epochs is None and deadline is None else epochs,
                rate=rate or (NEW_RATE if self.preset is None else LEARNED_RATE),
                frozen_norms=self.preset is not None,
            )
            done = train(network, batches, plan, progress)
            self._network = network
            self._origin = None
            self.__dict__.pop("validation_score_", None)
            loss = f", loss {done.losses[-1]:.4f}" if done.losses else ""
            passes = done.steps / batches.per_pass
            ended = "Interrupted" if done.interrupted else "Trained"
            progress.message(f"{ended} after {time.monotonic() - began:.0f} s: {passes:.1f} passes{loss}")
            if validation is not None and not done.interrupted:
                table, n = measure(network, validation, THRESHOLDS, self._batch_size(), deadline)
                self.validation_score_ = mean_average_precision(table)
                progress.message(
                    f"Mean average precision {self.validation_score_:.3f} on {n} validation pictures"
                )
        return self

    def _begin(
        self, examples: Examples, augment: bool, seed: int | None, reading_until: float | None
    ) -> tuple[Network, Batches]:
        """The network that is going to be trained, and what it is trained on."""
        size = self._size()
        if self.preset is not None:
            network = Network.load(self.preset, size)
            if network.labels != examples.names:
                network = network.renewed(examples.names)
            batches = Batches(examples, network.size, network.keep_ratio, self._batch_size(), augment, seed)
            batches.check_all(reading_until)
            return network, batches
        size = size or suited_size(examples, LARGEST, STRIDE)
        batches = Batches(examples, size, True, self._batch_size(), augment, seed)
        return new_network(examples.names, size, batches.check_all(reading_until)), batches

    # What it is now.

    @property
    def classes_(self) -> list[Label]:
        """The labels it knows; a preset that is not loaded yet is loaded."""
        return list(self._ready().labels)

    def save(self, folder: UserPath) -> Path:
        """Write the detector as a preset of KerasHub's, with the names of its labels in ``labels.json``.

        ``ObjectDetector(preset=folder)`` finds the same boxes, and
        ``keras_hub.models.ObjectDetector.from_preset(folder)`` loads it without kmorph.

        Parameters
        ----------
        folder : path-like
            A new folder, or one with an earlier preset, which is replaced.
        """
        network = self._ready()
        with stock_settings():
            return network.save(folder)

    def _ready(self) -> Network:
        """The network that `fit` has trained, else that of the preset."""
        network: Network | None = self.__dict__.get("_network")
        origin = self.__dict__.get("_origin")
        if network is not None and (origin is None or origin == (self.preset, self.image_size)):
            return network
        if self.preset is None:
            raise NotFittedError(
                "this ObjectDetector has no preset and is not fitted yet: call fit(images, boxes, labels) "
                f"first, or give a preset, such as {DEFAULT!r}"
            )
        with stock_settings():
            network = Network.load(self.preset, self._size())
        self._network = network
        self._origin = self.preset, self.image_size
        return network

    def _size(self) -> tuple[int, int] | None:
        """`image_size`, checked."""
        if self.image_size is None:
            return None
        given = self.image_size
        pair = tuple(given) if isinstance(given, list | tuple | np.ndarray) else (given, given)
        if len(pair) != 2:
            raise DataError(f"image_size must be a whole number or (height, width), got {given!r}")
        height, width = (options.check_count("image_size", side, STRIDE) for side in pair)
        if height is None or width is None or height % STRIDE or width % STRIDE:
            raise DataError(f"image_size must be multiples of {STRIDE}, such as 128 or 640, got {given!r}")
        return height, width

    def _batch_size(self) -> int:
        return options.check_count("batch_size", self.batch_size) or 1


def _share(name: str, value: Any) -> float:
    checked = options.check_number(name, value)
    if checked is None or checked > 1:
        raise DataError(f"{name} must be a number from 0 to 1, got {value!r}")
    return checked


def _files(output: Any, single: bool, n: int) -> list[UserPath] | None:
    """Where pictures are written."""
    if output is None:
        return None
    one = isinstance(output, str | bytes | os.PathLike)
    if single and one:
        return [output]
    if one or not isinstance(output, list | tuple) or len(output) != n:
        expected = "the path of a file" if single else f"a list of {n} paths, one for each picture"
        raise DataError(f"output_file_path must be {expected}, got {output!r:.80}")
    return list(output)


def _as_dicts(found: Found, labels: list[Label]) -> list[dict[str, Any]]:
    return [
        {"label": labels[label], "score": float(score), "box": tuple(float(side) for side in box)}
        for box, score, label in zip(*found, strict=True)
    ]


def _validation(data: Any, names: list[Label]) -> Examples | None:
    if data is None:
        return None
    if not isinstance(data, list | tuple) or len(data) != 3:
        raise DataError("validation_data must be (images, boxes, labels)")
    images, boxes, labels = data
    return check_examples(images, boxes, labels, names)
