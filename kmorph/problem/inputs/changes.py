"""Random changes of training examples, a whole batch at once, inside the compiled step of any backend."""

from __future__ import annotations

from typing import Any

from kmorph.problem.inputs.random_numbers import gather, integers, normal

FLIPS = {"flip": -1, "flip_height": -2, "flip_depth": -3}  # the axis of positions that each mirrors
FRACTIONS = 16  # of a position: "jitter" shifts by multiples of one
LEAST_CROP = 0.8  # share of a signal that "crop" leaves
SCALES = 0.1  # standard deviation of the factor that "scale" multiplies by
NOISE = 0.05  # standard deviation of "noise", relative to that of the example's channel


def change_grids(batch: Any, kinds: tuple[str, ...], seed: Any, mean: Any = 0.0) -> Any:
    """Change signals, images or volumes at random; the same change never depends on other examples.

    Parameters
    ----------
    batch : tensor of Keras' backend, shape (n, *positions, channels)
    kinds : tuple of str
        ``"shift"`` moves by up to an eighth of each axis (at least one position) and fills with the edge;
        ``"flip"`` mirrors the last axis of positions, left and right in an image, ``"flip_height"`` and
        ``"flip_depth"`` those before; ``"erase"`` sets a block of up to half of each axis to the example's
        mean; ``"jitter"`` shifts by up to half a position along each axis, with linear interpolation;
        ``"crop"`` stretches four fifths or more of the first axis over all of it; ``"scale"`` multiplies
        what differs from `mean` by about one, and ``"noise"`` adds random numbers. The result of the last
        three, and of ``"jitter"``, is float32.
    seed : array of int32, shape (2,)
        Seed of stateless random numbers: a tensor in a compiled step, an ndarray for PyTorch. The numbers
        differ between backends.
    mean : array-like, shape (channels,), default=0
        Of the channels.

    Returns
    -------
    tensor, shape (n, *positions, channels)

    References
    ----------
    Erasing: DeVries and Taylor, "Improved Regularization of CNNs with Cutout", 2017; Zhong et al., "Random
    Erasing Data Augmentation", AAAI 2020. Signals: Um et al., "Data Augmentation of Wearable Sensor Data for
    Parkinson's Disease Monitoring using Convolutional Neural Networks", ICMI 2017.
    """
    if not kinds:
        return batch
    from keras import ops

    batch = _moved(batch, kinds, seed)
    if "jitter" in kinds:
        batch = _jittered(batch, seed)
    if "erase" in kinds:
        batch = _erased(batch, seed)
    if "scale" in kinds or "noise" in kinds:
        batch = ops.cast(batch, "float32")
        shape = ops.shape(batch)
        if "scale" in kinds:
            factor = 1 + SCALES * normal(
                (shape[0], *[1] * (len(batch.shape) - 2), batch.shape[-1]), seed + 22
            )
            batch = mean + (batch - mean) * factor
        if "noise" in kinds:
            # Per example: signals may differ in scale by orders of magnitude.
            deviation = ops.std(batch, axis=tuple(range(1, len(batch.shape) - 1)), keepdims=True)
            batch += NOISE * deviation * normal(shape, seed + 23)
    return batch


def _moved(batch: Any, kinds: tuple[str, ...], seed: Any) -> Any:
    """Values from other places: mirrored, shifted, stretched."""
    from keras import ops

    places = _places(batch)
    sizes, unmoved = batch.shape[1:-1], list(places)
    for number, (kind, axis) in enumerate(FLIPS.items()):
        if kind in kinds:
            chosen = integers(ops.shape(batch)[0], 0, 2, seed + 16 * number) == 1
            places[axis] = ops.where(chosen, ops.flip(places[axis], axis=1), places[axis])
    if "crop" in kinds:
        places[0] = _stretched(places[0], sizes[0], seed)
    if "shift" in kinds:
        for axis, size in enumerate(sizes):
            most = max(1, size // 8) if size > 2 else 0
            places[axis] += integers(ops.shape(batch)[0], -most, most + 1, seed + 1 + axis + 4 * (axis == 2))
    if all(now is before for now, before in zip(places, unmoved, strict=True)):
        return batch
    return gather(batch, *(ops.clip(place, 0, size - 1) for place, size in zip(places, sizes, strict=True)))


def _places(batch: Any) -> list[Any]:
    """For each axis of positions the places as they are, shape (n, size)."""
    from keras import ops

    n = ops.shape(batch)[0]
    # Without a dtype Keras takes whole numbers as wide as its global `floatx`.
    return [ops.tile(ops.arange(size, dtype="int32")[None], (n, 1)) for size in batch.shape[1:-1]]


def _stretched(places: Any, size: int, seed: Any) -> Any:
    """Places of a part of an axis, as many as the whole has."""
    from keras import ops

    n, least = ops.shape(places)[0], max(1, int(LEAST_CROP * size))
    length = integers(n, least, size + 1, seed + 20)
    begin = integers(n, 0, size, seed + 21) * (size - length + 1) // size
    return begin + places * length // size


def _jittered(batch: Any, seed: Any) -> Any:
    from keras import ops

    batch, unmoved, n = ops.cast(batch, "float32"), _places(batch), ops.shape(batch)[0]
    for axis, size in enumerate(batch.shape[1:-1]):
        fraction = integers(n, -FRACTIONS // 2, FRACTIONS // 2 + 1, seed + 5 + axis)
        places = list(unmoved)
        places[axis] = ops.clip(unmoved[axis] + ops.sign(fraction), 0, size - 1)
        share = ops.reshape(ops.cast(ops.abs(fraction), "float32"), (-1, *[1] * (len(batch.shape) - 1)))
        batch = (1 - share / FRACTIONS) * batch + share / FRACTIONS * gather(batch, *places)
    return batch


def _erased(batch: Any, seed: Any) -> Any:
    from keras import ops

    rank, inside = len(batch.shape) - 2, None
    for axis, size in enumerate(batch.shape[1:-1]):
        shape = (-1, *[size if i == axis else 1 for i in range(rank)], 1)
        along = ops.reshape(_interval(ops.shape(batch)[0], size, seed + 3 + axis), shape)
        inside = along if inside is None else inside & along
    mean = ops.mean(ops.cast(batch, "float32"), axis=tuple(range(1, rank + 2)), keepdims=True)
    return ops.where(inside, ops.cast(mean, batch.dtype), batch)


def _interval(n: Any, size: int, seed: Any) -> Any:
    """For each example which positions lie in a random interval of up to half of them, shape (n, size)."""
    from keras import ops

    length = integers(n, 0, size // 2 + 1, seed)
    # A centre anywhere: near the edge the interval is cut, so that every position is met equally often.
    begin = integers(n, 0, size, seed + 8) - length // 2
    position = ops.arange(size, dtype="int32")[None]
    return (position >= begin) & (position < begin + length)
