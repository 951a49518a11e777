"""The loss of detectors with queries: each box has one query, and better answers cost less."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from kmorph.training.backend import load_backend

pytest.importorskip("keras")
load_backend()

from kmorph.pretrained.detection import set_loss as module  # noqa: E402

BOXES = np.array([[[0.2, 0.2, 0.2, 0.2], [0.7, 0.6, 0.3, 0.2], [0, 0, 0, 0]]], "float32")
LABELS = np.array([[1, 0, -1]])
QUERIES = 6


def answers(boxes, labels, sure=6.0):
    """Outputs in which the first queries give these boxes, in two layers and the encoder."""
    logits = np.full((1, QUERIES, 2), -sure, "float32")
    places = np.tile(np.array([0.5, 0.5, 0.05, 0.05], "float32"), (1, QUERIES, 1))
    for query, (box, label) in enumerate(zip(boxes, labels, strict=True)):
        places[0, query], logits[0, query, label] = box, sure
    return {
        "intermediate_logits": np.stack([logits] * 2, axis=1),
        "intermediate_reference_points": np.stack([places] * 2, axis=1),
        "enc_topk_logits": logits,
        "enc_topk_bboxes": places,
    }


def loss(outputs, boxes=BOXES, labels=LABELS):
    return float(np.asarray(module.set_loss(boxes, labels, outputs)))


def test_better_answers_cost_less():
    right = loss(answers(BOXES[0, :2], LABELS[0, :2]))
    assert right < 0.2
    assert loss(answers(BOXES[0, 1::-1], LABELS[0, 1::-1])) == pytest.approx(right, abs=1e-4)  # in any order
    shifted = BOXES[0, :2] + np.array([0.05, 0, 0, 0], "float32")
    far = BOXES[0, :2] + np.array([0.2, 0.2, 0, 0], "float32")
    assert right < loss(answers(shifted, [1, 0])) < loss(answers(far, [1, 0]))
    assert right < loss(answers(BOXES[0, :2], [0, 1]))  # other labels
    assert right < loss(answers(BOXES[0, :1], [1]))  # one is missing
    nothing = loss(answers(BOXES[0, :2], [1, 0]), labels=np.full((1, 3), -1))
    assert right < nothing and np.isfinite(nothing)


@pytest.mark.parametrize("seed", range(5))
def test_boxes_are_assigned_as_by_the_hungarian_algorithm(seed):
    """Where queries are near to their boxes, the cheapest pairs first are the cheapest assignment."""
    random = np.random.default_rng(seed)
    centres = (random.permutation(9)[:4, None] // [1, 3] % 3 + 0.5) / 3
    boxes = np.concatenate([centres, random.uniform(0.1, 0.2, (4, 2))], axis=1).astype("float32")[None]
    labels = random.integers(0, 3, (1, 4))
    places = np.concatenate([boxes[0] + random.normal(0, 0.02, (4, 4)), random.uniform(0.1, 0.9, (4, 4))])
    order = random.permutation(8)
    places = places[order][None].astype("float32")
    logits = random.normal(-3, 0.1, (1, 8, 3)).astype("float32")
    assigned = np.asarray(module._assign(logits, places, boxes, labels))[0]
    cost = np.abs(places[0][:, None] - boxes[0][None]).sum(-1)
    rows, columns = linear_sum_assignment(cost)
    expected = np.zeros((8, 4))
    expected[rows, columns] = 1
    np.testing.assert_array_equal(assigned, expected)


def test_each_box_has_one_query_and_padding_none():
    random = np.random.default_rng(0)
    boxes = random.uniform(0.2, 0.6, (2, 5, 4)).astype("float32")
    labels = np.array([[0, 1, 1, -1, -1], [-1] * 5])
    logits, places = random.normal(size=(2, 7, 2)), random.uniform(0.2, 0.6, (2, 7, 4))
    assigned = np.asarray(module._assign(logits.astype("float32"), places.astype("float32"), boxes, labels))
    np.testing.assert_array_equal(assigned.sum(axis=1), [[1, 1, 1, 0, 0], [0] * 5])
    assert assigned.sum(axis=2).max() == 1
