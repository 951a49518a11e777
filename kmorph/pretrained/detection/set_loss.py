"""The loss of detectors that answer by a set of queries, each a box and scores of labels (D-FINE).

KerasHub's own loss (0.32) expects the same number of boxes in each picture of a batch, and finds the cheapest
assignment of boxes to queries by loops over all pairs of queries. Here pictures may have any numbers of
boxes, padded with labels of -1, and the cheapest pair is assigned first, then the cheapest of those left.

As in D-FINE, scores learn the intersection over union of their boxes (varifocal loss), boxes by the distance
of their corners and by generalised intersection over union, after each layer of the decoder and for the
queries that its encoder proposes. Its losses on distributions of edges are left out.
"""

from __future__ import annotations

from typing import Any

NEVER = 1e8  # a cost above all that occur
SCORE_COST, DISTANCE_COST, OVERLAP_COST = 2.0, 5.0, 2.0  # D-FINE's weights
SCORE_LOSS, DISTANCE_LOSS, OVERLAP_LOSS = 1.0, 5.0, 2.0
ALPHA, GAMMA = 0.75, 2.0


def set_loss(boxes: Any, labels: Any, outputs: dict[str, Any]) -> Any:
    """Compute the loss of a batch.

    Parameters
    ----------
    boxes : tensor (n, m, 4)
        Centre, width and height, in widths and heights of the input.
    labels : tensor (n, m) of int
        -1 where there is no box.
    outputs : dict of tensors
        ``intermediate_logits`` (n, layers, queries, labels), ``intermediate_reference_points`` (…, 4), and
        ``enc_topk_logits``, ``enc_topk_bboxes`` without the axis of layers.
    """
    from keras import ops

    # Layers become part of the batch: one matching for all.
    logits = ops.concatenate([outputs["intermediate_logits"], outputs["enc_topk_logits"][:, None]], axis=1)
    places = ops.concatenate(
        [outputs["intermediate_reference_points"], outputs["enc_topk_bboxes"][:, None]], axis=1
    )
    layers, queries, n_labels = logits.shape[1:]
    most = labels.shape[1]
    logits = ops.reshape(ops.cast(logits, "float32"), (-1, queries, n_labels))
    places = ops.reshape(ops.cast(places, "float32"), (-1, queries, 4))
    boxes = ops.reshape(ops.repeat(boxes[:, None], layers, axis=1), (-1, most, 4))
    labels = ops.reshape(ops.repeat(labels[:, None], layers, axis=1), (-1, most))

    assigned = ops.stop_gradient(_assign(ops.stop_gradient(logits), ops.stop_gradient(places), boxes, labels))
    count = ops.maximum(ops.sum(ops.cast(labels >= 0, "float32")), 1.0)
    taken = ops.cast(ops.sum(assigned, axis=-1), "float32")  # (n, queries), 1 for queries with a box
    mine = ops.matmul(assigned, boxes)
    kinds = ops.matmul(assigned, ops.one_hot(labels, n_labels, dtype="float32"))

    distance = ops.sum(ops.abs(places - mine), axis=-1)
    overlap, generalised = _overlap(places, mine)
    quality = kinds * (ops.stop_gradient(overlap) * taken)[..., None]
    scores = ops.stop_gradient(ops.sigmoid(logits))
    weight = ALPHA * scores**GAMMA * (1 - kinds) + quality
    entropy = ops.binary_crossentropy(quality, logits, from_logits=True)
    return (
        SCORE_LOSS * ops.sum(weight * entropy)
        + DISTANCE_LOSS * ops.sum(distance * taken)
        + OVERLAP_LOSS * ops.sum((1 - generalised) * taken)
    ) / count


def _assign(logits: Any, places: Any, boxes: Any, labels: Any) -> Any:
    """For each query and box, 1 where they are assigned to each other, of shape (n, queries, boxes)."""
    from keras import ops

    queries, most = logits.shape[1], labels.shape[1]
    kinds = ops.one_hot(ops.maximum(labels, 0), logits.shape[2], dtype="float32")
    scores = ops.matmul(ops.sigmoid(logits), ops.transpose(kinds, (0, 2, 1)))
    wanted = -0.25 * (1 - scores) ** 2 * ops.log(scores + 1e-8)
    unwanted = -0.75 * scores**2 * ops.log(1 - scores + 1e-8)
    distance = ops.sum(ops.abs(places[:, :, None] - boxes[:, None]), axis=-1)
    _, generalised = _overlap(places[:, :, None], boxes[:, None])
    cost = SCORE_COST * (wanted - unwanted) + DISTANCE_COST * distance - OVERLAP_COST * generalised
    cost = ops.where(labels[:, None] >= 0, cost, NEVER)

    def cheapest(_: Any, state: Any) -> Any:
        cost, assigned = state
        flat = ops.reshape(cost, (-1, queries * most))
        at = ops.cast(ops.argmin(flat, axis=1), "int32")
        row = ops.one_hot(at // most, queries, dtype="float32")[:, :, None]
        column = ops.one_hot(at % most, most, dtype="float32")[:, None]
        real = ops.cast(ops.min(flat, axis=1) < NEVER / 2, "float32")[:, None, None]
        return ops.where(row + column > 0, NEVER, cost), assigned + row * column * real

    _, assigned = ops.fori_loop(0, min(queries, most), cheapest, (cost, ops.zeros_like(cost)))
    return assigned


def _overlap(one: Any, other: Any) -> tuple[Any, Any]:
    """Intersection over union, and the generalised one, of boxes as centre and extent."""
    from keras import ops

    first, second = one[..., :2] - one[..., 2:] / 2, one[..., :2] + one[..., 2:] / 2
    first_other, second_other = other[..., :2] - other[..., 2:] / 2, other[..., :2] + other[..., 2:] / 2
    common = ops.prod(
        ops.maximum(ops.minimum(second, second_other) - ops.maximum(first, first_other), 0.0), axis=-1
    )
    union = ops.prod(one[..., 2:], axis=-1) + ops.prod(other[..., 2:], axis=-1) - common
    hull = ops.prod(ops.maximum(second, second_other) - ops.minimum(first, first_other), axis=-1)
    overlap = common / ops.maximum(union, 1e-9)
    return overlap, overlap - (hull - union) / ops.maximum(hull, 1e-9)
