"""Ways to widen all layers of a chain at once, without changing what it computes."""

from __future__ import annotations

import numpy as np

DRAWN = 2  # filters drawn for each new one, by gradients
BATCHES, BATCH = 4, 256  # that gradients are measured on


def by_gradients(graph, target, data, seed: int):
    """Of twice as many random filters those whose outgoing weights, zero, have the steepest gradient."""
    from kmorph.morphs import Widen

    wide = graph
    for i, (old, new) in enumerate(zip(graph.layers, target.layers, strict=True)):
        if old.width() != new.width():
            wide = Widen(layer=i, to=old.width() + DRAWN * (new.width() - old.width())).apply(wide, seed + i)
    slopes = _gradients(wide, data, seed)
    weights, kept, read = {}, np.arange(1), np.arange(1)  # channels that are kept: of a node, of the input
    for i, (old, new) in enumerate(zip(graph.layers, target.layers, strict=True)):
        width = old.width()
        if width is not None:
            read, kept = kept, np.arange(width)
            if width != new.width():
                kept = np.append(kept, width + _steepest(slopes, i, graph, new.width() - width))
        for name in wide.parameters(i):
            array = wide.weights[i, name]
            if array.ndim > 1 and len(read) > 1:
                array = array[..., read, :]
            weights[i, name] = array[..., kept] if array.shape[-1] > len(kept) else array
    return target.with_weights(weights)


def _steepest(slopes: dict, layer: int, graph, number: int) -> np.ndarray:
    """Numbers of new filters, counted from the first new one."""
    reader = next(i for i in range(layer + 1, len(graph.layers)) if graph.layers[i].width() is not None)
    rows = slopes[reader][..., graph.layers[layer].width() :, : graph.layers[reader].width()]
    steepness = np.sqrt((rows**2).sum(axis=tuple(range(rows.ndim - 2)) + (-1,)))
    return np.sort(np.argsort(-steepness)[:number])


def _gradients(graph, data, seed: int) -> dict[int, np.ndarray]:
    """Gradient of the mean loss in each kernel."""
    import keras
    import tensorflow as tf

    from kmorph.graph.keras_bridge import layer_name

    model = graph.to_keras()
    kernels = {
        i: model.get_layer(layer_name(graph, i)).kernel.value
        for i, layer in enumerate(graph.layers)
        if layer.width() is not None
    }
    total = {i: 0.0 for i in kernels}
    for chosen in (
        np.random.default_rng(seed).permutation(len(data.x))[: BATCHES * BATCH].reshape(BATCHES, -1)
    ):
        with tf.GradientTape() as tape:
            outputs = model(data.x[chosen].astype(np.float32), training=True)
            losses = keras.losses.sparse_categorical_crossentropy(data.y[chosen], outputs, from_logits=True)
            loss = tf.reduce_mean(losses)
        for i, found in zip(kernels, tape.gradient(loss, list(kernels.values())), strict=True):
            total[i] = total[i] + found.numpy()
    return total


def _by_widen(how: str):
    """Every layer as wide as in the target, by `Widen`."""

    def grow(graph, target, data, seed: int):
        from kmorph.morphs import Widen

        for i, (layer, wide) in enumerate(zip(graph.layers, target.layers, strict=True)):
            if layer.width() != wide.width():
                graph = Widen(layer=i, to=wide.width(), how=how).apply(graph, seed + i)
        assert graph == target
        return graph

    return grow


def by_opposites(graph, target, data, seed: int):
    """New filters V, V, read with random weights Z and −Z by old filters and by new ones."""
    wide, rng = WAYS["zeros"](graph, target, data, seed), np.random.default_rng(seed)
    weights = {key: array.copy() for key, array in wide.weights.items()}
    read = 0  # old channels of the layer's input, of which there are new ones; 0: it did not grow
    for i, (old, new) in enumerate(zip(graph.layers, wide.layers, strict=True)):
        if new.width() is None:
            continue
        kernel, width = weights[i, "kernel"], old.width()
        if read:
            half = (kernel.shape[-2] - read) // 2
            rows = kernel[..., read : read + half, :]
            rows[:] = rng.normal(0, np.sqrt(2 / np.prod(kernel.shape[:-1])), rows.shape)
            kernel[..., read + half :, :] = -rows
        read = 0 if new.width() == width else width
        if read:
            half = (new.width() - width) // 2
            kernel[..., width + half :] = kernel[..., width : width + half]
    return wide.with_weights(weights)


WAYS = {how: _by_widen(how) for how in ("zeros", "repeats")} | {
    "gradients": by_gradients,
    "opposites": by_opposites,
}
