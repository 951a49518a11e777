"""SavedModels over the wire: a server without kmorph that speaks TensorFlow Serving's gRPC."""

import io
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from graph_samples import with_random_weights

from kmorph.data import LabelCodec
from kmorph.export import export
from kmorph.graph import Activation, Dense, GlobalPool, GraphBuilder, Normalize
from kmorph.problem import Classes, ImageInput, LabelSets, Numbers, TextInput, YesNo

grpc = pytest.importorskip("grpc")
pytest.importorskip("tensorflow_serving")

SERVER = Path(__file__).with_name("loopback_server.py")
NAMES = ("ankle boot", "Stiefel, groß", "鞋")
SHAPE = (8, 6, 3)
INPUT = ImageInput(SHAPE, (100.0, 90.0, 80.0), (900.0, 400.0, 500.0))
INK = Numbers((30.0,), (2.0,), flat=True)
TEXTS = TextInput.learn(np.array(["the sea is blue", "une mer bleue", "das Meer ist blau"], object))


def network(units=3, shape=SHAPE):
    b = GraphBuilder(shape)
    b.add(Normalize((100.0,) * shape[-1], (900.0,) * shape[-1]))
    if len(shape) > 1:
        b.add(GlobalPool())
    b.add(Dense(units=5))
    b.add(Activation(function="relu"))
    return with_random_weights(b.build(b.add(Dense(units=units))))


def predict(stub, model, signature="", **inputs):
    import tensorflow as tf
    from tensorflow_serving.apis.predict_pb2 import PredictRequest

    request = PredictRequest(model_spec={"name": model, "signature_name": signature})
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    outputs = stub.Predict(request, timeout=60).outputs
    return {name: tf.make_ndarray(value) for name, value in outputs.items()}


def examples_of(request, name, rows):
    """Fill the input of a Classify or Regress request."""
    for row in rows:
        feature = request.input.example_list.examples.add().features.feature[name]
        if isinstance(row, str):
            feature.bytes_list.value.append(row.encode())
        else:
            feature.float_list.value.extend(np.ravel(row))
    return request


def encoded(images, format):
    from PIL import Image

    files = []
    for image in images:
        file = io.BytesIO()
        Image.fromarray(image).save(file, format)
        files.append(file.getvalue())
    return files


def probabilities(graph, images):
    target = Classes(LabelCodec(NAMES, "column", "object"))
    return target.scores(np.asarray(graph.to_keras()(np.asarray(images, np.float32))))


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (5, *SHAPE), dtype=np.uint8)


@pytest.fixture(scope="module")
def graphs():
    """Networks by the names of their models."""
    b = GraphBuilder(TEXTS.shape)
    for layer in TEXTS.front():
        b.add(layer)
    b.add(GlobalPool())
    texts = with_random_weights(b.build(b.add(Dense(units=3))))
    return {"shoes": network(), "ink": network(1, (4,)), "texts": texts}


@pytest.fixture(scope="module")
def folders(graphs, tmp_path_factory):
    """Their versions 1."""
    root = tmp_path_factory.mktemp("served")
    others = {"shoes": (NAMES, INPUT), "ink": (INK, None), "texts": (NAMES, TEXTS)}
    return {
        name: export(graphs[name], target, root / name, "saved_model", input=input)
        for name, (target, input) in others.items()
    }


@pytest.fixture(scope="module")
def address(folders):
    command = [sys.executable, SERVER, *folders.values()]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        port, *warmed = process.stdout.readline().split()
        assert warmed == ["4", "3", "3"]
        yield f"127.0.0.1:{port}"
    finally:
        process.communicate()


@pytest.fixture(scope="module")
def server(address):
    from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

    with grpc.insecure_channel(address) as channel:
        yield PredictionServiceStub(channel)


def test_other_shapes_are_refused(folders):
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folders["shoes"]))
    for shape in ((2, *SHAPE[:2]), (2, SHAPE[0] + 1, *SHAPE[1:])):
        with pytest.raises((ValueError, TypeError, tf.errors.InvalidArgumentError), match="(?i)shape|dim"):
            loaded.signatures["serving_default"](images=tf.zeros(shape))


def test_predict(server, graphs, images):
    outputs = predict(server, "shoes", images=images.astype(np.float32))
    expected = probabilities(graphs["shoes"], images)
    assert set(outputs) == {"scores", "labels"}
    np.testing.assert_allclose(outputs["scores"], expected, atol=1e-5)
    assert [text.decode() for text in outputs["labels"]] == [NAMES[i] for i in expected.argmax(axis=1)]


def test_features(server, graphs, images):
    (features,) = predict(server, "shoes", "features", images=images.astype(np.float32)).values()
    graph = graphs["shoes"]
    kernel, bias = (graph.weights[len(graph.layers) - 1, name] for name in ("kernel", "bias"))
    outputs = np.asarray(graph.to_keras()(images.astype(np.float32)))
    np.testing.assert_allclose(features @ kernel + bias, outputs, rtol=1e-3, atol=1e-3)
    assert features.shape == (5, 5)


def test_classify(server, graphs, images):
    from tensorflow_serving.apis.classification_pb2 import ClassificationRequest

    request = ClassificationRequest(model_spec={"name": "shoes", "signature_name": "classify"})
    result = server.Classify(examples_of(request, "images", images), timeout=60).result
    found = [[(one.label, one.score) for one in row.classes] for row in result.classifications]
    assert [[label for label, _ in row] for row in found] == [list(NAMES)] * 5
    scores = [[score for _, score in row] for row in found]
    np.testing.assert_allclose(scores, probabilities(graphs["shoes"], images), atol=1e-5)


def test_wrong_requests_are_refused_by_the_server(server, images):
    from tensorflow_serving.apis.classification_pb2 import ClassificationRequest
    from tensorflow_serving.apis.regression_pb2 import RegressionRequest

    with pytest.raises(grpc.RpcError, match="method of serving_default"):
        server.Classify(examples_of(ClassificationRequest(model_spec={"name": "shoes"}), "images", images))
    spec = {"name": "shoes", "signature_name": "classify"}
    with pytest.raises(grpc.RpcError, match="method of classify"):
        server.Regress(examples_of(RegressionRequest(model_spec=spec), "images", images))
    for name, rows in (("pixels", images), ("images", images[:, 1:]), ("images", ["text"])):
        with pytest.raises(grpc.RpcError, match="images"):
            server.Classify(examples_of(ClassificationRequest(model_spec=spec), name, rows))
    with pytest.raises(grpc.RpcError, match="Unknown image file format"):
        predict(server, "shoes", "bytes", bytes=[b"no picture"])


def test_metadata(server):
    from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataRequest, SignatureDefMap

    request = GetModelMetadataRequest(model_spec={"name": "shoes"}, metadata_field=["signature_def"])
    found = SignatureDefMap()
    server.GetModelMetadata(request, timeout=60).metadata["signature_def"].Unpack(found)
    methods = {
        name: (one.method_name.removeprefix("tensorflow/serving/"), *one.inputs, *sorted(one.outputs))
        for name, one in found.signature_def.items()
        if not name.startswith("__")
    }
    default = ("predict", "images", "labels", "scores")
    assert methods == {
        "serving_default": default,
        "predict": default,
        "bytes": ("predict", "bytes", "labels", "scores"),
        "features": ("predict", "images", "features"),
        "classify": ("classify", "inputs", "classes", "scores"),
    }


@pytest.mark.parametrize("format", ["png", "bmp", "gif", "webp", "jpeg"])
def test_pictures(server, graphs, images, format):
    scores = predict(server, "shoes", "bytes", bytes=encoded(images, format))["scores"]
    # The others do not keep every pixel as it was.
    tolerance = 1e-5 if format in ("png", "bmp") else 0.2
    np.testing.assert_allclose(scores, probabilities(graphs["shoes"], images), atol=tolerance)


def test_the_request_of_the_page(address, graphs, images, tmp_path, monkeypatch, capsys):
    page = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(import grpc\n.*?)^```", page, re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    Path("boot.png").write_bytes(encoded(images, "png")[0])
    exec(code.replace("localhost:8500", address).replace('"clothes"', '"shoes"'), {})
    label, score = capsys.readouterr().out.strip().rsplit(" ", 1)
    expected = probabilities(graphs["shoes"], images[:1])[0]
    assert label == NAMES[expected.argmax()]
    assert float(score) == pytest.approx(expected.max(), abs=1e-5)


@pytest.mark.slow
def test_saved_model_cli_reads_it(folders):
    command = ["saved_model_cli", "show", "--dir", folders["shoes"], "--tag_set", "serve"]
    done = subprocess.run([*command, "--signature_def", "classify"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Method name is: tensorflow/serving/classify" in done.stdout
    assert "dtype: DT_STRING" in done.stdout


def test_regress(server, graphs):
    from tensorflow_serving.apis.regression_pb2 import RegressionRequest

    rows = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    expected = INK.scores(np.asarray(graphs["ink"].to_keras()(rows)))
    request = RegressionRequest(model_spec={"name": "ink", "signature_name": "regress"})
    result = server.Regress(examples_of(request, "inputs", rows), timeout=60).result
    np.testing.assert_allclose([one.value for one in result.regressions], expected[:, 0], rtol=1e-4)
    np.testing.assert_allclose(predict(server, "ink", inputs=rows)["values"], expected, rtol=1e-4)


def test_texts(server, graphs):
    from tensorflow_serving.apis.classification_pb2 import ClassificationRequest

    asked = ["the blue sea", "die bleue mer", ""]
    expected = probabilities(graphs["texts"], TEXTS.encode(asked))
    outputs = predict(server, "texts", texts=[[one] for one in asked])
    np.testing.assert_allclose(outputs["scores"], expected, atol=1e-5)
    request = ClassificationRequest(model_spec={"name": "texts", "signature_name": "classify"})
    rows = server.Classify(examples_of(request, "texts", asked), timeout=60).result.classifications
    np.testing.assert_allclose([[one.score for one in row.classes] for row in rows], expected, atol=1e-5)


def test_networks_without_pictures_features_or_one_output(tmp_path):
    import tensorflow as tf

    b = GraphBuilder((4,))
    linear = with_random_weights(b.build(b.add(Dense(units=2))))
    target = Numbers((0.0, 1.0), (1.0, 2.0), flat=False)
    loaded = tf.saved_model.load(str(export(linear, target, tmp_path / "two", "saved_model")))
    assert set(loaded.signatures) == {"serving_default", "predict"}
    b = GraphBuilder((4,))
    yes_no = with_random_weights(b.build(b.add(Dense(units=1))))
    loaded = tf.saved_model.load(str(export(yes_no, YesNo((None,), "<i8"), tmp_path / "one", "saved_model")))
    rows = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    outputs = loaded.predict(tf.constant(rows))
    is_set = outputs["scores"].numpy() >= 0.5
    assert set(is_set.ravel()) == {True, False}
    assert outputs["labels"].numpy().tolist() == np.where(is_set, b"1", b"").tolist()


def test_labels_that_never_vary(tmp_path):
    import tensorflow as tf

    target = LabelSets((None, 1.0, None), "<i8")
    graph = network(2, (4,))
    loaded = tf.saved_model.load(str(export(graph, target, tmp_path / "sets", "saved_model")))
    rows = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    outputs = loaded.predict(tf.constant(rows))
    np.testing.assert_allclose(
        outputs["scores"], target.scores(np.asarray(graph.to_keras()(rows))), atol=1e-5
    )
    assert set(outputs["labels"].numpy()[:, 1]) == {b"1"}
