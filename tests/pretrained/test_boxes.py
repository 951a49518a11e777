"""Boxes keep their place through all conversions, and overlap as much as their pixels do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kmorph.pretrained.detection.boxes import (
    FORMATS,
    areas,
    clip_boxes,
    convert_boxes,
    intersections,
    overlaps,
    suppress_overlaps,
)

SIZE = 40, 60  # height, width
EXAMPLE = np.array([[3.0, 4.0, 9.0, 24.0]])  # 6 wide, 20 high


def boxes(least=0, most=8, whole=False):
    """Arrays of boxes that are not empty."""
    number = st.integers(0, 30) if whole else st.floats(-20, 80, allow_nan=False, width=32)
    extent = st.integers(1, 20) if whole else st.floats(0.5, 40, width=32)
    one = st.tuples(number, number, extent, extent).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))
    return st.lists(one, min_size=least, max_size=most).map(lambda rows: np.array(rows, float).reshape(-1, 4))


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("xyxy", [3, 4, 9, 24]),
        ("yxyx", [4, 3, 24, 9]),
        ("xywh", [3, 4, 6, 20]),
        ("center_xywh", [6, 14, 6, 20]),
        ("center_yxhw", [14, 6, 20, 6]),
        ("rel_xyxy", [3 / 60, 4 / 40, 9 / 60, 24 / 40]),
        ("rel_yxyx", [4 / 40, 3 / 60, 24 / 40, 9 / 60]),
        ("rel_center_xywh", [6 / 60, 14 / 40, 6 / 60, 20 / 40]),
    ],
)
def test_a_box_in_each_format(target, expected):
    np.testing.assert_allclose(convert_boxes(EXAMPLE, "xyxy", target, SIZE), [expected])


@given(boxes(), st.sampled_from(FORMATS), st.sampled_from(FORMATS))
def test_conversions_can_be_undone(given_boxes, source, target):
    there = convert_boxes(convert_boxes(given_boxes, "xyxy", source, SIZE), source, target, SIZE)
    np.testing.assert_allclose(convert_boxes(there, target, "xyxy", SIZE), given_boxes, atol=1e-6)


def test_conversions_agree_with_keras():
    pytest.importorskip("keras")
    from kmorph.training.backend import load_backend

    load_backend()
    import keras

    for target in ("yxyx", "xywh", "center_xywh", "rel_xyxy", "rel_yxyx"):
        theirs = keras.utils.bounding_boxes.convert_format(
            EXAMPLE.astype("float32"), source="xyxy", target=target, height=SIZE[0], width=SIZE[1]
        )
        ours = convert_boxes(EXAMPLE, "xyxy", target, SIZE)
        np.testing.assert_allclose(ours, keras.ops.convert_to_numpy(theirs), atol=1e-6)


def test_relative_boxes_need_a_size():
    with pytest.raises(ValueError, match="size"):
        convert_boxes(EXAMPLE, "xyxy", "rel_xyxy")


@given(boxes())
def test_clipped_boxes_are_inside(given_boxes):
    clipped = clip_boxes(given_boxes, SIZE)
    assert (clipped >= 0).all() and (clipped[:, 2:] <= (60, 40)).all()
    assert (areas(clipped) <= areas(given_boxes) + 1e-6).all()
    np.testing.assert_array_equal(clip_boxes(clipped, SIZE), clipped)


def painted(box):
    canvas = np.zeros((60, 60), bool)
    x0, y0, x1, y1 = box.astype(int)
    canvas[y0:y1, x0:x1] = True
    return canvas


@given(boxes(1, 3, whole=True), boxes(1, 3, whole=True))
def test_overlaps_are_those_of_painted_pixels(one, other):
    for i, a in enumerate(one):
        for j, b in enumerate(other):
            both, either = painted(a) & painted(b), painted(a) | painted(b)
            assert intersections(one, other)[i, j] == both.sum()
            assert overlaps(one, other)[i, j] == pytest.approx(both.sum() / either.sum())


@given(boxes(1), boxes(1), st.floats(0.5, 3), st.floats(-50, 50))
def test_overlaps_do_not_depend_on_scale_or_place(one, other, scale, shift):
    first = overlaps(one, other)
    assert ((first >= 0) & (first <= 1 + 1e-9)).all()
    np.testing.assert_allclose(first, overlaps(other, one).T)
    np.testing.assert_allclose(first, overlaps(one * scale + shift, other * scale + shift), atol=1e-6)
    np.testing.assert_allclose(np.diag(overlaps(one, one)), 1)


def test_empty_boxes_overlap_nothing():
    nothing = np.array([[5.0, 5, 5, 5]])
    assert overlaps(nothing, nothing)[0, 0] == 0
    assert overlaps(np.zeros((0, 4)), EXAMPLE).shape == (0, 1)


def test_suppression_keeps_the_best_of_each_object_and_label():
    found = np.array([[0.0, 0, 10, 10], [1, 0, 11, 10], [30, 30, 40, 40], [0, 0, 10, 10]])
    scores = np.array([0.7, 0.9, 0.8, 0.6])
    same = np.zeros(4, int)
    assert suppress_overlaps(found, scores, same, 0.5).tolist() == [1, 2]
    assert suppress_overlaps(found, scores, np.array([0, 0, 0, 1]), 0.5).tolist() == [1, 2, 3]
    assert suppress_overlaps(found, scores, same, 0.9).tolist() == [1, 2, 0]
    assert suppress_overlaps(found, scores, same, 0.5, most=1).tolist() == [1]
    assert suppress_overlaps(found[:0], scores[:0], same[:0], 0.5).tolist() == []


@given(boxes(), st.data(), st.sampled_from([0.3, 0.5, 0.7]))
def test_suppression_by_its_definition(given_boxes, data, threshold):
    n = len(given_boxes)
    scores = data.draw(arrays(float, n, elements=st.sampled_from([0.1, 0.3, 0.5, 0.9])))
    labels = data.draw(arrays(int, n, elements=st.integers(0, 1)))
    chosen = suppress_overlaps(given_boxes, scores, labels, threshold)
    assert (np.diff(scores[chosen]) <= 0).all()
    close = (overlaps(given_boxes, given_boxes) > threshold) & (labels[:, None] == labels)
    for index in range(n):
        others = [other for other in chosen if other != index and close[index, other]]
        if index in chosen:
            assert not others  # no two of those chosen overlap
        else:
            assert any(scores[other] >= scores[index] for other in others)
