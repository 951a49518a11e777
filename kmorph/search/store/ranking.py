"""Which model of a search is the best, and what was spent on the others."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from kmorph.search.store.record import ModelRecord


def best_record(records: Iterable[ModelRecord], metric: str = "accuracy") -> ModelRecord | None:
    """The record of the best model; of those never measured the first, if there is no other.

    Parameters
    ----------
    records : iterable of ModelRecord
    metric : {"accuracy", "loss"}, default="accuracy"
        ``"accuracy"``: the highest, and of equal ones that with the lowest loss. But a settled model, whose
        learning rate fell to zero, outranks any model that does not beat it on both accuracy and loss: on a
        few hundred examples, how a model was trained says more than one more right answer. A model trained
        on the validation examples as well has no metric to be compared by: it is the best if no settled
        model's lineage was trained longer.
        ``"loss"``: the lowest validation loss.
    """
    records = list(records)
    measured = [record for record in records if record.loss is not None and math.isfinite(record.loss)]
    settled = [record for record in measured if record.phase != "stable"]
    unmeasured = [record for record in records if record.is_unmeasured]
    if metric == "accuracy" and unmeasured:
        longest = max([*unmeasured, *settled], key=lambda record: record.lineage_seconds)
        if longest.is_unmeasured:
            return longest
    if not measured:
        return records[0] if records else None

    def merit(record: ModelRecord) -> tuple[float, float]:
        accuracy = record.metrics.get("accuracy", 0.0) if metric == "accuracy" else 0.0
        return accuracy, -(record.loss or 0.0)

    best = max(measured, key=merit)
    if metric == "accuracy" and settled:
        candidate = max(settled, key=merit)
        accuracy, loss = merit(candidate)
        if not any(other[0] > accuracy and other[1] > loss for other in map(merit, measured)):
            return candidate
    return best


def discarded_seconds(models: Iterable[ModelRecord], best: ModelRecord | None) -> float:
    """Time that went into models which the best one does not build on.

    Parameters
    ----------
    models : iterable of ModelRecord
    best : ModelRecord or None
        The best model. One that is the mean of several builds on all that were trained to their end.
    """
    models = list(models)
    by_id = {record.model_id: record for record in models}
    waiting = [] if best is None else [best]
    if best is not None and best.phase == "ensemble":
        waiting += [record for record in models if record.phase == "decay"]
    kept: set[int] = set()
    while waiting:
        record = waiting.pop()
        kept.add(record.model_id)
        if record.parent_id is not None and record.parent_id in by_id and record.parent_id not in kept:
            waiting.append(by_id[record.parent_id])
    return sum(record.seconds for record in models if record.model_id not in kept)


def is_worse(metrics: Mapping[str, float], parent: ModelRecord) -> bool:
    """Return whether a model does worse than its parent even on examples that only it was trained on."""
    before = parent.metrics
    return metrics["loss"] > before["loss"] and metrics["accuracy"] < before["accuracy"]
