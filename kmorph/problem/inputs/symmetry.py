"""Which changes of examples keep their target."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kmorph.problem.inputs.changes import FLIPS, LEAST_CROP, NOISE, SCALES

if TYPE_CHECKING:
    from kmorph.problem.targets.base import Target

EXAMPLES = 2000
MOST_POSITIONS = {1: 256, 2: 16, 3: 8}  # about, along each axis, that are looked at
KEPT = 0.65  # share of what is right on plain images that must be right on changed ones, for labels
# Numbers: most squared error on changed images, as a multiple of that on plain ones, and beside the variance
# of the target; and the most on plain ones, above which nothing can be judged.
LARGER_ERROR, SMALL_ERROR, MOST_ERROR = 1.25, 0.01, 0.9
SMALL_LINEAR_ERROR = 0.03  # replaces SMALL_ERROR for the linear model, whose plain error can be almost zero
COPIES = 4  # jittered copies of each known image that are added to the neighbours
RIDGE = 0.03  # penalty of the linear model, relative to the mean squared norm of the images


def keeps_target(kind: str, x: np.ndarray, codes: np.ndarray, target: Target) -> bool:
    """Return whether a random change of images preserves their targets, judged by simple models.

    Nearest neighbours among half of the images predict the other half, plain and changed. Digits and letters
    are told apart worse when mirrored; clothes, animals and textures are not. Numbers are predicted by a
    ridge regression too, and the more accurate model decides: a position moves with the image, and a sum of
    pixels falls when some are erased. ``"jitter"`` also blurs, which misleads neighbours: they are tested on
    plain images instead, with jittered copies among the known ones.

    Parameters
    ----------
    kind : str
        Of a change; see `kmorph.problem.inputs.changes.change_grids`.
    x : ndarray, shape (n, *positions, channels)
    codes : ndarray of shape (n,) or (n, outputs)
        Class numbers, rows of zeros and ones, or standardised numbers.
    target : Target
        What the codes belong to.

    Returns
    -------
    bool
    """
    rng = np.random.default_rng(0)
    chosen = np.sort(rng.permutation(len(x))[:EXAMPLES])
    some = _coarse(x[chosen])
    half = len(some) // 2
    if half < 10:
        return False
    mixed = rng.permutation(len(some))  # users' data is often sorted by class
    some, truth = some[mixed], codes[chosen][mixed]
    known, asked = some[:half], some[half:]
    if target.is_numeric:
        return _keeps_numbers(kind, known, asked, truth[:half], truth[half:], rng)
    plain, changed = (
        (truth[:half][_nearest(known, images)], truth[half:])
        for images in (asked, _changed(kind, asked, rng))
    )
    if truth.ndim == 1:
        right = [np.mean(found == true) for found, true in (plain, changed)]
        commonest = np.bincount(truth).max() / len(truth)
        return bool(right[0] > commonest and right[1] >= KEPT * right[0])
    variance = max(float(truth.var(axis=0).mean()), 1e-12)
    errors = [float(np.mean((found - true) ** 2)) / variance for found, true in (plain, changed)]
    return errors[0] <= MOST_ERROR and 1 - errors[1] >= KEPT * (1 - errors[0])


def helps_neighbours(kind: str, x: np.ndarray, codes: np.ndarray) -> bool:
    """Return whether nearest neighbours classify better with changed copies among the known examples.

    Each example is asked for without itself and its copies. `keeps_target` would not do for signals: one that
    is shifted lies far from its like for a neighbour, though it may mean the same to a network. Nor would it
    be enough that neighbours do as well: networks got worse by changes that left those indifferent.

    Parameters
    ----------
    kind : str
    x : ndarray, shape (n, *positions, channels)
    codes : ndarray of int, shape (n,)
    """
    rng = np.random.default_rng(0)
    chosen = np.sort(rng.permutation(len(x))[:EXAMPLES])
    some, truth = _coarse(x[chosen]), codes[chosen]
    n = len(some)
    if n < 10:
        return False
    library = np.concatenate([some, *(_changed(kind, some, rng) for _ in range(COPIES))])
    distances = _distances(library, some)
    distances[np.arange(n)[:, None], np.arange(n)[:, None] + n * np.arange(COPIES + 1)] = np.inf
    right = [
        float(np.mean(truth[np.argmin(distances[:, :known], axis=1) % n] == truth))
        for known in (n, len(library))
    ]
    return right[1] > right[0]


def _coarse(x: np.ndarray) -> np.ndarray:
    """Every so many positions of examples, as numbers."""
    most = MOST_POSITIONS[x.ndim - 2]
    every = tuple(slice(None, None, max(1, size // most)) for size in x.shape[1:-1])
    return np.asarray(x[(slice(None),) + every], np.float64)


def _keeps_numbers(
    kind: str,
    known: np.ndarray,
    asked: np.ndarray,
    truth: np.ndarray,
    wanted: np.ndarray,
    rng: np.random.Generator,
) -> bool:
    """Return whether every output survives the change; the more accurate model decides for each."""
    changed = _changed(kind, asked, rng)

    def errors(found: np.ndarray) -> np.ndarray:
        return np.mean((found - wanted) ** 2, axis=0) / np.maximum(wanted.var(axis=0), 1e-12)

    near, linear = truth[_nearest(known, asked)], _linear(known, truth, (asked, changed))
    plain = np.stack([errors(near), errors(linear[0])])
    if kind == "jitter":
        library = np.concatenate([known, *(_changed(kind, known, rng) for _ in range(COPIES))])
        near = np.tile(truth, (COPIES + 1, 1))[_nearest(library, asked)]
    else:
        near = truth[_nearest(known, changed)]
    bounds = LARGER_ERROR * plain + np.array([[SMALL_ERROR], [SMALL_LINEAR_ERROR]])
    kept = np.where(plain[0] < plain[1], errors(near) <= bounds[0], errors(linear[1]) <= bounds[1])
    return bool(kept.all() and plain.min(axis=0).max() <= MOST_ERROR)


def _linear(known: np.ndarray, truth: np.ndarray, asked: tuple[np.ndarray, ...]) -> list[np.ndarray]:
    """Predict by ridge regression, in the dual form because there may be more pixels than images."""
    known = known.reshape(len(known), -1)
    centre, mean = known.mean(axis=0), truth.mean(axis=0)
    known = known - centre
    products = known @ known.T
    products[np.diag_indices_from(products)] += RIDGE * max(np.trace(products) / len(known), 1e-12)
    weights = known.T @ np.linalg.solve(products, truth - mean)
    return [(images.reshape(len(images), -1) - centre) @ weights + mean for images in asked]


def _changed(kind: str, examples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The examples after one change of each, as large as training makes them."""
    n, sizes = len(examples), examples.shape[1:-1]
    ones = (1,) * len(sizes)
    if kind in FLIPS:
        return np.flip(examples, FLIPS[kind] - 1)
    if kind == "jitter":
        for axis, size in enumerate(sizes):
            part = rng.uniform(-0.5, 0.5, n)
            beside = _taken(examples, axis, np.arange(size) + np.sign(part).astype(int)[:, None])
            share = np.abs(part).reshape(n, *ones, 1)
            examples = (1 - share) * examples + share * beside
        return examples
    if kind == "shift":
        for axis, size in enumerate(sizes):
            most = max(1, size // 8)
            examples = _taken(examples, axis, np.arange(size) + rng.integers(-most, most + 1, (n, 1)))
        return examples
    if kind == "crop":
        size = sizes[0]
        length = rng.integers(max(1, int(LEAST_CROP * size)), size + 1, (n, 1))
        begin = rng.integers(0, size - length + 1)
        return _taken(examples, 0, begin + np.arange(size) * length // size)
    if kind == "scale":
        return examples * (1 + SCALES * rng.standard_normal((n, *ones, examples.shape[-1])))
    if kind == "noise":
        deviation = examples.std(axis=tuple(range(1, examples.ndim - 1)), keepdims=True)
        return examples + NOISE * deviation * rng.standard_normal(examples.shape)
    changed = examples.copy()
    for example in changed:
        begins = [rng.integers(0, size) for size in sizes]
        block = tuple(
            slice(begin, begin + rng.integers(0, size // 2 + 1))
            for begin, size in zip(begins, sizes, strict=True)
        )
        example[block] = example.mean()
    return changed


def _taken(examples: np.ndarray, axis: int, places: np.ndarray) -> np.ndarray:
    """Values at other places along an axis of positions, shape (n, size); beyond the edge it is repeated."""
    places = np.clip(places, 0, examples.shape[axis + 1] - 1)
    others = [other for other in range(1, examples.ndim) if other != axis + 1]
    return np.take_along_axis(examples, np.expand_dims(places, tuple(others)), axis + 1)


def _nearest(known: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Index of the nearest known example of each, by Euclidean distance."""
    return np.argmin(_distances(known, asked), axis=1)


def _distances(known: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Squared distances less the square of what is asked for, shape (asked, known).

    NumPy's products also work in a forked process; scikit-learn waits there for OpenMP's threads, which exist
    in the parent alone.
    """
    known, asked = known.reshape(len(known), -1), asked.reshape(len(asked), -1)
    return (known**2).sum(axis=1) - 2 * asked @ known.T
