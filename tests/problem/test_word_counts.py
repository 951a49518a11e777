"""Weighted counts of words are those of a Keras model of stock layers, for any text, and by hand."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kmorph.data.texts import check_texts
from kmorph.problem.inputs import word_counts
from kmorph.problem.inputs.word_counts import WordCounts

WORDS = [
    "good",
    "bad",
    "film",
    "Film!",
    "",
    "ÄÖÜ",
    "ß",
    "長",
    "さ長",
    "😀",
    "\0",
    "a\0b",
    ".",
    "[UNK]",
    "x" * 300,
]
TEXTS = st.one_of(
    st.text(max_size=30),
    st.lists(st.sampled_from(WORDS), max_size=20).map(" ".join),
    st.text(" \t\n\v\f\r\u00a0\u2003\x1cab.", max_size=20),
)


def of_model(counts, texts):
    readable = [text.encode("utf-8", "replace").decode() for text in texts]
    return counts.model()(tf.constant(readable)[:, None]).numpy()


@settings(max_examples=40)
@given(
    st.lists(TEXTS, min_size=1, max_size=12), st.lists(TEXTS, max_size=5), st.sampled_from(word_counts.SPLITS)
)
def test_it_is_its_keras_model(learned, others, split):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(word_counts, "split_of", lambda texts: split)
        counts = WordCounts.learn(check_texts(learned))
    texts = learned + others
    found = counts.encode(check_texts(texts))
    assert found.shape == (len(texts), counts.width) and found.dtype == np.float32
    np.testing.assert_allclose(of_model(counts, texts), found, atol=4e-6)
    lengths = np.linalg.norm(found, axis=1)
    assert np.all((lengths == 0) | (abs(lengths - counts.length) < 1e-5))
    assert WordCounts.from_json(counts.to_json()) == counts


def test_by_hand():
    counts = WordCounts.learn(check_texts(["good film", "bad film", "Film, film!"]))
    assert counts.vocabulary == ("film", "bad", "bad film", "film film", "good", "good film")
    idf = {1: np.log(4 / 2) + 1, 3: np.log(4 / 4) + 1}
    assert counts.weights == (idf[3], *[idf[1]] * 5)
    expected = np.zeros(7)
    expected[1], expected[4] = np.log(1 + 3) * idf[3], np.log(1 + 2) * idf[1]
    (found,) = counts.encode(check_texts(["film: FILM film never-seen"]))
    expected[4] = np.log(1 + 2) * idf[1]
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected), rtol=1e-6)


def test_a_very_long_text():
    texts = check_texts(["good " * 100_000 + "bad", "film"])
    counts = WordCounts.learn(texts)
    np.testing.assert_allclose(of_model(counts, texts), counts.encode(texts), atol=4e-6)


@pytest.mark.parametrize(("words", "length"), [(3, 1.0), (10, 1.0), (50, np.log10(50)), (1000, 2.0)])
def test_counts_of_long_texts_weigh_more(words, length):
    texts = check_texts(["good " * words, "bad " * words])
    counts = WordCounts.learn(texts)
    assert counts.length == pytest.approx(length)
    np.testing.assert_allclose(np.linalg.norm(counts.encode(texts), axis=1), length, rtol=1e-5)


def test_texts_without_words():
    texts = check_texts(["", "...", " \n", "\0"])
    counts = WordCounts.learn(texts)
    more = check_texts([*texts, "good", "[]", "[ ]"])
    assert counts.width == 2 and not counts.encode(more).any() and not of_model(counts, more).any()
    assert WordCounts.from_json(counts.to_json()) == counts


def test_rare_words_go_first_and_there_are_not_too_many(monkeypatch):
    texts = check_texts([f"common {'seldom' if i % 10 == 0 else 'often'} once{i}" for i in range(100)])
    counts = WordCounts.learn(texts)
    assert counts.vocabulary[:4] == ("common", "common often", "often", "common seldom")
    assert not [token for token in counts.vocabulary if "once" in token]
    monkeypatch.setattr(word_counts, "MOST", 3)
    assert WordCounts.learn(texts).vocabulary == counts.vocabulary[:3]


GOOD = WordCounts(("good", "film"), (1.0, 2.0), "whitespace", 1.5).to_json()


@pytest.mark.parametrize(
    "change",
    [
        {"vocabulary": ["good", "good"]},
        {"vocabulary": ["good", 3]},
        {"vocabulary": None},
        {"vocabulary": ["good"]},
        {"vocabulary": "gf"},
        {"vocabulary": [], "weights": []},
        {"weights": [1.0, float("nan")]},
        {"weights": [1.0, float("inf")]},
        {"weights": [1.0, 1e300]},
        {"weights": [1.0, "two"]},
        {"weights": [1.0, 2.0, 3.0]},
        {"split": "sentence"},
        {"split": []},
        {"length": 0.0},
        {"length": float("nan")},
        {"length": None},
    ],
)
def test_damaged_ones_are_refused(change):
    assert WordCounts.from_json(GOOD) == WordCounts(("good", "film"), (1.0, 2.0), "whitespace", 1.5)
    with pytest.raises((KeyError, TypeError, ValueError)):
        WordCounts.from_json({**GOOD, **change})
    for name in GOOD:
        with pytest.raises(KeyError):
            WordCounts.from_json({key: value for key, value in GOOD.items() if key != name})


def test_they_are_values():
    counts = WordCounts.from_json(GOOD)
    assert replace(counts) == counts and hash(replace(counts)) == hash(counts)
    assert replace(counts, split="character") != counts
