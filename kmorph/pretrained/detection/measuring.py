"""How well a detector finds the boxes of pictures."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from kmorph.pretrained.detection.average_precision import Found, Truth, average_precisions
from kmorph.pretrained.detection.examples import Examples, inside
from kmorph.pretrained.detection.network import Network

ANY_SCORE = 0.01  # boxes scored less hardly change an average precision


def measure(
    network: Network,
    examples: Examples,
    thresholds: Sequence[float],
    batch_size: int,
    deadline: float | None = None,
) -> tuple[np.ndarray, int]:
    """Measure average precisions.

    Parameters
    ----------
    network : Network
    examples : Examples
        Their names are the network's labels.
    thresholds : sequence of float
        Intersections over union from which a box counts as found.
    batch_size : int
    deadline : float, optional
        On the clock `time.monotonic`. The first batch is measured in any case.

    Returns
    -------
    array (thresholds, labels), int
        See `average_precisions`; and of how many pictures.
    """
    found: list[Found] = []
    truth: list[Truth] = []
    reading = (examples.picture(index) for index in range(len(examples.pictures)))
    for index, (picture, of_one) in enumerate(network.find_all(reading, ANY_SCORE, batch_size)):
        whole = examples.truth[index]
        found.append(of_one)
        truth.append(whole._replace(boxes=inside(whole.boxes, picture.shape[:2], f"boxes[{index}]")))
        if (index + 1) % batch_size == 0 and deadline is not None and time.monotonic() >= deadline:
            break
    return average_precisions(found, truth, len(network.labels), thresholds), len(found)
