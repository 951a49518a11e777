"""The estimator as users meet it, on real digits, trained for real."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError

import kmorph
from kmorph import ImageClassifier
from kmorph.errors import DataError, SearchError
from kmorph.graph import Graph
from kmorph.search.workers.pool import InlineExecutor

QUICK = {"searcher_args": {"trainer_args": {"max_iter_num": 3}, "default_model_width": 8}, "verbose": False}


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    x = x.reshape(-1, 8, 8).astype(np.uint8)
    return x[:1000], y[:1000], x[1000:], y[1000:]


@pytest.fixture(scope="module")
def fitted(digits, tmp_path_factory):
    x, y, _, _ = digits
    names = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])
    clf = ImageClassifier(path=tmp_path_factory.mktemp("run"), seed=1, max_models=4, **QUICK)
    assert clf.fit(x, names[y].reshape(-1, 1)) is clf
    return clf, names


def test_it_predicts_in_the_form_of_the_labels(fitted, digits):
    clf, names = fitted
    _, _, x, y = digits
    labels = clf.predict(x)
    assert labels.shape == (len(x), 1) and set(labels.ravel()) <= set(names)
    probabilities = clf.predict_proba(x)
    assert probabilities.shape == (len(x), 10) and np.allclose(probabilities.sum(1), 1)
    assert np.array_equal(clf.classes_[probabilities.argmax(1)], labels.ravel())
    accuracy = clf.evaluate(x, names[y])
    assert isinstance(accuracy, float) and accuracy > 0.6
    assert clf.score(x, names[y]) == accuracy == np.mean(labels.ravel() == names[y])


def test_history_tells_what_the_interface_promises(fitted):
    clf, _ = fitted
    keys = {
        "model_id", "parent_id", "change", "morphs", "metric_value", "loss", "metrics", "hyperparameters",
        "n_parameters", "flops", "epochs", "examples_seen", "seconds", "state",
    }  # fmt: skip
    assert len(clf.history) == 4 and all(keys <= set(entry) for entry in clf.history)
    assert clf.failures == []
    best = clf.history[clf.get_best_model_id()]
    assert not any(
        entry["metric_value"] > best["metric_value"] and entry["loss"] < best["loss"] for entry in clf.history
    )
    assert isinstance(clf.best_graph, Graph) and clf.best_graph.has_weights


def test_a_search_opens_from_its_path_alone(fitted):
    clf, _ = fitted
    searcher = kmorph.load_searcher(clf.path_)
    assert searcher.history == clf.history
    assert searcher.get_best_model_id() == clf.get_best_model_id()
    assert searcher.load_best_model() == clf.best_graph
    with pytest.raises(SearchError, match="ids are 0 to 3"):
        searcher.load_model_by_id(17)
    again = ImageClassifier(path=clf.path_, resume=True)
    assert again.history == clf.history and again.get_best_model_id() == clf.get_best_model_id()


def test_the_model_gives_the_probabilities_as_keras_model(fitted, digits):
    clf, _ = fitted
    x = digits[2][:50]
    logits = clf.best_graph.to_keras().predict(x[..., None], verbose=0)
    assert np.array_equal(logits.argmax(1), clf.predict_proba(x).argmax(1))
    features = clf.transform(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        called = np.asarray(clf.feature_extractor()(x[..., None]))
    np.testing.assert_allclose(features, called, atol=1e-5)


def test_leaderboard_is_sorted(fitted, digits):
    clf, names = fitted
    rows = clf.leaderboard(digits[2], names[digits[3]])
    accuracies = [row["accuracy"] for row in rows]
    assert accuracies == sorted(accuracies, reverse=True) and [row["rank"] for row in rows] == [1, 2, 3, 4]
    assert {row["model_id"] for row in clf.leaderboard()} == {0, 1, 2, 3}


@pytest.mark.parametrize("target, format", [("best.keras", "keras"), ("served", "saved_model")])
def test_exports_work_without_kmorph(fitted, digits, tmp_path, target, format):
    clf, _ = fitted
    x = digits[2][:20, ..., None]
    written = clf.export(tmp_path / target, format=format)
    np.save(tmp_path / "x.npy", x)
    if format == "keras":
        load = (
            f"import keras; model = keras.models.load_model({str(written)!r}, safe_mode=True); "
            "scores = model.predict(x, verbose=0)"
        )
    else:
        load = (
            f"import tensorflow as tf; served = tf.saved_model.load({str(written)!r}); "
            "out = served.signatures['serving_default'](tf.constant(x, tf.float32)); "
            "scores = out['scores'].numpy(); labels = out['labels'].numpy()\n"
            "assert labels.dtype == object and isinstance(labels.ravel()[0], bytes)"
        )
    script = (
        f"import sys, numpy as np; x = np.load({str(tmp_path / 'x.npy')!r})\n{load}\n"
        f"assert not any(name.startswith('kmorph') for name in sys.modules)\n"
        f"np.save({str(tmp_path / 'scores.npy')!r}, scores)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=tmp_path)
    assert np.allclose(np.load(tmp_path / "scores.npy"), clf.predict_proba(x), atol=1e-5)


def test_any_model_is_exported_by_its_id(fitted, digits, tmp_path):
    import keras

    clf, _ = fitted
    x = digits[2][:5, ..., None]
    for model_id in range(2):
        file = clf.export(tmp_path / f"{model_id}.keras", model_id=model_id)
        logits = np.asarray(clf.load_searcher().load_model_by_id(model_id).to_keras()(x.astype(np.float32)))
        expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        assert np.allclose(keras.models.load_model(file)(x), expected, atol=1e-5)
    with pytest.raises(SearchError, match="there is no model 17"):
        clf.export(tmp_path / "17.keras", model_id=17)
    assert not (tmp_path / "17.keras").exists()


def test_final_fit_makes_the_best_model_better_and_everyone_sees_it(digits, tmp_path):
    x, y, x_test, y_test = digits
    clf = ImageClassifier(path=tmp_path / "run", seed=3, max_models=2, **QUICK).fit(x, y)
    best, before = clf.get_best_model_id(), clf.best_graph
    loss = clf.history[best]["loss"]
    assert clf.final_fit(x, y, x_test, y_test, trainer_args={"max_iter_num": 8}, retrain=True) is clf
    assert clf.get_best_model_id() == best and clf.best_graph == before
    assert clf.history[best]["loss"] < loss and clf.history[best]["phase"] == "final"
    assert clf.evaluate(x_test, y_test) == pytest.approx(clf.history[best]["metric_value"])
    assert kmorph.load_searcher(clf.path_).get_best_model_id() == best
    resumed = ImageClassifier(path=tmp_path / "run", resume=True, max_models=4, **QUICK).fit(x, y)
    assert len(resumed.history) == 4 and resumed.history[best]["phase"] == "final"


@pytest.mark.slow
@pytest.mark.wall
def test_under_a_time_limit_all_data_is_trained_on_unless_some_is_kept_apart(digits, tmp_path):
    x, y, x_test, y_test = digits
    clf = ImageClassifier(path=tmp_path / "all", seed=0, starts=["cnn"], **QUICK).fit(x, y, time_limit=30)
    best = clf.history[clf.get_best_model_id()]
    assert best["metric_value"] is None and best["loss"] is None and best["phase"] == "decay"
    assert clf.evaluate(x_test, y_test) > 0.8
    assert clf.leaderboard()[0]["model_id"] == best["model_id"]
    # Training on, no part of the data could say when to stop: it goes on for as long as asked, on all of it.
    clf.final_fit(x, y, trainer_args={"max_iter_num": 2})
    after = clf.history[clf.get_best_model_id()]
    assert after["phase"] == "final" and after["metric_value"] is None
    assert after["examples_seen"] - best["examples_seen"] == pytest.approx(2 * len(x), abs=64)
    assert clf.evaluate(x_test, y_test) > 0.8
    apart = ImageClassifier(path=tmp_path / "apart", seed=0, starts=["cnn"], **QUICK)
    apart.fit(x, y, time_limit=20, validation_data=(x_test, y_test))
    entry = apart.history[apart.get_best_model_id()]
    assert entry["metric_value"] == pytest.approx(apart.evaluate(x_test, y_test))


def test_fitting_again_keeps_what_was_there(digits, tmp_path):
    x, y, _, _ = digits
    clf = ImageClassifier(path=tmp_path / "run", max_models=1, **QUICK)
    clf.fit(x[:200], y[:200])
    first = clf.history
    clf.fit(x[:200], y[:200])
    assert kmorph.load_searcher(tmp_path / "run.1").history == first
    assert len(clf.history) == 1 and clf.history != first


def test_resume_with_other_labels_is_refused_and_nothing_is_lost(digits, tmp_path):
    x, y, _, _ = digits
    clf = ImageClassifier(path=tmp_path / "run", resume=True, max_models=1, **QUICK).fit(x[:200], y[:200])
    with pytest.raises(SearchError, match="made for other data"):
        clf.fit(x[:200], np.where(y[:200] > 4, "big", "small"))
    assert len(clf.history) == 1 and clf.predict(x[:3]).shape == (3,)


def test_one_hot_labels_validation_data_and_weights(digits, tmp_path):
    x, y, x_test, y_test = digits
    seen = []
    clf = ImageClassifier(
        path=tmp_path,
        max_models=2,
        starts=["mlp"],
        executor=InlineExecutor(),
        callbacks=[seen.append],
        **QUICK,
    )
    one_hot = np.eye(10, dtype=int)
    clf.fit(
        x / 16.0, one_hot[y], validation_data=(x_test / 16.0, one_hot[y_test]), sample_weight=np.ones(len(x))
    )
    assert np.array_equal(clf.predict(x_test / 16.0).sum(1), np.ones(len(x_test)))
    assert [entry["model_id"] for entry in seen] == [0, 1] == [entry["model_id"] for entry in clf.history]
    assert clf.evaluate(x_test / 16.0, y_test) == pytest.approx(
        clf.history[clf.get_best_model_id()]["metric_value"]
    )


def test_colour_images_two_classes_and_own_networks(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 255, (120, 12, 10, 3), dtype=np.uint8)
    y = np.arange(120) % 2 == 0
    x[y, :, :, 0] //= 3
    own = kmorph.starts.cnn((12, 10, 3), 2, width=8)
    clf = ImageClassifier(path=tmp_path, max_models=3, starts=[own], morphs=["Widen"], **QUICK).fit(x, y)
    assert clf.predict(x).dtype == bool
    kinds = {morph["kind"] for entry in clf.history for morph in entry["morphs"]}
    assert kinds <= {"widen"}


def test_before_fit_it_says_so(tmp_path):
    clf = ImageClassifier(path=tmp_path / "none", resume=True)
    assert clf.history == [] and clf.failures == []
    for call in (lambda: clf.predict(np.zeros((1, 8, 8))), clf.get_best_model_id, clf.load_searcher):
        with pytest.raises(NotFittedError, match="call fit"):
            call()


def test_it_is_a_scikit_learn_estimator():
    clf = ImageClassifier(max_models=3, seed=5)
    copy = clone(clf)
    assert copy.get_params() == clf.get_params()
    assert repr(copy) == "ImageClassifier(max_models=3, seed=5)"
    with pytest.raises(TypeError):
        ImageClassifier("folder")


def test_images_of_another_shape_are_refused_at_predict(fitted):
    with pytest.raises(DataError, match="8, 8"):
        fitted[0].predict(np.zeros((2, 9, 8)))


def test_unseen_labels_are_refused_at_evaluate(fitted, digits):
    with pytest.raises(DataError, match="eleven"):
        fitted[0].evaluate(digits[2][:2], ["one", "eleven"])


def test_tensorflow_loads_without_its_messages(fitted, digits, tmp_path):
    """A script that uses a finished search prints its own output alone."""
    clf, _ = fitted
    np.save(tmp_path / "x.npy", digits[2][:10])
    script = (
        f"import numpy as np; from kmorph import ImageClassifier\n"
        f"clf = ImageClassifier(path={str(clf.path_)!r}, resume=True)\n"
        f"print(clf.predict(np.load({str(tmp_path / 'x.npy')!r})).shape)\n"
        f"clf.export_keras_model({str(tmp_path / 'best.keras')!r})"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(10, 1)" and done.stderr == ""
