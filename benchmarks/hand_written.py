"""A hand-written network for Fashion-MNIST, trained until a given second: the control of a benchmark.

It is what somebody careful writes who knows the data and the clock: a strided stem, residual blocks, bytes as
input until the last moment, augmentation of whole batches inside the compiled step, momentum fused, one cycle
of the learning rate by the clock, all training images. It uses nothing of kmorph but the data.
"""

from __future__ import annotations

import time

import numpy as np

PEAK = 0.2
BATCH = 128
WARM_UP = 0.15  # share of the time in which the learning rate rises
MARGIN = 1.0  # seconds kept for the end
# From how many seconds on: (width, residual blocks per stage, whether images are shifted and mirrored).
SIZES = ((0, (32, 1, False)), (240, (32, 2, False)), (600, (48, 2, True)), (1800, (64, 3, True)))


def network(width: int, blocks: int):
    """Two stages at 14×14 and 7×7."""
    import keras
    from keras import layers

    def conv(x, filters, kernel=3, stride=1):
        x = layers.Conv2D(
            filters, kernel, stride, padding="same", use_bias=False, kernel_initializer="he_normal"
        )(x)
        return layers.BatchNormalization(momentum=0.9)(x)

    inputs = keras.Input((28, 28, 1))
    x = layers.Activation("relu")(conv(layers.Rescaling(1 / 90, -0.8)(inputs), width, 4, 2))
    for stage in range(2):
        filters = width * 2**stage
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            branch = conv(layers.Activation("relu")(conv(x, filters, stride=stride)), filters)
            x = layers.Activation("relu")(branch + (conv(x, filters, 1, 2) if stride == 2 else x))
    return keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


def compiled_step(model, augmented: bool):
    """A function (x, y, learning rate, shift, flip) that takes one step on a batch of bytes.

    ``shift`` (n, 2) and ``flip`` (n,) say how each image is moved and whether it is mirrored.
    """
    import tensorflow as tf

    weights = [variable.value for variable in model.trainable_variables]
    slots = [tf.Variable(tf.zeros_like(w), trainable=False) for w in weights]

    @tf.function
    def step(x, y, rate, shift, flip):
        if augmented:
            rows = tf.clip_by_value(tf.range(28)[None] + shift[:, :1], 0, 27)
            columns = tf.where(flip[:, None], tf.range(27, -1, -1)[None], tf.range(28)[None])
            columns = tf.clip_by_value(columns + shift[:, 1:], 0, 27)
            x = tf.gather(tf.gather(x, rows, axis=1, batch_dims=1), columns, axis=2, batch_dims=1)
        with tf.GradientTape() as tape:
            logits = model(tf.cast(x, tf.float32), training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits))
        for w, slot, g in zip(weights, slots, tape.gradient(loss, weights), strict=True):
            g = g + 5e-4 * w if len(w.shape) > 1 else g
            tf.raw_ops.ResourceApplyKerasMomentum(
                var=w.handle, accum=slot.handle, lr=rate, grad=g, momentum=0.9, use_nesterov=True
            )

    return step


def accuracy_after(seconds: float, seed: int, train, test, begun: float) -> dict:
    """Train on all images until `seconds` after `begun`, then judge once."""
    import keras

    keras.utils.set_random_seed(seed)
    width, blocks, augmented = next(size for least, size in reversed(SIZES) if seconds >= least)
    model = network(width, blocks)
    step = compiled_step(model, augmented)

    (x, y), (x_test, y_test) = train, test
    y = y.astype(np.int32)
    rng = np.random.default_rng(seed)
    images, order, first = 0, np.empty(0, np.int64), None
    while True:
        now = time.time()
        first = first or now
        progress = (now - first) / (begun + seconds - MARGIN - first)
        if progress >= 1:
            break
        if len(order) < BATCH:
            order = np.concatenate([order, rng.permutation(len(x))])
        index, order = np.sort(order[:BATCH]), order[BATCH:]
        rate = PEAK * min(progress / WARM_UP, (1 - progress) / (1 - WARM_UP))
        shift = rng.integers(-2, 3, (BATCH, 2), dtype=np.int32)
        step(x[index], y[index], np.float32(rate), shift, rng.random(BATCH) < 0.5)
        images += BATCH
    ended = time.time() - begun
    logits = model.predict(x_test, batch_size=500, verbose=0)
    return {
        "test_accuracy": float(np.mean(logits.argmax(axis=1) == y_test)),
        "seconds": ended,
        "epochs": images / len(x),
        "n_parameters": model.count_params(),
    }
