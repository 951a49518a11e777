"""A server that speaks TensorFlow Serving's gRPC, without kmorph: one version each of some SavedModels.

It is as strict as the original: about methods of signatures, about the shapes that Classify and Regress want,
and about warm-up requests, which all must succeed before it takes a port. It prints the port, and how many
requests warmed each model up.
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import tensorflow as tf
from google.protobuf.any_pb2 import Any
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tensorflow_serving.apis.classification_pb2 import ClassificationResponse
from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataResponse, SignatureDefMap
from tensorflow_serving.apis.predict_pb2 import PredictResponse
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog
from tensorflow_serving.apis.prediction_service_pb2_grpc import (
    PredictionServiceServicer,
    add_PredictionServiceServicer_to_server,
)
from tensorflow_serving.apis.regression_pb2 import RegressionResponse


class Model:
    """The version in one folder."""

    def __init__(self, folder):
        saved = SavedModel.FromString((folder / "saved_model.pb").read_bytes())
        (meta_graph,) = (one for one in saved.meta_graphs if "serve" in one.meta_info_def.tags)
        self.definitions = meta_graph.signature_def
        self.loaded = tf.saved_model.load(str(folder))

    def warm_up(self, file):
        kinds = {
            "predict_log": self.predict,
            "classify_log": self.classify,
            "regress_log": self.regress,
        }
        records = list(tf.data.TFRecordDataset(str(file)).as_numpy_iterator())
        assert 0 < len(records) <= 1000
        for record in records:
            log = PredictionLog.FromString(record)
            kind = log.WhichOneof("log_type")
            kinds[kind](getattr(log, kind).request)
        return len(records)

    def run(self, spec, inputs, *methods):
        name = spec.signature_name or "serving_default"
        definition = self.definitions[name]
        method = definition.method_name.removeprefix("tensorflow/serving/")
        assert method in methods, f"the method of {name} is {definition.method_name}"
        assert set(inputs) == set(definition.inputs), f"{name} takes {set(definition.inputs)}"
        tensors = {key: tf.constant(value) for key, value in inputs.items()}
        return self.loaded.signatures[name](**tensors)

    def predict(self, request):
        inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
        outputs = self.run(request.model_spec, inputs, "predict", "classify", "regress")
        response = PredictResponse()
        for name, value in outputs.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(value.numpy()))
        return response

    def of_examples(self, request, method):
        examples = [one.SerializeToString() for one in request.input.example_list.examples]
        assert examples, "the input is empty"
        outputs = self.run(request.model_spec, {"inputs": examples}, method)
        assert all(len(value) == len(examples) for value in outputs.values())
        return outputs

    def classify(self, request):
        outputs = self.of_examples(request, "classify")
        assert set(outputs) == {"classes", "scores"}
        classes, scores = outputs["classes"], outputs["scores"]
        assert (classes.dtype, scores.dtype) == (tf.string, tf.float32)
        assert classes.ndim == 2 and classes.shape == scores.shape
        response = ClassificationResponse()
        for labels, row in zip(classes.numpy(), scores.numpy(), strict=True):
            found = response.result.classifications.add()
            for label, score in zip(labels, row, strict=True):
                found.classes.add(label=label.decode(), score=score)
        return response

    def regress(self, request):
        (values,) = self.of_examples(request, "regress").values()
        assert values.dtype == tf.float32 and values.shape[1:] in ((), (1,))
        response = RegressionResponse()
        for value in values.numpy().ravel():
            response.result.regressions.add(value=value)
        return response

    def metadata(self, request):
        assert list(request.metadata_field) == ["signature_def"]
        found = Any()
        found.Pack(SignatureDefMap(signature_def=self.definitions))
        return GetModelMetadataResponse(metadata={"signature_def": found})


class Server(PredictionServiceServicer):
    """Models by the name of the folder above their versions."""

    def __init__(self, folders):
        self.models = {folder.parent.name: Model(folder) for folder in folders}

    def Predict(self, request, context):
        return self.answered("predict", request, context)

    def Classify(self, request, context):
        return self.answered("classify", request, context)

    def Regress(self, request, context):
        return self.answered("regress", request, context)

    def GetModelMetadata(self, request, context):
        return self.answered("metadata", request, context)

    def answered(self, method, request, context):
        try:
            return getattr(self.models[request.model_spec.name], method)(request)
        except (AssertionError, KeyError, tf.errors.InvalidArgumentError) as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error)[:1000])


def main(folders):
    servicer = Server(folders)
    warmed = [
        model.warm_up(folder / "assets.extra" / "tf_serving_warmup_requests")
        for folder, model in zip(folders, servicer.models.values(), strict=True)
    ]
    server = grpc.server(ThreadPoolExecutor(1))
    add_PredictionServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    assert "kmorph" not in sys.modules
    print(port, *warmed, flush=True)
    sys.stdin.read()  # until whoever started it goes away


if __name__ == "__main__":
    main([Path(folder) for folder in sys.argv[1:]])
