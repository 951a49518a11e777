"""Searches for a network behind a pretrained encoder, from the first fit to the last."""

import copy
import pickle
import shutil

import numpy as np
import pytest
from sklearn.base import clone

pytest.importorskip("keras_hub")

from preset_samples import tiny_bert, tiny_resnet  # noqa: E402

from kmorph import (  # noqa: E402
    ImageClassifier,
    ImageRegressor,
    TextClassifier,
    TextRegressor,
    load_searcher,
)
from kmorph.data.encodings import FOLDER, size_of  # noqa: E402
from kmorph.errors import DataError, PresetError, SearchError  # noqa: E402
from kmorph.presets.text_encoder import TextEncoder  # noqa: E402
from kmorph.tasks.fitted import NotFittedError  # noqa: E402

QUICK = {
    "verbose": False,
    "seed": 0,
    "max_models": 1,
    "ensemble": False,
    "searcher_args": {"trainer_args": {"max_iter_num": 20}},
}
RNG = np.random.default_rng(0)
WORDS = [" ".join(RNG.choice(["a", "film", "other"], RNG.integers(1, 7))) for _ in range(120)]
TEXTS = [f"{text} {'good' if i % 2 else 'bad'} {i}" for i, text in enumerate(WORDS)]
LABELS = ["fine" if i % 2 else "poor" for i in range(120)]
SIZES = np.array([2.0 * (i % 2) + 5 for i in range(120)])
PICTURES = (RNG.uniform(0, 100, (80, 12, 12, 3)) + 100 * (np.arange(80) % 2)[:, None, None, None]).astype(
    np.uint8
)
SHOWN = np.arange(80) % 2


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return tiny_bert(tmp_path_factory.mktemp("presets") / "bert")


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    return tiny_resnet(tmp_path_factory.mktemp("presets") / "resnet")


@pytest.fixture(scope="module")
def fitted(bert, tmp_path_factory):
    path = tmp_path_factory.mktemp("fitted") / "run"
    return TextClassifier(path=path, encoder=bert, **QUICK).fit(TEXTS, LABELS)


@pytest.fixture
def run(fitted, tmp_path):
    """A copy of the search, to be changed."""
    return shutil.copytree(fitted.path_, tmp_path / "run")


@pytest.fixture
def encoded(monkeypatch):
    """The texts that the encoder is given from now on."""
    seen, encode = [], TextEncoder.encode

    def noting(self, texts, *arguments):
        seen.extend(texts)
        return encode(self, texts, *arguments)

    monkeypatch.setattr(TextEncoder, "encode", noting)
    return seen


def again(path, bert, **options):
    return TextClassifier(path=path, encoder=bert, resume=True, **{**QUICK, "max_models": 2, **options})


def checked(estimator, examples, by_hand):
    """Predictions must be those of the network that was found, for what the encoder gives."""
    made = estimator._input()
    x = made.encode(examples)
    outputs = estimator.best_graph.to_keras().predict(x, verbose=0)
    assert x.shape == (len(examples), *made.shape)
    np.testing.assert_allclose(
        by_hand(examples),
        estimator._target().scores(outputs).reshape(by_hand(examples).shape),
        rtol=1e-4,
        atol=1e-5,
    )


def test_texts(fitted, bert):
    assert fitted.evaluate(TEXTS, LABELS) > 0.9
    checked(fitted, TEXTS[:30], fitted.predict_proba)
    x = fitted._input().encode(TEXTS)
    np.testing.assert_array_equal(x, TextEncoder(bert).encode(np.array(TEXTS, object)))
    assert len(fitted.history) == 1 and not fitted.failures
    # The preset is not part of what is trained.
    assert fitted.best_graph.input_shape == (8,) and "encoder" not in load_searcher(fitted.path_).meta(
        "target"
    )


def test_counts_beside_vectors(bert, tmp_path):
    joined = TextClassifier(path=tmp_path / "run", encoder=bert, encoder_features="joined", **QUICK)
    joined.fit(TEXTS, LABELS)
    checked(joined, TEXTS[:30], joined.predict_proba)
    assert joined.evaluate(TEXTS, LABELS) > 0.9
    assert joined.best_graph.input_shape[0] > 8 + 10


@pytest.mark.parametrize("channels", [1, 3])
def test_images(resnet, tmp_path, channels):
    images = PICTURES[..., :channels]
    clf = ImageClassifier(path=tmp_path / "run", encoder=resnet, **QUICK).fit(images, SHOWN)
    checked(clf, images, clf.predict_proba)
    assert clf.evaluate(images, SHOWN) == 1.0
    with pytest.raises(DataError, match=r"\(80, 11, 12, [13]\)"):
        clf.predict(images[:, 1:])
    views = ImageClassifier(path=clf.path_, resume=True, views=True, **QUICK)
    np.testing.assert_allclose(views.predict_proba(images), clf.predict_proba(images), atol=1e-6)


def test_numbers(bert, resnet, tmp_path):
    texts = TextRegressor(path=tmp_path / "texts", encoder=bert, **QUICK).fit(TEXTS, SIZES)
    checked(texts, TEXTS[:30], texts.predict)
    assert texts.score(TEXTS, SIZES) > 0.5
    images = ImageRegressor(path=tmp_path / "images", encoder=resnet, **QUICK).fit(PICTURES, SIZES[:80])
    assert images.predict(PICTURES[:7]).shape == (7,)


def test_several_labels_a_text(bert, tmp_path):
    labels = np.array([[i % 2, "film" in text] for i, text in enumerate(WORDS)], int)
    clf = TextClassifier(path=tmp_path / "run", encoder=bert, **QUICK).fit(TEXTS, labels)
    found = clf.predict(TEXTS)
    assert found.shape == (120, 2) and (found == labels).mean() > 0.8


@pytest.mark.slow
def test_in_two_workers(bert, tmp_path):
    clf = TextClassifier(path=tmp_path / "run", encoder=bert, workers=2, **{**QUICK, "max_models": 2})
    assert clf.fit(TEXTS, LABELS).evaluate(TEXTS, LABELS) > 0.9
    assert len(clf.history) == 2 and not clf.failures


def test_loaders_and_validation_data(bert, tmp_path):
    def batches():
        for begin in range(0, 120, 16):
            yield np.array(TEXTS[begin : begin + 16]), np.array(LABELS[begin : begin + 16])

    clf = TextClassifier(path=tmp_path / "run", encoder=bert, **QUICK)
    clf.fit(batches, validation_data=(TEXTS[:20], LABELS[:20]))
    assert clf.evaluate(batches) > 0.9
    assert [row["accuracy"] for row in clf.leaderboard(batches)] == sorted(
        (row["accuracy"] for row in clf.leaderboard(TEXTS, LABELS)), reverse=True
    )


# Encodings stay.


def test_going_on_encodes_nothing_again(run, bert, encoded):
    clf = again(run, bert).fit(TEXTS, LABELS)
    assert encoded == [] and len(clf.history) == 2
    clf.final_fit(TEXTS, LABELS, trainer_args={"max_iter_num": 2})
    assert encoded == []
    more = [*TEXTS, "a new text", "another new text", "a new text"]
    clf.set_params(max_models=3).fit(more, [*LABELS, "fine", "poor", "fine"])
    assert sorted(encoded) == ["a new text", "another new text"]
    assert clf.set_params(encoder=None, max_models=4).fit(more, [*LABELS, "fine", "poor", "fine"])
    assert len(encoded) == 2


def test_another_search_at_the_same_place_takes_them_over(run, bert, encoded):
    before = {file.name: file.read_bytes() for file in (run / FOLDER).rglob("*.safetensors")}
    clf = TextClassifier(path=run, encoder=bert, **QUICK).fit(TEXTS, LABELS)
    assert encoded == [] and size_of(run) > 0
    aside = run.with_name("run.1")
    assert {file.name: file.read_bytes() for file in (aside / FOLDER).rglob("*.safetensors")} == before
    shutil.rmtree(aside)
    again(run, bert).fit(TEXTS, LABELS)
    assert encoded == [] and clf.path_ == run


def test_a_temporary_folder_has_them_too(bert, encoded):
    clf = TextClassifier(encoder=bert, **QUICK).fit(TEXTS, LABELS)
    try:
        assert len(encoded) == 120
        again(clf.path_, bert).fit(TEXTS, LABELS)
        assert len(encoded) == 120
    finally:
        shutil.rmtree(clf.path_)


def test_a_fit_that_fails_later_leaves_them(bert, tmp_path, encoded):
    clf = TextClassifier(path=tmp_path / "run", encoder=bert, loss="hinge", **QUICK)
    with pytest.raises((DataError, SearchError)):
        clf.fit(TEXTS, LABELS, validation_data=(TEXTS[:4], ["fine", "poor", "fine", "unknown"]))
    count = len(encoded)
    assert count
    clf.set_params(loss=None).fit(TEXTS, LABELS)
    assert sorted(encoded) == sorted({*encoded}) and {*encoded} == {*TEXTS}


def test_damaged_encodings_change_nothing(run, fitted, bert, encoded):
    for file in (run / FOLDER).rglob("*.safetensors"):
        content = bytearray(file.read_bytes())
        content[-50:] = bytes(50)
        file.write_bytes(content)
    clf = again(run, bert).fit(TEXTS, LABELS)
    assert sorted(encoded) == sorted(TEXTS)
    assert clf.evaluate(TEXTS, LABELS) > 0.9


def test_max_disk_counts_them(bert, tmp_path):
    options = {"path": tmp_path / "run", "encoder": bert, **QUICK}
    with pytest.raises(DataError, match="max_disk=1,000 bytes is too little") as caught:
        TextClassifier(max_disk=1000, **options).fit(TEXTS, LABELS)
    data = int(str(caught.value).split("copy of the data (")[1].split(" bytes")[0].replace(",", ""))
    vectors = 120 * 4 * 8
    assert data >= 2 * vectors  # those in the data, and those that are kept
    limit = int(str(caught.value).rsplit("give at least ", 1)[1].replace(",", ""))
    clf = TextClassifier(max_disk=limit, **options).fit(TEXTS, LABELS)
    assert len(clf.history) == 1
    size = sum(file.stat().st_size for file in clf.path_.rglob("*") if file.is_file())
    assert size_of(clf.path_) < size <= limit


# What is refused before anything is encoded, and what is said.


def test_checks_come_before_encoding(run, bert, tmp_path, encoded):
    clf = TextClassifier(path=tmp_path / "run", encoder=bert, class_weight={"unknown": 2.0}, **QUICK)
    with pytest.raises(DataError, match="'unknown', which is not in y"):
        clf.fit(TEXTS, LABELS)
    (tmp_path / "file").write_text("")
    with pytest.raises(SearchError, match="is a file, a search needs a folder"):
        clf.set_params(path=tmp_path / "file", class_weight=None).fit(TEXTS, LABELS)
    new = [f"{text} again" for text in TEXTS]
    for call in (again(run, bert).fit, again(run, bert).final_fit, again(run, bert).fine_tune):
        with pytest.raises(DataError, match="119 labels"):
            call(new, LABELS[:-1])
    assert encoded == []


def test_an_estimator_that_does_not_resume_says_how(run):
    with pytest.raises(NotFittedError, match=f"{run} is opened with resume=True"):
        TextClassifier(path=run).predict(TEXTS)


def test_a_search_that_ends_early_says_why(bert, tmp_path, capsys):
    clf = TextClassifier(path=tmp_path / "run", encoder=bert, seed=0)
    clf.fit(TEXTS, LABELS, time_limit=120)
    assert "More time would not help: after " in capsys.readouterr().out.splitlines()[-1]


# Copies, and presets that move.


def test_copies_and_pickles_predict_alike(run, bert):
    clf = again(run, bert)
    expected = clf.predict_proba(TEXTS[:10])
    for other in (pickle.loads(pickle.dumps(clf)), copy.copy(clf), copy.deepcopy(clf), clone(clf)):
        assert other.encoder == bert and other.get_params()["encoder_features"] == "embeddings"
        np.testing.assert_array_equal(other.predict_proba(TEXTS[:10]), expected)
    assert load_searcher(run).load_best_model().input_shape == (8,)


def test_the_search_knows_its_encoder(run, fitted):
    clf = TextClassifier(path=run, resume=True)
    np.testing.assert_array_equal(clf.predict(TEXTS), fitted.predict(TEXTS))


def test_relative_folders_are_found_from_elsewhere(bert, tmp_path, monkeypatch):
    shutil.copytree(bert, tmp_path / "here" / "bert")
    monkeypatch.chdir(tmp_path / "here")
    clf = TextClassifier(path=tmp_path / "run", encoder="bert", **QUICK).fit(TEXTS, LABELS)
    monkeypatch.chdir(tmp_path)
    assert TextClassifier(path=tmp_path / "run", resume=True).evaluate(TEXTS, LABELS) > 0.9
    with pytest.raises(PresetError, match="no preset 'bert'"):
        clf.predict(TEXTS)


@pytest.mark.parametrize("kind", [str, lambda folder: str(folder).encode()], ids=["text", "bytes"])
def test_folders_as_text_and_as_bytes(run, bert, kind, encoded):
    clf = again(run, kind(bert)).fit(TEXTS, LABELS)
    assert encoded == [] and clf.evaluate(TEXTS, LABELS) > 0.9


def test_a_preset_that_was_moved(bert, tmp_path):
    old = shutil.copytree(bert, tmp_path / "old")
    clf = TextClassifier(path=tmp_path / "run", encoder=old, **QUICK).fit(TEXTS, LABELS)
    expected = clf.predict(TEXTS)
    new = old.rename(tmp_path / "new")
    with pytest.raises(PresetError, match=f"{old}.*encoder="):
        TextClassifier(path=tmp_path / "run", resume=True).predict(TEXTS)
    elsewhere = TextClassifier(path=tmp_path / "run", resume=True, encoder=new, **{**QUICK, "max_models": 2})
    np.testing.assert_array_equal(elsewhere.predict(TEXTS), expected)
    elsewhere.fit(TEXTS, LABELS).final_fit(TEXTS, LABELS, trainer_args={"max_iter_num": 2})
    # Having gone on with it there, the search knows the new place.
    assert TextClassifier(path=tmp_path / "run", resume=True).evaluate(TEXTS, LABELS) > 0.9


def test_a_preset_that_has_changed(bert, tmp_path):
    mine = shutil.copytree(bert, tmp_path / "mine")
    clf = TextClassifier(path=tmp_path / "run", encoder=mine, **QUICK).fit(TEXTS, LABELS)
    shutil.copytree(tiny_bert(tmp_path / "other", seed=1), mine, dirs_exist_ok=True)
    again(tmp_path / "theirs", bert).fit(TEXTS, LABELS)  # another encoder is loaded meanwhile
    with pytest.raises(PresetError, match="not the one that the search was made with"):
        clf.predict(TEXTS)
    with pytest.raises(PresetError, match="not the one"):
        again(tmp_path / "run", mine).fit([*TEXTS, "a new text"], [*LABELS, "fine"])


def test_another_encoder_is_refused_when_going_on(run, bert, tmp_path):
    other = tiny_bert(tmp_path / "other", seed=1)
    for call in (
        lambda clf: clf.fit(TEXTS, LABELS),
        lambda clf: clf.final_fit(TEXTS, LABELS),
        lambda clf: clf.predict(TEXTS),
    ):
        with pytest.raises(SearchError, match="made with another encoder"):
            call(again(run, other))
    with pytest.raises(SearchError, match="was not made with encoder_features='joined'"):
        again(run, bert, encoder_features="joined").fit(TEXTS, LABELS)
    without = TextClassifier(path=tmp_path / "plain", **QUICK).fit(TEXTS, LABELS)
    for call in (lambda clf: clf.fit(TEXTS, LABELS), lambda clf: clf.predict(TEXTS)):
        with pytest.raises(SearchError, match="made without an encoder"):
            call(again(without.path_, bert))
    with pytest.raises(SearchError, match="is for texts, ImageClassifier for images"):
        ImageClassifier(path=run, resume=True).predict(PICTURES)
