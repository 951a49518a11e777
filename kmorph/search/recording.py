"""Record candidates that came back from their workers, as models or failures."""

from __future__ import annotations

import time
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from kmorph.search.candidate import Candidate, Result, outputs_beside
from kmorph.search.events import CandidateFailed, Listener, ModelRecorded, log_candidate
from kmorph.search.settings import Settings
from kmorph.search.store.folder import RunFolder
from kmorph.search.store.history import FINE_TUNED, PINNED, History
from kmorph.search.store.models import Models
from kmorph.search.store.ranking import is_worse
from kmorph.search.store.record import FailureRecord, ModelRecord

MOST_REMEMBERED = 100
"""Failed children that proposals learn from, and do not repeat."""


class Recorder:
    """Turns candidates that came back into records, on disk first, then for the search and its listener.

    Parameters
    ----------
    folder : RunFolder
    history : History
        Open for writing.
    models : Models
        Gets every model that is recorded.
    settings : Settings
    listener : Listener
    clock : callable, default=time.time
        The time in seconds.

    Attributes
    ----------
    failed_starts : list of str
        Fingerprints.
    failed_children : deque of Candidate
        The latest.
    failures_in_a_row : int
    """

    def __init__(
        self,
        folder: RunFolder,
        history: History,
        models: Models,
        settings: Settings,
        listener: Listener,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.folder, self.history, self.models = folder, history, models
        self.settings, self.listener, self.clock = settings, listener, clock
        self.failed_starts: list[str] = []
        self.failed_children: deque[Candidate] = deque(maxlen=MOST_REMEMBERED)
        self.failures_in_a_row = 0
        self._has_recorded = False

    def model(
        self, candidate: Candidate, result: Result, file: Path, name: str, state: str = "done"
    ) -> ModelRecord:
        """Record a model: its files are moved to their place first, then its record is written.

        Parameters
        ----------
        candidate : Candidate
        result : Result
        file : Path
            The model's graph; its outputs, if there are any, lie beside it.
        name : str
            The candidate's, in the log.
        state : {"done", "stopped", "untrained"}, default="done"
        """
        record = self._record_of(candidate, result, state)
        outputs = outputs_beside(file)
        with self.folder.translated_errors():
            if outputs.exists():
                outputs.replace(self.folder.outputs_file(record.model_id))
            file.replace(self.folder.model_file(record.model_id))
        self.history.add(record)
        if not self._has_recorded:
            clear_final(self.history, self.folder)
            self._has_recorded = True
        self.failures_in_a_row = 0
        self.models.add(record, candidate.graph)
        measured = "not measured" if record.loss is None else f"loss {record.loss:.4f}"
        log_candidate(
            name,
            f"model {record.model_id}, {record.state}, {measured}, {record.seconds:.1f} s",
            model_id=record.model_id,
            parent_id=record.parent_id,
            state=record.state,
        )
        self.listener(ModelRecorded(record))
        return record

    def failure(self, candidate: Candidate, result: Result, name: str) -> FailureRecord:
        """Record a candidate that failed; `name` is the candidate's, in the log."""
        parent = candidate.parent
        record = FailureRecord(
            parent_id=parent.model_id if parent else None,
            change=candidate.change,
            morphs=candidate.morphs,
            hyperparameters=candidate.plan.hyperparameters.to_dict(),
            n_parameters=candidate.graph.n_parameters,
            flops=candidate.graph.flops,
            seconds=result.seconds,
            reason=result.reason or "for an unknown reason",
            phase=candidate.phase,
            fingerprint=candidate.graph.fingerprint,
            seed=candidate.seed,
            created=self.clock(),
        )
        self.history.add_failure(record)
        self.models.failed_seconds += record.seconds
        if result.cause != "lost":  # those may be tried again
            self.failures_in_a_row += 1
            if parent is None:
                self.failed_starts.append(candidate.graph.fingerprint)
            else:
                self.failed_children.append(candidate)
        log_candidate(name, f"failed: {record.reason}", parent_id=record.parent_id, state="failed")
        self.listener(CandidateFailed(record))
        return record

    def _record_of(self, candidate: Candidate, result: Result, state: str) -> ModelRecord:
        parent, metrics = candidate.parent, result.metrics or {}
        before: Sequence[ModelRecord] = candidate.members or ((parent,) if parent else ())
        merged = candidate.plan.merge_validation and result.images > 0
        if merged and parent is not None and not is_worse(metrics, parent, self.settings.objective):
            metrics = {}  # it was trained on these examples: no estimate of anything
        return ModelRecord(
            model_id=self.history.next_model_id(),
            parent_id=parent.model_id if parent else None,
            change=candidate.change,
            morphs=candidate.morphs,
            metric_value=metrics.get(self.settings.objective.name),
            objective=self.settings.objective.name,
            loss=metrics.get("loss"),
            metrics=metrics,
            hyperparameters=result.hyperparameters or candidate.plan.hyperparameters.to_dict(),
            replicas=result.replicas,
            n_parameters=candidate.graph.n_parameters,
            flops=candidate.graph.flops,
            epochs=result.epochs,
            examples_seen=result.images,
            seconds=result.seconds,
            state=state,
            reason=result.stopped,
            phase=candidate.phase,
            lineage_examples=result.images
            + sum(record.lineage_examples for record in before if not candidate.fresh),
            lineage_seconds=result.seconds + sum(record.lineage_seconds for record in before),
            examples_per_second=result.examples_per_second,
            fingerprint=candidate.graph.fingerprint,
            seed=candidate.seed,
            created=self.clock(),
        )


def warn_if_none_is_done(
    best: ModelRecord | None, models: Models, settings: Settings, stacklevel: int
) -> None:
    """Warn if no model of a search completed its training."""
    if best is None or any(record.state == "done" for record in models.records.values()):
        return
    if best.state == "untrained":
        words = (
            f"the time limit passed before any model was trained: model {best.model_id} has its initial "
            "weights. Starting a worker and loading its backend counts towards the limit, and takes longer "
            "on a busy machine: allow more time, or continue with resume=True"
        )
    else:
        words = f"the training of model {best.model_id}, the best one, was stopped: {best.reason}"
        if best.loss is not None:  # its training failed, rather than its time ran out
            words += advice(settings)
    warnings.warn(words, stacklevel=stacklevel)


def warn_if_too_large(best: ModelRecord | None, settings: Settings, stacklevel: int) -> None:
    """Warn if the best model of a search exceeds the limits: starts may, and shrinking takes time."""
    limits = settings.limits
    for name, unit, limit in (
        ("max_parameters", "parameters", limits.max_parameters),
        ("max_flops", "multiply-adds", limits.max_flops),
    ):
        size = 0 if best is None else best.n_parameters if unit == "parameters" else best.flops
        if best is not None and limit is not None and size > limit:
            warnings.warn(
                f"{name}={limit:,}, but the best model has {size:,} {unit}: starts may be larger, and the "
                "search could not shrink them in its time. Give narrower starts, such as "
                "starts=[('cnn', {'width': 8})], or more time",
                stacklevel=stacklevel,
            )


def warn_if_not_varied(models: Models, n_before: int, settings: Settings, stacklevel: int) -> None:
    """Warn if all new models have the same hyperparameters though the user lets them vary.

    Those are new whose number is `n_before` or higher.
    """
    new = [record for record in models.records.values() if record.model_id >= n_before]
    tried = {settings.space.key(record.hyperparameters) for record in new}
    if settings.space and len(tried) == 1:
        values = zip(sorted(settings.space.dimensions), *tried, strict=True)
        words = ", ".join(f"{name}={value:g}" for name, value in values)
        warnings.warn(
            f"other values than {words} were not tried. A search varies hyperparameters once its starts are "
            "trained: within a time limit of 25 s or more that leaves time for another training, with 200 "
            "validation examples; or without time_limit, until there are max_models",
            stacklevel=stacklevel,
        )


def clear_final(history: History, folder: RunFolder) -> None:
    """Forget what `final_fit` or `fine_tune` made: until then it is the best model."""
    history.update_all([], {PINNED: None, FINE_TUNED: None})
    folder.remove_tuned()


def advice(settings: Settings) -> str:
    """Advice on training the user's own networks; empty if no start is one."""
    if not any(graph.has_weights for _, graph in settings.starts):
        return ""
    return (
        ". Your own networks receive unscaled examples: begin them with keras.layers.Rescaling(1 / 255), "
        "for example, or lower hyperparameters={'learning_rate': ...}"
    )
