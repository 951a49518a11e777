"""Losses: as tensors, as arrays, and as Keras computes them."""

import functools
import threading
from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import ops

from kmorph.errors import DataError
from kmorph.problem import ImageInput, Numbers, Problem, Target
from kmorph.problem.losses import OwnLoss
from kmorph.problem.optimizers import OwnOptimizer
from kmorph.problem.own import mark_of, name_of, pack, unpack
from kmorph.problem.packing import pack_problem
from kmorph.problem.targets import learn_labels
from kmorph.search.workers.measure import probe

RNG = np.random.default_rng(0)
N = 50
Y = {
    "classes": RNG.integers(0, 3, N),
    "two classes": RNG.integers(0, 2, N),
    "one-hot rows": np.eye(3, dtype=int)[RNG.integers(0, 3, N)],
    "label sets": RNG.integers(0, 2, (N, 4)),
    "number": RNG.normal(50, 10, N),
    "numbers": RNG.normal(50, 10, (N, 2)),
}


def posed(name) -> tuple[Target, np.ndarray, np.ndarray]:
    y = Y[name]
    target = Numbers.learn(y) if "number" in name else learn_labels(y)
    return target, target.encode(y), RNG.normal(0, 2, (N, target.width)).astype(np.float32)


def as_tensors(loss, target, codes, outputs, **options):
    codes = codes.astype(np.int32) if codes.dtype.kind == "i" else codes
    values = loss.tensors(ops.convert_to_tensor(codes), ops.convert_to_tensor(outputs), target, **options)
    return ops.convert_to_numpy(values)


@pytest.mark.parametrize("name", Y)
def test_a_loss_is_the_same_as_tensors_and_as_arrays(name):
    target, codes, outputs = posed(name)
    tensors = as_tensors(target.loss, target, codes, outputs)
    arrays = target.loss.arrays(codes, outputs, target)
    assert tensors.shape == arrays.shape == (N,) and arrays.dtype == np.float32
    np.testing.assert_allclose(tensors, arrays, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("sparse_categorical_crossentropy", "classes"),
        (keras.losses.SparseCategoricalCrossentropy(from_logits=True), "classes"),
        (keras.losses.CategoricalCrossentropy(), "classes"),
        (keras.losses.CategoricalCrossentropy(label_smoothing=0.1), "one-hot rows"),
        (keras.losses.CategoricalFocalCrossentropy(gamma=3.0), "classes"),
        (keras.losses.BinaryCrossentropy(), "label sets"),
        (keras.losses.BinaryFocalCrossentropy(), "label sets"),
        ("kl_divergence", "one-hot rows"),
        ("mae", "number"),
        (keras.losses.Huber(delta=5.0), "numbers"),
        ("log_cosh", "numbers"),
    ],
)
def test_keras_losses_are_what_keras_computes(given, name):
    target, codes, outputs = posed(name)
    loss = OwnLoss.of(given)
    found = loss.arrays(codes, outputs, target)
    keras_loss = keras.losses.get(given) if isinstance(given, str) else given
    config = keras_loss.get_config() if hasattr(keras_loss, "get_config") else {}
    scores = outputs if config.get("from_logits") else target.scores(outputs).astype(np.float32)
    truth = np.asarray(Y[name]).reshape(N, -1) if "number" in name else np.asarray(Y[name])
    kind = f"{loss.name} {type(given).__name__}".lower()
    if truth.ndim == 1 and "categorical" in kind and "sparse" not in kind:
        truth = np.eye(3)[truth]
    call = keras_loss.call if hasattr(keras_loss, "call") else keras_loss
    values = ops.convert_to_numpy(
        call(ops.convert_to_tensor(truth.astype("float32")), ops.convert_to_tensor(scores))
    )
    np.testing.assert_allclose(found, values, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(as_tensors(loss, target, codes, outputs), found, rtol=1e-5)


def test_two_classes_with_a_binary_loss_get_a_column():
    target, codes, outputs = posed("two classes")
    found = OwnLoss.of("binary_crossentropy").arrays(codes, outputs, target)
    # The logit of the second class against the first: the same as softmax over both.
    np.testing.assert_allclose(found, target.loss.arrays(codes, outputs, target), rtol=1e-4, atol=1e-5)


def test_functions_get_labels_and_scores_as_users_know_them():
    def absolute(y_true, y_pred):
        return ops.abs(y_true - y_pred)

    target, codes, outputs = posed("numbers")
    loss = replace(OwnLoss.of(absolute), divisor=2.0)
    expected = np.abs(Y["numbers"] - target.scores(outputs)).mean(axis=1) / 2
    np.testing.assert_allclose(loss.arrays(codes, outputs, target), expected, rtol=1e-4)


def test_what_is_no_loss_or_cannot_be_had_is_refused():
    lock = threading.Lock()
    for given, words in (
        (3, "loss must be"),
        (keras.losses.CTC(), "compares sequences"),
        ("circle", "batch"),
        (keras.losses.Circle(), "batch"),
        (lambda y, p: lock and ops.abs(y - p), "cannot be sent"),
    ):
        with pytest.raises(DataError, match=words):
            OwnLoss.of(given)


def test_optimizers_are_taken_by_name_or_as_objects():
    found = OwnOptimizer.of(keras.optimizers.AdamW(2e-3, weight_decay=0.1))
    assert found.learning_rate == pytest.approx(2e-3) and found.name == "AdamW"
    one, other = found.make(), found.make()
    assert one is not other and one.weight_decay == 0.1
    assert OwnOptimizer.of("muon").learning_rate > 0
    for given, words in (
        (keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.1, 10)), "schedule"),
        ("none of them", "no optimiser"),
        (3, "optimizer must be"),
    ):
        with pytest.raises(DataError, match=words):
            OwnOptimizer.of(given)


def test_an_optimizer_by_name_is_not_built_where_it_is_named(monkeypatch):
    """Building one starts the backend's devices."""
    monkeypatch.setattr(keras.optimizers.Optimizer, "__init__", lambda *_, **__: 1 / 0)
    found = OwnOptimizer.of("adamw")
    assert (found.name, found.learning_rate) == ("AdamW", 1e-3)
    monkeypatch.undo()
    assert type(found.make()) is keras.optimizers.AdamW
    assert OwnOptimizer.of("SGD").learning_rate == 0.01
    for wrong in ("adam2", "get", "optimizer"):
        with pytest.raises(DataError, match="no optimiser"):
            OwnOptimizer.of(wrong)


def test_what_an_optimizer_does_not_decay_is_kept():
    given = keras.optimizers.AdamW(2e-3, weight_decay=0.1)
    given.exclude_from_weight_decay(var_names=["bias", "gamma"])
    made = OwnOptimizer.of(given).make()
    weights = [keras.Variable([1.0], name=name) for name in ("kernel", "bias", "gamma")]
    assert [made._use_weight_decay(weight) for weight in weights] == [True, False, False]
    given.exclude_from_weight_decay(var_list=weights[:1])
    with pytest.raises(DataError, match="var_names"):
        OwnOptimizer.of(given)


def test_settings_of_classes_of_the_users_are_not_lost():
    class Above(keras.metrics.Metric):
        def __init__(self, least=0.5, name="above", dtype=None):
            super().__init__(name=name, dtype=dtype)
            self.least = least

        def update_state(self, y_true, y_pred, sample_weight=None):
            pass

        def result(self):
            return self.least

    with pytest.raises(DataError, match=r"would lose least .* get_config"):
        pack(Above(0.9), "objective", "")
    assert unpack(pack(Above(0.5), "objective", "")).least == 0.5

    class Softer(keras.losses.SparseCategoricalCrossentropy):
        def __init__(self, factor=1.0, from_logits=False):
            super().__init__(from_logits=from_logits)
            self.factor = factor

        def call(self, y_true, y_pred):
            return self.factor * super().call(y_true, y_pred)

    target = learn_labels(np.arange(N) % 4)
    codes = target.encode(np.arange(N) % 4)
    outputs = RNG.normal(size=(N, 4)).astype(np.float32)
    losses = [OwnLoss.of(Softer(factor)).arrays(codes, outputs, target) for factor in (1.0, 3.0)]
    np.testing.assert_allclose(losses[1], 3 * losses[0], rtol=1e-5)


def test_losses_of_one_name_are_told_apart():
    marks = [OwnLoss.of(keras.losses.Huber(delta=delta)).mark for delta in (1.0, 1.0, 5.0)]
    assert marks[0] == marks[1] != marks[2]
    lambdas = [OwnLoss.of(f).mark for f in (lambda y, p: y - p, lambda y, p: y - p, lambda y, p: p - y)]
    assert lambdas[0] == lambdas[1] != lambdas[2]
    assert OwnLoss.of("mae").mark == ""


@pytest.mark.parametrize("name", ["number", "numbers"])
def test_losses_of_numbers_take_double_precision(name):
    """The mean of an ensemble's outputs has it."""
    target, codes, outputs = posed(name)
    loss = OwnLoss.of("mae")
    whole = loss.arrays(codes.astype(np.float64), outputs.astype(np.float64), target)
    np.testing.assert_allclose(whole, loss.arrays(codes, outputs, target), rtol=1e-5)


def probed(loss, y, target):
    codes = target.encode(y)
    problem = Problem.of(ImageInput((8, 8, 1)), target, loss=OwnLoss.of(loss))
    return probe(pack_problem(problem), codes, codes)


def test_what_a_worker_finds_out_about_a_loss():
    y = Y["number"] * 1e4
    numbers = Numbers.learn(y)
    by_example, by_batch = (
        probed(loss, y, numbers)
        for loss in (
            lambda t, p: ops.mean(ops.square(t - p), axis=-1),
            lambda t, p: ops.mean(ops.square(t - p)),
        )
    )
    assert by_example["is_per_example"] and not by_batch["is_per_example"]
    assert by_batch["constant"] == pytest.approx(by_example["constant"], rel=1e-3)
    assert by_batch["constant"] == pytest.approx(y.var(), rel=0.1)
    four = np.arange(N) % 4
    wrong = probed("mse", four, learn_labels(four))  # (4,) and (4, 4) would fit each other
    assert "called with y_true of shape (5,) and y_pred of shape (5, 4) it raises" in wrong["error"]
    crossed = probed(lambda t, p: ops.square(t - p[:, 0]), y, numbers)  # (n, 1) and (n,)
    assert "shape (2, 2) for 2 examples: it must give one for each" in crossed["error"]
    flat = [
        lambda t, p: ops.cast(p[:, 0] > 0, "float32"),
        lambda t, p: ops.cast(ops.round(p[:, 0]), "int32"),
    ]
    for loss in flat:
        assert "has no gradient" in probed(loss, four, learn_labels(four))["error"]
    by_numpy = probed(lambda t, p: np.abs(np.asarray(p)[:, 0]), four, learn_labels(four))
    assert "has no gradient" in by_numpy["error"] or "it raises" in by_numpy["error"]  # JAX, PyTorch
    assert "loss=focal cannot be used" in probed("focal", four, learn_labels(four))["error"]
    assert "is nan" in probed(lambda t, p: ops.sqrt(p[:, 0] - 1e9), y, numbers)["error"]
    late = 1.7e9 + RNG.normal(0, 10, N)
    assert "subtract an offset" in probed("mae", late, Numbers.learn(late))["error"]
    generalized = getattr(keras.losses, "CategoricalGeneralizedCrossEntropy", None)
    if generalized is not None:
        assert probed(generalized(), four, learn_labels(four)) == {"is_per_example": True, "constant": 1.0}


def test_changed_settings_are_noticed_whatever_their_form():
    def focal(y_true, y_pred, gamma=2.0, *, alpha=1.0):
        return gamma * alpha * y_pred

    pairs = [
        (functools.partial(focal, gamma=2.0), functools.partial(focal, gamma=5.0)),
        (
            keras.losses.CategoricalFocalCrossentropy(alpha=[0.1, 0.9]),
            keras.losses.CategoricalFocalCrossentropy(alpha=[0.2, 0.8]),
        ),
        (keras.losses.CategoricalCrossentropy(), keras.losses.CategoricalCrossentropy(label_smoothing=0.1)),
    ]
    for one, other in pairs:
        assert mark_of(one) == mark_of(one) != mark_of(other)
    itself = []
    itself.append(itself)
    assert mark_of(functools.partial(focal, itself)) == ""


def test_names_do_not_depend_on_how_many_were_made():
    class Mine(keras.losses.Loss):
        def call(self, y_true, y_pred):
            return y_pred[:, 0]

    assert {name_of(Mine()) for _ in range(3)} == {"mine"}
    assert {name_of(keras.metrics.AUC()) for _ in range(3)} == {"auc"}
    assert name_of(Mine(name="mine_2x")) == "mine_2x" and name_of(keras.metrics.AUC(name="a_1")) == "a_1"


def test_losses_are_not_scaled():
    assert OwnOptimizer.of(keras.optimizers.SGD(0.1, loss_scale_factor=1024)).make().loss_scale_factor is None
    scaled = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1))
    with pytest.raises(DataError, match="inside it"):
        OwnOptimizer.of(scaled)
