"""Vectors of images, from the backbones of KerasHub."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kmorph.errors import PresetError
from kmorph.graph.keras_bridge import functional, input_tensor
from kmorph.presets.library import keras_hub
from kmorph.presets.loading import load_preset

if TYPE_CHECKING:
    import keras

BATCH = 32
COLOURS = 3


@dataclass(frozen=True)
class Images:
    """Images of one shape, as a network takes them; see `kmorph.presets.encoder.Rows`."""

    images: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        return np.zeros(len(self.images), int)

    def batch(self, index: np.ndarray) -> np.ndarray:
        return self.images[index].astype(np.float32)


class ImageEncoder:
    """A backbone of a preset, which turns each image into one vector: the mean over all places.

    Parameters
    ----------
    folder : Path
        Of the preset; see `kmorph.presets.find_preset`. Its image converter decides how large images are made
        and how they are scaled.

    Raises
    ------
    PresetError
        If the preset cannot be loaded, or has no encoder of images.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def backbone(self) -> Any:
        """From scaled images to one vector for each place, or each patch."""
        backbone = load_preset("Backbone", self.folder)
        inputs, outputs = backbone.inputs, backbone.outputs
        if len(inputs) != 1 or len(inputs[0].shape) != 4 or len(outputs) != 1 or len(outputs[0].shape) < 2:
            raise PresetError(
                f"{self.folder} holds a {type(backbone).__name__}, which is no encoder of images: expected a "
                "model such as ResNet, MobileNet, EfficientNet or ViT"
            )
        return backbone

    @property
    def core(self) -> keras.Model:
        """The part with the weights: the backbone."""
        return self.backbone

    @cached_property
    def _converter(self) -> Any:
        try:
            found = load_preset("ImageConverter", self.folder)
        except PresetError as error:
            raise PresetError(
                f"{self.folder} does not say how its images are scaled: there is no image_converter.json. "
                f"Save the preset from a classifier that has a preprocessor with an ImageConverter ({error})"
            ) from error
        # KerasHub reads that of some models in the layout of Hugging Face only.
        return self._converter_of_hugging_face() if found is None else found

    def _converter_of_hugging_face(self) -> Any:
        file = self.folder / "preprocessor_config.json"
        try:
            config = json.loads(file.read_text(encoding="utf-8"))
            factor = float(config.get("rescale_factor", 1 / 255)) if config.get("do_rescale", True) else 1.0
            mean, spread = ([float(value) for value in config[name]] for name in ("image_mean", "image_std"))
            if not config.get("do_normalize", True):
                mean, spread = [0.0] * COLOURS, [1.0] * COLOURS
            if len(mean) != COLOURS or len(spread) != COLOURS or min(spread) <= 0:
                raise ValueError("mean and deviation of three colours are needed")
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise PresetError(
                f"{self.folder} does not say how its images are scaled: {file.name} is missing or damaged "
                f"({error!r}). Copy it from where the model was found"
            ) from error
        return keras_hub().layers.ImageConverter(
            image_size=tuple(self.backbone.inputs[0].shape[1:3]),
            scale=[factor / one for one in spread],
            offset=[-at / one for at, one in zip(mean, spread, strict=True)],
        )

    def reading(self, shape: tuple[int, ...]) -> keras.Model:
        """A Keras model from images of one shape, (n, height, width, channels), to vectors."""
        import keras

        layers = keras.layers
        images = input_tensor(shape)
        found = images
        if shape[-1] == 1:
            found = layers.Concatenate(dtype="float32")([found] * COLOURS)
        elif shape[-1] != COLOURS:
            raise PresetError(
                f"encoders take images with 1 or {COLOURS} channels, these have {shape[-1]}: choose channels"
            )
        outputs = self._encoder(self._converted(found))
        axes = len(outputs.shape) - 2
        if axes == 1:
            outputs = layers.GlobalAveragePooling1D(dtype="float32")(outputs)
        elif axes == 2:
            outputs = layers.GlobalAveragePooling2D(data_format="channels_last", dtype="float32")(outputs)
        return functional(images, outputs, "image_vectors")

    @property
    def _encoder(self) -> Any:
        """The backbone; one of Keras' own layers as a plain model, which loads where KerasHub is missing."""
        backbone = self.backbone
        if all(type(layer).__module__.startswith("keras.") for layer in backbone.layers):
            return functional(backbone.inputs, backbone.outputs[0], "encoder")
        return backbone

    def _converted(self, images: Any) -> Any:
        """Resized and scaled images, by stock layers where the converter has nothing of its own."""
        import keras

        converter = self._converter
        if type(converter).call is not keras_hub().layers.ImageConverter.call:
            return converter(images)
        size = converter.image_size
        if size is not None and tuple(size) != tuple(images.shape[1:3]):
            # Its own default is True, which Keras hands on to all layers behind it where a model is called
            # without that argument: batch norms would take the statistics of the batch.
            images = converter.resizing(images, training=False)
        if converter.scale is None and converter.offset is None:
            return images
        scale = 1.0 if converter.scale is None else converter.scale
        offset = 0.0 if converter.offset is None else converter.offset
        return keras.layers.Rescaling(scale, offset, dtype="float32")(images)

    def encode(
        self,
        images: np.ndarray,
        done: Callable[[np.ndarray, np.ndarray], None] = lambda index, vectors: None,
    ) -> np.ndarray:
        """Vectors of images.

        Parameters
        ----------
        images : ndarray, shape (n, height, width, channels)
            Bytes or floats, as the preset's converter expects them: mostly from 0 to 255.
        done : callable, optional
            See `kmorph.presets.encoder.Encoder`.

        Returns
        -------
        ndarray of float32, shape (n, width)
        """
        model = self._model(images.shape[1:])
        vectors = np.empty((len(images), model.output_shape[-1]), np.float32)
        for begin in range(0, len(images), BATCH):
            index = np.arange(begin, min(begin + BATCH, len(images)))
            batch = np.zeros((BATCH, *images.shape[1:]), np.float32)
            batch[: len(index)] = images[index]
            vectors[index] = np.asarray(model.predict_on_batch(batch))[: len(index)]
            done(index, vectors[index])
        return vectors

    def _model(self, shape: tuple[int, ...]) -> keras.Model:
        known: tuple[Any, Any] = self.__dict__.get("_kept", (None, None))
        if known[0] != shape:
            known = self.__dict__["_kept"] = (shape, self.reading(shape))
        return known[1]
