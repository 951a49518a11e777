"""The end of a search: the best lineages at a learning rate that falls to zero, and their mean."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from kmorph.graph import Graph
from kmorph.search.candidate import Candidate
from kmorph.search.settings import Settings
from kmorph.search.store.folder import RunFolder
from kmorph.search.store.models import Models
from kmorph.search.store.record import ModelRecord
from kmorph.search.strategy.ensemble import choose_members, join, within_limits
from kmorph.search.strategy.planning import Planner
from kmorph.search.strategy.schedule import EPOCHS_TO_SETTLE, Schedule
from kmorph.search.strategy.steps import LEAST_STEP
from kmorph.training.plan import Plan

logger = logging.getLogger("kmorph.search")

MOST_SMOOTHING = 0.3  # of labels
SETTLE_EVERY = 6  # models between two settled ones when there is no time limit


class Settling:
    """Chooses which models are settled, and when.

    Under a clock, or a limit on models, the best lineage is settled last; or several, whose mean is the last
    model: as many as can each be trained long enough, two at least if the user asks for an ensemble, and as
    many as the schedule plans to average. Without a limit the best is settled now and then, so that there is
    always a good model.

    Parameters
    ----------
    settings : Settings
    schedule : Schedule
    planner : Planner
    models : Models
        Of the search; it is looked at whenever a candidate is asked for.
    losses : callable
        Gives the losses of the validation examples, each of shape (n_val,), for several outputs of shape
        (n_val, width). It may raise anything: then no mean is made.
    """

    def __init__(
        self,
        settings: Settings,
        schedule: Schedule,
        planner: Planner,
        models: Models,
        losses: Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]],
    ) -> None:
        self.settings, self.schedule, self._losses = settings, schedule, losses
        self.planner, self.models = planner, models
        self._waiting: list[ModelRecord] | None = None
        self._settled: list[ModelRecord] = []
        self._mean_is_due = False
        self._requeued: set[int] = set()  # seeds of candidates
        self._kept: dict[int, Graph] = {}  # checkpoints of settled models whose worker died

    @property
    def is_over(self) -> bool:
        """True once everything due at the end was sent."""
        return self._waiting == [] and not self._mean_is_due

    @property
    def needed(self) -> list[ModelRecord]:
        """Models that are still to be settled, or to be averaged."""
        return [*(self._waiting or ()), *self._settled]

    def next_candidate(
        self, new_seed: Callable[[], int], folder: RunFolder, early: bool = False
    ) -> Candidate | None:
        """The next lineage to settle, or the mean of those that have been.

        Parameters
        ----------
        new_seed : callable
            Gives the seed of the candidate.
        folder : RunFolder
        early : bool, default=False
            Whether settling begins although the schedule does not call for it yet.

        Returns
        -------
        Candidate or None
            None if it is too early, or nothing is left to settle.
        """
        if early or self._waiting is not None or self.schedule.time_to_settle(len(self.models)):
            if self._waiting is None:
                self._waiting = self._worth_settling(folder)
                self._mean_is_due = len(self._waiting) > 1 and not self.planner.merges
            if not self._waiting:
                self._mean_is_due = False
                several = len(self._settled) > 1 and not self.planner.merges
                return self._mean(folder, self._settled) if several else None
            parent, waiting = self._waiting.pop(0), len(self._waiting)
        elif self.schedule.time_limit is None and self._is_due():
            best = self.models.best_stable()
            if best is None:
                return None
            parent, waiting = best, 0
        else:
            return None
        graph, seed = self.models.structures[parent.model_id], new_seed()
        plan = self.planner.settling(graph, seed, parent.hyperparameters, waiting + 1, self._mean_is_due)
        plan = self._smoothed(plan, parent, folder)
        # Popped: other copies of the same network that settle from new weights must not begin from it.
        graph = self._kept.pop(parent.model_id, graph)
        fresh = self.settings.settles_anew and not graph.has_weights
        change = "settle: learning rate to zero" + ", from new weights" * fresh
        change += ", validation data too" * plan.merge_validation
        return Candidate(parent, (), graph, change, "decay", plan, seed, fresh=fresh)

    def settle_again(self, candidate: Candidate, checkpoint: Path | None) -> None:
        """Requeue a final training whose worker died, from its checkpoint if there is one.

        Parameters
        ----------
        candidate : Candidate
        checkpoint : Path or None
            Graph file with the weights it had; None: it begins from its parent's again.
        """
        if self._waiting is None or candidate.parent is None or candidate.seed in self._requeued:
            return
        self._requeued.add(candidate.seed)  # not by its parent: copies of one network may wait
        self._waiting.insert(0, candidate.parent)
        if checkpoint is None and candidate.graph.has_weights:  # it began from an earlier checkpoint
            self._kept[candidate.parent.model_id] = candidate.graph
        if checkpoint is not None:
            logger.warning("the settling of model %s goes on from its checkpoint", candidate.parent.model_id)
            self._kept[candidate.parent.model_id] = Graph.load(checkpoint)

    def note(self, record: ModelRecord) -> None:
        """Add a settled model to those that are averaged at the end."""
        if self._waiting is not None and record.phase == "decay":
            self._settled.append(record)

    def unmeasured_mean(self, folder: RunFolder) -> Candidate | None:
        """The mean of what was settled on the validation examples too: all members count alike.

        Those that came out worse than before, and so were measured, are left out.
        """
        members = [record for record in self._settled if record.is_unmeasured]
        return self._mean(folder, members) if len(members) > 1 else None

    def _mean(self, folder: RunFolder, members: list[ModelRecord]) -> Candidate:
        """A candidate that is evaluated but not trained."""
        graph = join([Graph.load(folder.model_file(record.model_id)) for record in members])
        names = ", ".join(str(record.model_id) for record in members)
        plan = self.planner.no_training(graph, members[0].hyperparameters)
        change = f"ensemble: the mean of models {names}"
        return Candidate(members[0], (), graph, change, "ensemble", plan, plan.seed, tuple(members))

    def _smoothed(self, plan: Plan, parent: ModelRecord, folder: RunFolder) -> Plan:
        """The plan with labels smoothed by as much as the parent is overconfident.

        Lineages that settle from new weights are trained for so few epochs that they do not become so.
        """
        file, accuracy = folder.outputs_file(parent.model_id), parent.metrics.get("accuracy")
        if not self.settings.smooths or self.settings.settles_anew or accuracy is None or not file.exists():
            return plan
        smoothing = smoothing_for(np.load(file, allow_pickle=False), accuracy)
        return replace(plan, hyperparameters=replace(plan.hyperparameters, label_smoothing=smoothing))

    def _is_due(self) -> bool:
        since = [record.phase for record in self.models.records.values()][-SETTLE_EVERY:]
        return len(since) == SETTLE_EVERY and "decay" not in since

    def _worth_settling(self, folder: RunFolder) -> list[ModelRecord]:
        best = self.models.best_stable()
        if best is None:
            return []
        # What a larger one succeeds is a part of it, not a second opinion; and what was not grown with it is
        # too small to be worth its time.
        replaced = self.models.successors
        growable = [one for one in self.models.growable() if one.model_id not in replaced]
        if replaced:
            growable = [one for one in growable if one.flops * LEAST_STEP > best.flops]
        least = 2 if self.settings.ensemble is True else 1
        anew = self.settings.settles_anew
        enough = float(self.settings.epochs or EPOCHS_TO_SETTLE) if anew else EPOCHS_TO_SETTLE
        most = self.schedule.affordable_members(best.examples_per_second, self.settings.n_train, enough)
        most = max(least, most)
        wanted = self.schedule.n_averaged
        if self.schedule.max_models is not None:
            most = min(most, self.schedule.max_models - len(self.models) - 1)
        if most < 2 or not self.settings.may_average:
            return [best]
        fits = partial(within_limits, limits=self.settings.limits)
        files = {record.model_id: folder.outputs_file(record.model_id) for record in growable}
        outputs = {i: np.load(file, allow_pickle=False) for i, file in files.items() if file.exists()}
        try:
            if not anew:
                return choose_members(best, growable, outputs, self._losses, fits, most, least, wanted)
            chosen = choose_members(best, growable, outputs, self._losses, fits, most, most)
            # Fresh weights make copies of one network differ, so the best one fills the remaining places.
            while len(chosen) < most and fits([*chosen, best]):
                chosen.append(best)
            return chosen
        except Exception as error:  # a loss of the user's, or the worker that computes it
            logger.warning("only the best model is settled, others could not be compared: %r", error)
            return [best]


def smoothing_for(outputs: np.ndarray, accuracy: float) -> float:
    """Label smoothing whose targets lower the confidence by how much it exceeds the accuracy.

    One standard error of the accuracy is taken off: where nearly all is right, smoothing by chance would cost
    more log loss than it saves.

    Parameters
    ----------
    outputs : ndarray, shape (n, classes)
        Logits for examples that were not trained on.
    accuracy : float
        On the same examples.

    Returns
    -------
    float
        From 0 to `MOST_SMOOTHING`.

    References
    ----------
    The gap of confidence and accuracy: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
    """
    n, classes = outputs.shape
    logits = outputs.astype(np.float64)
    confidence = (1 / np.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1)).mean()
    excess = confidence - accuracy - np.sqrt(accuracy * (1 - accuracy) / n)
    # Smoothing by s makes targets of 1 - s + s / classes.
    return float(np.clip(excess * classes / (classes - 1), 0.0, MOST_SMOOTHING))
