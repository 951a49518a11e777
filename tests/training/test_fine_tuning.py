"""Fine-tuning of small networks of Keras: what is kept, and when it ends."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from kmorph.training import fine_tuning
from kmorph.training.fine_tuning import FineTuning, Part, outputs_of, seconds_needed

N, WIDTH = 96, 4
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, WIDTH)).astype(np.float32)
Y = (X @ np.array([1.0, -2.0, 0.5, 0.0]))[:, None].astype(np.float32)


class Arrays:
    """Rows of numbers; a clock of its own goes on with each batch."""

    def __init__(self, x: np.ndarray, seconds: float = 0.0, lengths: np.ndarray | None = None) -> None:
        self.x, self.seconds, self.now, self.batches = x, seconds, 0.0, []
        self.lengths = np.zeros(len(x), int) if lengths is None else lengths

    def batch(self, index: np.ndarray) -> np.ndarray:
        self.now += self.seconds
        self.batches.append(index)
        return self.x[index]


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr(fine_tuning, "RATE", 0.05)


def network(kernel=None):
    model = keras.Sequential([keras.Input((WIDTH,)), keras.layers.Dense(1)])
    model.layers[0].set_weights([np.zeros((WIDTH, 1)) if kernel is None else kernel, np.zeros(1)])
    return model


def mean_square(y, outputs):
    return keras.ops.mean(keras.ops.square(y - outputs), axis=-1)


def judged(outputs):
    loss = float(np.mean((outputs - Y) ** 2))
    return (loss,), f"loss {loss:.3f}"


def tuning_of(model, judge=judged, seconds=float("inf"), rows=None, loss=mean_square):
    said = []
    clock = (lambda: 0.0) if rows is None else (lambda: rows.now)
    tuning = FineTuning(
        model, loss, judge, np.random.default_rng(0), lambda: seconds - clock(), said.append, clock
    )
    return tuning, said


def test_the_best_weights_are_set():
    model = network()
    before = judged(outputs_of(model, Arrays(X)))[0]
    tuning, said = tuning_of(model)
    assert tuning.run(Part(Arrays(X), Y), Part(Arrays(X), Y), before, 0.0)
    after = judged(outputs_of(model, Arrays(X)))[0]
    assert after == pytest.approx(tuning.best) and after[0] < 0.8 * before[0]
    assert tuning.epochs == 3 and len(said) == 6 and "epoch 3, 50% of the change: loss" in said[4]


def test_weights_that_are_worse_are_not_kept():
    best = np.array([[1.0], [-2.0], [0.5], [0.0]], np.float32)
    model = network(best)
    tuning, _ = tuning_of(model, judge=lambda outputs: ((1.0,), ""))
    assert not tuning.run(Part(Arrays(X), -Y), Part(Arrays(X), Y), (1.0,), 0.0)
    np.testing.assert_array_equal(model.layers[0].get_weights()[0], best)


def test_half_the_way_may_be_the_best():
    model = network()
    losses = iter([0.1, *[1.0] * 5])
    tuning, _ = tuning_of(model, judge=lambda outputs: ((next(losses),), ""))
    halves = []
    set_weights = model.set_weights
    model.set_weights = lambda weights: (halves.append(weights), set_weights(weights))
    assert tuning.run(Part(Arrays(X), Y), Part(Arrays(X), Y), (1.0,), 0.0)
    kept = model.get_weights()
    np.testing.assert_array_equal(kept[0], halves[0][0])
    np.testing.assert_allclose(2 * kept[0], halves[1][0], rtol=1e-5)


@pytest.mark.parametrize("batches", [2, 7, 11])
def test_it_ends_in_time_and_measures_what_it_has(batches):
    rows = Arrays(X, seconds=1.0)
    tuning, _ = tuning_of(network(), seconds=float(batches), rows=rows)
    assert tuning.run(Part(rows, Y), Part(Arrays(X), Y), (100.0,), 0.0)
    assert rows.now <= batches + 1 and tuning.epochs == -(-len(rows.batches) // 6)


def test_time_for_the_evaluation_is_kept_back():
    rows = Arrays(X, seconds=1.0)
    tuning, _ = tuning_of(network(), seconds=12.0, rows=rows)
    tuning.run(Part(rows, Y), Part(Arrays(X), Y), (100.0,), evaluation=2.0)
    assert rows.now + 2 * 2.0 <= 12.0


@pytest.mark.parametrize("seconds", [10, 14, 20, 25])
def test_evaluations_that_take_longer_than_expected_do_not_exceed_the_time(seconds):
    rows = Arrays(X, seconds=1.0)  # two seconds an evaluation
    tuning, said = tuning_of(network(), seconds=float(seconds), rows=rows)
    assert tuning.run(Part(rows, Y), Part(rows, Y), (100.0,), evaluation=0.1)
    assert rows.now <= seconds + 2 and said


def test_numbers_that_are_none_end_it():
    tuning, said = tuning_of(network(), loss=lambda y, outputs: mean_square(y, outputs) * float("nan"))
    assert not tuning.run(Part(Arrays(X), Y), Part(Arrays(X), Y), (100.0,), 0.0)
    assert said == [] and (tuning.network.layers[0].get_weights()[0] == 0).all()


def test_an_interrupt_leaves_the_best_so_far():
    losses = iter([1.0, 0.5])

    def judge(outputs):
        try:
            return (next(losses),), ""
        except StopIteration:
            raise KeyboardInterrupt from None

    tuning, _ = tuning_of(network(), judge=judge)
    with pytest.raises(KeyboardInterrupt):
        tuning.run(Part(Arrays(X), Y), Part(Arrays(X), Y), (2.0,), 0.0)
    assert tuning.improved and tuning.best == (0.5,) and tuning.epochs == 1
    assert (tuning.network.layers[0].get_weights()[0] != 0).any()


def test_examples_without_weight_teach_nothing():
    weights = np.zeros(N, np.float32)
    weights[:48] = 2.0
    y = np.where(np.arange(N)[:, None] < 48, Y, -5 * Y).astype(np.float32)
    model = network()
    tuning, _ = tuning_of(model)
    tuning.run(Part(Arrays(X), y, weights), Part(Arrays(X), Y), (100.0,), 0.0)
    kernel = model.layers[0].get_weights()[0][:, 0]
    assert kernel[0] > 0.3 and kernel[1] < -0.3


def test_batches_hold_examples_of_like_length():
    lengths = np.repeat([10, 100, 200], 32)
    rows = Arrays(X, lengths=lengths)
    tuning, _ = tuning_of(network())
    tuning.run(Part(rows, Y), Part(Arrays(X), Y), (100.0,), 0.0)
    for epoch in (rows.batches[:6], rows.batches[6:12]):
        assert sorted(np.concatenate(epoch)) == list(range(N))
        assert all(len({lengths[i] for i in index}) == 1 for index in epoch)
    assert {*map(tuple, rows.batches[:6])} != {*map(tuple, rows.batches[6:12])}
    np.testing.assert_allclose(
        outputs_of(tuning.network, rows, 5), tuning.network.predict(X, verbose=0), atol=1e-6
    )


def test_what_is_needed_grows_with_the_examples():
    assert 0 < seconds_needed(1.0, 0.0) < seconds_needed(1.0, 10.0) < seconds_needed(2.0, 10.0)
