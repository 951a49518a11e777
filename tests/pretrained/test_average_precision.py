"""Average precision equals values computed by hand, and a slower computation from the definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmorph.pretrained.detection.average_precision import (
    THRESHOLDS,
    Found,
    Truth,
    average_precisions,
    mean_average_precision,
)
from kmorph.pretrained.detection.boxes import overlaps

LEFT, RIGHT, FAR = [0.0, 0, 10, 10], [20.0, 0, 30, 10], [50.0, 50, 60, 60]


def found(boxes, scores, labels=None):
    boxes = np.array(boxes, float).reshape(-1, 4)
    return Found(boxes, np.array(scores, float), np.array(labels or [0] * len(boxes), int))


def truth(boxes, labels=None):
    boxes = np.array(boxes, float).reshape(-1, 4)
    return Truth(boxes, np.array(labels or [0] * len(boxes), int))


def ap(of_found, of_truth, threshold=0.5):
    return average_precisions([of_found], [of_truth], 1, [threshold])[0, 0]


def test_all_or_nothing():
    assert ap(found([LEFT, RIGHT], [0.9, 0.8]), truth([LEFT, RIGHT])) == 1
    assert ap(found([FAR], [0.9]), truth([LEFT])) == 0
    assert ap(found([], []), truth([LEFT])) == 0
    assert np.isnan(ap(found([LEFT], [0.9]), truth([])))


def test_a_wrong_box_before_two_right_ones():
    # Precision at the two right boxes: 1/2 and 2/3; made to fall only: 2/3 for all recalls.
    assert ap(found([FAR, LEFT, RIGHT], [0.9, 0.8, 0.7]), truth([LEFT, RIGHT])) == pytest.approx(2 / 3)


def test_a_wrong_box_between_two_right_ones():
    # Precision 1 up to recall 0.5 (51 of the 101 recalls), 2/3 beyond.
    value = ap(found([LEFT, FAR, RIGHT], [0.9, 0.8, 0.7]), truth([LEFT, RIGHT]))
    assert value == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_half_of_the_boxes_found():
    assert ap(found([LEFT], [0.9]), truth([LEFT, RIGHT])) == pytest.approx(51 / 101)


def test_a_box_found_twice_is_right_once():
    twice = found([LEFT, LEFT, RIGHT], [0.9, 0.8, 0.7])
    assert ap(twice, truth([LEFT, RIGHT])) == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_thresholds():
    # Overlap of [0, 0, 10, 10] and [0, 0, 10, 7] is 0.7: right for 0.5, 0.55, 0.6, 0.65 and 0.7.
    table = average_precisions([found([[0, 0, 10, 7]], [0.9])], [truth([LEFT])], 1)
    assert table[:, 0].tolist() == [1, 1, 1, 1, 1, 0, 0, 0, 0, 0]
    assert mean_average_precision(table) == pytest.approx(0.5)


def test_labels_count_alike_and_only_where_they_occur():
    table = average_precisions(
        [found([LEFT, RIGHT], [0.9, 0.8], [0, 1]), found([FAR], [0.7], [2])],
        [truth([LEFT, RIGHT], [0, 0]), truth([FAR], [1])],
        3,
        [0.5],
    )
    assert table[0, 0] == pytest.approx(51 / 101) and table[0, 1] == 0 and np.isnan(table[0, 2])
    assert mean_average_precision(table) == pytest.approx(51 / 202)


def by_definition(all_found, all_truth, label, threshold):
    """The same, box by box and recall by recall."""
    rows = []
    for picture, (of_found, of_truth) in enumerate(zip(all_found, all_truth, strict=True)):
        mine = [i for i in range(len(of_found.scores)) if of_found.labels[i] == label]
        rows += [(-of_found.scores[i], picture, place, i) for place, i in enumerate(mine)]
        del of_truth
    free = [[bool(of_label == label) for of_label in one.labels] for one in all_truth]
    total = sum(map(sum, free))
    if not total:
        return None
    points, right = [], 0
    for n, (_, picture, _, i) in enumerate(sorted(rows), 1):
        table = overlaps(all_found[picture].boxes[i][None], all_truth[picture].boxes)[0]
        options = [(table[j], -j) for j, is_free in enumerate(free[picture]) if is_free]
        best, at = max(options, default=(0.0, 0))
        if options and best >= threshold:
            free[picture][-at] = False
            right += 1
        points.append((right / total, right / n))
    best_at = [max((p for r, p in points if r >= recall / 100 - 1e-9), default=0.0) for recall in range(101)]
    return sum(best_at) / 101


sides = st.tuples(st.integers(0, 12), st.integers(0, 12), st.integers(4, 10), st.integers(4, 10))
one_box = sides.map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))
score = st.sampled_from([0.1, 0.25, 0.4, 0.7, 0.9])
one_found = st.lists(st.tuples(one_box, score, st.integers(0, 1)), max_size=6)
one_truth = st.lists(st.tuples(one_box, st.integers(0, 1)), max_size=4)


@given(st.lists(st.tuples(one_found, one_truth), min_size=1, max_size=3))
def test_against_the_definition(pictures):
    all_found = [
        found(*map(list, zip(*rows, strict=True))) if rows else found([], []) for rows, _ in pictures
    ]
    all_truth = [truth(*map(list, zip(*rows, strict=True))) if rows else truth([]) for _, rows in pictures]
    table = average_precisions(all_found, all_truth, 2, [0.3, 0.5])
    for row, threshold in enumerate([0.3, 0.5]):
        for label in range(2):
            expected = by_definition(all_found, all_truth, label, threshold)
            if expected is None:
                assert np.isnan(table[row, label])
            else:
                assert table[row, label] == pytest.approx(expected)


def test_coco_s_thresholds():
    assert THRESHOLDS == pytest.approx([0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95])
