"""Writing down what became of a candidate: a model, a failure, or nothing."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kmorph.search.folder import RunFolder
from kmorph.search.history import History
from kmorph.search.jobs import Listener
from kmorph.search.population import Population
from kmorph.search.record import Record
from kmorph.search.settings import Candidate, Settings
from kmorph.search.settling import is_worse
from kmorph.search.worker import Result, logits_file

logger = logging.getLogger("kmorph.search")

MOST_REMEMBERED = 100
"""Failed children that proposals learn from, and do not repeat."""


def log_candidate(name: str, text: str, **details: Any) -> None:
    """Log an event of one candidate; its name, the same in every event, and details are attributes too."""
    logger.info("candidate %s: %s", name, text, extra={"candidate": name, **details})


class Recorder:
    """Turns candidates that came back into records, on disk first, then for the search and its listener.

    Parameters
    ----------
    folder : RunFolder
    history : History
        Open for writing.
    models : Population
        Gets every model that is recorded.
    settings : Settings
    listener : Listener

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
        models: Population,
        settings: Settings,
        listener: Listener,
    ) -> None:
        self.folder, self.history, self.models = folder, history, models
        self.settings, self.listener = settings, listener
        self.failed_starts: list[str] = []
        self.failed_children: deque[Candidate] = deque(maxlen=MOST_REMEMBERED)
        self.failures_in_a_row = 0

    def model(self, candidate: Candidate, result: Result, file: Path, state: str = "done") -> Record:
        """Record a model whose graph lies in `file`, which is in its place before the record tells of it."""
        record = self._record_of(candidate, result, state)
        assert record.model_id is not None
        logits = logits_file(file)
        with self.folder.told():
            if logits.exists():
                logits.replace(self.folder.logits_file(record.model_id))
            file.replace(self.folder.model_file(record.model_id))
        self.history.add(record)
        self.failures_in_a_row = 0
        self.models.add(record, candidate.graph)
        measured = "not measured" if record.loss is None else f"loss {record.loss:.4f}"
        log_candidate(
            file.stem,
            f"model {record.model_id}, {record.state}, {measured}, {record.seconds:.1f} s",
            model_id=record.model_id,
            parent_id=record.parent_id,
            state=record.state,
        )
        self.listener.candidate_recorded(record)
        return record

    def failure(self, candidate: Candidate, result: Result, name: str) -> Record:
        """Record a candidate that failed; `name` is for the log."""
        parent = candidate.parent
        record = Record(
            model_id=None,
            parent_id=parent.model_id if parent else None,
            change=candidate.change,
            morphs=candidate.morphs,
            hyperparameters=candidate.plan.hyperparameters.to_dict(),
            n_parameters=candidate.graph.n_parameters,
            flops=candidate.graph.flops,
            seconds=result.seconds,
            state="failed",
            reason=result.reason,
            phase=candidate.phase,
            fingerprint=candidate.graph.fingerprint,
            seed=candidate.seed,
        )
        self.history.add_failure(record)
        self.models.failed_seconds += record.seconds
        self.failures_in_a_row += 1
        if parent is None:
            self.failed_starts.append(candidate.graph.fingerprint)
        else:
            self.failed_children.append(candidate)
        log_candidate(name, f"failed: {record.reason}", parent_id=record.parent_id, state=record.state)
        self.listener.candidate_failed(record)
        return record

    def _record_of(self, candidate: Candidate, result: Result, state: str) -> Record:
        parent, metrics = candidate.parent, result.metrics or {}
        before: Sequence[Record] = candidate.members or ((parent,) if parent else ())
        merged = candidate.plan.merge_validation and result.images > 0
        if merged and parent is not None and not is_worse(metrics, parent):
            metrics = {}  # it was trained on these examples: no estimate of anything
        return Record(
            model_id=self.history.next_model_id(),
            parent_id=parent.model_id if parent else None,
            change=candidate.change,
            morphs=candidate.morphs,
            metric_value=metrics.get(self.settings.objective),
            loss=metrics.get("loss"),
            metrics=metrics,
            hyperparameters=result.hyperparameters or candidate.plan.hyperparameters.to_dict(),
            replicas=result.replicas,
            n_parameters=candidate.graph.n_parameters,
            flops=candidate.graph.flops,
            epochs=result.epochs,
            images_seen=result.images,
            seconds=result.seconds,
            state=state,
            reason=result.stopped,
            phase=candidate.phase,
            lineage_images=result.images + sum(record.lineage_images for record in before),
            lineage_seconds=result.seconds + sum(record.lineage_seconds for record in before),
            images_per_second=result.images_per_second,
            fingerprint=candidate.graph.fingerprint,
            seed=candidate.seed,
        )
