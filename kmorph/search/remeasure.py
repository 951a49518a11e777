"""Measuring the models of an earlier search anew, where what decides has changed since."""

from __future__ import annotations

import logging
from dataclasses import replace
from math import nan

from kmorph.problem import Problem
from kmorph.problem.packing import pack_problem
from kmorph.search.store.folder import RunFolder
from kmorph.search.store.history import History
from kmorph.search.store.ranking import best_record
from kmorph.search.store.rebuild import has_weights
from kmorph.search.workers.measure import metrics_of
from kmorph.search.workers.own_layers import pack_layers
from kmorph.search.workers.pool import Pool

logger = logging.getLogger("kmorph.search")

SHARE = 0.1  # of the time limit that measuring may take
SECONDS = 600.0  # without one
PATIENCE = 60.0  # seconds beyond that, for a worker to load Keras and end what it began


def measure_again(
    folder: RunFolder, history: History, problem: Problem, pool: Pool, time_limit: float | None
) -> tuple[int, int]:
    """Measure models by another loss, objective or weights than their records hold.

    The best come first. Models for which there is no time, or whose weights are gone, keep no metric: nothing
    is compared with them.

    Parameters
    ----------
    folder : RunFolder
        Validation data was saved in its scratch folder.
    history : History
        Open for writing.
    problem : Problem
    pool : Pool
    time_limit : float or None
        Seconds of the search, a tenth of which this may take.

    Returns
    -------
    (measured, left) : two ints
        Numbers of models.
    """
    records, waiting = history.records(), []
    rest = list(records)
    while rest:  # the best, then the best of the others
        best = best_record(rest, problem.objective.objective)
        assert best is not None
        rest.remove(best)
        if has_weights(folder.path, best.model_id) and not best.is_unmeasured:
            waiting.append(best)
    seconds = SECONDS if time_limit is None else SHARE * time_limit
    files = {str(folder.model_file(record.model_id)): record for record in waiting}
    found: dict[str, dict[str, float]] = {}
    if files:
        try:
            packed, scratch = pack_problem(problem), str(folder.scratch)
            handle = pool.submit(metrics_of, list(files), packed, scratch, seconds, pack_layers())
            pool.wait([handle], seconds + PATIENCE)
            if not handle.done():
                handle.cancel()
                raise TimeoutError("no answer")
            found = handle.result()
        except Exception as error:  # the search can go on without
            logger.warning("the models so far could not be measured anew: %r", error)
    by_id = {files[file].model_id: metrics for file, metrics in found.items()}
    for record in records:
        metrics = by_id.get(record.model_id, {})
        # Not a number: None stands for models that were trained on the validation examples.
        loss = None if record.is_unmeasured else metrics.get("loss", nan)
        history.update(
            replace(
                record,
                loss=loss,
                metrics=metrics,
                metric_value=metrics.get(problem.objective.name),
                objective=problem.objective.name,
            )
        )
    return len(by_id), len(records) - len(by_id)
