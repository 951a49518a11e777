"""Encoders that are trained with the network behind them, after a search."""

import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("keras_hub")

from preset_samples import tiny_bert, tiny_resnet  # noqa: E402

from kmorph import ImageClassifier, TextClassifier, TextRegressor, load_searcher  # noqa: E402
from kmorph.errors import DataError, PresetError, SearchError  # noqa: E402
from kmorph.presets.tuned import Tuned  # noqa: E402
from kmorph.search.store.history import FINE_TUNED, History  # noqa: E402
from kmorph.tasks.fitted import NotFittedError  # noqa: E402
from kmorph.training import fine_tuning  # noqa: E402

QUICK = {
    "verbose": False,
    "seed": 0,
    "max_models": 1,
    "ensemble": False,
    "searcher_args": {"trainer_args": {"max_iter_num": 5}},
}
RNG = np.random.default_rng(0)
TEXTS = [
    f"{' '.join(RNG.choice(['a', 'film', 'other'], RNG.integers(1, 7)))} {'good' if i % 2 else 'bad'} {i}"
    for i in range(200)
]
LABELS = ["fine" if i % 2 else "poor" for i in range(200)]
SIZES = np.array([2.0 * (i % 2) + 5 for i in range(200)])
PICTURES = RNG.uniform(0, 200, (180, 12, 12, 3))
PICTURES[:, ::2] *= 1 + 0.2 * (np.arange(180) % 2)[:, None, None, None]
PICTURES = PICTURES.astype(np.uint8)
SHOWN = np.arange(180) % 2


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr(fine_tuning, "RATE", 3e-3)  # small encoders with new weights have much to learn


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return tiny_bert(tmp_path_factory.mktemp("presets") / "bert")


@pytest.fixture(scope="module")
def searched(bert, tmp_path_factory):
    path = tmp_path_factory.mktemp("searched") / "run"
    return TextClassifier(path=path, encoder=bert, **QUICK).fit(TEXTS, LABELS)


@pytest.fixture(scope="module")
def tuned(searched, tmp_path_factory):
    path = shutil.copytree(searched.path_, tmp_path_factory.mktemp("tuned") / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fine_tuning, "RATE", 3e-3)
        return TextClassifier(path=path, resume=True, **QUICK).fine_tune(TEXTS, LABELS)


def copy_of(estimator, folder):
    path = shutil.copytree(estimator.path_, folder / "run")
    return TextClassifier(path=path, resume=True, **QUICK)


def files(estimator):
    return sorted(file.name for file in (estimator.path_ / "models").iterdir())


def test_encoder_and_head_learn_together(searched, tuned):
    about = tuned.fine_tuned_
    assert about["loss"] < 0.5 * about["frozen_loss"] and about["epochs"] == 3
    assert about["metric_value"] > about["frozen_metric_value"]
    assert about["model_id"] == tuned.get_best_model_id() and searched.fine_tuned_ is None
    assert tuned.evaluate(TEXTS, LABELS) == 1.0 > searched.evaluate(TEXTS, LABELS)
    name, stored = files(tuned)[-1], searched._input().new_model().core.get_weights()
    found = Tuned.load(tuned.path_ / "models" / name)
    assert [a.shape for a in found.encoder] == [b.shape for b in stored]
    assert any(np.abs(a - b).max() > 1e-3 for a, b in zip(found.encoder, stored, strict=True))
    assert found.head == searched.best_graph


def test_whoever_opens_the_search_predicts_alike(tuned, searched):
    expected = tuned.predict_proba(TEXTS)
    for other in (
        TextClassifier(path=tuned.path_, resume=True),
        TextClassifier(path=tuned.path_, resume=True, encoder=searched.encoder),
        pickle.loads(pickle.dumps(tuned)),
    ):
        np.testing.assert_allclose(other.predict_proba(TEXTS), expected, atol=1e-6)
    head = load_searcher(tuned.path_).load_best_model()
    outputs = head.to_keras().predict(tuned._best()[0].encode(TEXTS[:9]), verbose=0)
    assert tuned.transform(TEXTS[:9]).shape == (9, 8)
    np.testing.assert_allclose(tuned._target().scores(outputs), expected[:9], atol=1e-5)


def test_models_of_the_history_keep_the_frozen_encoder(tuned, searched):
    (row,) = tuned.leaderboard(TEXTS, LABELS)
    assert row["accuracy"] == searched.evaluate(TEXTS, LABELS)


def test_exports_have_the_tuned_encoder(tuned, tmp_path):
    import tensorflow as tf

    model = tf.saved_model.load(str(tuned.export(tmp_path / "best", "saved_model")))
    found = model.signatures["serving_default"](tf.constant(TEXTS)[:, None])["scores"].numpy()
    np.testing.assert_allclose(found, tuned.predict_proba(TEXTS), atol=1e-5)


def test_counts_and_weights_of_examples(bert, tmp_path):
    options = {**QUICK, "encoder_features": "joined", "class_weight": "balanced"}
    clf = TextClassifier(path=tmp_path / "run", encoder=bert, **options).fit(TEXTS, LABELS)
    weights = np.where(np.arange(200) < 160, 1.0, 0.0)
    clf.fine_tune(TEXTS, LABELS, sample_weight=weights, validation_data=(TEXTS[:60], LABELS[:60]))
    assert clf.fine_tuned_["loss"] < clf.fine_tuned_["frozen_loss"]
    assert clf.evaluate(TEXTS, LABELS) > 0.95


def test_images(tmp_path):
    import keras

    encoder = tiny_resnet(tmp_path / "resnet")
    clf = ImageClassifier(path=tmp_path / "run", encoder=encoder, **QUICK).fit(PICTURES, SHOWN)
    frozen = clf.predict_proba(PICTURES)
    clf.fine_tune((PICTURES, SHOWN))
    assert clf.fine_tuned_["loss"] < clf.fine_tuned_["frozen_loss"]
    for model_id, expected in ((None, clf.predict_proba(PICTURES)), (0, frozen)):
        model = keras.models.load_model(clf.export(tmp_path / f"{model_id}.keras", model_id=model_id))
        found = model.predict(PICTURES.astype(np.float32), verbose=0)
        np.testing.assert_allclose(found, expected, atol=1e-5)
    # Batches of the user's few images say little of the statistics that the encoder was trained with.
    weights = clf._input().new_model().core.variables
    (name,) = [name for name in files(clf) if name.startswith("tuned-")]
    after = Tuned.load(clf.path_ / "models" / name).encoder
    moving = [i for i, variable in enumerate(weights) if "moving" in variable.path]
    assert moving and all(np.array_equal(np.asarray(weights[i]), after[i]) for i in moving)


@pytest.mark.parametrize("backend", [pytest.param(name, marks=pytest.mark.slow) for name in ("jax", "torch")])
def test_other_backends(bert, tmp_path, backend):
    pytest.importorskip(backend)
    code = """
import sys
import numpy as np
from test_fine_tuning import LABELS, QUICK, TEXTS
from kmorph import TextClassifier
from kmorph.training import fine_tuning
fine_tuning.RATE = 3e-3
clf = TextClassifier(path=sys.argv[1], encoder=sys.argv[2], **QUICK).fit(TEXTS, LABELS)
clf.fine_tune(TEXTS, LABELS)
assert clf.fine_tuned_["loss"] < 0.5 * clf.fine_tuned_["frozen_loss"], clf.fine_tuned_
assert clf.evaluate(TEXTS, LABELS) > 0.95
"""
    environment = {**os.environ, "KERAS_BACKEND": backend}
    environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    command = [sys.executable, "-c", code, str(tmp_path / "run"), str(bert)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    # It predicts alike on this backend.
    assert TextClassifier(path=tmp_path / "run", resume=True).evaluate(TEXTS, LABELS) > 0.95


@pytest.mark.slow
def test_numbers(bert, tmp_path):
    texts = TextRegressor(path=tmp_path / "run", encoder=bert, **QUICK).fit(TEXTS, SIZES)
    before = texts.score(TEXTS, SIZES)
    assert texts.fine_tune(TEXTS, SIZES).score(TEXTS, SIZES) > before


# What ends it, and what it does not change.


@pytest.mark.parametrize("call", ["fit", "final_fit"])
def test_training_the_network_ends_it(tuned, searched, tmp_path, call):
    clf = copy_of(tuned, tmp_path).set_params(max_models=2)
    np.testing.assert_allclose(clf.predict_proba(TEXTS), tuned.predict_proba(TEXTS), atol=1e-6)
    getattr(clf, call)(TEXTS, LABELS)
    assert clf.fine_tuned_ is None and not any(name.startswith("tuned") for name in files(clf))
    x = searched._input().encode(TEXTS)
    outputs = clf.best_graph.to_keras().predict(x, verbose=0)
    np.testing.assert_allclose(clf.predict_proba(TEXTS), clf._target().scores(outputs), atol=1e-5)


def test_what_is_no_better_is_not_kept(searched, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(fine_tuning, "RATE", 0.0)
    clf = copy_of(searched, tmp_path).set_params(verbose=True)
    clf.fine_tune(TEXTS, LABELS)
    assert "no better on the held-out examples" in capsys.readouterr().out
    assert clf.fine_tuned_ is None and files(clf) == files(searched)
    np.testing.assert_array_equal(clf.predict_proba(TEXTS), searched.predict_proba(TEXTS))


def test_too_little_time_changes_nothing(searched, tmp_path):
    clf = copy_of(searched, tmp_path)
    with pytest.warns(UserWarning, match="needs .* s at least.*as it was"):
        clf.fine_tune(TEXTS, LABELS, time_limit=0.5)
    assert clf.fine_tuned_ is None and files(clf) == files(searched)


def test_an_interrupt_keeps_what_is_better(searched, tmp_path, monkeypatch):
    measure = fine_tuning.FineTuning._measure

    def interrupted(self, held, epoch):
        measure(self, held, epoch)
        raise KeyboardInterrupt

    monkeypatch.setattr(fine_tuning.FineTuning, "_measure", interrupted)
    clf = copy_of(searched, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        clf.fine_tune(TEXTS, LABELS)
    assert clf.fine_tuned_["epochs"] == 1 and clf.evaluate(TEXTS, LABELS) > searched.evaluate(TEXTS, LABELS)


def test_a_second_time_replaces_the_first_only_by_what_is_better(tuned, tmp_path, monkeypatch, capsys):
    clf = copy_of(tuned, tmp_path).set_params(verbose=True)
    before, expected = files(clf), clf.predict_proba(TEXTS)
    monkeypatch.setattr(fine_tuning, "RATE", 1e-5)
    clf.fine_tune(TEXTS, LABELS)
    said = capsys.readouterr().out
    assert "as it was fine-tuned before: held-out accuracy 1.0000" in said and "stays as it was" in said
    assert files(clf) == before and clf.fine_tuned_ == tuned.fine_tuned_
    np.testing.assert_array_equal(clf.predict_proba(TEXTS), expected)


def test_a_second_time_may_be_better(searched, tmp_path, monkeypatch):
    clf, names = copy_of(searched, tmp_path), []
    for rate in (3e-4, 3e-3):
        monkeypatch.setattr(fine_tuning, "RATE", rate)
        names.append(files(clf.fine_tune(TEXTS, LABELS)))
    assert [len(found) for found in names] == [2, 2] and names[0] != names[1]


# What goes wrong.


def test_searches_without_an_encoder_are_refused(tmp_path):
    with pytest.raises(NotFittedError, match="call fit"):
        TextClassifier().fine_tune(TEXTS, LABELS)
    clf = TextClassifier(path=tmp_path / "run", **QUICK).fit(TEXTS, LABELS)
    with pytest.raises(SearchError, match="without an encoder.*final_fit"):
        clf.fine_tune(TEXTS, LABELS)


def test_data_that_does_not_go_with_the_search(searched, tmp_path):
    clf = copy_of(searched, tmp_path)
    with pytest.raises(DataError, match="unknown"):
        clf.fine_tune(TEXTS, ["unknown", *LABELS[1:]])
    with pytest.raises(DataError, match="texts"):
        clf.fine_tune(PICTURES, SHOWN)
    with pytest.raises(DataError, match="30 examples are too few to judge by.*50"):
        clf.fine_tune(TEXTS[:100], LABELS[:100])
    with pytest.raises(DataError, match="time_limit"):
        clf.fine_tune(TEXTS, LABELS, time_limit=-1)
    assert files(clf) == files(searched)


def test_max_disk_counts_it(searched, tmp_path):
    clf = copy_of(searched, tmp_path)
    size = sum(file.stat().st_size for file in clf.path_.rglob("*") if file.is_file())
    with pytest.raises(SearchError, match="max_disk"):
        clf.set_params(max_disk=size + 2000).fine_tune(TEXTS, LABELS)
    assert clf.fine_tuned_ is None


def test_a_file_that_is_gone_or_damaged(tuned, searched, tmp_path):
    clf = copy_of(tuned, tmp_path)
    (name,) = [name for name in files(clf) if name.startswith("tuned-")]
    file = clf.path_ / "models" / name
    whole = file.read_bytes()
    for content in (whole[:-100], b"", whole.replace(b"kmorph.fine_tuned", b"kmorph.fine_tumed")):
        file.write_bytes(content)
        with pytest.raises(PresetError, match="cannot be read.*fine_tune again"):
            TextClassifier(path=clf.path_, resume=True).predict(TEXTS)
    file.write_bytes(whole)
    weights = Tuned.load(file)
    Tuned(weights.digest, weights.encoder[:-1], weights.head).save(file)
    with pytest.raises(PresetError, match="do not fit the encoder"):
        TextClassifier(path=clf.path_, resume=True).predict(TEXTS)
    Tuned("another", weights.encoder, weights.head).save(file)
    with pytest.raises(PresetError, match="of another encoder"):
        TextClassifier(path=clf.path_, resume=True).predict(TEXTS)
    file.unlink()
    again = TextClassifier(path=clf.path_, resume=True)
    with pytest.warns(UserWarning, match="is gone.*Call fine_tune"):
        found = again.predict_proba(TEXTS)
    np.testing.assert_allclose(found, searched.predict_proba(TEXTS), atol=1e-6)
    file.write_bytes(b"")
    clf.fine_tune(TEXTS, LABELS)  # as the message says
    assert clf.evaluate(TEXTS, LABELS) > 0.95 and not file.exists()


@pytest.mark.parametrize(
    "about", ["text", {}, {"file": "../0.safetensors", "model_id": 0}, {"file": "tuned-0a.safetensors"}]
)
def test_a_history_that_names_something_else(searched, tmp_path, about):
    clf = copy_of(searched, tmp_path)
    with History.open(clf.path_ / "search.db") as history:
        history.set_meta(FINE_TUNED, about)
    with pytest.raises(SearchError, match="is damaged"):
        TextClassifier(path=clf.path_, resume=True).predict(TEXTS)
