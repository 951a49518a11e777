"""Which model of a search is the best, and what was spent on the others."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from kmorph.problem.metrics import ACCURACY, Objective
from kmorph.search.store.record import ModelRecord


def best_record(
    records: Iterable[ModelRecord],
    objective: Objective = ACCURACY,
) -> ModelRecord | None:
    """The record of the best model; of those never measured the first, if there is no other.

    Parameters
    ----------
    records : iterable of ModelRecord
    objective : Objective, default: accuracy
        A metric: the best value, and of equal ones that with the lowest loss. But a settled model, whose
        learning rate fell to zero, outranks any model that does not beat it on both metric and loss: on a few
        hundred examples one more right says less than how a model was trained. One that was trained on the
        validation examples as well cannot be compared by a metric: it outranks all others if no settled
        model's lineage was trained longer, and the metric is one that this can be expected to raise. The loss
        itself: the lowest on validation data.
    """
    records = list(records)
    measured = [record for record in records if record.loss is not None and math.isfinite(record.loss)]
    settled = [record for record in measured if record.phase != "stable"]
    unmeasured = [record for record in records if record.is_unmeasured]
    if unmeasured and (objective.survives_merging or not measured):
        longest = max([*unmeasured, *settled], key=lambda record: record.lineage_seconds)
        if longest.is_unmeasured:
            return longest
    if not measured:
        return records[0] if records else None

    def merit(record: ModelRecord) -> tuple[float, float]:
        return merit_of(record.metrics, objective), -(record.loss or 0.0)

    best = max(measured, key=merit)
    if not objective.is_loss and settled:
        candidate = max(settled, key=merit)
        metric, loss = merit(candidate)
        if not any(other[0] > metric and other[1] > loss for other in map(merit, measured)):
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


def merit_of(metrics: Mapping[str, float], objective: Objective) -> float:
    """A model's value by a metric, turned so that higher is better; 0 for the loss, -inf if not measured."""
    if objective.is_loss:
        return 0.0
    value = metrics.get(objective.name, math.nan)
    return objective.merit(value) if math.isfinite(value) else -math.inf


def is_worse(metrics: Mapping[str, float], parent: ModelRecord, objective: Objective) -> bool:
    """Return whether a model does worse than its parent even on examples that only it was trained on."""
    before = parent.metrics
    if not metrics["loss"] > before.get("loss", math.inf):
        return False
    return objective.is_loss or merit_of(metrics, objective) < merit_of(before, objective)
