"""Train the best model on, or anew, after the search."""

from __future__ import annotations

import platform
import time
import warnings
from dataclasses import replace
from pathlib import Path

from kmorph.errors import SearchError
from kmorph.graph import Graph
from kmorph.problem import Problem
from kmorph.problem.metrics import Objective
from kmorph.problem.packing import pack_problem
from kmorph.search.candidate import Job, Result
from kmorph.search.events import CandidateStarted, Listener, ModelRecorded
from kmorph.search.store.folder import RunFolder
from kmorph.search.store.history import FINE_TUNED, PINNED, History
from kmorph.search.store.record import ModelRecord
from kmorph.search.workers.interrupts import FAREWELL, terminable
from kmorph.search.workers.jobs import Jobs
from kmorph.search.workers.own_layers import pack_layers
from kmorph.search.workers.pool import Pool
from kmorph.training.plan import Plan


def train_final(
    folder: RunFolder,
    history: History,
    record: ModelRecord,
    data_folder: Path,
    plan: Plan,
    retrain: bool,
    listener: Listener,
    pool: Pool,
    strategy: str | bytes | None = None,
    problem: Problem | None = None,
) -> ModelRecord:
    """Train a model of a finished search on; the result takes its place and becomes the best model.

    Parameters
    ----------
    folder, history
        Of the search, open for writing.
    record : ModelRecord
        The model to train.
    data_folder : Path
        Where the training and validation data were saved.
    plan : Plan
        It keeps the best weights, so that the result is no worse than the model was, on this validation data;
        unless it merges the validation data, then there is no metric.
    retrain : bool
        Whether to begin with new weights.
    listener : Listener
    pool : Pool
    strategy : str or bytes, optional
        How several devices train it, as `kmorph.training.distribute.pack_strategy` gave it.
    problem : Problem, optional
        None: classes of images.

    Returns
    -------
    ModelRecord
        The model's record as it is in the history now.

    Raises
    ------
    SearchError
        If training failed; the model is then as it was. If only the time was too short there is a warning.
    """
    target = folder.model_file(record.model_id)
    job = _job(folder, target, data_folder, plan, retrain, strategy, problem)
    jobs: Jobs[ModelRecord] = Jobs(pool, listener)
    change = "final fit, new weights" if retrain else "final fit"
    n_parameters = Graph.load(target).n_parameters
    listener(CandidateStarted(change, record.model_id, n_parameters, plan.phase, plan.seconds))
    result, interrupt = _trained(jobs, record, job)
    if result is not None and result.cause == "late":
        warnings.warn(
            f"the time limit came before model {record.model_id} was trained and evaluated: it is as it was",
            stacklevel=4,
        )
        history.set_meta(PINNED, record.model_id)
        return record
    cannot_compare = retrain or plan.merge_validation
    if interrupt is not None and (cannot_compare or result is None or result.reason is not None):
        raise interrupt  # partly trained weights must not replace a good model without a comparison
    failed = None if result is None else result.reason or (result.stopped if interrupt is None else None)
    if result is None or failed:
        reason = "no worker answered" if result is None else failed
        raise SearchError(
            f"the final fit of model {record.model_id} failed, the model is as it was: {reason}"
        )
    metrics = {} if plan.merge_validation else result.metrics or {}
    stored = Objective.from_json(history.get_meta("objective", "accuracy"))
    objective = stored if problem is None else problem.objective.objective
    before = (0, 0.0) if retrain else (record.lineage_examples, record.lineage_seconds)
    updated = replace(
        record,
        metric_value=metrics.get(objective.name),
        objective=objective.name,
        loss=metrics.get("loss"),
        metrics=metrics,
        hyperparameters=result.hyperparameters or plan.hyperparameters.to_dict(),
        replicas=result.replicas,
        epochs=record.epochs * (not retrain) + result.epochs,
        examples_seen=record.examples_seen * (not retrain) + result.images,
        seconds=record.seconds * (not retrain) + result.seconds,
        lineage_examples=before[0] + result.images,
        lineage_seconds=before[1] + result.seconds,
        examples_per_second=result.examples_per_second,
        phase="final",
        state="done",
        reason=None,
        seed=plan.seed,
    )
    with folder.translated_errors():
        Path(result.file).replace(target)
    history.update_all([updated], {PINNED: record.model_id, FINE_TUNED: None})
    folder.remove_tuned()
    listener(ModelRecorded(updated))
    if interrupt is not None:
        raise interrupt
    return updated


def train_apart(
    folder: RunFolder,
    record: ModelRecord,
    plan: Plan,
    listener: Listener,
    pool: Pool,
    strategy: str | bytes | None,
    problem: Problem,
) -> Graph | None:
    """Train a model's network with new weights; the search stays as it is.

    None, with a warning, if the time was too short for anything.

    Parameters
    ----------
    folder : RunFolder
        Training and validation data are in its `scratch`.
    record, plan, listener, pool, strategy, problem
        As in `train_final`.

    Raises
    ------
    SearchError
        If training failed.
    """
    job = _job(folder, folder.model_file(record.model_id), folder.scratch, plan, True, strategy, problem)
    result, interrupt = _trained(Jobs(pool, listener), record, job)
    if interrupt is not None:
        raise interrupt
    if result is not None and result.cause == "late":
        warnings.warn(
            f"the time limit came before the network of model {record.model_id} was trained anew: the model "
            "is as it was. Give more time",
            stacklevel=4,
        )
        return None
    if result is None or result.reason:
        reason = "no worker answered" if result is None else result.reason
        raise SearchError(f"the network of model {record.model_id} could not be trained: {reason}")
    return Graph.load(result.file)


def _job(
    folder: RunFolder,
    graph_file: Path,
    data_folder: Path,
    plan: Plan,
    fresh: bool,
    strategy: str | bytes | None,
    problem: Problem | None,
) -> Job:
    return Job(
        graph_file=str(graph_file),
        morphs=(),
        data_folder=str(data_folder),
        plan=plan,
        output_file=str(folder.scratch / "final.safetensors"),
        events_file=str(folder.scratch / "final.jsonl"),
        stop_file=str(folder.stop_file),
        fresh=fresh,
        strategy=strategy,
        problem=None if problem is None else pack_problem(problem),
        sent=time.time(),
        sender=platform.node(),
        layers=pack_layers(),
    )


def _trained(
    jobs: Jobs[ModelRecord], record: ModelRecord, job: Job
) -> tuple[Result | None, KeyboardInterrupt | SystemExit | None]:
    """The result of a job, None if it gave none; and the interrupt that ended it, if one did."""
    interrupt = None
    try:
        with terminable():
            jobs.send(record, job)
            found = jobs.collect()
    except (KeyboardInterrupt, SystemExit) as error:
        interrupt = error
        try:
            Path(job.stop_file).touch()
            found = jobs.collect(FAREWELL)
        finally:
            jobs.abandon(idle=True)
    finally:
        jobs.abandon()
    return (found[0][2] if found else None), interrupt
