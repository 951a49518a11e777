"""Mean average precision, as COCO defines it.

Found boxes of a label are taken by falling score. Each is matched with the box of its picture and label that
it overlaps most, of those not matched yet, if their intersection over union reaches a threshold: then it is
right, else wrong. Precision, as a function of recall, is made to fall only, and averaged over the recalls 0,
0.01, …, 1. That is averaged over thresholds, and over the labels that occur.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kmorph.pretrained.detection.boxes import overlaps

THRESHOLDS = tuple(np.arange(50, 100, 5) / 100)
"""COCO's intersections over union: 0.5, 0.55, …, 0.95."""
RECALLS = np.arange(101) / 100
MOST_FOUND = 100  # boxes a picture and label that count, as in COCO


class Found(NamedTuple):
    """The boxes found in a picture: arrays (k, 4), (k,) and (k,) of indices of labels."""

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray


class Truth(NamedTuple):
    """The boxes that are in a picture: arrays (k, 4), and (k,) of indices of labels."""

    boxes: np.ndarray
    labels: np.ndarray


def average_precisions(
    found: Sequence[Found],
    truth: Sequence[Truth],
    n_labels: int,
    thresholds: Sequence[float] = THRESHOLDS,
) -> np.ndarray:
    """Average precision for each threshold and label.

    Parameters
    ----------
    found, truth : sequences, an item a picture
    n_labels : int
    thresholds : sequence of float

    Returns
    -------
    array (thresholds, labels)
        NaN for labels that are in no picture.
    """
    result = np.full((len(thresholds), n_labels), np.nan)
    for label in range(n_labels):
        n_true, scores, right = 0, [], []
        for in_found, in_truth in zip(found, truth, strict=True):
            true_boxes = in_truth.boxes[in_truth.labels == label]
            mine = in_found.labels == label
            order = np.argsort(-in_found.scores[mine], kind="stable")[:MOST_FOUND]
            n_true += len(true_boxes)
            scores.append(in_found.scores[mine][order])
            right.append(_matches(in_found.boxes[mine][order], true_boxes, thresholds))
        if n_true:
            order = np.argsort(-np.concatenate(scores), kind="stable")
            matched = np.concatenate(right, axis=1)[:, order]
            result[:, label] = [_area(row, n_true) for row in matched]
    return result


def mean_average_precision(precisions: np.ndarray) -> float:
    """The mean over thresholds, and over the labels that occur."""
    occurring = ~np.isnan(precisions).all(axis=0)
    return float(precisions[:, occurring].mean()) if occurring.any() else float("nan")


def _matches(boxes: np.ndarray, truth: np.ndarray, thresholds: Sequence[float]) -> np.ndarray:
    """For each threshold and box, of falling scores, whether it is right."""
    common = overlaps(boxes, truth)
    right = np.zeros((len(thresholds), len(boxes)), bool)
    if not truth.size:
        return right
    for row, threshold in enumerate(thresholds):
        free = np.ones(len(truth), bool)
        for index in range(len(boxes)):
            candidates = np.where(free, common[index], -1.0)
            best = int(candidates.argmax())
            if candidates[best] >= threshold - 1e-10:
                right[row, index], free[best] = True, False
    return right


def _area(right: np.ndarray, n_true: int) -> float:
    """Mean precision over `RECALLS`, for boxes of falling scores of which some are right."""
    if not len(right):
        return 0.0
    hits = np.cumsum(right)
    recall, precision = hits / n_true, hits / np.arange(1, len(right) + 1)
    falling = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(recall, RECALLS - 1e-12, side="left")
    return float(np.where(at < len(falling), falling[np.minimum(at, len(falling) - 1)], 0.0).mean())
