"""Send candidates to workers, with the files that they need, and make room for those that they write."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterable
from dataclasses import replace
from math import prod
from pathlib import Path

from kmorph.search.candidate import Candidate, Job
from kmorph.search.events import CandidateStarted, Listener, log_candidate
from kmorph.search.settings import Settings
from kmorph.search.store.disk import BYTES, HEADER, DiskLimit
from kmorph.search.store.folder import RunFolder
from kmorph.search.store.models import Models
from kmorph.search.store.record import ModelRecord
from kmorph.search.workers.jobs import Jobs
from kmorph.search.workers.own_layers import pack_layers


class Dispatcher:
    """Makes jobs of candidates, and sends them to workers.

    Parameters
    ----------
    folder : RunFolder
    data_folder : Path
        Where the training and validation data were saved.
    settings : Settings
    listener : Listener
    jobs : Jobs
        Takes the jobs.
    models : Models
    """

    def __init__(
        self,
        folder: RunFolder,
        data_folder: Path,
        settings: Settings,
        listener: Listener,
        jobs: Jobs[Candidate],
        models: Models,
    ) -> None:
        self.folder, self.data_folder, self.settings = folder, data_folder, settings
        self.listener, self.jobs = listener, jobs
        self._disk = DiskLimit(folder, models, settings.max_disk)
        self._sent = 0

    def send(self, candidate: Candidate, needed: Iterable[ModelRecord]) -> None:
        """Let a worker train a candidate.

        Parameters
        ----------
        candidate : Candidate
        needed : iterable of ModelRecord
            Models whose weights must stay, beside those of parents in training.
        """
        parent = candidate.parent
        self._sent += 1
        name = f"{self._sent:04d}"
        scratch = self.folder.scratch / name
        self.make_room(candidate, needed)
        if parent is None or candidate.graph.has_weights:
            with self.folder.translated_errors():
                source = candidate.graph.save(scratch.with_suffix(".start.safetensors"))
        else:
            source = self.folder.model_file(parent.model_id)
        before = parent.lineage_examples if parent and not candidate.fresh else 0
        plan = replace(candidate.plan, images_before=before)
        if parent is not None and plan.phase == "stable" and self._may_race(candidate, parent):
            rival = self.folder.outputs_file(parent.model_id)
            plan = replace(plan, rival=str(rival) if rival.exists() else None)
        job = Job(
            graph_file=str(source),
            morphs=candidate.morphs,
            data_folder=str(self.data_folder),
            plan=plan,
            output_file=str(scratch.with_suffix(".safetensors")),
            events_file=str(scratch.with_suffix(".jsonl")),
            stop_file=str(self.folder.stop_file),
            fresh=candidate.fresh,
            strategy=self.settings.strategy,
            problem=self.settings.packed_problem,
            layers=pack_layers(),
            sent=time.time(),
            sender=platform.node(),
        )
        parent_id = parent.model_id if parent else None
        n_parameters, seconds = candidate.graph.n_parameters, candidate.plan.seconds
        self.listener(CandidateStarted(candidate.change, parent_id, n_parameters, candidate.phase, seconds))
        log_candidate(
            name,
            f"{candidate.change}, {candidate.graph.n_parameters:,} parameters, {candidate.phase}"
            + (f", from model {parent.model_id}" if parent else ""),
            parent_id=parent_id,
            phase=candidate.phase,
        )
        self.jobs.send(candidate, job)

    def make_room(self, candidate: Candidate, needed: Iterable[ModelRecord]) -> None:
        """Keep the limit on disk space, at the expense of models that are not needed."""
        keep = {record.model_id for record in needed}
        for other in (*self.jobs.under_way, candidate):
            keep |= {record.model_id for record in (other.parent, *other.members) if record is not None}
        outputs = self.settings.n_val * prod(candidate.graph.output_shape) * BYTES + HEADER
        self._disk.make_room(candidate.graph, outputs, keep)

    def _may_race(self, candidate: Candidate, parent: ModelRecord) -> bool:
        """Return whether it differs from its parent, and examples have losses that can be compared."""
        if not self.settings.posed.loss.is_per_example:
            return False
        key, values = self.settings.space.key, candidate.plan.hyperparameters.to_dict()
        return bool(candidate.morphs) or key(values) != key(parent.hyperparameters)
