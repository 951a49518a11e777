"""Objectives, losses, optimisers and weights as users give them, on real digits, trained for real."""

import copy
import pickle
import shutil
import time

import keras
import numpy as np
import pytest
import sklearn.metrics
from sklearn.datasets import load_digits
from sklearn.model_selection import cross_val_score

from kmorph import ImageClassifier, ImageRegressor
from kmorph.errors import DataError, SearchError
from kmorph.problem import Numbers
from kmorph.problem.targets import learn_labels
from kmorph.tasks.fitting import PROBED, _some_of_each

QUICK = {"searcher_args": {"trainer_args": {"max_iter_num": 5}, "default_model_width": 8}, "verbose": False}


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    return x.reshape(-1, 8, 8).astype(np.uint8), y


@pytest.fixture(scope="module")
def by_accuracy(digits, tmp_path_factory):
    x, y = digits
    folder = tmp_path_factory.mktemp("accuracy") / "run"
    ImageClassifier(path=folder, seed=0, max_models=3, **QUICK).fit(x[:1000], y[:1000])
    return folder


def test_several_labels_an_example(digits, tmp_path):
    x, y = digits
    rows = np.stack([y % 2 == 0, y > 4, y % 3 == 0, y < 0], axis=1)
    clf = ImageClassifier(path=tmp_path / "run", seed=0, max_models=3, **QUICK)
    with pytest.warns(UserWarning, match="never vary"):
        clf.fit(x[:1200], rows[:1200])
    x, rows = x[1200:], rows[1200:]
    predicted, probabilities = clf.predict(x), clf.predict_proba(x)
    assert predicted.dtype == bool and predicted.shape == probabilities.shape == rows.shape
    assert not predicted[:, 3].any() and not probabilities[:, 3].any()
    assert np.array_equal(clf.classes_, [0, 1, 2, 3])
    exact = (predicted == rows).all(1).mean()
    assert clf.score(x, rows) == clf.evaluate(x, rows) == pytest.approx(exact) and exact > 0.6
    assert {entry["objective"] for entry in clf.history} == {"f1"}
    model = keras.models.load_model(clf.export_keras_model(tmp_path / "sets.keras"))
    np.testing.assert_allclose(model.predict(x[:9, ..., None], verbose=0), probabilities[:9], atol=1e-4)
    import tensorflow as tf

    served = tf.saved_model.load(str(clf.export(tmp_path / "saved", "saved_model")))
    found = served.signatures["serving_default"](images=tf.constant(x[:9, ..., None], tf.float32))
    labels = found["labels"].numpy().astype(str)
    assert np.array_equal(labels != "", predicted[:9])
    assert np.array_equal(labels[:, 0] == "0", predicted[:9, 0])


def test_own_loss_optimizer_and_objective(digits, tmp_path):
    x, y = digits

    def squared(y_true, y_pred):
        return keras.ops.mean(keras.ops.square(keras.ops.one_hot(y_true, 10) - y_pred), axis=-1)

    def worst_class(y_true, y_score):
        right = y_score.argmax(1) == y_true
        return min(right[y_true == c].mean() for c in np.unique(y_true))

    given = {
        "loss": squared, "optimizer": keras.optimizers.Adam(3e-3), "objective": (worst_class, True),
        "ensemble": True,
    }  # fmt: skip
    clf = ImageClassifier(path=tmp_path / "run", seed=0, max_models=5, **given, **QUICK)
    clf.fit(x[:1000], y[:1000])
    assert clf.evaluate(x[1000:], y[1000:]) > 0.4
    for entry in clf.history:
        assert (
            entry["objective"] == "worst_class" and entry["metric_value"] == entry["metrics"]["worst_class"]
        )
        assert 0 < entry["loss"] < 0.1 and entry["hyperparameters"]["learning_rate"] <= 0.0031
    # They are not stored: a search that goes on without them says so, and nothing is lost.
    for left_out, message in (("loss", "squared"), ("optimizer", "Adam"), ("objective", "worst_class")):
        some = {**given, left_out: None}
        clf = ImageClassifier(path=tmp_path / "run", resume=True, max_models=6, **some, **QUICK)
        for fit in (clf.fit, clf.final_fit):
            with pytest.raises(SearchError, match=f"{message}.*give it again"):
                fit(x[:1000], y[:1000])
    again = ImageClassifier(path=tmp_path / "run", resume=True, max_models=6, **given, **QUICK)
    assert len(again.fit(x[:1000], y[:1000]).history) == 6


def test_a_loss_of_batches_is_trained_without_comparisons(digits, tmp_path, capsys):
    x, y = digits

    def of_a_batch(y_true, y_pred):
        return keras.ops.mean(keras.losses.sparse_categorical_crossentropy(y_true, y_pred))

    clf = ImageClassifier(
        path=tmp_path / "run", seed=0, max_models=3, loss=of_a_batch, **{**QUICK, "verbose": True}
    )
    clf.fit(x[:600], y[:600])
    assert "one value a batch" in capsys.readouterr().out
    assert clf.evaluate(x[600:], y[600:]) > 0.5 and not clf.failures
    with pytest.raises(DataError, match="weights"):
        clf.fit(x[:600], y[:600], sample_weight=np.ones(600))


def test_a_loss_in_the_users_units_trains_alike(digits, tmp_path):
    x, y = digits
    scores = []
    for factor in (1.0, 1e4):
        reg = ImageRegressor(path=tmp_path / f"run{factor}", seed=0, max_models=1, loss="mae", **QUICK)
        reg.fit(x[:1000], y[:1000] * factor)
        scores.append(reg.score(x[1000:], y[1000:] * factor))
        assert 0 < reg.history[0]["loss"] < 1  # 1 is the best constant
    assert scores[0] == pytest.approx(scores[1], abs=0.05) and scores[0] > 0.5


def test_resuming_with_another_objective_or_weights_measures_anew(
    digits, by_accuracy, tmp_path, capsys, monkeypatch
):
    x, y = digits
    folder = tmp_path / "run"
    shutil.copytree(by_accuracy, folder)
    before = ImageClassifier(path=folder, resume=True, **QUICK).history
    loud = {**QUICK, "verbose": True}
    clf = ImageClassifier(path=folder, resume=True, max_models=4, objective="log_loss", **loud)
    clf.fit(x[:1000], y[:1000])
    assert "3 of its models were measured anew" in capsys.readouterr().out
    after = clf.history
    assert {entry["objective"] for entry in after} == {"log_loss"}
    for old, new in zip(before, after, strict=False):
        assert new["loss"] == pytest.approx(old["loss"], rel=1e-3)
        assert new["metric_value"] == pytest.approx(new["loss"], rel=1e-3)
        assert new["metrics"]["accuracy"] == old["metrics"]["accuracy"]
    same = ImageClassifier(path=folder, resume=True, max_models=4, **loud).fit(x[:1000], y[:1000])
    assert "anew" not in capsys.readouterr().out and {e["objective"] for e in same.history} == {"log_loss"}
    weighted = ImageClassifier(
        path=folder, resume=True, max_models=5, class_weight={3: 9.0}, objective="accuracy", **loud
    )
    weighted.fit(x[:1000], y[:1000])
    assert "measured anew" in capsys.readouterr().out
    assert abs(weighted.history[0]["loss"] - before[0]["loss"]) > 1e-4
    assert weighted.history[0]["metric_value"] == pytest.approx(before[0]["metric_value"])
    # The class weights are stored, and hold in the final fit.
    posed = []
    monkeypatch.setattr("kmorph.tasks.estimator.train_final", lambda *arguments: posed.append(arguments[-1]))
    ImageClassifier(path=folder, resume=True, **QUICK).final_fit(x[:1000], y[:1000])
    assert posed[0].class_weights[3] == 9.0


def test_final_fit_keeps_the_objective_of_the_search(digits, by_accuracy, tmp_path):
    x, y = digits
    folder = tmp_path / "run"
    shutil.copytree(by_accuracy, folder)
    named = ImageClassifier(path=folder, resume=True, max_models=4, objective="auc", **QUICK).fit(
        x[:1000], y[:1000]
    )
    unnamed = ImageClassifier(path=folder, resume=True, **QUICK)
    unnamed.final_fit(x[:1000], y[:1000], x[1000:], y[1000:], trainer_args={"max_iter_num": 1})
    entry = named.history[named.get_best_model_id()]
    assert entry["phase"] == "final" and entry["objective"] == "auc"
    assert entry["metric_value"] == entry["metrics"]["auc"] > 0.9


def test_class_weights_turn_the_balance(digits, tmp_path):
    x, y = digits
    few = np.flatnonzero((y == 3) | (np.arange(len(y)) % 15 == 0))
    x, y = x[few], (y[few] == 3).astype(int)
    found = {}
    for weight in (None, {0: 20.0, 1: 1.0}):
        clf = ImageClassifier(
            path=tmp_path / str(weight is None), seed=0, max_models=1, class_weight=weight, **QUICK
        )
        found[weight is None] = clf.fit(x, y).predict_proba(x)[:, 0].mean()
    assert found[False] > found[True]


def test_weights_of_validation_data_count(digits, tmp_path):
    x, y = digits
    weights = np.where(y[600:] == 3, 1.0, 0.0)
    clf = ImageClassifier(path=tmp_path / "run", seed=0, max_models=1, **QUICK)
    clf.fit(x[:600], y[:600], validation_data=(x[600:], y[600:], weights))
    threes = y[600:] == 3
    predicted = clf.predict(x[600:][threes])
    assert clf.history[0]["metrics"]["accuracy"] == pytest.approx(np.mean(predicted == 3), abs=1e-6)


def test_the_time_limit_of_the_constructor_ends_cross_validation(digits, tmp_path):
    x, y = digits
    begun = time.monotonic()
    scores = cross_val_score(ImageClassifier(time_limit=4, verbose=False), x[:400], y[:400], cv=2)
    assert len(scores) == 2 and scores.max() > 0.3  # of a busy machine one may be late
    assert time.monotonic() - begun < 120


X, Y = np.zeros((20, 8, 8), np.uint8), np.arange(20) % 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"class_weight": {7: 1.0}}, "class 7"),
        ({"class_weight": "heavy"}, "balanced"),
        ({"class_weight": {0: -1}}, "class_weight"),
        ({"class_weight": {0: 0, 1: 0}}, "above 0"),
        ({"objective": "mse"}, "mse"),
        ({"objective": lambda y, p: 1 / 0}, "pair"),
        ({"objective": (lambda y, p: 1 / 0, True)}, "ZeroDivisionError"),
        ({"objective": (lambda y, p: np.nan, True)}, "no number"),
        ({"loss": lambda y, p: p[:, :, None] + 0 * p[0, 0, 0, 0]}, "raises"),
        ({"loss": lambda y, p: p[:1, 0]}, "shape"),
        ({"loss": "no such loss"}, "loss"),
        ({"loss": "mse", "hyperparameters": {"label_smoothing": 0.1}}, "label_smoothing"),
        ({"optimizer": keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.1, 9))}, "schedule"),
        ({"optimizer": "sgd", "hyperparameters": {"weight_decay": 0.1}}, "weight_decay"),
        ({"time_limit": -1}, "time_limit"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_trained(tmp_path, arguments, words):
    clf = ImageClassifier(path=tmp_path / "run", verbose=False, **arguments)
    with pytest.raises(DataError, match=words):
        clf.fit(X, Y, time_limit=arguments.get("time_limit", 5))
    assert not (tmp_path / "run").exists()


def test_scorers_and_keras_metrics_decide(digits, tmp_path):
    x, y = digits
    for i, objective in enumerate(
        ("roc_auc_ovr", sklearn.metrics.log_loss, keras.metrics.SparseCategoricalAccuracy())
    ):
        clf = ImageClassifier(path=tmp_path / str(i), seed=0, max_models=1, objective=objective, **QUICK)
        clf.fit(x[:500], y[:500])
        assert np.isfinite(clf.history[0]["metric_value"])


def test_an_own_objective_sees_every_class_of_sorted_labels(tmp_path):
    y = np.sort(np.arange(6000) % 3)
    y[-1] = 3
    target = learn_labels(y)
    codes = _some_of_each(target.encode(y), target)
    assert set(codes) == {0, 1, 2, 3} and PROBED <= len(codes) <= PROBED + 4
    heights = np.sort(np.random.default_rng(0).normal(size=20_000))
    numbers = Numbers.learn(heights)
    assert _some_of_each(numbers.encode(heights), numbers)[:2000].std() == pytest.approx(1.0, abs=0.1)


def test_weights_that_leave_nothing_to_compare_models_on_are_refused(tmp_path):
    x, y = np.zeros((40, 8, 8), np.uint8), np.arange(40) % 2
    one = (np.arange(40) == 7).astype(float)  # is trained on, or held back
    with pytest.raises(DataError, match="weight 0"):
        ImageClassifier(path=tmp_path / "run").fit(x, y, sample_weight=one)
    with pytest.raises(DataError, match="weight 0"):
        ImageClassifier(path=tmp_path / "run", class_weight={0: 0.0}).fit(
            x, y, validation_data=(x[::2], y[::2])
        )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "copied", [sklearn.base.clone, copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))]
)
def test_copies_keep_losses_and_optimizers_whole(copied):
    """Keras' own copies of a Huber loss forget delta."""
    reg = ImageRegressor(
        loss=keras.losses.Huber(delta=5.0), optimizer=keras.optimizers.AdamW(3e-4, weight_decay=0.07),
        objective=keras.metrics.MeanAbsoluteError(name="mine"), verbose=False,
    )  # fmt: skip
    other = copied(reg)
    assert type(other.loss) is keras.losses.Huber
    assert float(other.loss(np.zeros((1, 1)), np.full((1, 1), 9.0))) == 5.0 * (9.0 - 2.5)
    assert float(other.optimizer.weight_decay) == pytest.approx(0.07)
    assert other.objective.name == "mine"
