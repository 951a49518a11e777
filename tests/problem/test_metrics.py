"""Metrics: what scikit-learn and Keras give, in the right direction."""

import keras
import numpy as np
import pytest
import sklearn.metrics as sk

from kmorph.errors import DataError
from kmorph.problem import ImageInput, Numbers, Objective, Problem
from kmorph.problem.metrics import LOSS
from kmorph.problem.own_metrics import find_metric
from kmorph.problem.targets import learn_labels

RNG = np.random.default_rng(0)
N = 200
NAMES = np.array(["ant", "bee", "cow"])[RNG.integers(0, 3, N)]
TWO = RNG.integers(0, 2, N)
ROWS = RNG.integers(0, 2, (N, 3))
HEIGHTS = RNG.normal(100, 30, (N, 2))


def case(y, target=None):
    target = target or learn_labels(y)
    codes = target.encode(y)
    outputs = RNG.normal(0, 1, (N, target.width)).astype(np.float32)
    outputs += 0.5 * (np.eye(target.width)[codes] if codes.ndim == 1 else codes)
    return target, codes, target.scores(outputs)


CLASSES, PAIR, SETS = case(NAMES), case(TWO), case(ROWS)
NUMBERS = case(HEIGHTS, Numbers.learn(HEIGHTS))


def measured(objective, example, weights=None):
    return find_metric(objective, example[0])(*example, weights)


def test_named_metrics_are_those_of_scikit_learn():
    target, codes, scores = CLASSES
    predicted = target.predicted(scores)
    weights = RNG.random(N)
    for w in (None, weights):
        expected = {
            "accuracy": sk.accuracy_score(NAMES, predicted, sample_weight=w),
            "balanced_accuracy": sk.balanced_accuracy_score(NAMES, predicted, sample_weight=w),
            "f1": sk.f1_score(NAMES, predicted, average="macro", sample_weight=w),
            "log_loss": sk.log_loss(NAMES, scores, sample_weight=w),
        }
        for name, value in expected.items():
            assert measured(name, CLASSES, w) == pytest.approx(value), name
    auc = sk.roc_auc_score(NAMES, scores, multi_class="ovr", average="macro")
    assert measured("auc", CLASSES) == pytest.approx(auc)
    assert measured("auc", PAIR) == pytest.approx(sk.roc_auc_score(TWO, PAIR[2][:, 1]))
    rows = SETS[2] >= 0.5
    assert measured("f1", SETS) == pytest.approx(sk.f1_score(ROWS, rows, average="macro"))
    assert measured("accuracy", SETS) == pytest.approx(sk.accuracy_score(ROWS, rows))
    assert measured("auc", SETS) == pytest.approx(sk.roc_auc_score(ROWS, SETS[2]))
    assert measured("mse", NUMBERS) == pytest.approx(sk.mean_squared_error(HEIGHTS, NUMBERS[2]), rel=1e-5)
    assert measured("mae", NUMBERS) == pytest.approx(sk.mean_absolute_error(HEIGHTS, NUMBERS[2]), rel=1e-5)
    assert measured("r2", NUMBERS) == pytest.approx(sk.r2_score(HEIGHTS, NUMBERS[2]), rel=1e-5)


def test_the_first_metric_is_the_default():
    found = [find_metric(None, example[0]).objective for example in (CLASSES, SETS, NUMBERS)]
    assert found == [Objective("accuracy"), Objective("f1"), Objective("mse", False)]


@pytest.mark.parametrize(
    ("objective", "example", "expected"),
    [
        ("neg_log_loss", CLASSES, lambda s: -sk.log_loss(NAMES, s)),
        ("roc_auc", PAIR, lambda s: sk.roc_auc_score(TWO, s[:, 1])),
        (sk.make_scorer(sk.fbeta_score, beta=2), PAIR, lambda s: sk.fbeta_score(TWO, s[:, 1] >= 0.5, beta=2)),
        ("neg_mean_absolute_error", NUMBERS, lambda s: -sk.mean_absolute_error(HEIGHTS, s)),
        (sk.roc_auc_score, PAIR, lambda s: sk.roc_auc_score(TWO, s[:, 1])),
        (sk.log_loss, CLASSES, lambda s: sk.log_loss(NAMES, s)),
        (sk.r2_score, NUMBERS, lambda s: sk.r2_score(HEIGHTS, s)),
        (keras.metrics.SparseTopKCategoricalAccuracy(k=2), CLASSES, None),
        (keras.metrics.CategoricalAccuracy(), CLASSES, None),
        (keras.metrics.Accuracy(), CLASSES, lambda s: sk.accuracy_score(CLASSES[1], s.argmax(1))),
        (keras.metrics.Accuracy(), SETS, lambda s: np.mean((s >= 0.5) == SETS[1])),
        (keras.metrics.AUC(num_thresholds=2000), PAIR, lambda s: sk.roc_auc_score(TWO, s[:, 1])),
        (keras.metrics.F1Score(average="macro"), SETS, None),
        (keras.metrics.MeanAbsoluteError, NUMBERS, lambda s: sk.mean_absolute_error(HEIGHTS, s)),
        ((lambda y, p: float(np.mean(p.max(1))), True), CLASSES, lambda s: s.max(1).mean()),
    ],
)  # fmt: skip
def test_objectives_of_the_users_own(objective, example, expected):
    value = measured(objective, example)
    assert np.isfinite(value)
    if expected is not None:
        assert value == pytest.approx(expected(example[2]), rel=1e-3)
    assert measured(objective, example) == value  # a metric with a state begins anew


def test_directions_are_known_or_asked_for():
    known = {
        sk.log_loss: False, sk.accuracy_score: True, sk.mean_squared_error: False, "neg_log_loss": True,
        keras.metrics.AUC(): True, keras.metrics.MeanSquaredError(): False, keras.metrics.Precision: True,
        keras.metrics.FalseNegatives(): False, keras.metrics.TruePositives(): True,
        keras.metrics.SparseCategoricalCrossentropy(): False, keras.metrics.CosineSimilarity(): True,
    }  # fmt: skip
    for objective, greater in known.items():
        assert find_metric(objective, PAIR[0]).greater_is_better is greater, objective
    assert find_metric((keras.metrics.Mean(), False), PAIR[0]).greater_is_better is False
    with pytest.raises(DataError, match="pair"):
        find_metric(lambda y, p: 0.0, PAIR[0])
    with pytest.raises(DataError, match="greater is better"):
        find_metric(("accuracy", False), PAIR[0])


@pytest.mark.parametrize(
    ("objective", "example", "words"),
    [
        ("mse", CLASSES, ("mse", "accuracy")),
        ("accuracy", NUMBERS, ("accuracy", "mse")),
        ("nonsense", CLASSES, ("nonsense", "scorers")),
        (3, CLASSES, ("3",)),
        ((1, 2, 3), CLASSES, ("pair",)),
        (dict, CLASSES, ("class",)),
    ],
)
def test_what_does_not_fit_is_refused(objective, example, words):
    with pytest.raises(DataError) as caught:
        find_metric(objective, example[0])
    assert all(word in str(caught.value) for word in words)


def test_objectives_of_the_first_version_are_names():
    assert Objective.from_json("loss") == LOSS
    assert Objective.from_json("accuracy") == Objective()
    assert Objective.from_json(Objective("mae", False).to_json()) == Objective("mae", False)
    assert Objective.from_json(None) == Objective()


def test_a_metric_of_the_users_own_keeps_clear_of_the_names_of_ours():
    def accuracy(y_true, y_score):
        return 0.25

    metric = find_metric((accuracy, True), CLASSES[0])
    assert metric.name == "own_accuracy" and measured((accuracy, True), CLASSES) == 0.25
    assert find_metric((lambda y, p: 0.0, True), CLASSES[0]).name == "<lambda>"
    scorer = find_metric(sk.get_scorer("neg_log_loss"), CLASSES[0])
    assert scorer.name == "own_log_loss" and scorer.greater_is_better
    loss = lambda y, p: 0.0  # noqa: E731
    loss.__name__ = "loss"
    assert not find_metric((loss, True), CLASSES[0]).objective.is_loss


def test_metrics_of_one_name_are_told_apart():
    def made(limit):
        def metric(y_true, y_score):
            return float((y_score > limit).mean())

        return metric

    first, again, other = (find_metric((made(limit), True), CLASSES[0]).mark for limit in (0.1, 0.1, 0.2))
    assert first == again != other and first
    precision = [find_metric(keras.metrics.Precision(thresholds=t), SETS[0]).mark for t in (0.5, 0.5, 0.7)]
    assert precision[0] == precision[1] != precision[2]


def test_examples_without_weight_have_no_part_in_the_area_under_the_curve():
    target, codes, scores = CLASSES
    weights = np.where(codes == 1, 0.0, 1.0)
    rest = codes != 1
    found = target.metrics["auc"](target, codes, scores, weights)
    assert np.isfinite(found) and found == target.metrics["auc"](target, codes[rest], scores[rest])


def test_an_own_objective_without_a_value_is_no_number(caplog):
    target, codes, _ = CLASSES
    metric = find_metric((lambda y, p: 1 / 0, True), target)
    problem = Problem.of(ImageInput((8, 8, 1)), target, objective=metric)
    found = problem.measure(codes, RNG.normal(size=(N, 3)).astype(np.float32))
    assert np.isnan(found[metric.name]) and np.isfinite(found["loss"]) and "no value" in caplog.text
