"""Insurance: which planned steps are taken back."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from problems import classes_of_images

from kmorph import starts
from kmorph.graph import Graph
from kmorph.morphs import Deepen, Limits, Widen, to_json
from kmorph.search.store.folder import RunFolder
from kmorph.search.store.models import Models
from kmorph.search.store.record import ModelRecord
from kmorph.search.strategy.insurance import Insurance
from kmorph.search.strategy.propose import MAX_GROWTH
from kmorph.search.strategy.steps import widened

SMALL = starts.mlp((4,), 3, width=8)
MORPHS, LARGE = widened(SMALL, 6 * SMALL.flops, Limits())
N_VAL = 200
Y = np.arange(N_VAL) % 3


@pytest.fixture
def folder(tmp_path):
    with RunFolder.open(tmp_path / "run") as folder:
        yield folder


def losses_of(several):
    return [classes_of_images((4,), 3).losses(Y, outputs) for outputs in several]


class Steps:
    """Two models, of which the second grew out of the first, and the losses of both."""

    def __init__(self, folder):
        self.folder, self.models = folder, Models()
        self.rng = np.random.default_rng(0)
        self.insurance = Insurance(self.models, folder, losses_of)

    def add(self, logits, loss=None, graph: Graph = SMALL, parent_id=None, morphs=()) -> ModelRecord:
        (losses,) = losses_of([logits])
        number = len(self.models)
        record = ModelRecord(
            model_id=number,
            parent_id=parent_id,
            state="done",
            loss=float(losses.mean()) if loss is None else loss,
            flops=graph.flops,
            n_parameters=graph.n_parameters,
            morphs=tuple(to_json(morph, 0) for morph in morphs),
        )
        self.models.add(record, graph)
        np.save(self.folder.outputs_file(number), logits)
        self.insurance.note(record)
        return record

    def grow(self, worse: float, noise: float) -> int:
        """A step whose logits are blurred; returns the id of the model that is worth settling."""
        logits = np.eye(3)[Y] + self.rng.normal(size=(N_VAL, 3))
        self.add(logits)
        changed = logits + np.eye(3)[Y] * (noise * self.rng.normal(size=(N_VAL, 1)) - worse)
        self.add(changed, graph=LARGE, parent_id=0, morphs=MORPHS)
        return self.models.best_stable().model_id


def test_a_step_that_lowers_the_loss_holds(folder):
    assert Steps(folder).grow(worse=-0.5, noise=0.1) == 1


def test_a_step_that_raises_the_loss_beyond_chance_is_taken_back(folder):
    assert Steps(folder).grow(worse=0.5, noise=0.1) == 0


def test_a_step_that_seems_worse_by_chance_holds(folder):
    steps = Steps(folder)
    best = steps.grow(worse=0.0, noise=0.5)
    small, large = steps.models.records.values()
    assert large.loss > small.loss and best == 1
    # And what was lost with a small model is not time that was thrown away: the large one builds on it.
    assert steps.models.discarded_seconds() == 0.0


def test_a_continued_search_decides_alike(folder):
    steps = Steps(folder)
    steps.grow(worse=0.0, noise=0.5)
    steps.models.successors.clear()
    Insurance(steps.models, folder, losses_of)
    assert steps.models.successors == {0: 1}


def test_two_steps_follow_one_another(folder):
    steps = Steps(folder)
    steps.grow(worse=0.0, noise=0.5)
    again, larger = widened(LARGE, 6 * LARGE.flops, Limits())
    logits = np.load(folder.outputs_file(1)) + 1e-3 * steps.rng.normal(size=(N_VAL, 3))
    steps.add(logits, graph=larger, parent_id=1, morphs=again)
    assert steps.models.best_stable().model_id == 2
    steps.models.weightless.add(2)  # dropped to keep a limit on disk space
    assert steps.models.best_stable().model_id == 1


def test_other_children_must_do_better(folder):
    steps = Steps(folder)
    logits = np.eye(3)[Y] + steps.rng.normal(size=(N_VAL, 3))
    steps.add(logits)
    blurred = logits + 0.01 * steps.rng.normal(size=(N_VAL, 3))
    deeper = Deepen(layer=1, kernel=1)
    steps.add(blurred, loss=2.0, graph=LARGE, parent_id=0, morphs=(*MORPHS, deeper))
    steps.add(blurred, loss=2.0, parent_id=0)  # trained on, not grown
    proposed = Widen(layer=0, to=13)
    wider = proposed.apply(SMALL)
    assert 1.4 < wider.flops / SMALL.flops <= MAX_GROWTH
    steps.add(blurred, loss=2.0, graph=wider, parent_id=0, morphs=[proposed])
    assert steps.models.best_stable().model_id == 0 and not steps.models.successors


def test_without_losses_to_compare_the_loss_decides(folder, caplog):
    def fail(several):
        raise ValueError("a loss of the user's")

    for losses in (None, fail):
        steps = Steps(folder)
        steps.insurance._losses = losses
        with caplog.at_level(logging.WARNING, "kmorph.search"):
            assert steps.grow(worse=0.0, noise=0.5) == 0
    assert "a loss of the user's" in caplog.text
    steps = Steps(folder)
    steps.add(np.eye(3)[Y], loss=1.0)
    steps.add(np.eye(3)[Y], loss=1.01, graph=LARGE, parent_id=0, morphs=MORPHS)
    folder.outputs_file(1).unlink()
    steps.models.successors.clear()
    steps.insurance.note(steps.models.records[1])
    assert steps.models.best_stable().model_id == 0
