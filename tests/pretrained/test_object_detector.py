"""Detectors of KerasHub's are loaded, trained, saved and measured, or it is said what is wrong."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from sklearn.base import clone

from kmorph.errors import DataError, PresetError
from kmorph.pretrained import ObjectDetector
from kmorph.tasks.fitted import NotFittedError

pytest.importorskip("keras_hub")
pytest.importorskip("PIL")

import detector_samples  # noqa: E402
from detect_shapes import LABELS, make_pictures, measure  # noqa: E402

from kmorph.presets import keras_hub, save_preset  # noqa: E402
from kmorph.pretrained.detection.labels import coco_labels  # noqa: E402
from kmorph.pretrained.detection.network import Network, new_network  # noqa: E402
from kmorph.pretrained.detection.pictures import fit_picture  # noqa: E402
from kmorph.pretrained.detection.progress import ProgressLine  # noqa: E402
from kmorph.pretrained.detection.settings import stock_settings  # noqa: E402
from kmorph.training.backend import load_backend  # noqa: E402

load_backend()

PICTURES, BOXES, NAMES = make_pictures(24, 0)
RANDOM = np.random.default_rng(0).integers(0, 256, (50, 80, 3)).astype("uint8")


@pytest.fixture(scope="module")
def retinanet(tmp_path_factory):
    return save_preset(detector_samples.retinanet(), tmp_path_factory.mktemp("presets") / "retinanet")


@pytest.fixture(scope="module")
def dfine(tmp_path_factory):
    return save_preset(detector_samples.dfine(), tmp_path_factory.mktemp("presets") / "dfine")


@pytest.fixture(scope="module")
def fitted():
    """A new detector that was trained for a few steps."""
    detector = ObjectDetector(preset=None, batch_size=4, epochs=1, seed=0, threshold=0.005, verbose=False)
    return detector.fit(PICTURES, BOXES, NAMES, validation_data=(PICTURES[:4], BOXES[:4], NAMES[:4]))


def test_importing_loads_no_keras():
    code = "import sys, kmorph.pretrained; assert not {'keras', 'tensorflow', 'keras_hub'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# What a preset has learned.


@pytest.mark.parametrize("name", ["retinanet", pytest.param("dfine", marks=pytest.mark.slow)])
def test_boxes_are_those_that_kerashub_finds(name, request):
    """Its own decoder, of the same outputs, with the same threshold and without suppression."""
    folder = request.getfixturevalue(name)
    detector = ObjectDetector(folder, threshold=0.001)
    square = np.ascontiguousarray(RANDOM[:50, :50])
    ours = detector.predict(square)
    library = keras_hub()
    model = library.models.ObjectDetector.from_preset(str(folder))
    model.prediction_decoder = library.layers.NonMaxSuppression(
        "yxyx", from_logits=True, iou_threshold=1.0, confidence_threshold=0.001, max_detections=20
    )
    network = detector._ready()
    x = network.inputs(fit_picture(square, network.size, network.keep_ratio)[0])[None]
    model.preprocessor = None
    theirs = model.predict(x, verbose=0)
    y0, x0, y1, x1 = np.clip(np.array(theirs["boxes"][0][0]) * 50 / 64, 0, 50)
    best = max(ours, key=lambda item: item["score"])
    assert best == ours[0] and best["score"] == pytest.approx(float(theirs["confidence"][0][0]), abs=1e-4)
    assert any(np.allclose(item["box"], (x0, y0, x1, y1), atol=1e-2) for item in ours)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["retinanet", "dfine"])
def test_detectors_that_are_not_known(name, request, monkeypatch):
    """Others than RetinaNet and D-FINE choose boxes by themselves."""
    folder = request.getfixturevalue(name)
    known = ObjectDetector(folder, threshold=0.5).predict(RANDOM)
    monkeypatch.setattr("kmorph.pretrained.detection.network.outputs_of", lambda model: "other")
    unknown = ObjectDetector(folder, threshold=0.5)
    assert (unknown.predict(RANDOM)[:1] == []) == (known == [])
    for one, other in zip(unknown.predict(RANDOM)[:1], known[:1], strict=True):
        assert one["label"] == other["label"] and one["score"] == pytest.approx(other["score"], abs=1e-4)


def test_one_picture_and_several(retinanet, tmp_path):
    detector = ObjectDetector(retinanet, threshold=0.001, batch_size=2)
    one = detector.predict(RANDOM, tmp_path / "one.png")
    assert one and set(one[0]) == {"label", "score", "box"}
    assert [item["score"] for item in one] == sorted((item["score"] for item in one), reverse=True)
    boxes = np.array([item["box"] for item in one])
    assert (boxes >= 0).all() and (boxes[:, 2:] <= (80, 50)).all() and (boxes[:, 2:] > boxes[:, :2]).all()
    assert (tmp_path / "one.png").exists()
    files = [tmp_path / f"{index}.jpg" for index in range(3)]
    several = detector.predict([RANDOM, RANDOM / 255.0, str(tmp_path / "one.png")], files)
    assert len(several) == 3 and all(file.exists() for file in files)
    for item, first in zip(several[0], one, strict=True):
        np.testing.assert_allclose(item["box"], first["box"], atol=1e-3)
    assert detector.predict([]) == []
    assert len(detector.predict(np.stack([RANDOM] * 3))) == 3
    assert clone(detector).set_params(threshold=1.0).predict(RANDOM) == []
    assert detector.classes_ == [0, 1, 2]


def test_a_dfine_finds_boxes(dfine):
    found = ObjectDetector(dfine, threshold=0.001).predict(RANDOM)
    assert found and all(item["label"] in (0, 1, 2) for item in found)


@pytest.mark.parametrize("name", ["retinanet", pytest.param("dfine", marks=pytest.mark.slow)])
def test_any_size_of_input(name, request):
    folder = request.getfixturevalue(name)
    detector = ObjectDetector(folder, image_size=(96, 64), threshold=0.001)
    assert detector._ready().size == (96, 64) and detector.predict(RANDOM)


def test_coco_s_labels():
    library = keras_hub()
    of_80, of_91 = coco_labels(80, library), coco_labels(91, library)
    assert len(of_80) == 80 and len(of_91) == 91 and coco_labels(3, library) is None
    # As the files of the presets number them: the first, some in the middle, the last.
    assert [of_80[i] for i in (0, 1, 9, 11, 15, 79)] == [
        "person", "bicycle", "traffic light", "stop sign", "cat", "toothbrush",
    ]  # fmt: skip
    assert [of_91[i] for i in (1, 2, 10, 13, 17, 90)] == [
        "person", "bicycle", "traffic light", "stop sign", "cat", "toothbrush",
    ]  # fmt: skip
    assert set(of_80) < set(of_91)


def test_names_beside_a_preset(retinanet, tmp_path):
    folder = shutil.copytree(retinanet, tmp_path / "named")
    (folder / "labels.json").write_text('{"labels": ["猫", "b", "c"]}', encoding="utf-8")
    assert ObjectDetector(folder).classes_ == ["猫", "b", "c"]
    for content, said in [
        ("[", "cannot be read"),
        ('{"labels": ["a"]}', "names 1 labels, the detector beside it has 3"),
        ('{"labels": [1.5, "a", "b"]}', "text or a whole number"),
    ]:
        (folder / "labels.json").write_text(content)
        with pytest.raises(PresetError, match=said):
            ObjectDetector(folder).predict(RANDOM)


# Learning.


def test_a_detector_learns_and_is_saved(fitted, tmp_path):
    assert fitted.classes_ == sorted(LABELS)
    assert 0 <= fitted.validation_score_ <= 1
    folder = fitted.save(tmp_path / "mine")
    assert json.loads((folder / "labels.json").read_text())["labels"] == sorted(LABELS)
    found = fitted.predict(PICTURES[:6])
    assert sum(map(len, found))
    loaded = ObjectDetector(folder, threshold=0.005, batch_size=4)
    assert loaded.predict(PICTURES[:6]) == found
    assert loaded.evaluate(PICTURES[:6], BOXES[:6], NAMES[:6]) == fitted.evaluate(
        PICTURES[:6], BOXES[:6], NAMES[:6]
    )
    assert set(fitted.average_precision(PICTURES, BOXES, NAMES, overlap=0.5)) == set(LABELS)
    # KerasHub loads it, too, and needs nothing of kmorph's.
    model = keras_hub().models.ObjectDetector.from_preset(str(folder))
    assert model.num_classes == 3 and model.preprocessor.image_converter.image_size == (128, 128)
    assert pickle.loads(pickle.dumps(fitted)).predict(PICTURES[:6]) == found
    fitted.save(folder)  # an earlier preset is replaced


def test_a_preset_learns_other_labels(retinanet, capsys):
    began = time.monotonic()
    detector = ObjectDetector(retinanet, batch_size=4, seed=1)
    numbers = [[{"circle": 3, "square": 8, "triangle": 9}[name] for name in names] for names in NAMES]
    detector.fit(PICTURES, BOXES, numbers, time_limit=5)
    assert time.monotonic() - began < 5 + 3 + 8  # other programs may use the machine
    assert detector.classes_ == [3, 8, 9]
    said = capsys.readouterr().out
    assert "Training: pass" in said and "s left" in said and "Trained after" in said
    # Its batch norms learn again after it.
    assert all(layer.trainable for layer in detector._ready().model._flatten_layers())


def test_weights_that_fit_are_kept(retinanet):
    network = Network.load(retinanet)
    renewed = network.renewed(["a", "b", "c", "d"])
    same = {
        tuple(old.path.split("/")[-2:])
        for old, new in zip(network.model.weights, renewed.model.weights, strict=True)
        if old.shape == new.shape and np.array_equal(old.numpy(), new.numpy())
    }
    other = {
        tuple(old.path.split("/")[-2:])
        for old, new in zip(network.model.weights, renewed.model.weights, strict=True)
        if old.shape != new.shape
    }
    assert len(same) > 20 and len(other) == 2  # kernel and bias of the scores
    scores = renewed._outputs(renewed.inputs(np.zeros((1, 64, 64, 3), "uint8")))[1]
    assert scores.shape[-1] == 4


def test_anchors_follow_the_boxes():
    for side, size in ((10.0, 1.25), (16.0, 2.0), (90.0, 4.0)):
        network = new_network(["a"], (128, 128), np.full(50, side))
        assert network.model.anchor_generator.anchor_size == pytest.approx(size)
        anchors = network._shifted(np.zeros((1, 128, 128, 3)), np.zeros((1, 1, 4)))
        sides = np.sqrt(np.prod(anchors[0, :, 2:] - anchors[0, :, :2], axis=-1))
        assert np.abs(np.log(sides / side)).min() < 0.3


def test_what_ctrl_c_ends_is_kept(monkeypatch, retinanet):
    """Among pictures without boxes, and grey ones."""

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(ProgressLine, "show", interrupt)
    pictures = [PICTURES[0], PICTURES[1], PICTURES[2][..., 0]]
    boxes, names = [BOXES[0], np.zeros((0, 4)), []], [NAMES[0], [], []]
    detector = ObjectDetector(retinanet, batch_size=3, verbose=False, augment=False, threshold=0.0)
    detector.fit(pictures, boxes, names)
    assert detector.classes_ == sorted(set(NAMES[0])) and detector.predict(RANDOM)
    assert detector.evaluate(pictures, boxes, names) >= 0


# What is wrong.


def fit(**changes):
    arguments = {"images": PICTURES[:2], "boxes": BOXES[:2], "labels": NAMES[:2]}
    own = {name: changes.pop(name) for name in list(changes) if name not in (*arguments, "validation_data")}
    return ObjectDetector(preset=None, **{"verbose": False, **own}).fit(**{**arguments, **changes})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"images": PICTURES[0]}, "a list of pictures.* got one"),
        ({"images": "a.png"}, "a list of pictures.* got one"),
        ({"images": []}, "there are no images"),
        ({"images": ["nowhere.png", PICTURES[1]]}, r"images\[0\]: there is no file nowhere.png"),
        ({"boxes": BOXES[:1]}, "2 images, but boxes has 1"),
        ({"boxes": 3}, "boxes must be a list"),
        ({"labels": "ab"}, "labels must be a list"),
        ({"labels": ["ab", "cd"]}, r"labels\[0\] must be a list with the label of each box"),
        ({"labels": [["a"] * 9, NAMES[1]]}, r"boxes\[0\] has \d boxes, but labels\[0\] has 9"),
        ({"boxes": [np.zeros((2, 3)), BOXES[1]]}, r"boxes\[0\] must have the shape"),
        ({"boxes": [np.full((1, 4), np.nan), BOXES[1]]}, "NaN"),
        ({"boxes": [[["a"] * 4], BOXES[1]]}, "numbers"),
        ({"boxes": [[[50, 50, 20, 20]], BOXES[1]], "labels": [["a"], NAMES[1]]}, "x1 > x0.*x, y, width"),
        ({"boxes": [[[0.1, 0.1, 0.5, 0.5]], BOXES[1]], "labels": [["a"], NAMES[1]]}, "in pixels, multiply"),
        ({"boxes": [[[0, 0, 500, 20]], BOXES[1]], "labels": [["a"], NAMES[1]]}, "outside of its picture"),
        ({"boxes": [[], []], "labels": [[], []]}, "no box in any"),
        ({"labels": [[1] * len(NAMES[0]), NAMES[1]]}, "some labels are text and some are numbers"),
        ({"labels": [[1.5] * len(NAMES[0]), NAMES[1]]}, "expected text or whole numbers"),
        ({"labels": [[True] * len(NAMES[0]), NAMES[1]]}, "expected text or whole numbers"),
        ({"validation_data": 3}, "validation_data must be"),
        ({"validation_data": (PICTURES[:1], [[[0, 0, 9, 9]]], [["cat"]])}, "does not know the label 'cat'"),
        ({"image_size": 100}, "multiples of 32"),
        ({"image_size": (64, 64, 3)}, "height, width"),
        ({"image_size": "large"}, "image_size"),
        ({"batch_size": 0}, "batch_size"),
        ({"epochs": -1}, "epochs"),
        ({"time_limit": 0}, "time_limit"),
        ({"learning_rate": -1}, "learning_rate"),
        ({"augment": "yes"}, "augment"),
        ({"verbose": 2}, "verbose"),
        ({"seed": -1}, "seed"),
    ],
)
def test_bad_examples(changes, said):
    with pytest.raises(DataError, match=said):
        fit(**changes)


def test_bad_questions(fitted, tmp_path):
    with pytest.raises(NotFittedError, match="has no preset and is not fitted yet"):
        ObjectDetector(preset=None).predict(RANDOM)
    with pytest.raises(DataError, match="threshold must be a number from 0 to 1"):
        clone(fitted).set_params(threshold=2).predict(RANDOM)
    with pytest.raises(DataError, match="a list of 2 paths"):
        fitted.predict([RANDOM, RANDOM], tmp_path / "one.png")
    with pytest.raises(DataError, match="the path of a file"):
        fitted.predict(RANDOM, 3)
    with pytest.raises(DataError, match="picture 1 has pixels"):
        fitted.predict([RANDOM, RANDOM * -1.0])
    with pytest.raises(DataError, match="does not know the label 'cat'"):
        fitted.evaluate([RANDOM], [[[0, 0, 9, 9]]], [["cat"]])
    with pytest.raises(DataError, match="overlap"):
        fitted.average_precision(PICTURES, BOXES, NAMES, overlap=-1)
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(DataError, match="something else"):
        fitted.save(tmp_path)


def test_presets_that_cannot_be_used(retinanet, tmp_path):
    models = keras_hub().models
    encoder = models.ResNetBackbone(
        [64], [3], [64], [1], [1], block_type="basic_block", image_shape=(32, 32, 3)
    )
    wrong = save_preset(encoder, tmp_path / "wrong")
    with pytest.raises(PresetError, match="made for something else"):
        ObjectDetector(wrong).predict(RANDOM)
    for damage, said in [
        (lambda copy: (copy / "model.weights.h5").unlink(), "holds no weights"),
        (lambda copy: (copy / "model.safetensors").write_bytes(b"\xff" * 99), "is damaged"),
        (lambda copy: widen(copy), "cannot be loaded as ObjectDetector"),
    ]:
        copy = shutil.copytree(retinanet, tmp_path / said)
        damage(copy)
        with pytest.raises(PresetError, match=said):
            ObjectDetector(copy).predict(RANDOM)
    with pytest.raises(PresetError, match="dfine_nano_coko.*did you mean 'dfine_nano_coco'"):
        ObjectDetector("dfine_nano_coko").predict(RANDOM)


def widen(folder):
    """Have the configuration ask for weights of another shape."""
    for name in ("config.json", "task.json"):
        text = (folder / name).read_text()
        (folder / name).write_text(text.replace('"num_classes": 3', '"num_classes": 5'))


def test_without_kerashub(monkeypatch, retinanet):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(PresetError, match="pip install"):
        ObjectDetector(retinanet).predict(RANDOM)
    with pytest.raises(PresetError, match="pip install"):
        fit()


def test_a_kerashub_without_detectors(monkeypatch, retinanet):
    library = keras_hub()
    monkeypatch.delattr(library.models, "ObjectDetector")
    with pytest.raises(PresetError, match="has no ObjectDetector: install a later version"):
        ObjectDetector(retinanet).predict(RANDOM)


def test_settings_of_keras_do_not_matter(retinanet):
    from keras import config

    detector = ObjectDetector(retinanet, threshold=0.001)
    expected = detector.predict(RANDOM)
    before = config.dtype_policy(), config.floatx(), config.image_data_format()
    config.set_dtype_policy("mixed_bfloat16")
    config.set_floatx("float64")
    config.set_image_data_format("channels_first")
    try:
        assert clone(detector).predict(RANDOM) == expected
        with stock_settings():
            model = new_network(["a"], (128, 128), np.full(3, 20.0)).model
        assert {weight.dtype for weight in model.weights} == {"float32"}
        assert {layer.compute_dtype for layer in model._flatten_layers()} == {"float32"}
        assert (config.floatx(), config.image_data_format()) == ("float64", "channels_first")
        assert config.dtype_policy().name == "mixed_bfloat16"
    finally:
        config.set_floatx(before[1])
        config.set_dtype_policy(before[0])
        config.set_image_data_format(before[2])


# Minutes.


@pytest.mark.slow
def test_shapes_on_photographs(tmp_path):
    from detect_shapes import LEAST_IOU, LEAST_RECALL, main

    iou, recall, precision = main(300, tmp_path, 2000, 0)
    assert iou >= LEAST_IOU and recall >= LEAST_RECALL and precision > 0.2


@pytest.mark.slow
def test_a_dfine_learns(dfine):
    detector = ObjectDetector(
        dfine, image_size=128, batch_size=8, learning_rate=2e-3, augment=False, seed=0, threshold=0.2
    )
    before = detector.evaluate(PICTURES, [b * 1.0 for b in BOXES], [[0] * len(n) for n in NAMES])
    detector.fit(PICTURES, BOXES, NAMES, time_limit=240)
    _, recall, _ = measure(detector.predict(PICTURES), BOXES, NAMES)
    assert detector.evaluate(PICTURES, BOXES, NAMES) > before and recall > 0.5
