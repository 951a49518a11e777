"""Measure the models of an earlier search anew, where what decides has changed since."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import inf, isfinite, nan
from typing import Any

from kmorph.errors import SearchError
from kmorph.problem import Problem
from kmorph.problem.metrics import Objective
from kmorph.problem.packing import pack_problem
from kmorph.search.store.folder import RunFolder
from kmorph.search.store.history import History
from kmorph.search.store.ranking import best_record
from kmorph.search.store.rebuild import has_weights
from kmorph.search.store.record import ModelRecord
from kmorph.search.workers.measure import metrics_of
from kmorph.search.workers.own_layers import pack_layers
from kmorph.search.workers.pool import Pool, ask

logger = logging.getLogger("kmorph.search")

SHARE = 0.1  # of the time limit that measuring may take, and once more for a worker to load Keras
SECONDS = 600.0  # without one
PATIENCE = 10.0, 60.0  # least and most seconds beyond that


@dataclass(frozen=True)
class Change:
    """A difference between a search and its continuation.

    Parameters
    ----------
    meta : dict
        The new description, stored together with the new records: whatever interrupts the measuring, a folder
        never says that its models were measured by what they were not.
    keeps_losses : bool
        True if only the objective is another one, so that losses and other metrics are still right.
    """

    meta: dict[str, Any]
    keeps_losses: bool

    def describe(self, measured: int, left: int) -> str:
        """In words, with numbers of models that were measured again and that were not."""
        what = "The objective is" if self.keeps_losses else "Loss or weights are"
        return (
            f"{what} not what this search began with: {measured} of its models were measured anew, {left} "
            "were not"
        )


def measure_again(
    folder: RunFolder,
    history: History,
    problem: Problem,
    change: Change,
    pool: Pool,
    time_limit: float | None,
    strategy: str | bytes | None = None,
) -> tuple[int, int]:
    """Measure models by another loss, objective or weights than their records hold.

    The best come first. Models for which there is no time, or whose weights are gone, have no value by the
    new objective; if the loss is another one, they have no loss either, and nothing is compared with them.

    Parameters
    ----------
    folder : RunFolder
        Validation data was saved in its scratch folder.
    history : History
        Open for writing.
    problem : Problem
    change : Change
    pool : Pool
    time_limit : float or None
        Seconds of the search, a tenth of which this may take.
    strategy : str or bytes, optional
        How several devices train, as `kmorph.training.distribute.pack_strategy` gave it.

    Returns
    -------
    (measured, left) : two ints
        Numbers of models.

    Raises
    ------
    SearchError
        If losses do not compare any more and none could be measured; nothing was changed then.
    """
    records, objective = history.records(), problem.objective.objective
    files = {
        str(folder.model_file(record.model_id)): record.model_id
        for record in _best_first(records, objective)
        if has_weights(folder.path, record.model_id) and not record.is_unmeasured
    }
    seconds = SECONDS if time_limit is None else SHARE * time_limit
    patience = min(max(PATIENCE[0], seconds), PATIENCE[1])
    found: dict[str, dict[str, float]] = {}
    if files:
        try:
            arguments = (list(files), pack_problem(problem), str(folder.scratch), seconds)
            found = dict(ask(pool, seconds + patience, metrics_of, *arguments, pack_layers(), strategy))
        except Exception as error:
            if not change.keeps_losses:
                raise SearchError(
                    "the models so far could not be measured by the new loss or weights "
                    f"({type(error).__name__}: {error}); nothing was changed: try again with more time, give "
                    "the former ones, or begin a new search"
                ) from error
            logger.warning("the models so far could not be measured by the new objective: %r", error)
    by_id = {files[file]: metrics for file, metrics in found.items()}
    history.update_all(
        [_measured(record, by_id.get(record.model_id), objective, change.keeps_losses) for record in records],
        change.meta,
    )
    return len(by_id), len(records) - len(by_id)


def _best_first(records: Iterable[ModelRecord], objective: Objective) -> list[ModelRecord]:
    """The best model, then the others by their losses."""

    def loss(record: ModelRecord) -> float:
        return record.loss if record.loss is not None and isfinite(record.loss) else inf

    ranked = sorted(records, key=loss)
    best = best_record(ranked, objective)
    return [] if best is None else [best, *(record for record in ranked if record is not best)]


def _measured(
    record: ModelRecord, metrics: dict[str, float] | None, objective: Objective, keeps_losses: bool
) -> ModelRecord:
    known = record.metrics if keeps_losses else {}
    # Not a number: None stands for models that were trained on the validation examples.
    loss = record.loss if keeps_losses or record.is_unmeasured else nan
    if metrics is not None:
        known, loss = {**known, **metrics}, metrics["loss"]
    return replace(
        record, loss=loss, metrics=known, metric_value=known.get(objective.name), objective=objective.name
    )
