"""Vectors of pretrained encoders: by hand from the encoder's parts, whatever stands beside an example."""

import json
import shutil
import warnings

import numpy as np
import pytest
from safetensors.numpy import save_file

pytest.importorskip("keras_hub")

from preset_samples import (  # noqa: E402
    BERT_LENGTH,
    BERT_WIDTH,
    MEAN,
    RESNET_SIDE,
    RESNET_WIDTH,
    SPREAD,
    VOCABULARY,
    tiny_bert,
    tiny_resnet,
)

from kmorph.data.encodings import Encodings  # noqa: E402
from kmorph.errors import DataError, PresetError  # noqa: E402
from kmorph.presets import keras_hub, load_preset, save_preset  # noqa: E402
from kmorph.presets.image_encoder import ImageEncoder  # noqa: E402
from kmorph.presets.text_encoder import TextEncoder  # noqa: E402
from kmorph.problem import Input  # noqa: E402
from kmorph.problem.inputs.encoded import LENGTH  # noqa: E402
from kmorph.problem.inputs.encoded_image import EncodedImageInput, ImageEncoding  # noqa: E402
from kmorph.problem.inputs.encoded_text import EncodedTextInput, TextEncoding  # noqa: E402

RNG = np.random.default_rng(0)
LONG = "film " * 100
TEXTS = np.array(
    [" ".join(RNG.choice(VOCABULARY[5:], RNG.integers(1, 12))) for _ in range(70)]
    + ["", " ", "Unknown wörds, 長い!", "a\0film", "\ud800 film", LONG, "good " * 10_000, "?" * 50],
    object,
)
PICTURES = RNG.integers(0, 256, (5, 32, 32, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return tiny_bert(tmp_path_factory.mktemp("presets") / "bert")


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    return tiny_resnet(tmp_path_factory.mktemp("presets") / "resnet")


@pytest.fixture(scope="module")
def text_encoder(bert):
    return TextEncoder(bert)


# Texts.


def test_a_text_does_not_depend_on_its_neighbours(text_encoder):
    together = text_encoder.encode(TEXTS)
    assert together.shape == (len(TEXTS), BERT_WIDTH) and together.dtype == np.float32
    some = [0, 1, *range(68, len(TEXTS))]
    alone = np.concatenate([text_encoder.encode(TEXTS[i : i + 1]) for i in some])
    np.testing.assert_allclose(alone, together[some], atol=1e-5)
    order = RNG.permutation(len(TEXTS))
    np.testing.assert_allclose(text_encoder.encode(TEXTS[order]), together[order], atol=1e-5)
    assert np.linalg.norm(together[0] - together[1]) > 0.01


def by_hand(preset, text, pool):
    """Token by token, without any padding."""
    numbers = [VOCABULARY.index("[CLS]")]
    numbers += [VOCABULARY.index(word) if word in VOCABULARY else 1 for word in text.split()][
        : BERT_LENGTH - 2
    ]
    numbers.append(VOCABULARY.index("[SEP]"))
    tokens = np.array([numbers], np.int32)
    inputs = {"token_ids": tokens, "segment_ids": 0 * tokens, "padding_mask": 0 * tokens + 1}
    sequence = np.asarray(load_preset("Backbone", preset)(inputs)["sequence_output"])
    return pool(sequence[0])


def test_mean_of_the_tokens_by_hand(bert, text_encoder):
    texts = ["a good film", "bad", "a never seen film", LONG]
    found = text_encoder.encode(np.array(texts, object))
    for text, vector in zip(texts, found, strict=True):
        np.testing.assert_allclose(vector, by_hand(bert, text, lambda rows: rows.mean(axis=0)), atol=1e-5)


def test_the_first_token_where_the_preset_says_so(bert, tmp_path):
    folder = shutil.copytree(bert, tmp_path / "first")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    found = TextEncoder(folder).encode(np.array(["a good film"], object))
    np.testing.assert_allclose(found[0], by_hand(bert, "a good film", lambda rows: rows[0]), atol=1e-5)


def hugging_face(preset, folder):
    """The same encoder as Hugging Face's libraries write BERT."""
    backbone = load_preset("Backbone", preset)
    width = BERT_WIDTH
    block, layer = backbone.get_layer("transformer_layer_0"), "encoder.layer.0."
    attention = block._self_attention_layer
    arrays = {
        "embeddings.word_embeddings.weight": backbone.get_layer("token_embedding").embeddings,
        "embeddings.position_embeddings.weight": backbone.get_layer("position_embedding").position_embeddings,
        "embeddings.token_type_embeddings.weight": backbone.get_layer("segment_embedding").embeddings,
    }
    for name, norm in {
        "embeddings.LayerNorm.": backbone.get_layer("embeddings_layer_norm"),
        f"{layer}attention.output.LayerNorm.": block._self_attention_layer_norm,
        f"{layer}output.LayerNorm.": block._feedforward_layer_norm,
    }.items():
        arrays |= {f"{name}weight": norm.gamma, f"{name}bias": norm.beta}
    arrays = {name: np.asarray(value) for name, value in arrays.items()}
    for name, dense in {
        f"{layer}attention.self.query.": attention.query_dense,
        f"{layer}attention.self.key.": attention.key_dense,
        f"{layer}attention.self.value.": attention.value_dense,
        f"{layer}attention.output.dense.": attention.output_dense,
        f"{layer}intermediate.dense.": block._feedforward_intermediate_dense,
        f"{layer}output.dense.": block._feedforward_output_dense,
        "pooler.dense.": backbone.get_layer("pooled_dense"),
    }.items():
        kernel, bias = np.asarray(dense.kernel), np.asarray(dense.bias).reshape(-1)
        inputs = kernel.size // len(bias)
        arrays |= {f"{name}weight": kernel.reshape(inputs, len(bias)).T.copy(), f"{name}bias": bias}
    config = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "vocab_size": len(VOCABULARY),
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "hidden_size": width,
        "intermediate_size": 16,
        "max_position_embeddings": BERT_LENGTH,
    }
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    save_file(arrays, folder / "model.safetensors", {"format": "pt"})
    return folder


def test_the_layout_of_hugging_face_gives_the_same(bert, text_encoder, tmp_path):
    folder = hugging_face(bert, tmp_path / "bert")
    found = TextEncoder(folder)
    assert found.length == text_encoder.length == BERT_LENGTH
    np.testing.assert_allclose(found.encode(TEXTS), text_encoder.encode(TEXTS), atol=1e-5)
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 5}')
    shorter = TextEncoder(folder)
    assert shorter.length == 5
    three = np.array(["a good film", LONG, "film film film bad"], object)
    vectors = shorter.encode(three)
    np.testing.assert_allclose(vectors[0], text_encoder.encode(three)[0], atol=1e-5)
    np.testing.assert_allclose(vectors[1], vectors[2], atol=1e-5)  # alike in the words that are read


@pytest.mark.parametrize("value", ["[]", "{", '{"max_seq_length": "many"}', '{"max_seq_length": -3}'])
def test_a_length_that_is_none_is_passed_over(bert, tmp_path, value):
    folder = shutil.copytree(bert, tmp_path / "copy")
    (folder / "sentence_bert_config.json").write_text(value)
    assert TextEncoder(folder).length == BERT_LENGTH


def test_counts_beside_vectors(bert):
    texts = TEXTS[:72]
    made = TextEncoding(bert, "joined", Encodings()).learn(texts)
    alone = TextEncoding(bert, "embeddings", Encodings()).learn(texts)
    found = made.encode(texts)
    assert found.shape == (72, *made.shape) and made.shape == (BERT_WIDTH + made.counts.width,)
    np.testing.assert_array_equal(found[:, :BERT_WIDTH], alone.encode(texts))
    np.testing.assert_array_equal(found[:, BERT_WIDTH:], made.counts.encode(texts))
    # In front of a network, vectors and counts have the lengths that were decided.
    (normalize,) = made.front()
    scaled = (found - np.array(normalize.mean)) / np.sqrt(normalize.variance)
    vectors, counts = (
        np.linalg.norm(scaled[:, :BERT_WIDTH], axis=1),
        np.linalg.norm(scaled[:, BERT_WIDTH:], axis=1),
    )
    assert np.sqrt(np.mean(vectors**2)) == pytest.approx(LENGTH, rel=1e-4)
    assert counts[0] == pytest.approx(made.counts.length * LENGTH, rel=1e-4)


# Images.


def shown(images, preset):
    """Vectors of images that are 16 pixels wide: scaled by hand, without the preset's converter."""
    colours = np.repeat(images, 3, axis=-1) if images.shape[-1] == 1 else images
    scaled = (colours / 255 - np.array(MEAN)) / np.array(SPREAD)
    return np.asarray(load_preset("Backbone", preset)(scaled.astype(np.float32))).mean(axis=(1, 2))


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_are_scaled_as_the_preset_says(resnet, channels):
    images = PICTURES[:, :RESNET_SIDE, :RESNET_SIDE, :channels]
    found = ImageEncoder(resnet).encode(images)
    assert found.shape == (5, RESNET_WIDTH) and found.dtype == np.float32
    np.testing.assert_allclose(found, shown(images, resnet), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(ImageEncoder(resnet).encode(images.astype(np.float32)), found)


def test_pictures_are_resized(resnet):
    """Halved, each pixel is the mean of four; doubled by repetition, and halved again, they are the same."""
    halved = PICTURES.reshape(5, 16, 2, 16, 2, 3).mean(axis=(2, 4))
    found = ImageEncoder(resnet).encode(PICTURES)
    np.testing.assert_allclose(found, shown(halved, resnet), rtol=1e-4, atol=1e-5)
    wide = np.repeat(PICTURES, 2, axis=2)
    np.testing.assert_allclose(
        ImageEncoder(resnet).encode(wide)[0], by_columns(resnet)[0], rtol=1e-4, atol=1e-5
    )


def by_columns(resnet):
    """32 rows to 16, 64 columns that are pairs of equal ones to 16: the two in the middle of each four."""
    wide = np.repeat(PICTURES, 2, axis=2).reshape(5, 16, 2, 16, 4, 3)
    return shown(wide[:, :, :, :, 1:3].mean(axis=(2, 4)), resnet)


def test_a_picture_does_not_depend_on_its_neighbours(resnet):
    encoder = ImageEncoder(resnet)
    many = RNG.integers(0, 256, (70, 8, 8, 3)).astype(np.uint8)
    together = encoder.encode(many)
    for i in (0, 33, 69):
        np.testing.assert_allclose(encoder.encode(many[i : i + 1])[0], together[i], rtol=1e-5, atol=1e-5)


def test_a_vision_transformer(tmp_path):
    library = keras_hub()
    backbone = library.models.ViTBackbone(
        image_shape=(16, 16, 3), patch_size=8, num_layers=1, num_heads=2, hidden_dim=8, mlp_dim=16
    )
    folder = save_preset(backbone, tmp_path / "bare")
    with pytest.raises(PresetError, match="no image_converter.json"):
        ImageEncoder(folder).encode(PICTURES)
    with pytest.raises(PresetError, match="is no encoder of texts"):
        TextEncoder(folder).encode(TEXTS)
    converter = library.layers.ViTImageConverter(image_size=(16, 16), scale=1 / 255)
    preprocessor = library.models.ViTImageClassifierPreprocessor(image_converter=converter)
    whole = library.models.ViTImageClassifier(backbone, num_classes=2, preprocessor=preprocessor)
    folder = save_preset(whole, tmp_path / "whole")
    halved = PICTURES.reshape(5, 16, 2, 16, 2, 3).mean(axis=(2, 4), dtype=np.float32) / 255
    expected = np.asarray(backbone(halved)).mean(axis=1)
    np.testing.assert_allclose(ImageEncoder(folder).encode(PICTURES), expected, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def hugging_face_vit(tmp_path_factory):
    """A ViT as Hugging Face's libraries write it; KerasHub does not read how it scales images."""
    folder, layer = tmp_path_factory.mktemp("vit"), "vit.encoder.layer.0."
    rng = np.random.default_rng(0)
    shapes = {
        "vit.embeddings.patch_embeddings.projection": ((8, 3, 8, 8), (8,)),
        **{f"{layer}attention.attention.{name}": ((8, 8), (8,)) for name in ("query", "key", "value")},
        f"{layer}attention.output.dense": ((8, 8), (8,)),
        **{f"{layer}layernorm_{name}": ((8,), (8,)) for name in ("before", "after")},
        f"{layer}intermediate.dense": ((16, 8), (16,)),
        f"{layer}output.dense": ((8, 16), (8,)),
        "vit.layernorm": ((8,), (8,)),
    }
    arrays = {"vit.embeddings.cls_token": (1, 1, 8), "vit.embeddings.position_embeddings": (1, 5, 8)}
    arrays |= {f"{name}.weight": weight for name, (weight, _) in shapes.items()}
    arrays |= {f"{name}.bias": bias for name, (_, bias) in shapes.items()}
    save_file(
        {name: rng.normal(size=shape).astype(np.float32) for name, shape in arrays.items()},
        folder / "model.safetensors",
    )
    config = {
        "architectures": ["ViTModel"],
        "model_type": "vit",
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 16,
        "patch_size": 8,
        "hidden_size": 8,
        "intermediate_size": 16,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "qkv_bias": True,
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("said", [{"do_rescale": True, "rescale_factor": 1 / 255}, {}])
def test_scaling_in_the_layout_of_hugging_face(hugging_face_vit, said):
    config = {"image_mean": MEAN, "image_std": SPREAD, "size": 224, **said}
    (hugging_face_vit / "preprocessor_config.json").write_text(json.dumps(config))
    halved = PICTURES.reshape(5, 16, 2, 16, 2, 3).mean(axis=(2, 4))
    scaled = ((halved / 255 - np.array(MEAN)) / np.array(SPREAD)).astype(np.float32)
    expected = np.asarray(load_preset("Backbone", hugging_face_vit)(scaled)).mean(axis=1)
    found = ImageEncoder(hugging_face_vit).encode(PICTURES)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    assert np.ptp(found, axis=0).max() > 0.01


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"image_mean": [1], "image_std": [1]}', '{"image_mean": 3}']
)
def test_scaling_that_is_damaged(hugging_face_vit, text):
    (hugging_face_vit / "preprocessor_config.json").write_text(text)
    with pytest.raises(PresetError, match="preprocessor_config.json is missing or damaged"):
        ImageEncoder(hugging_face_vit).encode(PICTURES)


def test_images_from_0_to_1_get_a_warning(resnet):
    with pytest.warns(UserWarning, match="up to 1, .*from 0 to 255: multiply them by 255"):
        ImageEncoding(resnet, "embeddings", Encodings()).learn((PICTURES / 255).astype(np.float32))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        for images in (PICTURES, PICTURES.astype(np.float32), PICTURES // 255):
            ImageEncoding(resnet, "embeddings", Encodings()).learn(images)


def test_two_channels_are_refused(resnet):
    with pytest.raises(PresetError, match="1 or 3 channels, these have 2"):
        ImageEncoding(resnet, "embeddings", Encodings()).learn(PICTURES[..., :2])


def test_bytes_and_floats_of_other_pictures_are_told_apart(resnet):
    """Their bytes may be alike where the pictures are not."""
    encodings = Encodings()
    floats = RNG.uniform(0, 255, (6, 4, 6, 1)).astype(np.float32)
    data = floats.view(np.uint8)
    for images in (floats, data.reshape(6, 8, 12, 1), data.reshape(6, 12, 8, 1)):
        found = ImageEncoding(resnet, "embeddings", encodings).learn(images).encode(images)
        np.testing.assert_allclose(found, ImageEncoder(resnet).encode(images), rtol=1e-5, atol=1e-6)


# As values.


@pytest.fixture(scope="module")
def inputs(bert, resnet):
    return {
        "text": TextEncoding(bert, "embeddings", Encodings()).learn(TEXTS),
        "joined": TextEncoding(bert, "joined", Encodings()).learn(TEXTS),
        "image": ImageEncoding(resnet, "embeddings", Encodings()).learn(PICTURES),
    }


@pytest.mark.parametrize("name", ["text", "joined", "image"])
def test_they_are_stored_and_read(inputs, name):
    made = inputs[name]
    stored = json.loads(json.dumps(made.stored(), allow_nan=False))
    read = Input.restored(stored)
    assert read == made and hash(read) == hash(made) and read.encodings is None
    examples = PICTURES if name == "image" else TEXTS
    np.testing.assert_allclose(read.encode(examples), made.encode(examples), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "change",
    [
        {"encoder": ""},
        {"encoder": 3},
        {"digest": None},
        {"mean": []},
        {"mean": [0.0] * 3},
        {"mean": "0" * BERT_WIDTH},
        {"mean": [float("nan")] * BERT_WIDTH},
        {"variance": [0.0] * BERT_WIDTH},
        {"variance": [-1.0] * BERT_WIDTH},
        {"variance": [float("inf")] * BERT_WIDTH},
        {"variance": None},
        {"counts": []},
        {"counts": {"vocabulary": ["a"]}},
    ],
)
def test_damaged_ones_are_refused(inputs, change):
    stored = inputs["text"].stored()
    with pytest.raises(DataError, match="damaged"):
        Input.restored({**stored, "values": {**stored["values"], **change}})


@pytest.mark.parametrize("shape", [[], [8, 8], [8, 8, 0], [8, 8, -3], ["8", 8, 3], [8.5, 8, 3], None, 3])
def test_damaged_shapes_are_refused(inputs, shape):
    stored = inputs["image"].stored()
    with pytest.raises(DataError, match="damaged"):
        Input.restored({**stored, "values": {**stored["values"], "image_shape": shape}})


@pytest.mark.parametrize("kind", [EncodedTextInput, EncodedImageInput])
def test_nothing_missing_is_made_up(inputs, kind):
    values = inputs["text" if kind is EncodedTextInput else "image"].to_json()
    for name in values:
        with pytest.raises(KeyError):
            kind.from_json({key: value for key, value in values.items() if key != name})
