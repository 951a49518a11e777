"""Insurance of planned steps: a step that made a network worse, beyond chance, is taken back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np

from kmorph.morphs import Widen
from kmorph.search.store.folder import RunFolder
from kmorph.search.store.models import Models
from kmorph.search.store.record import ModelRecord
from kmorph.search.strategy.steps import is_step
from kmorph.training.race import is_behind

logger = logging.getLogger("kmorph.search")


class Insurance:
    """Decides whether a network that a planned step made larger replaces the smaller one.

    It does unless its loss is higher by more than chance, by the rule of the race. Requiring a lower loss
    would take steps back by chance wherever validation examples are few; and a larger network gains more
    than a smaller one when its learning rate falls to zero.

    Parameters
    ----------
    models : Models
        Of the search; steps of an earlier run are decided upon again.
    folder : RunFolder
    losses : callable or None
        Gives the losses of the validation examples for several outputs, as `Settling` has it. None if
        examples have no losses of their own: then the loss itself decides.
    """

    def __init__(
        self,
        models: Models,
        folder: RunFolder,
        losses: Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]] | None,
    ) -> None:
        self.models, self.folder, self._losses = models, folder, losses
        for record in list(models.records.values()):
            self.note(record)

    def note(self, record: ModelRecord) -> None:
        """Let a larger network replace the one that it was grown from, unless it is worse beyond chance."""
        parent = None if record.parent_id is None else self.models.records[record.parent_id]
        if parent is not None and _is_step(record, parent) and self._holds(record, parent):
            self.models.successors[parent.model_id] = record.model_id

    def _holds(self, child: ModelRecord, parent: ModelRecord) -> bool:
        if child.loss is None or parent.loss is None or not np.isfinite(child.loss):
            return False
        if child.loss <= parent.loss:
            return True
        files = [self.folder.outputs_file(record.model_id) for record in (child, parent)]
        if self._losses is None or not all(file.exists() for file in files):
            return False
        try:
            losses, rival = self._losses([np.load(file, allow_pickle=False) for file in files])
        except Exception as error:  # a loss of the user's, or the worker that computes it
            logger.warning("a step was taken back, its networks could not be compared: %r", error)
            return False
        return not is_behind(losses, rival)


def _is_step(child: ModelRecord, parent: ModelRecord) -> bool:
    """Return whether a model came out of `planned_step`."""
    widened = all(morph.get("kind") == Widen.kind for morph in child.morphs)
    return bool(child.morphs) and widened and is_step(parent.flops, child.flops)
