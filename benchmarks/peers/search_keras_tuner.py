"""KerasTuner's Hyperband until a given second, in an environment of its own (`keras_tuner.txt`).

It searches a small space of residual networks: width, depth, dropout, mirroring, learning rate. One pass of
Hyperband takes about R·log₃(R)² epochs of R at most for one model; R grows with the seconds, and passes are
repeated until the limit.
"""

from __future__ import annotations

import keras
import keras_tuner
import numpy as np
import recorder
from keras import layers

BATCH = 128
VALIDATION = 0.1
# From how many seconds on: the most epochs of one model.
MAX_EPOCHS = ((0, 3), (240, 6), (600, 9), (1800, 27))


def build(hp: keras_tuner.HyperParameters) -> keras.Model:
    """A residual network of three stages at 14×14, 7×7 and 4×4."""
    width = hp.Choice("width", [16, 32, 64])
    blocks = hp.Int("blocks", 1, 3)
    inputs = keras.Input((28, 28, 1))
    x = layers.RandomFlip("horizontal")(inputs) if hp.Boolean("mirror") else inputs
    x = layers.Rescaling(1 / 127.5, -1)(x)
    x = layers.Activation("relu")(normalised_conv(x, width, stride=2))
    for stage in range(3):
        filters = width * 2**stage
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            branch = layers.Activation("relu")(normalised_conv(x, filters, stride=stride))
            branch = normalised_conv(branch, filters)
            if x.shape[-1] != filters:
                x = normalised_conv(x, filters, kernel=1, stride=stride)
            x = layers.Activation("relu")(layers.add([x, branch]))
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(hp.Float("dropout", 0.0, 0.5, step=0.1))(x)
    model = keras.Model(inputs, layers.Dense(10)(x))
    model.compile(
        keras.optimizers.Adam(hp.Float("learning_rate", 3e-4, 1e-2, sampling="log")),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def normalised_conv(x: keras.KerasTensor, filters: int, kernel: int = 3, stride: int = 1):
    x = layers.Conv2D(filters, kernel, stride, padding="same", use_bias=False)(x)
    return layers.BatchNormalization(momentum=0.9)(x)


def search(
    x: np.ndarray, y: np.ndarray, *, seed: int, seconds: float, folder: str, callback: recorder.BestSoFar
) -> None:
    tuner = keras_tuner.Hyperband(
        build,
        objective="val_accuracy",
        max_epochs=next(epochs for least, epochs in reversed(MAX_EPOCHS) if seconds >= least),
        factor=3,
        hyperband_iterations=1000,
        seed=seed,
        directory=folder,
        overwrite=True,
    )
    tuner.search(x, y, batch_size=BATCH, validation_split=VALIDATION, callbacks=[callback], verbose=2)


if __name__ == "__main__":
    recorder.main(search, __doc__, ("keras-tuner", "keras", "tensorflow", "numpy"))
