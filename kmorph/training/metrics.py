"""Metrics of predictions."""

from __future__ import annotations

import numpy as np


def cross_entropies(logits: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Cross-entropy of each example, float32 of shape (n,).

    Parameters
    ----------
    logits : ndarray, shape (n, classes)
    y : ndarray of int, shape (n,)
        Class numbers.
    """
    logits = logits.astype(np.float64)
    top = logits.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(logits - top).sum(axis=1)) + top[:, 0]
    return (log_sum - logits[np.arange(len(y)), y]).astype(np.float32)


def classification_metrics(logits: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Mean cross-entropy (``loss``) and ``accuracy``.

    Parameters
    ----------
    logits : ndarray, shape (n, classes)
    y : ndarray of int, shape (n,)
        Class numbers.
    """
    loss = float(np.mean(cross_entropies(logits, y), dtype=np.float64))
    return {"loss": loss, "accuracy": float(np.mean(logits.argmax(axis=1) == y))}
