"""A detector of KerasHub's with its labels, the size of its input, and how its outputs become boxes."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kmorph.errors import DataError, PresetError
from kmorph.files import UserPath
from kmorph.presets import find_preset, keras_hub, load_preset, save_preset
from kmorph.pretrained.detection.average_precision import Found
from kmorph.pretrained.detection.boxes import clip_boxes, convert_boxes, suppress_overlaps
from kmorph.pretrained.detection.labels import Label, coco_labels, read_labels, write_labels
from kmorph.pretrained.detection.pictures import Frame, fit_picture

OVERLAP = 0.5  # of boxes of one label, above which they are taken for the same object
CANDIDATES = 1000  # boxes a picture that may be chosen from, as in torchvision
USUAL_SIDE = 32.0  # of boxes, where none was seen before training
RARE = 0.01
"""Probability that a new output gives a label at first: nearly all anchors are empty."""


class Network:
    """A detector of KerasHub's that takes pictures of any size and gives boxes in their pixels.

    Parameters
    ----------
    model : keras_hub.models.ObjectDetector
    labels : sequence of str or int
        Names of its labels, in the order of its outputs.
    size : (int, int), optional
        Height and width of its input. None: as its preprocessor says.
    """

    def __init__(self, model: Any, labels: Sequence[Label], size: tuple[int, int] | None = None) -> None:
        self.model = model
        self.labels = list(labels)
        converter = getattr(model.preprocessor, "image_converter", None)
        found = size or getattr(converter, "image_size", None) or _fixed_size(model)
        if found is None:
            raise PresetError("the preset does not say how large its input is: give image_size=640, say")
        self.size: tuple[int, int] = (int(found[0]), int(found[1]))
        # A crop would lose what is beside it: pictures are made smaller instead.
        self.keep_ratio = any(
            getattr(converter, name, False) for name in ("pad_to_aspect_ratio", "crop_to_aspect_ratio")
        )
        self._scale = _per_channel(getattr(converter, "scale", None), 1.0)
        self._offset = _per_channel(getattr(converter, "offset", None), 0.0)
        self._forward: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_forward": None}  # Keras can pickle the model alone

    @classmethod
    def load(cls, preset: UserPath, size: tuple[int, int] | None = None) -> Network:
        """The detector of a preset; see `kmorph.presets.find_preset`."""
        library = keras_hub("ObjectDetector")
        folder = find_preset(preset)
        model = load_preset("ObjectDetector", preset)
        n = getattr(model, "num_classes", None)
        if not isinstance(n, int):
            raise PresetError(f"the detector {type(model).__name__} does not say how many labels it has")
        labels = read_labels(folder, n) or coco_labels(n, library) or list(range(n))
        network = cls(model, labels, size)
        return network if network._anchored() in (None, network.size) else network.renewed(labels)

    def renewed(self, labels: Sequence[Label]) -> Network:
        """The same architecture for other labels or another size; weights that fit it are kept."""
        config = copy.deepcopy(self.model.get_config())
        config["num_classes"] = len(labels)
        _put(config["backbone"], "num_labels", len(labels))
        _put(config["backbone"], "anchor_image_size", self.size)
        _put(config["backbone"], "image_shape", (*self.size, 3), unless_free=True)
        if config.get("preprocessor"):
            _put(config["preprocessor"], "image_size", self.size)
        model = type(self.model).from_config(config)
        prepare_outputs(model)
        for new, old in zip(model.weights, self.model.weights, strict=True):
            if tuple(new.shape) == tuple(old.shape):
                new.assign(old)
        network = Network(model, labels, self.size)
        network.keep_ratio = self.keep_ratio
        return network

    def _anchored(self) -> tuple[int, int] | None:
        """The only size of input that the model can take, if there is one."""
        anchored = getattr(self.model.backbone, "anchor_image_size", None)
        return _fixed_size(self.model) if anchored is None else tuple(anchored)

    def save(self, folder: UserPath) -> Path:
        """Write a preset with the names of the labels."""
        converter = getattr(self.model.preprocessor, "image_converter", None)
        if converter is not None:
            converter.image_size = self.size
        written = save_preset(self.model, folder)
        try:
            write_labels(written, self.labels)
        except OSError as error:
            raise DataError(f"{written} cannot be written ({error.strerror or error})") from error
        return written

    def inputs(self, pictures: np.ndarray) -> np.ndarray:
        """Pictures of the input's size, uint8, as the model takes them."""
        return pictures.astype("float32") * self._scale + self._offset

    def find(self, pictures: Sequence[np.ndarray], threshold: float) -> list[Found]:
        """Find boxes, in pixels of the pictures.

        Parameters
        ----------
        pictures : sequence of arrays (h, w, 3) of uint8
        threshold : float
            Boxes with a smaller score are left out.
        """
        fitted = [fit_picture(picture, self.size, self.keep_ratio) for picture in pictures]
        x = self.inputs(np.stack([picture for picture, _ in fitted]))
        boxes, scores = self._outputs(x)
        return [
            _choose(one, of_labels, frame, threshold)
            for one, of_labels, (_, frame) in zip(boxes, scores, fitted, strict=True)
        ]

    def find_all(
        self, pictures: Iterable[np.ndarray], threshold: float, batch_size: int
    ) -> Iterator[tuple[np.ndarray, Found]]:
        """Yield pictures and what is found in them, a batch at a time."""
        batch: list[np.ndarray] = []
        full = False
        for picture in pictures:
            batch.append(picture)
            if len(batch) == batch_size:
                yield from zip(batch, self.find(batch, threshold), strict=True)
                batch, full = [], True
        if batch:
            # As many as before: for another number the network would be compiled again.
            padded = batch + [batch[-1]] * (batch_size - len(batch)) if full else batch
            yield from zip(batch, self.find(padded, threshold)[: len(batch)], strict=True)

    def _outputs(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Boxes (n, k, 4) in pixels of the input, and a score for each label (n, k, labels)."""
        import keras

        if self._forward is None:
            self._forward = keras.Model(self.model.inputs[0], self.model.output)
        kind = outputs_of(self.model)
        if kind == "queries":
            outputs = self._forward.predict_on_batch(x)
            boxes = convert_boxes(outputs["pred_boxes"], "rel_center_xywh", "xyxy", self.size)
            return boxes, _sigmoid(outputs["logits"])
        if kind == "anchors":
            outputs = self._forward.predict_on_batch(x)
            return self._shifted(x, outputs["bbox_regression"]), _sigmoid(outputs["cls_logits"])
        outputs = self._chosen(x)
        boxes = convert_boxes(outputs["boxes"], self.model.bounding_box_format, "xyxy", self.size)
        scores = np.zeros((*outputs["confidence"].shape, len(self.labels)))
        picked = np.clip(outputs["labels"], 0, len(self.labels) - 1).astype(int)[..., None]
        valid = (outputs["labels"] >= 0) & np.isfinite(outputs["confidence"])
        np.put_along_axis(scores, picked, np.where(valid, outputs["confidence"], 0.0)[..., None], -1)
        return boxes, scores

    def _chosen(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """What a detector that is not known here chooses by itself."""
        preprocessor, self.model.preprocessor = self.model.preprocessor, None  # `x` is preprocessed
        try:
            return self.model.predict(x, batch_size=len(x), verbose=0)
        finally:
            self.model.preprocessor = preprocessor

    def _shifted(self, x: np.ndarray, shifts: np.ndarray) -> np.ndarray:
        """Anchors, moved and scaled as the outputs say."""
        import keras

        generator = self.model.anchor_generator
        levels = generator(keras.ops.zeros((1, *x.shape[1:]))).values()
        anchors = np.concatenate([keras.ops.convert_to_numpy(level) for level in levels])
        anchors = convert_boxes(anchors, generator.bounding_box_format, "center_xywh", self.size)
        centre, extent = anchors[..., :2], anchors[..., 2:]
        shifts = np.asarray(shifts, "float64")
        centre = centre + shifts[..., :2] * extent
        extent = np.exp(np.minimum(shifts[..., 2:], 10.0)) * extent
        return convert_boxes(np.concatenate([centre, extent], -1), "center_xywh", "xyxy")


def outputs_of(model: Any) -> str:
    """How a detector answers: by shifts of ``"anchors"``, by ``"queries"``, or some ``"other"`` way."""
    names = set(model.output) if isinstance(model.output, dict) else set()
    if {"bbox_regression", "cls_logits"} <= names and hasattr(model, "anchor_generator"):
        return "anchors"
    return "queries" if {"pred_boxes", "logits"} <= names else "other"


def prepare_outputs(model: Any) -> None:
    """Have new last layers of a RetinaNet begin as they should: no shifts, and labels rare.

    KerasHub's constructor gives the prior of labels to the layer of shifts.
    """
    if outputs_of(model) == "anchors":
        for head, value in (("classification_head", np.log(RARE / (1 - RARE))), ("box_head", 0.0)):
            bias = getattr(model, head).prediction_layer.bias
            bias.assign(np.full(bias.shape, value))


def new_network(labels: Sequence[Label], size: tuple[int, int], sides: np.ndarray) -> Network:
    """A small RetinaNet with new weights, for training on a CPU.

    Parameters
    ----------
    labels : sequence of str or int
    size : (int, int)
        Height and width of its input.
    sides : array
        Roots of the areas of the boxes it is going to learn, in pixels of its input. Its anchors follow
        them.
    """
    library = keras_hub("ResNetBackbone", "RetinaNetBackbone", "RetinaNetObjectDetector")
    models = library.models
    small, large = np.quantile(sides if sides.size else [USUAL_SIDE], [0.05, 0.98])
    anchor = float(np.clip(small / 8, 1.0, 4.0))  # an anchor of the finest level is 8 times as large
    reach = anchor * np.exp2([5, 6, 7]) * np.exp2(2 / 3) * np.sqrt(2)
    top = 5 + min(2, int(np.searchsorted(reach, large)))
    levels = {"min_level": 3, "max_level": top}
    fixed = {"data_format": "channels_last", "dtype": "float32"}
    encoder = models.ResNetBackbone(
        input_conv_filters=[32],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 96, 128, 256],
        stackwise_num_blocks=[1, 1, 1, 1],
        stackwise_num_strides=[1, 2, 2, 2],
        block_type="basic_block_vd",
        image_shape=(None, None, 3),
        **fixed,
    )
    backbone = models.RetinaNetBackbone(
        encoder, use_p5=False, use_fpn_batch_norm=True, image_shape=(None, None, 3), **levels, **fixed
    )
    generator = library.layers.AnchorGenerator(
        "xyxy", num_scales=3, aspect_ratios=[0.5, 1.0, 2.0], anchor_size=anchor, dtype="float32", **levels
    )
    converter = library.layers.RetinaNetImageConverter(
        image_size=size,
        scale=[1 / 58.0] * 3,
        offset=[-114 / 58.0] * 3,
        pad_to_aspect_ratio=True,
        crop_to_aspect_ratio=False,
        bounding_box_format="xyxy",
        data_format="channels_last",
    )
    model = models.RetinaNetObjectDetector(
        backbone,
        num_classes=len(labels),
        bounding_box_format="xyxy",
        anchor_generator=generator,
        use_prediction_head_norm=True,
        pre_logits_num_conv_layers=1,
        preprocessor=models.RetinaNetObjectDetectorPreprocessor(image_converter=converter),
        dtype="float32",
    )
    prepare_outputs(model)
    return Network(model, labels, size)


def _choose(boxes: np.ndarray, scores: np.ndarray, frame: Frame, threshold: float) -> Found:
    """Boxes of a picture that are sure enough, without doubles."""
    flat = scores.ravel()
    likely = np.flatnonzero(flat >= max(threshold, 1e-6))
    likely = likely[np.argsort(-flat[likely], kind="stable")[:CANDIDATES]]
    places, labels = np.divmod(likely, scores.shape[1])
    placed = clip_boxes(frame.to_picture(boxes[places]), frame.size)
    seen = np.isfinite(placed).all(axis=1) & (placed[:, 2:] > placed[:, :2]).all(axis=1)
    placed, labels, sure = placed[seen], labels[seen], flat[likely][seen]
    chosen = suppress_overlaps(placed, sure, labels, OVERLAP)
    return Found(placed[chosen], sure[chosen], labels[chosen])


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 0.5 + 0.5 * np.tanh(0.5 * np.asarray(logits, "float64"))


def _per_channel(value: Any, default: float) -> np.ndarray:
    return np.asarray(default if value is None else value, "float32")


def _fixed_size(model: Any) -> tuple[int, int] | None:
    shape = model.inputs[0].shape[1:3]
    return None if None in shape else (int(shape[0]), int(shape[1]))


def _put(config: Any, name: str, value: Any, unless_free: bool = False) -> None:
    """Set an entry wherever it occurs in a nested configuration; `unless_free` leaves sizes of None."""
    if isinstance(config, list | tuple):
        for item in config:
            _put(item, name, value, unless_free)
    elif isinstance(config, dict):
        for key, old in config.items():
            if key != name:
                _put(old, name, value, unless_free)
            elif old is not None and not (unless_free and None in old):
                config[key] = value
