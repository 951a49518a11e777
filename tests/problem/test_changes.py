"""Random changes of images."""

import numpy as np
import pytest
from keras import ops

from kmorph.problem.inputs.changes import change_grids as augment


def images(n=200, size=8):
    return np.random.default_rng(0).integers(0, 255, (n, size, size, 1)).astype(np.uint8)


def changed_by(kinds, x, seed):
    """The images after random changes, on whichever backend Keras has."""
    return ops.convert_to_numpy(augment(ops.convert_to_tensor(x), kinds, np.array(seed, np.int32)))


def test_nothing_asked_nothing_changed():
    x = images()
    assert np.array_equal(changed_by((), x, [1, 2]), x)


def test_flip_mirrors_about_half_of_the_images_and_no_pixel_else():
    x = images()
    changed = changed_by(("flip",), x, [1, 2])
    mirrored = [np.array_equal(a, b[:, ::-1]) for a, b in zip(changed, x, strict=True)]
    same = [np.array_equal(a, b) for a, b in zip(changed, x, strict=True)]
    assert all(m or s for m, s in zip(mirrored, same, strict=True))
    assert 60 < sum(mirrored) < 140


def test_shift_moves_by_at_most_an_eighth_and_fills_with_the_edge():
    x = images()
    changed = changed_by(("shift",), x, [3, 4])
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    moves = set()
    for image, original in zip(changed, padded, strict=True):
        (move,) = [
            (i, j)
            for i in range(3)
            for j in range(3)
            if np.array_equal(image, original[i : i + 8, j : j + 8])
        ][:1]
        moves.add(move)
    assert len(moves) == 9


def test_erase_sets_one_rectangle_to_the_mean():
    x = images(n=400)
    changed = changed_by(("erase",), x, [5, 6])
    shares = []
    for image, original in zip(changed[..., 0], x[..., 0], strict=True):
        rows, columns = np.nonzero(image != original)
        if len(rows):
            box = image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
            assert np.all(box == int(original.mean()))
        shares.append(len(rows) / 64)
    assert max(shares) <= 0.25 and 0.03 < np.mean(shares) < 0.15


def test_jitter_moves_by_up_to_half_a_position():
    """On a plane that rises by 1 a position the values tell how far each image was moved."""
    plane = np.add.outer(10.0 * np.arange(8), np.arange(8)).astype(np.float32)[None, :, :, None]
    x = np.repeat(plane, 400, axis=0)
    moved = (changed_by(("jitter",), x, [5, 6]) - x)[:, 1:-1, 1:-1, 0]
    assert np.ptp(moved, axis=(1, 2)).max() < 1e-4
    moves = np.round(moved[:, 0, 0] * 16).astype(int)
    assert moves.min() >= -88 and moves.max() <= 88 and len(np.unique(moves)) > 100
    assert np.abs(moved.mean()) < 0.5


@pytest.mark.parametrize("kinds", [("shift",), ("flip",), ("shift", "flip", "erase"), ("jitter",)])
def test_it_depends_on_the_seed_alone_and_keeps_the_dtype(kinds):
    x = images()
    once, again = (changed_by(kinds, x, [5, 6]) for _ in range(2))
    other = changed_by(kinds, x, [5, 7])
    assert once.dtype == (np.float32 if "jitter" in kinds else np.uint8)
    assert np.array_equal(once, again) and not np.array_equal(once, other)


def test_tiny_images_survive():
    x = images(size=1)
    assert np.array_equal(changed_by(("shift", "flip", "erase", "jitter"), x, [0, 0]), x)
