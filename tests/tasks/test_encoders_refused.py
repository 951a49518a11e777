"""What is wrong with an encoder is said before anything is trained, and nothing is left in the folder."""

import json
import re
import shutil

import numpy as np
import pytest

pytest.importorskip("keras_hub")

from detector_samples import retinanet  # noqa: E402
from preset_samples import tiny_bert, tiny_resnet  # noqa: E402

from kmorph import ImageClassifier, ImageClassifier1D, ImageClassifier3D, TextClassifier  # noqa: E402
from kmorph.errors import DataError, KmorphError, PresetError  # noqa: E402
from kmorph.presets import save_preset  # noqa: E402

QUICK = {
    "verbose": False,
    "seed": 0,
    "max_models": 1,
    "ensemble": False,
    "searcher_args": {"trainer_args": {"max_iter_num": 1}},
}
TEXTS, LABELS = [f"{'good' if i % 2 else 'bad'} film {i}" for i in range(40)], [0, 1] * 20
PICTURES = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def presets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("presets")
    tiny_bert(folder / "bert")
    tiny_resnet(folder / "resnet")
    save_preset(retinanet(), folder / "retinanet")
    return folder


def refusal(path, kind, x, encoder, error=DataError, **options):
    """The message of a fit that is refused before it has a search."""
    with pytest.raises(error) as caught:
        kind(path=path, encoder=encoder, **{**QUICK, **options}).fit(x, LABELS)
    assert not (path / "search.db").exists() and not [*path.rglob("*.safetensors")]
    return str(caught.value)


@pytest.mark.parametrize(
    ("kind", "x", "preset", "said"),
    [
        (TextClassifier, TEXTS, "resnet", "holds a ResNetBackbone, which is no encoder of texts"),
        (TextClassifier, TEXTS, "retinanet", "holds a RetinaNetBackbone, which is no encoder of texts"),
        (ImageClassifier, PICTURES, "bert", "holds a BertBackbone, which is no encoder of images"),
        (ImageClassifier, PICTURES, "retinanet", "holds a RetinaNetBackbone, which is no encoder of images"),
    ],
)
def test_presets_of_another_kind(presets, tmp_path, kind, x, preset, said):
    assert said in refusal(tmp_path / "run", kind, x, presets / preset, PresetError)


def _without_weights(folder):
    (folder / "model.weights.h5").unlink()


def _of_another_shape(folder):
    config = json.loads((folder / "config.json").read_text())
    config["config"]["hidden_dim"] = 12
    (folder / "config.json").write_text(json.dumps(config))


def _half(folder):
    weights = folder / "model.weights.h5"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])


def _without_tokenizer(folder):
    (folder / "preprocessor.json").unlink()
    (folder / "tokenizer.json").unlink()


def _without_vocabulary(folder):
    (folder / "assets" / "tokenizer" / "vocabulary.txt").unlink()


DAMAGES = {
    "no config": (lambda folder: (folder / "config.json").unlink(), "is no preset: there is no config.json"),
    "no weights": (_without_weights, "holds no weights"),
    "weights of another shape": (_of_another_shape, "cannot be loaded as Backbone"),
    "half the weights": (_half, "cannot be loaded as Backbone"),
    "corrupt safetensors": (
        lambda folder: (folder / "model.safetensors").write_bytes(b"\xff" * 100),
        "model.safetensors is damaged",
    ),
    "no tokenizer": (
        _without_tokenizer,
        "cannot be used as an encoder of texts",
    ),
    "no vocabulary": (_without_vocabulary, "cannot be used as an encoder of texts"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_presets(presets, tmp_path, damage):
    folder = shutil.copytree(presets / "bert", tmp_path / "bert")
    change, said = DAMAGES[damage]
    change(folder)
    assert said in refusal(tmp_path / "run", TextClassifier, TEXTS, folder, PresetError)


def test_weights_that_are_not_numbers(presets, tmp_path):
    import keras

    backbone = keras.saving.deserialize_keras_object(
        json.loads((presets / "bert" / "config.json").read_text())
    )
    folder = shutil.copytree(presets / "bert", tmp_path / "bert")
    backbone.set_weights([np.full(weight.shape, np.nan) for weight in backbone.get_weights()])
    backbone.save_weights(folder / "model.weights.h5")
    said = refusal(tmp_path / "run", TextClassifier, TEXTS, folder)
    assert re.search(r"NaN or infinity for (\d+) of \1 examples: check whether its weights", said)


@pytest.mark.parametrize(
    ("encoder", "said"),
    [
        ("bert_tiny_en_uncased_sst3", "did you mean 'bert_tiny_en_uncased_sst2'"),
        ("no/such/folder", "no/such/folder is no folder"),
        ("", "the path is empty"),
        (3, "got int"),
        (["bert"], "got list"),
        (b"no such folder", "no preset 'no such folder'"),
        ("a\0b", "NUL"),
        ("~nobody-of-this-name/bert", "home folder"),
        ("/dev/null", "is a file"),
    ],
)
def test_encoders_that_are_nowhere(tmp_path, encoder, said):
    assert said in refusal(tmp_path / "run", TextClassifier, TEXTS, encoder)


@pytest.mark.parametrize(
    ("kind", "x"),
    [(ImageClassifier1D, np.zeros((40, 12, 2))), (ImageClassifier3D, np.zeros((40, 4, 4, 4, 1)))],
)
def test_signals_and_volumes_have_no_encoders(presets, tmp_path, kind, x):
    assert "is for texts and images" in refusal(tmp_path / "run", kind, x, presets / "resnet")


@pytest.mark.parametrize(
    ("kind", "x", "preset", "features", "said"),
    [
        (TextClassifier, TEXTS, "bert", "embedding", "'embeddings' or 'joined' for texts, got 'embedding'"),
        (TextClassifier, TEXTS, "bert", None, "got None"),
        (TextClassifier, TEXTS, "bert", ["joined"], "got ['joined']"),
        (TextClassifier, TEXTS, None, "joined", "goes with encoder="),
        (ImageClassifier, PICTURES, "resnet", "joined", "must be 'embeddings' for images, got 'joined'"),
    ],
)
def test_features_that_are_not_there(presets, tmp_path, kind, x, preset, features, said):
    encoder = None if preset is None else presets / preset
    assert said in refusal(tmp_path / "run", kind, x, encoder, encoder_features=features)


UNUSABLE_TEXTS = {
    "none": [],
    "one": "a text",
    "missing": [*TEXTS[:39], None],
    "numbers": [1, 2] * 20,
    "no UTF-8": [*TEXTS[:39], b"\xff"],
    "all alike": ["film"] * 40,
    "all empty": [""] * 40,
}
UNUSABLE_PICTURES = {
    "none": PICTURES[:0],
    "no numbers": np.array([["a"] * 8] * 40),
    "names of files": [f"{i}.png" for i in range(40)],
    "flat": PICTURES.reshape(40, -1),
    "of unequal size": [PICTURES[i, : 4 + i % 2] for i in range(40)],
    "NaN": np.where(np.arange(40)[:, None, None, None] == 7, np.nan, PICTURES),
}


def both(path, kind, x, encoder):
    """Messages with an encoder and without."""
    messages = []
    for options in ({"encoder": encoder}, {}):
        with pytest.raises(KmorphError) as caught:
            kind(path=path / "run", **options, **QUICK).fit(x, LABELS)
        messages.append(re.sub("[0-9]+", "#", str(caught.value)))
    return messages


@pytest.mark.parametrize("name", UNUSABLE_TEXTS)
def test_unusable_texts_are_refused_as_without_an_encoder(presets, tmp_path, name):
    with_encoder, without = both(tmp_path, TextClassifier, UNUSABLE_TEXTS[name], presets / "bert")
    assert with_encoder == without


@pytest.mark.parametrize("name", UNUSABLE_PICTURES)
def test_unusable_pictures_are_refused_as_without_an_encoder(presets, tmp_path, name):
    with_encoder, without = both(tmp_path, ImageClassifier, UNUSABLE_PICTURES[name], presets / "resnet")
    assert with_encoder == without


def test_empty_texts_among_others_are_texts(presets, tmp_path):
    texts = ["" if i % 5 == 0 else text for i, text in enumerate(TEXTS)]
    clf = TextClassifier(path=tmp_path / "run", encoder=presets / "bert", **QUICK).fit(texts, LABELS)
    assert clf.predict(["", " ", "good film", "\ud800"]).shape == (4,)
    np.testing.assert_allclose(clf.predict_proba(["", "bad"])[0], clf.predict_proba(["", ""])[1], atol=1e-5)


def test_a_folder_that_cannot_be_written(presets, tmp_path):
    """And not as an error of the operating system."""
    for path in ("/dev/null/run", tmp_path / "file"):
        (tmp_path / "file").write_text("mine")
        with pytest.raises(KmorphError, match="cannot be written|is a file"):
            TextClassifier(path=path, encoder=presets / "bert", **QUICK).fit(TEXTS, LABELS)
