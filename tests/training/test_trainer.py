"""Training one graph: it learns, keeps its time, and returns what it says."""

import time
from dataclasses import replace

import numpy as np
import pytest
from problems import classes_of_images, measured
from sklearn.datasets import load_digits

from kmorph import starts
from kmorph.graph import BatchNorm, Dense, Flatten, GraphBuilder, Normalize
from kmorph.training.batches import Batches
from kmorph.training.examples import Data
from kmorph.training.plan import Hyperparameters, Plan
from kmorph.training.rates import average_decay
from kmorph.training.step_factory import make_step
from kmorph.training.tensorflow_step import TensorFlowStep, parts_of
from kmorph.training.trainer import Stopped, train


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    x = x.reshape(-1, 8, 8, 1).astype(np.uint8)
    return Data(x[:1400], y[:1400], x[1400:], y[1400:])


def small(seed=0, **size):
    graph = starts.cnn((8, 8, 1), 10, width=8, preprocessing=[Normalize((4.9,), (36.2,))], **size)
    return graph.initialize(seed)


def test_it_learns_digits_and_says_how_well(digits):
    outcome = train(small(), digits, Plan(phase="decay", max_epochs=6))
    logits = outcome.graph.to_keras().predict(digits.x_val, verbose=0)
    assert outcome.metrics["accuracy"] > 0.85
    assert outcome.metrics["accuracy"] == pytest.approx(np.mean(logits.argmax(1) == digits.y_val))
    assert outcome.metrics["loss"] == pytest.approx(measured(logits, digits.y_val)["loss"], rel=1e-4)
    assert outcome.epochs == pytest.approx(6, abs=0.1)
    assert outcome.images == pytest.approx(6 * 1400, abs=64)


def test_training_goes_on_from_the_weights_it_is_given(digits):
    first = train(small(), digits, Plan(max_epochs=5))
    second = train(first.graph, digits, Plan(max_epochs=1))
    fresh = train(small(), digits, Plan(max_epochs=1))
    assert second.metrics["loss"] < fresh.metrics["loss"]


def test_without_a_step_the_graph_comes_back_unchanged(digits):
    graph = small()
    outcome = train(graph, digits, Plan(seconds_left=-1))
    assert outcome.images == 0
    assert all(np.array_equal(outcome.graph.weights[key], graph.weights[key]) for key in graph.weights)
    assert np.isfinite(outcome.metrics["loss"])


def test_validation_examples_are_trained_on_if_merged(digits):
    # The training part lacks the classes that the validation part consists of.
    missing = digits.y >= 7
    data = Data(digits.x[~missing], digits.y[~missing], digits.x[missing], digits.y[missing])
    apart = train(small(), data, Plan(phase="decay", max_epochs=6))
    merged = train(small(), data, Plan(phase="decay", max_epochs=6, merge_validation=True))
    assert apart.metrics["accuracy"] == 0 and merged.metrics["accuracy"] > 0.8
    assert merged.images == pytest.approx(6 * len(digits.x), abs=64)
    assert merged.epochs == pytest.approx(6, abs=0.1)


@pytest.mark.wall
@pytest.mark.parametrize("seconds", [0.5, 3.0])
def test_time_to_train_is_kept(digits, seconds):
    begun = time.time()
    outcome = train(small(), digits, Plan(seconds=seconds))
    assert outcome.images > 0
    assert time.time() - begun < seconds + 8  # building, compiling and evaluating come on top


@pytest.mark.wall
def test_the_deadline_is_kept_in_the_middle_of_an_epoch(digits):
    repeated = Data(np.repeat(digits.x, 200, 0), np.repeat(digits.y, 200), digits.x_val, digits.y_val)
    deadline = time.time() + 6
    outcome = train(small(), repeated, Plan(seconds_left=deadline - time.time()))
    assert 0 < outcome.epochs < 1
    assert time.time() < deadline + 2.5


def test_it_stops_when_asked(digits):
    calls = iter([False] * 5)
    outcome = train(small(), digits, Plan(max_epochs=50), stop=lambda: next(calls, True))
    assert outcome.images == 5 * 64


def test_progress_is_reported(digits):
    events = []
    train(small(), digits, Plan(seconds=2.0), report=events.append)
    assert events and {"images", "loss", "progress", "time"} <= set(events[0])
    assert all(0 <= event["progress"] <= 1 for event in events)


def test_numbers_that_are_not_finite_stop_it(digits):
    graph = small()
    weights = {key: np.full_like(array, np.nan) for key, array in graph.weights.items()}
    with pytest.raises(Stopped, match="not finite|became nan"):
        train(graph.with_weights(weights), digits, Plan(max_epochs=1))


def test_keep_best_never_returns_worse_weights(digits):
    good = train(small(), digits, Plan(phase="decay", max_epochs=8))
    wild = Plan(max_epochs=2, keep_best=True, patience=5, hyperparameters=Hyperparameters(learning_rate=3.0))
    outcome = train(good.graph, digits, wild)
    assert outcome.metrics["loss"] <= good.metrics["loss"] + 1e-5
    # All that is returned belongs to those weights.
    assert measured(outcome.outputs, digits.y_val)["loss"] == outcome.metrics["loss"]


def test_keep_best_goes_back_where_training_fails(digits):
    good = train(small(), digits, Plan(phase="decay", max_epochs=8))
    wild = Hyperparameters(learning_rate=1e30)
    outcome = train(good.graph, digits, Plan(max_epochs=2, keep_best=True, hyperparameters=wild))
    assert outcome.metrics["loss"] <= good.metrics["loss"] + 1e-5
    assert outcome.images and "the best ones before that" in outcome.stopped
    with pytest.raises(Stopped):
        train(good.graph, digits, Plan(max_epochs=2, hyperparameters=wild))


def test_patience_ends_training_early(digits):
    slow = Hyperparameters(learning_rate=1e-7)
    plan = Plan(max_epochs=60, patience=2, min_loss_decrease=0.01, keep_best=True, hyperparameters=slow)
    assert train(small(), digits, plan).epochs < 8


def test_a_child_that_lost_to_its_parent_is_stopped(digits, tmp_path):
    parent = train(small(), digits, Plan(phase="decay", max_epochs=8))
    rival = tmp_path / "parent.npy"
    np.save(rival, parent.outputs)
    plan = Plan(seconds=6.0, rival=str(rival))
    spoilt = train(small(1), digits, replace(plan, hyperparameters=Hyperparameters(learning_rate=1e-6)))
    assert "above its parent's" in spoilt.stopped
    assert spoilt.metrics["loss"] > parent.metrics["loss"]
    assert measured(spoilt.outputs, digits.y_val) == spoilt.metrics
    warm = train(parent.graph, digits, replace(plan, images_before=parent.images))
    assert warm.stopped is None and warm.images > 2 * spoilt.images


def test_the_average_of_warm_weights_goes_on(digits, monkeypatch):
    decays = []
    monkeypatch.setattr(TensorFlowStep, "average", lambda step, keep: decays.append(keep))
    for before in (0, 8 * 1400):
        train(small(), digits, Plan(max_epochs=1, images_before=before))
    fresh, warm = decays[: len(decays) // 2], decays[len(decays) // 2 :]
    assert fresh[0] == 0  # fresh weights are forgotten at once
    assert 0.8 < warm[0] < warm[-1] < average_decay(1000) <= 0.98


@pytest.mark.parametrize("batch", [64, 66])
def test_a_batch_in_parts_is_the_same_step(digits, monkeypatch, batch):
    """Without batch norm and random changes it does not matter in how many parts a batch is computed."""
    builder = GraphBuilder((8, 8, 1))
    builder.add(Normalize((4.9,), (36.2,)))
    builder.add(Flatten())
    graph = builder.build(builder.add(Dense(10))).initialize(0)
    made = {}
    for threads in (1, 4):
        monkeypatch.setattr("kmorph.training.tensorflow_step.cores", lambda threads=threads: threads)
        assert parts_of(batch) == (1 if threads == 1 else 2)
        step = TensorFlowStep(graph, Hyperparameters(batch_size=batch, label_smoothing=0.1), 0)
        x, y = digits.x[:batch], digits.y[:batch].astype(np.int32)
        losses = [float(step.train(x, y, 0.1, i)) for i in range(3)]
        made[threads] = losses, step.to_graph(), step.predict(digits.x_val, 100)
    (losses, trained, logits), (losses_in_parts, in_parts, logits_in_parts) = made[1], made[4]
    np.testing.assert_allclose(losses, losses_in_parts, rtol=1e-5)
    np.testing.assert_allclose(logits, logits_in_parts, rtol=1e-4, atol=1e-5)
    for key, weights in trained.weights.items():
        np.testing.assert_allclose(weights, in_parts.weights[key], rtol=1e-4, atol=1e-6)


def test_every_epoch_shows_each_example_once(digits):
    numbered = Data(np.arange(100).reshape(-1, 1), np.arange(100), digits.x_val, digits.y_val)
    batches = Batches(numbered, False, 0).for_training(33)
    seen = np.concatenate([next(batches)[1] for _ in range(100)])
    counts = np.bincount(seen, minlength=100)
    assert counts.min() == counts.max() == 33


def test_weights_multiply_the_loss():
    numbered = Data(np.arange(4).reshape(-1, 1), np.arange(4), np.arange(2).reshape(-1, 1), np.arange(2))
    weighted = replace(numbered, weights=np.array([1.0, 3.0, 0.0, 4.0]), weights_val=np.array([1.0, 1.0]))
    by_class = classes_of_images((1, 1, 1), 4, class_weights=(1.0, 0.0, 1.0, 2.0))
    for merge, problem, expected in (
        (False, None, [0.5, 1.5, 0, 2]),
        (True, None, [0.6, 1.8, 0, 2.4, 0.6, 0.6]),
        (False, by_class, [4 / 9, 0, 0, 32 / 9]),
    ):
        batches = Batches(weighted, merge, 0, problem)
        x, _, weights = next(batches.for_training(batches.examples))
        assert np.allclose(sorted(weights), sorted(expected)) and weights.dtype == np.float32
    assert next(Batches(numbered, True, 0).for_training(6))[2] is None


def test_a_weight_of_two_is_an_example_twice(digits):
    """Without batch norm, of which the statistics would differ."""
    builder = GraphBuilder((8, 8, 1))
    builder.add(Flatten())
    graph = builder.build(builder.add(Dense(10))).initialize(0)
    x, y = digits.x[:32], digits.y[:32].astype(np.int32)
    twice, weighted = (make_step(graph, Hyperparameters(), 0) for _ in range(2))
    weights = np.ones(32, np.float32)
    weights[:16] = 2
    for i in range(3):
        losses = (
            twice.train(np.concatenate([x, x[:16]]), np.concatenate([y, y[:16]]), 0.001, i),
            weighted.train(x, y, 0.001, i, weights * 32 / 48),
        )
        assert float(losses[0]) == pytest.approx(float(losses[1]), rel=1e-4)
    for key, array in twice.to_graph().weights.items():
        np.testing.assert_allclose(array, weighted.to_graph().weights[key], rtol=1e-3, atol=1e-5)


def test_examples_of_no_weight_are_not_learned(digits):
    weights = np.where(digits.y == 3, 1.0, 0.0)
    data = Data(digits.x, digits.y, digits.x_val, digits.y_val, weights=weights)
    outcome = train(small(), data, Plan(max_epochs=2))
    assert np.all(outcome.graph.to_keras().predict(digits.x_val, verbose=0).argmax(1) == 3)


def test_swapping_twice_changes_nothing_and_average_follows(digits):
    step = make_step(small(), Hyperparameters(), 0)
    start = step.to_graph()
    step.train(digits.x[:64], digits.y[:64].astype(np.int32), 0.1, 0)
    trained = step.to_graph()
    step.average(0.5)
    step.swap()
    averaged = step.to_graph()
    step.swap()
    key = (len(start.layers) - 1, "kernel")
    assert np.allclose(averaged.weights[key], (start.weights[key] + trained.weights[key]) / 2, atol=1e-6)
    assert np.array_equal(step.to_graph().weights[key], trained.weights[key])


def test_recalibration_measures_batch_statistics():
    builder = GraphBuilder((2, 1, 1))
    builder.add(Flatten())
    builder.add(BatchNorm())
    graph = builder.build(builder.add(Dense(2))).initialize(0)
    rng = np.random.default_rng(0)
    batches = [rng.normal(3, 2, (500, 2, 1, 1)).astype(np.float32) for _ in range(4)]
    step = make_step(graph, Hyperparameters(), 0)
    step.recalibrate(batches)
    weights = step.to_graph().layer_weights(1)
    assert np.allclose(weights["moving_mean"], np.mean([b.mean(0).ravel() for b in batches], 0), atol=1e-4)
    assert np.allclose(weights["moving_variance"], np.mean([b.var(0).ravel() for b in batches], 0), rtol=5e-3)
    assert step.model.layers[2].momentum == 0.9  # as before


def test_data_survives_the_disk_and_is_mapped(tmp_path, digits):
    digits.save(tmp_path)
    loaded = Data.load(tmp_path)
    assert isinstance(loaded.x, np.memmap) and loaded.weights is None
    assert np.array_equal(loaded.x, digits.x) and np.array_equal(loaded.y_val, digits.y_val)


def test_metrics_of_extreme_logits_are_finite():
    metrics = measured(np.array([[1e4, -1e4], [-1e4, 1e4]], np.float32), np.array([0, 1]))
    assert metrics == {"loss": 0.0, "accuracy": 1.0}


def test_a_step_that_stops_augmenting_is_one_that_never_did(digits):
    def steps():
        return [make_step(small(), Hyperparameters(augment=kinds), 0) for kinds in (("shift", "flip"), ())]

    x, y = digits.x[:64], digits.y[:64].astype(np.int32)
    augmented, plain = (float(step.train(x, y, 0.01, 0)) for step in steps())
    assert augmented != plain
    stopped, never = steps()
    stopped.stop_augmenting()
    for count in range(3):
        losses = [float(step.train(x, y, 0.01, count)) for step in (stopped, never)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize(("share", "expected"), [(0.0, None), (0.25, 0.75)])
def test_at_the_end_images_are_plain(digits, monkeypatch, share, expected):
    trained = []
    for name in ("train", "stop_augmenting"):
        method = getattr(TensorFlowStep, name)

        def noted(self, *arguments, name=name, method=method):
            trained.append(name)
            return method(self, *arguments)

        monkeypatch.setattr(TensorFlowStep, name, noted)
    settings = Hyperparameters(augment=("shift",), batch_size=50)
    train(small(), digits, Plan(phase="decay", max_epochs=4, plain_end=share, hyperparameters=settings))
    steps = trained.count("train")
    assert trained.count("stop_augmenting") == (expected is not None)
    if expected:
        assert trained.index("stop_augmenting") == pytest.approx(expected * steps, abs=1.5)
