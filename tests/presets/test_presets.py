"""Presets are found, loaded and written, or it is said what is wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest
from preset_samples import tiny_bert

from kmorph.errors import DataError, PresetError
from kmorph.training.backend import load_backend

pytest.importorskip("keras_hub")
load_backend()

from kmorph.presets import find_preset, keras_hub, load_preset, save_preset  # noqa: E402


@pytest.fixture(scope="module")
def classifier_preset(tmp_path_factory):
    return tiny_bert(tmp_path_factory.mktemp("presets") / "tiny")


def test_a_preset_is_loaded_as_it_was_saved(classifier_preset):
    loaded = load_preset("TextClassifier", classifier_preset)
    assert loaded.predict(["a good film"], verbose=0).shape == (1, 2)
    assert find_preset(str(classifier_preset)) == classifier_preset
    assert find_preset(str(classifier_preset).encode()) == classifier_preset


def test_saving_replaces_a_preset_and_nothing_else(classifier_preset, tmp_path):
    loaded = load_preset("TextClassifier", classifier_preset)
    folder = shutil.copytree(classifier_preset, tmp_path / "copy")
    assert save_preset(loaded, folder) == folder
    assert load_preset("TextClassifier", folder).count_params() == loaded.count_params()
    other = tmp_path / "mine"
    other.mkdir()
    (other / "letter.txt").write_text("dear")
    with pytest.raises(DataError, match="something else"):
        save_preset(loaded, other)
    assert [file.name for file in sorted(tmp_path.iterdir())] == ["copy", "mine"]


@pytest.mark.parametrize(
    ("preset", "said"),
    [
        ("bert_tiny_en_uncased_sst3", "did you mean 'bert_tiny_en_uncased_sst2'"),
        ("no/such/folder", "no/such/folder is no folder"),
        ("", "empty"),
        (3, "got int"),
        (None, "got NoneType"),
    ],
)
def test_what_is_nowhere(preset, said):
    with pytest.raises(DataError, match=said):
        find_preset(preset)


def test_a_preset_that_is_not_on_this_machine(monkeypatch, tmp_path):
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # refuses every connection
    with pytest.raises(PresetError) as raised:
        find_preset("bert_tiny_en_uncased_sst2")
    place = tmp_path / "models/keras/bert/keras/bert_tiny_en_uncased_sst2"
    assert str(place) in str(raised.value) and "kagglehub.model_download" in str(raised.value)


def test_a_preset_in_the_cache_needs_no_network(monkeypatch, tmp_path, classifier_preset):
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path))
    handle = keras_hub().models.Backbone.presets["bert_tiny_en_uncased"]["kaggle_handle"]
    place = tmp_path / "models" / handle.removeprefix("kaggle://")
    shutil.copytree(classifier_preset, place)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert find_preset("bert_tiny_en_uncased") == place
    assert load_preset("Backbone", "bert_tiny_en_uncased").count_params() > 0


def damaged(folder, preset, damage):
    copy = shutil.copytree(preset, folder / "copy")
    weights = copy / "model.weights.h5"
    config = copy / "config.json"
    if damage == "no config":
        config.unlink()
    elif damage == "no weights":
        weights.unlink()
    elif damage == "broken config":
        config.write_text('{"half')
    elif damage == "a list":
        config.write_text("[]")
    elif damage == "half the weights":
        weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    elif damage == "corrupt safetensors":
        (copy / "model.safetensors").write_bytes(b"\xff" * 100)
    elif damage == "another shape":
        changed = json.loads(config.read_text())
        changed["config"]["hidden_dim"] = 12
        config.write_text(json.dumps(changed))
    elif damage == "unknown class":
        changed = json.loads(config.read_text())
        changed["registered_name"] = "keras_hub>NoSuchBackbone"
        config.write_text(json.dumps(changed))
    return copy


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("no config", "no config.json"),
        ("no weights", "no weights"),
        ("broken config", "cannot be read"),
        ("a list", "no configuration"),
        ("half the weights", "cannot be loaded as Backbone"),
        ("corrupt safetensors", "model.safetensors is damaged"),
        ("another shape", "cannot be loaded as Backbone"),
        ("unknown class", "cannot be loaded as Backbone"),
    ],
)
def test_damaged_presets(damage, said, classifier_preset, tmp_path):
    with pytest.raises(PresetError, match=said):
        load_preset("Backbone", damaged(tmp_path, classifier_preset, damage))


def test_a_preset_of_another_kind(classifier_preset):
    with pytest.raises(PresetError, match="made for something else"):
        load_preset("ObjectDetector", classifier_preset)


def test_a_class_that_the_library_lacks():
    with pytest.raises(PresetError, match="has no NoSuchModel: install a later version"):
        load_preset("NoSuchModel", "anything")


def test_without_the_library():
    code = """
import sys
sys.modules["keras_hub"] = None
from kmorph.presets import find_preset
try:
    find_preset("bert_tiny_en_uncased_sst2")
except ValueError as error:
    assert "pip install 'kmorph[pretrained]'" in str(error), error
else:
    raise AssertionError
"""
    subprocess.run([sys.executable, "-c", code], check=True)
