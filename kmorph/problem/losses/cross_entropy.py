"""Cross-entropies, computed from logits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kmorph.problem.losses.base import Loss

if TYPE_CHECKING:
    from kmorph.problem.targets.base import Target


class CrossEntropy(Loss):
    """Cross-entropy of class numbers with the softmax of the outputs."""

    name = "cross_entropy"
    smooths = True

    def tensors(self, codes: Any, outputs: Any, target: Target, smoothing: float = 0.0) -> Any:
        """Losses of a batch; see `Loss.tensors`."""
        from keras import ops

        width = outputs.shape[-1]
        truth = ops.one_hot(codes, width, dtype="float32")
        if smoothing:
            truth = (1 - smoothing) * truth + smoothing / width
        return ops.categorical_crossentropy(truth, outputs, from_logits=True)

    def arrays(self, codes: np.ndarray, outputs: np.ndarray, target: Target) -> np.ndarray:
        """Losses of examples; see `Loss.arrays`."""
        logits = outputs.astype(np.float64)
        top = logits.max(axis=1, keepdims=True)
        log_sum = np.log(np.exp(logits - top).sum(axis=1)) + top[:, 0]
        return (log_sum - logits[np.arange(len(codes)), codes]).astype(np.float32)


class BinaryCrossEntropy(Loss):
    """Cross-entropy of zeros and ones with the sigmoid of the outputs, the mean over them."""

    name = "binary_cross_entropy"

    def tensors(self, codes: Any, outputs: Any, target: Target, smoothing: float = 0.0) -> Any:
        """Losses of a batch; see `Loss.tensors`."""
        from keras import ops

        return ops.mean(ops.binary_crossentropy(codes, outputs, from_logits=True), axis=-1)

    def arrays(self, codes: np.ndarray, outputs: np.ndarray, target: Target) -> np.ndarray:
        """Losses of examples; see `Loss.arrays`."""
        logits = outputs.astype(np.float64)
        return np.asarray((np.logaddexp(0.0, logits) - codes * logits).mean(axis=1), np.float32)
