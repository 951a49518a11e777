"""Texts and their tokens: as Keras' TextVectorization finds them, in any script."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kmorph.data.texts import check_texts, pairs_of, tokens_of
from kmorph.errors import DataError
from kmorph.problem import Input, TextInput

SCRIPTS = [
    ("Latin", "abcdefghijklmnopqrstuvwxyzABCXYZäöüßéñçøÅ"),
    ("Greek", "αβγδεζηθικλμνξοπρστυφχψωΑΒΓΔΣς"),
    ("Cyrillic", "абвгдеёжзийклмнопрстуфхцчшщъыьэюяАБВ"),
    ("Arabic", "ابتثجحخدذرزسشصضطظعغفقكلمنهوي"),
    ("Hebrew", "אבגדהוזחטיכלמנסעפצקרשת"),
    ("Devanagari", "अआइईउऊएऐओऔकखगघचछजझटठडढणतथदधनपफबभमयरलवशषसहािीुूेैोौं"),
    ("Thai", "กขคงจฉชซญดตถทธนบปผพภมยรลวสหอะาิีุูเแโ"),
    ("Hangul", "가나다라마바사아자차카타파하한글"),
    ("Han", "的一是不了人我在有他这为之大来以个中上们"),
    ("Kana", "あいうえおかきくけこアイウエオカキクケコー"),
    ("Georgian", "აბგდევზთიკლმნოპჟრსტუფქღყშჩცძწჭხჯჰ"),
    ("Emoji", "😀😂🥰🚀👍🏽❤️🇩🇪👨‍👩‍👧"),
]
OTHERS = " \t\n\v\f\r\u00a0\u2003.,;:!?'\"()[]{}<>@#$%^&*_+-=/\\|~`0123456789«»“”–—…\0\x1c\u200b"


def random_texts(n=10_000):
    rng = np.random.default_rng(0)
    texts = []
    for i in range(n):
        letters = list(SCRIPTS[i % len(SCRIPTS)][1]) + list(OTHERS)
        weights = np.where(np.arange(len(letters)) < len(letters) - len(OTHERS), 5.0, 1.0)
        chosen = rng.choice(len(letters), rng.integers(0, 60), p=weights / weights.sum())
        texts.append("".join(letters[c] for c in chosen))
    return texts


@pytest.mark.parametrize("split", ["whitespace", "character"])
def test_encoding_and_its_twin_agree(split):
    texts = random_texts()
    learned = TextInput.learn(check_texts(texts[:3000]))
    made = TextInput(learned.vocabulary, 9, 8, split)
    if split == "character":
        tokens = sorted({t for text in texts[:500] for t in tokens_of(text, split)} - {"\0"})
        pairs = sorted({p for text in texts[:500] for p in pairs_of(tokens_of(text, split))})
        pairs = [pair for pair in pairs if "\0" not in pair]
        made = TextInput((*tokens, *pairs[:2000]), 9, 8, split)
    import keras

    numbers = keras.Sequential([keras.Input(made.shape), keras.layers.Activation("linear")])
    twin = made.reading(numbers)
    found = np.concatenate(
        [twin(tf.constant(texts[i : i + 1000])[:, None]).numpy() for i in range(0, len(texts), 1000)]
    )
    encoded = made.encode(texts)
    assert np.unique(encoded).size > 300
    np.testing.assert_array_equal(found, encoded)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.text(max_size=20), min_size=2, max_size=8))
def test_any_texts_can_be_learned_encoded_and_stored(texts):
    if len(set(texts)) < 2:
        with pytest.raises(DataError, match="equal"):
            TextInput.learn(check_texts(texts))
        return
    made = TextInput.learn(check_texts(texts))
    encoded = made.encode(texts)
    assert encoded.shape == (len(texts), *made.shape)
    assert 0 <= encoded.min() and encoded.max() < made.entries
    assert Input.restored(made.stored()) == made


def test_scripts_without_spaces_are_split_into_characters():
    chinese = [
        "今天天气很好我们去公园散步吧",
        "他们正在讨论明天的会议安排问题",
        "这本书的内容非常有意思值得一读",
    ] * 20
    assert TextInput.learn(check_texts(chinese)).split == "character"
    assert TextInput.learn(check_texts(["a few words", "and some others"])).split == "whitespace"


def test_long_texts_are_cut_and_memory_is_bounded():
    made = TextInput.learn(check_texts(["word " * 5000 + str(i) for i in range(50)]))
    assert made.shape[0] <= 1600
    many = np.array([f"some words {i % 7} and more" for i in range(100_000)], object)
    assert TextInput.learn(many).encode(many[:10]).nbytes * 10_000 <= 512 << 20


@pytest.mark.parametrize(
    ("x", "words"),
    [
        ("one text", "one text; expected a list"),
        (None, "NoneType"),
        ([], "holds nothing"),
        ([1, 2], r"x\[0\] is 1, no text \(int\)"),
        (["a", None], r"x\[1\] is None.*missing"),
        (["a", float("nan")], r"x\[1\] is nan.*missing"),
        (np.zeros((3, 2)), r"shape \(3, 2\)"),
        ({"a": "b"}, "dict"),
        ({"a", "b"}, "set"),
        (np.array("a"), r"shape \(\)"),
        (["a", ["b"]], r"x\[1\]"),
        (["a", b"caf\xe9"], r"x\[1\] is b'caf\\xe9'.*UTF-8.*text.decode\('latin-1'\)"),
        (np.array([b"\xff", b"b"]), r"x\[0\] is .*text.decode"),
    ],
)
def test_what_is_no_texts(x, words):
    with pytest.raises(DataError, match=words):
        check_texts(x)


def test_what_is_taken_for_texts():
    for x in (["a", "b"], ("a", "b"), np.array(["a", "b"]), np.array([["a"], ["b"]]), [b"a", b"b"]):
        assert check_texts(x).tolist() == ["a", "b"]
    pandas = pytest.importorskip("pandas")
    assert check_texts(pandas.Series(["a", "b"], index=[5, 7])).tolist() == ["a", "b"]
    assert check_texts(pandas.DataFrame({"t": ["a", "b"]}, index=[5, 7])).tolist() == ["a", "b"]
    with pytest.raises(DataError, match=r"shape \(2, 2\)"):
        check_texts(pandas.DataFrame({"t": ["a", "b"], "u": ["c", "d"]}))


def test_damaged_inputs_are_refused():
    stored = TextInput(("a", "b"), 3, 2).stored()
    for changes in (
        {"vocabulary": ["a", "a"]},
        {"vocabulary": [1]},
        {"words": 0},
        {"split": "x"},
        {"pairs": 1.5},
    ):
        damaged = {**stored, "values": {**stored["values"], **changes}}
        with pytest.raises(DataError, match="damaged"):
            Input.restored(damaged)


def test_texts_without_words_have_a_twin():
    texts = check_texts(["", "...", " \n", "\0", "[]"])
    made = TextInput.learn(texts)
    assert made.vocabulary == ()
    import keras

    twin = made.reading(keras.Sequential([keras.Input(made.shape), keras.layers.Activation("linear")]))
    np.testing.assert_array_equal(twin(tf.constant(texts.tolist())[:, None]).numpy(), made.encode(texts))
    with pytest.raises(DataError, match="damaged"):
        Input.restored({**made.stored(), "values": {**made.to_json(), "vocabulary": "film"}})
