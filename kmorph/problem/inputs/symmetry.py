"""Which changes of an image keep its target."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from kmorph.problem.targets.base import Target

EXAMPLES = 2000
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
    kind : {"shift", "flip", "erase", "jitter"}
    x : ndarray, shape (n, height, width, channels)
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
    step = [max(1, size // 16) for size in x.shape[1:3]]
    some = np.asarray(x[chosen][:, :: step[0], :: step[1]], np.float64)
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


def _changed(kind: str, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The images after one change of each, as large as training makes them."""
    n, height, width = images.shape[:3]
    if kind == "flip":
        return images[:, :, ::-1]
    if kind == "jitter":
        for axis in (1, 2):
            part = rng.uniform(-0.5, 0.5, n)
            places = np.arange(images.shape[axis]) + np.sign(part).astype(int)[:, None]
            places = np.clip(places, 0, images.shape[axis] - 1)
            beside = np.take_along_axis(images, np.expand_dims(places, (3 - axis, 3)), axis)
            share = np.abs(part)[:, None, None, None]
            images = (1 - share) * images + share * beside
        return images
    if kind == "shift":
        rows = np.arange(height) + rng.integers(-max(1, height // 8), max(1, height // 8) + 1, (n, 1))
        columns = np.arange(width) + rng.integers(-max(1, width // 8), max(1, width // 8) + 1, (n, 1))
        rows, columns = np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)
        return images[np.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]
    changed = images.copy()
    for image in changed:
        top, left = rng.integers(0, height), rng.integers(0, width)
        tall, wide = rng.integers(0, height // 2 + 1), rng.integers(0, width // 2 + 1)
        image[top : top + tall, left : left + wide] = image.mean()
    return changed


def _nearest(known: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Index of the nearest known image of each, by Euclidean distance.

    NumPy's products also work in a forked process; scikit-learn waits there for OpenMP's threads, which exist
    in the parent alone.
    """
    known, asked = known.reshape(len(known), -1), asked.reshape(len(asked), -1)
    return np.argmin((known**2).sum(axis=1) - 2 * asked @ known.T, axis=1)
