"""The end of a search: which models are settled, when, and their mean."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from problems import classes_of_images
from search.simulated import Clock

from kmorph import starts
from kmorph.graph import Graph
from kmorph.morphs import Limits
from kmorph.search.settings import Settings
from kmorph.search.store.folder import RunFolder
from kmorph.search.store.models import Models
from kmorph.search.store.record import ModelRecord
from kmorph.search.strategy.planning import Planner
from kmorph.search.strategy.schedule import EPOCHS_TO_AVERAGE, EVALUATION, Schedule
from kmorph.search.strategy.settling import MOST_SMOOTHING, SETTLE_EVERY, Settling, smoothing_for
from kmorph.training.examples import Data
from kmorph.training.plan import Hyperparameters

GRAPH = starts.mlp((4,), 3, width=4)
N_VAL = 60


class Ending:
    """Settling with its clock, its models and a folder."""

    def __init__(self, folder, time_limit=None, max_models=None, **changes):
        self.folder, self.clock, self.models = folder, Clock(), Models()
        self.schedule = Schedule(time_limit, max_models, clock=self.clock)
        settings = Settings(starts=(("mlp", GRAPH),), n_train=1000, max_models=max_models, **changes)
        planner = Planner(settings, self.schedule, self.models.records, 1000.0 * GRAPH.flops)
        data = Data.load(folder.scratch)
        problem = classes_of_images((4,), 3)
        self.settling = Settling(
            settings, self.schedule, planner, self.models,
            lambda several: [problem.losses(data.y_val, outputs) for outputs in several],
        )  # fmt: skip
        self.seeds = iter(range(100))

    def add(self, loss=1.0, phase="stable", logits=None, **values) -> ModelRecord:
        number = len(self.models)
        record = ModelRecord(
            model_id=number, state="done", loss=loss, phase=phase, n_parameters=GRAPH.n_parameters,
            examples_per_second=1000.0, **{"flops": GRAPH.flops, **values},
        )  # fmt: skip
        self.models.add(record, GRAPH)
        GRAPH.initialize(number).save(self.folder.model_file(number))
        if logits is not None:
            np.save(self.folder.outputs_file(number), logits)
        return record

    def next(self):
        return self.settling.next_candidate(lambda: next(self.seeds), self.folder)


@pytest.fixture
def folder(tmp_path):
    with RunFolder.open(tmp_path / "run") as folder:
        y = np.arange(N_VAL) % 3
        x = np.zeros((N_VAL, 4), np.float32)
        Data(x, y, x, y).save(folder.scratch)
        yield folder


def good_at(classes, strength=4.0):
    """Logits that know some of the classes, and nothing of the others."""
    y = np.arange(N_VAL) % 3
    logits = np.zeros((N_VAL, 3), np.float32)
    for i in classes:
        logits[y == i, i] = strength
    return logits


def test_nothing_is_settled_before_its_time(folder):
    ending = Ending(folder, time_limit=600.0)
    ending.add()
    assert ending.next() is None and not ending.settling.is_over


def test_the_best_stable_model_is_settled_last(folder):
    ending = Ending(folder, time_limit=600.0)
    ending.add(1.0)
    ending.add(0.5)
    ending.add(0.7)
    ending.clock.now += 400
    candidate = ending.next()
    assert candidate.parent.model_id == 1 and candidate.phase == candidate.plan.phase == "decay"
    assert candidate.morphs == () and candidate.plan.seconds == pytest.approx(597 - 400)
    assert ending.settling.is_over and ending.next() is None


def test_what_a_larger_model_succeeds_is_not_averaged_with_it(folder):
    ending = Ending(folder, time_limit=600.0, ensemble=True)
    ending.add(0.70, logits=good_at((0, 1)))
    ending.add(0.75, logits=good_at((0, 2)))
    ending.models.successors[0] = 1
    ending.add(0.80, logits=good_at((1, 2)))
    ending.clock.now += 400
    parents = [candidate.parent.model_id for candidate in iter(ending.next, None)]
    assert parents[0] == 1 and 0 not in parents and 2 in parents


def test_what_was_not_grown_is_too_small_to_be_averaged_with_what_was(folder):
    ending = Ending(folder, time_limit=600.0, ensemble="auto")
    small = ending.add(0.70, logits=good_at((0, 1)))
    ending.add(0.75, logits=good_at((0, 2)), flops=4 * small.flops)
    ending.add(0.76, logits=good_at((1, 2)))  # adds to the second, but was not grown
    ending.add(0.77, logits=good_at((1, 2)), flops=3 * small.flops)
    ending.models.successors[0] = 1
    ending.clock.now += 400
    parents = [candidate.parent.model_id for candidate in iter(ending.next, None)]
    assert parents == [1, 3]


def test_a_limit_on_models_leaves_the_last_for_settling(folder):
    ending = Ending(folder, max_models=3)
    ending.add(1.0)
    assert ending.next() is None
    ending.add(0.9)
    assert ending.next().parent.model_id == 1 and ending.settling.is_over


def right_in(n, confidence):
    """Logits for 3 classes, all with this confidence, right for the first `n` examples."""
    y = np.arange(N_VAL) % 3
    chosen = np.where(np.arange(N_VAL) < n, y, (y + 1) % 3)
    chances = np.where(np.arange(3) == chosen[:, None], confidence, (1 - confidence) / 2)
    return np.log(chances).astype(np.float32)


@pytest.mark.parametrize(
    ("confidence", "right", "smoothing"),
    [
        # Right in 0.8 ± 0.052; targets of 1 - 0.15 + 0.15 / 3 = 0.9 are lower by 0.1.
        (0.9 + (0.8 * 0.2 / 60) ** 0.5, 48, 0.15),
        (0.84, 48, 0.0),  # that may be chance
        (0.7, 48, 0.0),  # too modest
        (0.999, 12, MOST_SMOOTHING),
    ],
)
def test_labels_are_smoothed_by_as_much_as_the_network_was_overconfident(
    folder, confidence, right, smoothing
):
    assert smoothing_for(right_in(right, confidence), right / N_VAL) == pytest.approx(smoothing, abs=1e-6)
    ending = Ending(folder, time_limit=600.0, smooths=True)
    ending.add(0.5, logits=right_in(right, confidence), metrics={"accuracy": right / N_VAL})
    ending.clock.now += 400
    assert ending.next().plan.hyperparameters.label_smoothing == pytest.approx(smoothing, abs=1e-6)


def test_a_given_smoothing_stays(folder):
    ending = Ending(folder, time_limit=600.0, hyperparameters=Hyperparameters(label_smoothing=0.05))
    ending.add(0.5, logits=right_in(30, 0.99), metrics={"accuracy": 0.5})
    ending.clock.now += 400
    assert ending.next().plan.hyperparameters.label_smoothing == 0.05


def test_without_a_limit_a_model_is_settled_now_and_then(folder):
    ending = Ending(folder)
    for loss in np.linspace(1.0, 0.5, SETTLE_EVERY - 1):
        ending.add(float(loss))
    assert ending.next() is None
    ending.add(0.1)
    assert ending.next().parent.model_id == SETTLE_EVERY - 1
    ending.add(0.05, "decay")
    assert ending.next() is None and not ending.settling.is_over


def test_nothing_measured_is_nothing_to_settle(folder):
    ending = Ending(folder, time_limit=100.0)
    ending.clock.now += 90
    assert ending.next() is None and ending.settling.is_over


def test_a_settling_whose_worker_died_is_done_again_from_its_checkpoint(folder):
    ending = Ending(folder, time_limit=600.0)
    ending.add(0.5)
    ending.clock.now += 400
    candidate = ending.next()
    checkpoint = GRAPH.initialize(9).save(folder.scratch / "0001.safetensors")
    ending.settling.settle_again(candidate, checkpoint)
    ending.settling.settle_again(candidate, checkpoint)  # told twice, done once
    again = ending.next()
    assert again.parent == candidate.parent
    for key, array in again.graph.weights.items():
        np.testing.assert_array_equal(array, GRAPH.initialize(9).weights[key])
    assert ending.next() is None
    without = Ending(folder, time_limit=600.0)
    without.add(0.5)
    without.clock.now += 400
    without.settling.settle_again(without.next(), None)
    assert not without.next().graph.has_weights


def test_of_copies_that_settle_from_new_weights_the_one_that_died_is_done_again(folder):
    ending = Ending(folder, time_limit=600.0, most_epochs=3, ensemble="auto")
    ending.add(0.5, logits=good_at([0, 1]))
    ending.clock.now += 400
    first = ending.next()
    assert first.fresh and not ending.settling.is_over  # copies wait
    checkpoint = GRAPH.initialize(9).save(folder.scratch / "0001.safetensors")
    ending.settling.settle_again(first, checkpoint)
    again, *copies = ending.next(), ending.next(), ending.next()
    assert again.graph.has_weights and not again.fresh
    assert all(copy.fresh and not copy.graph.has_weights for copy in copies)
    assert ending.next() is None and len({c.seed for c in (first, again, *copies)}) == 4
    # A second death before any progress: its first checkpoint still counts.
    ending.settling.settle_again(again, None)
    assert ending.next().graph.has_weights


def test_several_that_complement_each_other_are_settled_and_averaged(folder):
    ending = Ending(folder, time_limit=4000.0, ensemble=True)
    ending.add(0.5, logits=good_at([0, 1]))
    ending.add(0.6, logits=good_at([1, 2]))
    ending.clock.now += 2500
    first, second = ending.next(), ending.next()
    assert {first.parent.model_id, second.parent.model_id} == {0, 1}
    assert not ending.settling.is_over  # the mean is due
    for candidate in (first, second):
        ending.settling.note(ending.add(0.4, "decay", parent_id=candidate.parent.model_id))
    mean = ending.next()
    assert mean.phase == "ensemble" and [record.model_id for record in mean.members] == [2, 3]
    assert mean.plan.max_epochs == 0 and ending.settling.is_over
    members = [Graph.load(folder.model_file(number)).to_keras() for number in (2, 3)]
    x = np.random.default_rng(0).random((5, 4), np.float32)
    expected = np.mean([model(x) for model in members], axis=0)
    np.testing.assert_allclose(mean.graph.to_keras()(x), expected, atol=1e-5)


def test_starts_that_are_averaged_settle_whatever_they_add(folder):
    ending = Ending(folder, time_limit=300.0, ensemble="auto")
    ending.schedule.expect(300.0 / EPOCHS_TO_AVERAGE)
    ending.schedule.plan_average(3)
    for loss, classes in ((0.5, [0, 1]), (0.5, [0, 1]), (0.9, [0]), (3.0, [])):  # the second is a copy
        ending.add(loss, logits=good_at(classes))
    ending.clock.now += 120.0
    settled = [ending.next() for _ in range(2)]
    assert {candidate.parent.model_id for candidate in settled} == {0, 1}
    assert not ending.settling.is_over


def test_the_mean_is_of_what_did_not_come_out_worse(folder):
    ending = Ending(folder, time_limit=4000.0, ensemble=True, merge_validation=True)
    ending.add(0.5, logits=good_at([0, 1]))
    ending.add(0.6, logits=good_at([1, 2]))
    ending.add(0.6, logits=good_at([0, 2]))
    ending.clock.now += 2000
    settled = list(iter(ending.next, None))
    assert len(settled) == 3
    for candidate, loss in zip(settled, (None, 0.9, None), strict=True):  # the second is measured: worse
        ending.settling.note(ending.add(loss, "decay", parent_id=candidate.parent.model_id))
    assert "mean of models 3, 5" in ending.settling.unmeasured_mean(folder).change


def test_merged_models_are_averaged_without_being_measured(folder):
    ending = Ending(folder, time_limit=4000.0, ensemble=True, merge_validation=True)
    ending.add(0.5, logits=good_at([0, 1]))
    ending.add(0.6, logits=good_at([1, 2]))
    ending.clock.now += 2500
    for candidate in (ending.next(), ending.next()):
        ending.settling.note(ending.add(None, "decay", parent_id=candidate.parent.model_id))
    assert ending.next() is None and ending.settling.is_over
    mean = ending.settling.unmeasured_mean(folder)
    assert mean.phase == "ensemble" and len(mean.members) == 2
    assert "mean of models 2, 3" in mean.change


@pytest.mark.parametrize("merge", [False, True])
def test_those_that_are_settled_have_equal_parts_of_the_time(folder, merge):
    ending = Ending(folder, time_limit=4000.0, ensemble=True, merge_validation=merge)
    ending.add(0.5, logits=good_at([0, 1]))
    ending.add(0.6, logits=good_at([1, 2]))
    ending.clock.now += 2500
    overhead = 3.0
    first = ending.next()
    ending.clock.now += first.plan.seconds + overhead
    second = ending.next()
    if merge:  # the mean is not measured, and takes no time
        assert second.plan.seconds == ending.schedule.time_left() == first.plan.seconds + overhead
        return
    assert second.plan.seconds == pytest.approx(first.plan.seconds)
    ending.clock.now += second.plan.seconds + overhead
    assert ending.schedule.time_left() == pytest.approx(EVALUATION * overhead)


def test_a_mean_keeps_the_limits_of_the_user(folder):
    limits = Limits(max_parameters=int(1.5 * GRAPH.n_parameters))
    ending = Ending(folder, time_limit=4000.0, ensemble=True, limits=limits)
    ending.add(0.5, logits=good_at([0, 1]))
    ending.add(0.6, logits=good_at([1, 2]))
    ending.clock.now += 2500
    assert ending.next().parent.model_id == 0 and ending.settling.is_over


def test_models_that_must_stay_are_those_waiting_and_those_settled(folder):
    ending = Ending(folder, time_limit=4000.0, ensemble=True)
    ending.add(0.5, logits=good_at([0, 1]))
    ending.add(0.6, logits=good_at([1, 2]))
    assert ending.settling.needed == []
    ending.clock.now += 2500
    first = ending.next()
    assert len(ending.settling.needed) == 1
    settled = replace(first.parent, model_id=2, phase="decay")
    ending.settling.note(settled)
    assert settled in ending.settling.needed and len(ending.settling.needed) == 2


def test_a_loss_that_cannot_be_computed_costs_the_mean_alone(folder, caplog):
    def fail(outputs):
        raise ConnectionError("no worker")

    ending = Ending(folder, time_limit=600.0, ensemble=True)
    ending.settling._losses = fail
    ending.add(1.0, logits=good_at([0]))
    ending.add(0.5, logits=good_at([1]))
    ending.clock.now += 400
    assert ending.next().parent.model_id == 1 and ending.settling.is_over
    assert "no worker" in caplog.text
