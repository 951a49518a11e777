"""What predictions are judged by."""

from __future__ import annotations

import numpy as np


def cross_entropies(logits: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Cross-entropy of each example: logits (n, classes), class numbers (n,); float32, shape (n,)."""
    logits = logits.astype(np.float64)
    top = logits.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(logits - top).sum(axis=1)) + top[:, 0]
    return (log_sum - logits[np.arange(len(y)), y]).astype(np.float32)


def classification_metrics(logits: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Cross-entropy and accuracy of logits, shape (n, classes), against class numbers, shape (n,)."""
    loss = float(np.mean(cross_entropies(logits, y), dtype=np.float64))
    return {"loss": loss, "accuracy": float(np.mean(logits.argmax(axis=1) == y))}
