"""Pictures of all kinds are read alike, resized so that boxes can be followed, and drawn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmorph.errors import DataError

Image = pytest.importorskip("PIL.Image")

from kmorph.pretrained.detection.examples import change_picture, inside  # noqa: E402
from kmorph.pretrained.detection.pictures import (  # noqa: E402
    FILL,
    draw_boxes,
    fit_picture,
    is_single,
    read_picture,
)

PICTURE = np.arange(4 * 6 * 3, dtype="uint8").reshape(4, 6, 3) * 3


@pytest.mark.parametrize(
    "given_picture",
    [
        PICTURE,
        PICTURE.astype("int64"),
        PICTURE.astype("float32"),
        PICTURE / 255.0,
        (PICTURE / 255.0).astype("float16"),
        PICTURE.astype("uint16") * 257,
        PICTURE.tolist(),
        np.concatenate([PICTURE, np.full((4, 6, 1), 255, "uint8")], axis=-1),
        Image.fromarray(PICTURE),
    ],
)
def test_kinds_of_arrays(given_picture):
    read = read_picture(given_picture)
    assert read.dtype == "uint8"
    np.testing.assert_allclose(read.astype(int), PICTURE.astype(int), atol=1)


def test_grey_pictures():
    grey = PICTURE[..., 0]
    for one in (grey, grey[..., None], Image.fromarray(grey)):
        np.testing.assert_array_equal(read_picture(one), np.repeat(grey[..., None], 3, axis=-1))
    np.testing.assert_array_equal(read_picture(grey > 99)[..., 0], (grey > 99) * 255)


def test_what_is_transparent_is_white():
    clear = np.zeros((2, 2, 4), "uint8")
    clear[0, 0, 3] = 255
    assert read_picture(clear)[..., 0].tolist() == [[0, 255], [255, 255]]
    assert read_picture(Image.fromarray(clear))[..., 0].tolist() == [[0, 255], [255, 255]]


def test_files(tmp_path):
    file = tmp_path / "one.png"
    Image.fromarray(PICTURE).save(file)
    for path in (file, str(file), bytes(file)):
        np.testing.assert_array_equal(read_picture(path), PICTURE)
    Image.fromarray(PICTURE[..., 0].astype("uint16") * 257).save(file)
    np.testing.assert_array_equal(read_picture(file)[..., 1], PICTURE[..., 0])


def test_pictures_are_turned_as_their_camera_says(tmp_path):
    file, exif = tmp_path / "turned.png", Image.Exif()
    exif[0x0112] = 6  # to be shown a quarter turn clockwise
    Image.fromarray(PICTURE).save(file, exif=exif)
    np.testing.assert_array_equal(read_picture(file), np.rot90(PICTURE, -1))


def test_one_or_several():
    for one in ("a.png", b"a.png", PICTURE, PICTURE[..., 0], Image.fromarray(PICTURE)):
        assert is_single(one)
    for several in (["a.png"], (PICTURE,), PICTURE[None], []):
        assert not is_single(several)
    with pytest.raises(DataError, match=r"\(10, 28, 28\)"):
        is_single(np.zeros((10, 28, 28)))
    with pytest.raises(DataError, match="got int"):
        is_single(3)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("nowhere.png", "there is no file"),
        (".", "is a folder"),
        ("", "empty"),
        (3, "no picture"),
        (None, "no picture"),
        (np.zeros((2, 2, 5)), r"\(2, 2, 5\)"),
        (np.zeros((3, 8, 8)), "channels come last"),
        (np.zeros((0, 8, 3)), "at least one pixel"),
        (np.zeros(5), "no picture"),
        (np.full((2, 2, 3), np.nan), "NaN"),
        (np.full((2, 2, 3), -1.0), "undo its normalisation"),
        (np.full((2, 2, 3), 256), "256"),
        (np.full((2, 2, 3), "a"), "no picture"),
        ([[[1, 2, 3]], [[1, 2]]], "no"),
    ],
)
def test_what_is_no_picture(bad, said):
    with pytest.raises(DataError, match=said):
        read_picture(bad)


def test_damaged_files(tmp_path):
    whole, half, text = tmp_path / "whole.png", tmp_path / "half.png", tmp_path / "text.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3)).astype("uint8")).save(whole)
    half.write_bytes(whole.read_bytes()[:2000])
    text.write_text("dear")
    for file in (half, text):
        with pytest.raises(DataError, match="no picture that Pillow can read"):
            read_picture(file)


@given(st.integers(1, 90), st.integers(1, 90), st.booleans(), st.sampled_from([(32, 32), (64, 32), (32, 96)]))
def test_boxes_follow_their_picture(height, width, keep_ratio, size):
    fitted, frame = fit_picture(np.full((height, width, 3), 200, "uint8"), size, keep_ratio)
    assert fitted.shape == (*size, 3)
    whole = np.array([[0.0, 0, width, height], [width / 4, 0, width / 2, height / 3]])
    placed = frame.to_input(whole)
    np.testing.assert_allclose(frame.to_picture(placed), whole, atol=1e-9)
    # The picture's own box is where its pixels are.
    rows, columns = np.nonzero(fitted[..., 0] == 200)
    corners = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    np.testing.assert_allclose(placed[0], corners, atol=1e-9)
    if not keep_ratio:
        assert (fitted == 200).all()
    elif height == width:
        assert (np.array(corners[2:]) - corners[:2]).tolist() == [min(size)] * 2
    assert np.isin(fitted, (200, FILL)).all()


def block(size, box):
    """A dark picture with a light box."""
    picture = np.zeros((*size, 3), "uint8")
    x0, y0, x1, y1 = box
    picture[y0:y1, x0:x1] = 255
    return picture


@given(st.integers(0, 2**32 - 1))
def test_boxes_follow_random_changes(seed):
    box = np.array([20, 24, 44, 40])
    changed, boxes, left = change_picture(
        block((64, 64), box), box[None].astype(float), np.random.default_rng(seed)
    )
    assert changed.shape == (64, 64, 3) and left.tolist() in ([], [0])
    if len(left):
        rows, columns = np.nonzero(changed[..., 0] > 190)
        seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        np.testing.assert_allclose(boxes[0], seen, atol=1.5)


def test_boxes_outside_of_their_picture():
    inside_of = inside(np.array([[-0.5, 0, 10.5, 10]]), (10, 10), "boxes[3]")
    assert inside_of.tolist() == [[0, 0, 10, 10]]
    with pytest.raises(DataError, match=r"boxes\[3\]\[0\].*width 20 and height 10"):
        inside(np.array([[0.0, 0, 10, 20]]), (10, 20), "boxes[3]")


def test_drawing(tmp_path):
    dark = np.zeros((60, 80, 3), "uint8")
    found = [
        {"label": "cat", "score": 0.9, "box": (10.0, 20.0, 50.0, 50.0)},
        {"label": "Katze ☃ 猫", "score": 0.6, "box": (0.0, 0.0, 80.0, 60.0)},
        {"label": 7, "score": 0.5, "box": (79.0, 59.0, 80.0, 60.0)},
    ]
    file = draw_boxes(dark, found, tmp_path / "drawn.png")
    drawn = read_picture(file)
    assert drawn.shape == dark.shape and not dark.any()
    assert drawn[50, 30].any() and drawn[35, 10].any()  # edges of the first box
    assert not drawn[40, 30].any()  # its inside
    assert draw_boxes(dark, [], tmp_path / "none.jpg").exists()
    for bad in (tmp_path / "no" / "folder.png", tmp_path / "no.ending", tmp_path / "a.txt"):
        with pytest.raises(DataError, match="cannot be written"):
            draw_boxes(dark, found, bad)
