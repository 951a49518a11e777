"""The table of bad inputs, one row for each way to hand in something unusable.

Every public call that is added extends it: a row names what is wrong, makes the call, and lists words that
the message must hold. ``test_bad_inputs.py`` runs all rows.
"""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import kmorph
from kmorph import ImageClassifier, ImageClassifier1D, TextClassifier, datasets, starts
from kmorph.data import LabelCodec, check_images, check_sample_weight
from kmorph.pretrained import ObjectDetector
from kmorph.problem import Numbers
from kmorph.problem.split import stratified_split
from kmorph.search.workers.pool import InlineExecutor
from kmorph.surrogate import EditDistanceKernel, WeisfeilerLehmanKernel, distances, edit_distance


class BadInput(NamedTuple):
    """One bad input: its name in test reports, the call, and words that its message must hold."""

    id: str
    call: Callable[[], Any]
    words: tuple[str, ...]


def _start() -> kmorph.Graph:
    return starts.mlp((4,), 2)


def _with(value: float, shape: tuple[int, ...] = (4, 8, 8, 1)) -> np.ndarray:
    array = np.zeros(shape)
    array.reshape(-1)[-1] = value
    return array


def _images(x: Any, **options: Any) -> Callable[[], Any]:
    return lambda: check_images(x, **options)


def _labels(y: Any, n: int | None = None) -> Callable[[], Any]:
    return lambda: LabelCodec.from_labels(y, n)


def _encode(fit: Any, y: Any, n: int | None = None) -> Callable[[], Any]:
    return lambda: LabelCodec.from_labels(fit).encode(y, n)


def _weights(weight: Any) -> Callable[[], Any]:
    return lambda: check_sample_weight(weight, 3)


def _split(codes: Any, fraction: Any = 0.1) -> Callable[[], Any]:
    return lambda: stratified_split(codes, fraction, 0)


_X = np.zeros((20, 8, 8, 1))
_X_LARGE = np.arange(20 * 64).reshape(20, 8, 8) % 7 * 1e30 / 6
_Y = [0, 1] * 10


def _fit(x: Any = _X, y: Any = _Y, fit: dict[str, Any] | None = None, **arguments: Any) -> Callable[[], Any]:
    # The folder cannot be made: an error about data or arguments comes before anything is written.
    return lambda: ImageClassifier(path="/dev/null/run", **arguments).fit(x, y, **(fit or {}))


def _texts(**arguments: Any) -> Callable[[], Any]:
    return lambda: TextClassifier(path="/dev/null/run", **arguments).fit([f"text {i}" for i in range(20)], _Y)


def _fit_signals(**arguments: Any) -> Callable[[], Any]:
    return lambda: ImageClassifier1D(path="/dev/null/run", **arguments).fit(np.zeros((20, 9, 1)), _Y)


def _detect(image_size: Any = None, **changes: Any) -> Callable[[], Any]:
    arguments = {"images": [np.zeros((16, 16, 3))], "boxes": [[[2, 2, 9, 9]]], "labels": [["a"]], **changes}
    return lambda: ObjectDetector(None, image_size=image_size).fit(**arguments)


def _unfitted(call: Callable[[ImageClassifier], Any]) -> Callable[[], Any]:
    return lambda: call(ImageClassifier())


@functools.cache
def _fitted_folder() -> Path:
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    rng = np.random.default_rng(0)
    options = {"max_models": 1, "ensemble": False, "starts": ["mlp"], "verbose": False, "seed": 0}
    trainer = {"trainer_args": {"max_iter_num": 1}}
    ImageClassifier(path=folder / "run", searcher_args=trainer, executor=InlineExecutor(), **options).fit(
        rng.random((20, 8, 8, 1), np.float32), _Y
    )
    return folder / "run"


def _fitted(call: Callable[[ImageClassifier], Any], **arguments: Any) -> Callable[[], Any]:
    """A call of an estimator that has a model for `_X` and `_Y`."""
    return lambda: call(ImageClassifier(path=_fitted_folder(), resume=True, verbose=False, **arguments))


_MASKED = np.ma.MaskedArray(np.zeros((2, 4, 4)), mask=np.ones((2, 4, 4), bool))
_LOCK = threading.Lock()
_ONE_HOT = [[1, 0, 0], [0, 1, 0]]

BAD_INPUTS: list[BadInput] = [
    BadInput("images: None", _images(None), ("x is None", "expected")),
    BadInput("images: named", _images(None, name="x_test"), ("x_test is None",)),
    BadInput("images: empty list", _images([]), ("shape (0,)", "expected")),
    BadInput("images: no images", _images(np.zeros((0, 8, 8, 1))), ("(0, 8, 8, 1)", "at least one")),
    BadInput("images: no pixels", _images(np.zeros((4, 0, 8, 1))), ("(4, 0, 8, 1)",)),
    BadInput("images: no channels", _images(np.zeros((4, 8, 8, 0))), ("(4, 8, 8, 0)",)),
    BadInput("images: one number", _images(3.0), ("shape ()", "(n, height, width)")),
    BadInput("images: flat rows", _images(np.zeros((4, 64))), ("(4, 64)", "reshape")),
    BadInput("images: five axes", _images(np.zeros((2, 3, 4, 5, 6))), ("(2, 3, 4, 5, 6)", "expected")),
    BadInput("images: NaN", _images(_with(np.nan)), ("NaN", "image 3", "nan_to_num")),
    BadInput("images: infinity", _images(_with(np.inf)), ("infinity", "image 3")),
    BadInput("images: minus infinity", _images(_with(-np.inf)), ("infinity", "image 3")),
    BadInput("images: beyond float32", _images(_with(1e300)), ("1e+300", "float32", "image 3", "Rescale")),
    BadInput("images: objects", _images(np.array([None, {}])), ("x[0] is None", "array of numbers")),
    BadInput(
        "images: different sizes",
        _images([np.zeros((2, 2)), np.zeros((3, 3))]),
        ("x[0] has shape (2, 2)", "x[1] has (3, 3)", "Resize, crop or pad"),
    ),
    BadInput("images: dictionary", _images({"a": 1}), ("dict", "expected numbers")),
    BadInput("images: file names", _images(["a.png", "b.png"]), ("file names", "expected numbers")),
    BadInput("images: complex", _images(np.zeros((2, 4, 4), complex)), ("complex", "np.abs")),
    BadInput("images: dates", _images(np.zeros((2, 4, 4), "datetime64[s]")), ("datetime64", "expected")),
    BadInput("images: masked", _images(_MASKED), ("masked", "filled")),
    BadInput("images: other size", _images(np.zeros((2, 9, 9)), like=(8, 8, 1)), ("(2, 9, 9)", "(8, 8, 1)")),
    BadInput("images: one image", _images(np.zeros((8, 8, 3)), like=(8, 8, 3)), ("add an axis",)),
    BadInput("images: None at predict", _images(None, like=(8, 8, 1)), ("x is None",)),
    BadInput("labels: None", _labels(None), ("y is None", "expected")),
    BadInput("labels: empty", _labels([]), ("empty",)),
    BadInput("labels: one number", _labels(3), ("shape ()",)),
    BadInput("labels: three axes", _labels(np.zeros((4, 1, 1), int)), ("(4, 1, 1)", "expected")),
    BadInput("labels: other length", _labels([0, 1, 0], n=4), ("3 labels", "4 examples")),
    BadInput("labels: one class", _labels([7, 7, 7]), ("7", "at least two classes")),
    BadInput("labels: one one-hot class", _labels([[0, 1], [0, 1]]), ("at least two classes",)),
    BadInput("labels: missing None", _labels(["a", None]), ("None", "missing label")),
    BadInput("labels: missing NaN in list", _labels([1.0, float("nan")]), ("nan", "missing label")),
    BadInput("labels: missing NaN in array", _labels(np.array([0.0, np.nan])), ("NaN", "missing label")),
    BadInput("labels: missing in objects", _labels(np.array(["a", np.nan], object)), ("missing label",)),
    BadInput("labels: infinity", _labels(np.array([0.0, np.inf])), ("infinity",)),
    BadInput("labels: text and numbers", _labels(["a", 1]), ("int, str", "one type")),
    BadInput("labels: bools and numbers", _labels([True, 2]), ("bool, int",)),
    BadInput("labels: objects", _labels([{}, {}]), ("dict", "expected")),
    BadInput("labels: bytes", _labels([b"\xff", b"b"]), ("bytes b'\\xff'", "decode(")),
    BadInput("labels: complex", _labels(np.array([0j, 1j])), ("complex", "expected")),
    BadInput("labels: dates", _labels(np.array(["2020", "2021"], "datetime64[Y]")), ("datetime64",)),
    BadInput("labels: measurements", _labels([0.5, 1.25, 3.0]), ("0.5", "regressor")),
    BadInput("labels: multi-label", _labels([[1, 1, 0], [0, 1, 0]]), ("several labels", "exactly one 1")),
    BadInput("labels: row without one", _labels([[0, 0], [0, 1]]), ("exactly one 1",)),
    BadInput("labels: probabilities", _labels([[0.2, 0.8], [0.6, 0.4]]), ("argmax",)),
    BadInput("labels: two columns", _labels([[3, 4], [5, 6]]), ("(2, 2)", "one column")),
    BadInput("labels: two text columns", _labels([["a", "b"], ["c", "d"]]), ("(2, 2)", "one column")),
    *(
        BadInput(f"labels: {y}", _labels(y), (f"y holds {y[at]} (at position {at})", "MultiLabelBinarizer"))
        for y, at in (
            ([[1], [1, 2]], 0),
            ([[1, 0], [1]], 0),
            ([["a"], []], 0),
            ([{1}, {1, 2}], 0),
            ([(1,), (1, 2)], 0),
            (["a", ["b"]], 1),
            (np.array([[1], [1, 2]], object), 0),
        )
    ),
    BadInput("labels: two of three an example", _labels([["a", "b"], ["c", "a"]]), ("MultiLabelBinarizer",)),
    BadInput("labels: numbers in lists", lambda: Numbers.learn([[1], [1, 2]]), ("as many numbers",)),
    BadInput("encode: unseen text", _encode(["a", "b"], ["c"]), ("'c'", "never seen", "'a', 'b'")),
    BadInput("encode: unseen number", _encode([0, 1], [1, 5]), ("5", "never seen")),
    BadInput("encode: text for numbers", _encode([0, 1], ["0"]), ("'0'", "never seen")),
    BadInput("encode: one-hot for column", _encode([0, 1, 2], _ONE_HOT), ("one-hot", "fitted on")),
    BadInput("encode: other columns", _encode([[1, 0], [0, 1]], _ONE_HOT), ("3 columns", "fitted on")),
    BadInput("encode: other length", _encode([0, 1], [1], n=2), ("1 labels", "2 examples")),
    BadInput("encode: None", _encode([0, 1], None), ("y is None",)),
    BadInput("weights: other length", _weights([1.0, 2.0]), ("(2,)", "(3,)")),
    BadInput("weights: column", _weights([[1], [2], [3]]), ("(3, 1)", "(3,)")),
    BadInput("weights: negative", _weights([1.0, -2.0, 1.0]), ("-2", "0 or more")),
    BadInput("weights: NaN", _weights([1.0, np.nan, 1.0]), ("NaN",)),
    BadInput("weights: infinite", _weights([1.0, np.inf, 1.0]), ("infinity",)),
    BadInput("weights: not in float32", _weights([1.0, 1e300, 1.0]), ("1e+300", "overflows float32")),
    BadInput("weights: all zero", _weights([0, 0, 0]), ("zero everywhere",)),
    BadInput("weights: text", _weights(["a", "b", "c"]), ("expected numbers",)),
    BadInput("split: fraction 0", _split([0, 0, 1, 1], 0.0), ("fraction", "above 0")),
    BadInput("split: fraction 1", _split([0, 0, 1, 1], 1.0), ("fraction", "below 1")),
    BadInput("split: fraction NaN", _split([0, 0, 1, 1], float("nan")), ("fraction",)),
    BadInput("split: all classes single", _split([0, 1, 2]), ("two examples",)),
    BadInput("datasets: no such folder", lambda: datasets.load_mnist("no-such-folder"), ("no-such-folder",)),
    BadInput("datasets: no CIFAR-10", lambda: datasets.load_cifar10("no-such-folder"), ("data_batch_1",)),
    BadInput("datasets: no IDX", lambda: datasets.load_fashion_mnist("no-such-folder"), ("train-images",)),
    BadInput("fit: no images", _fit(x=None), ("x is None",)),
    BadInput("fit: NaN", _fit(x=_with(np.nan, (20, 8, 8))), ("NaN",)),
    BadInput("fit: huge numbers", _fit(x=_X_LARGE), ("1e+30", "scale")),
    BadInput("fit: tiny numbers", _fit(x=_X_LARGE * 1e-60), ("1e-30", "scale")),
    BadInput("fit: flat images", _fit(x=np.zeros((20, 64))), ("(20, 64)", "reshape")),
    BadInput("fit: labels missing", _fit(y=None), ("y is None",)),
    BadInput("fit: fewer labels", _fit(y=[0, 1]), ("2 labels", "20")),
    BadInput("fit: one class", _fit(y=[1] * 20), ("class",)),
    BadInput("fit: folder is a file", _fit(), ("/dev/null",)),
    BadInput("fit: no time", _fit(fit={"time_limit": 0}), ("time_limit", "above 0")),
    BadInput("fit: time is NaN", _fit(fit={"time_limit": float("nan")}), ("time_limit",)),
    BadInput("fit: time in words", _fit(fit={"time_limit": "60"}), ("time_limit", "'60'")),
    BadInput("fit: validation not a pair", _fit(fit={"validation_data": _X}), ("must be a pair",)),
    BadInput(
        "fit: validation of other shape", _fit(fit={"validation_data": (_X[:, :7], _Y)}), ("validation x",)
    ),
    BadInput(
        "fit: validation of other labels", _fit(fit={"validation_data": (_X, [7] * 20)}), ("never seen",)
    ),
    BadInput("fit: fewer weights", _fit(fit={"sample_weight": [1.0]}), ("(1,)", "(20,)")),
    BadInput("max_models: zero", _fit(max_models=0), ("max_models", "from 1")),
    BadInput("max_models: a float", _fit(max_models=2.5), ("max_models", "2.5")),
    BadInput("max_parameters: negative", _fit(max_parameters=-1), ("max_parameters", "-1")),
    BadInput("max_flops: True", _fit(max_flops=True), ("max_flops", "True")),
    BadInput("max_disk: too little", _fit(max_disk=1000), ("max_disk=1,000", "at least")),
    BadInput("max_disk: in words", _fit(max_disk="1 GB"), ("max_disk", "'1 GB'")),
    BadInput("seed: text", _fit(seed="1"), ("seed",)),
    BadInput("workers: none", _fit(workers=None), ("workers",)),
    BadInput("workers: zero", _fit(workers=0), ("workers",)),
    BadInput("augment: a word", _fit(augment="yes"), ("augment", "'yes'")),
    BadInput("objective: unknown", _fit(objective="aucc"), ("objective", "'aucc'", "accuracy")),
    BadInput("objective: nearly one", _fit(objective="acuracy"), ("'acuracy'", "did you mean 'accuracy'")),
    BadInput("loss: a number", _fit(loss=3), ("loss must be", "3")),
    BadInput("loss: unknown", _fit(x=None, loss="hubber"), ("loss='hubber'", "did you mean 'huber'")),
    BadInput("optimizer: nearly one", _fit(optimizer="adamq"), ("'adamq'", "did you mean", "'adamw'")),
    BadInput("optimizer: a number", _fit(optimizer=3), ("optimizer must be", "3")),
    BadInput("ensemble", _fit(ensemble="always"), ("ensemble", "'always'")),
    BadInput("strategy: multi_worker", _fit(strategy="multi_worker"), ("multi_worker", "not supported yet")),
    BadInput("strategy: a word", _fit(strategy="mirror"), ("strategy", "'mirror'", '"mirrored"')),
    BadInput("strategy: a number", _fit(strategy=2), ("strategy", "2", "function without arguments")),
    BadInput("strategy: wants arguments", _fit(strategy=lambda n: n), ("strategy", "without arguments")),
    BadInput("strategy: holds a lock", _fit(strategy=lambda: _LOCK), ("strategy", "cannot be sent")),
    BadInput("executor: not one", _fit(executor="dask"), ("executor", "'dask'")),
    BadInput("executor: a class", _fit(executor=ThreadPoolExecutor), ("executor", "ProcessPoolExecutor()")),
    BadInput("callbacks: not callable", _fit(callbacks=[3]), ("callbacks", "[3]", "functions")),
    BadInput("callbacks: not a list", _fit(callbacks=print), ("callbacks", "list")),
    BadInput("starts: text", _fit(starts="resnet"), ("starts", "list")),
    BadInput("starts: empty", _fit(starts=[]), ("starts is empty",)),
    BadInput("starts: unknown", _fit(starts=["vgg"]), ("'vgg'", "resnet")),
    BadInput("starts: other input", _fit(starts=[starts.cnn((9, 9, 1), 2)]), ("(9, 9, 1)", "(8, 8, 1)")),
    BadInput("starts: other output", _fit(starts=[starts.cnn((8, 8, 1), 3)]), ("(3,)", "(2,)")),
    BadInput("morphs: unknown", _fit(morphs=["Shrink"]), ("'Shrink'", "Widen")),
    BadInput("morphs: text", _fit(morphs="Widen"), ("morphs", "list")),
    BadInput(
        "hyperparameters: unknown", _fit(hyperparameters={"momentum": 0.9}), ("'momentum'", "learning_rate")
    ),
    BadInput(
        "hyperparameters: zero", _fit(hyperparameters={"learning_rate": 0}), ("learning_rate", "above 0")
    ),
    BadInput(
        "hyperparameters: a range upside down",
        _fit(hyperparameters={"learning_rate": (0.2, 0.1)}),
        ("learning_rate", "low must be below high"),
    ),
    BadInput(
        "hyperparameters: a range of three",
        _fit(hyperparameters={"learning_rate": (0.1, 0.2, 0.3)}),
        ("learning_rate", '"log"'),
    ),
    BadInput(
        "hyperparameters: nothing to choose",
        _fit(hyperparameters={"batch_size": []}),
        ("batch_size", "empty"),
    ),
    BadInput("hyperparameters: a list", _fit(hyperparameters=[1]), ("hyperparameters", "dict")),
    BadInput("searcher_args: unknown", _fit(searcher_args={"trainer": {}}), ("'trainer'", "trainer_args")),
    BadInput(
        "trainer_args: unknown",
        _fit(searcher_args={"trainer_args": {"epochs": 3}}),
        ("'epochs'", "max_iter_num", "max_no_improvement_num"),
    ),
    BadInput(
        "trainer_args: zero epochs",
        _fit(searcher_args={"trainer_args": {"max_iter_num": 0}}),
        ("max_iter_num",),
    ),
    BadInput("predict: not fitted", _unfitted(lambda clf: clf.predict(_X)), ("not fitted", "fit(x, y)")),
    BadInput("predict_proba: not fitted", _unfitted(lambda clf: clf.predict_proba(_X)), ("not fitted",)),
    BadInput("evaluate: not fitted", _unfitted(lambda clf: clf.evaluate(_X, _Y)), ("not fitted",)),
    BadInput("leaderboard: not fitted", _unfitted(lambda clf: clf.leaderboard()), ("not fitted",)),
    BadInput("export: not fitted", _unfitted(lambda clf: clf.export("no-such-folder/m")), ("not fitted",)),
    BadInput("final_fit: not fitted", _unfitted(lambda clf: clf.final_fit(_X, _Y)), ("not fitted",)),
    BadInput("best_graph: not fitted", _unfitted(lambda clf: clf.best_graph), ("not fitted",)),
    BadInput("classes_: not fitted", _unfitted(lambda clf: clf.classes_), ("not fitted",)),
    BadInput(
        "predict: other size", _fitted(lambda clf: clf.predict(_X[:, :7])), ("(20, 7, 8, 1)", "(8, 8, 1)")
    ),
    BadInput("predict: one image", _fitted(lambda clf: clf.predict(_X[0])), ("add an axis",)),
    BadInput("predict: NaN", _fitted(lambda clf: clf.predict(_with(np.nan))), ("NaN", "image 3")),
    BadInput("predict: empty list", _fitted(lambda clf: clf.predict([])), ("holds nothing", "one image")),
    BadInput("transform: None", _fitted(lambda clf: clf.transform(None)), ("x is None",)),
    BadInput(
        "get_feature_names_out: not fitted", _unfitted(lambda clf: clf.get_feature_names_out()), ("fit(",)
    ),
    BadInput("evaluate: no labels", _fitted(lambda clf: clf.evaluate(_X)), ("y is None", "pair (x, y)")),
    BadInput("evaluate: unseen label", _fitted(lambda clf: clf.evaluate(_X[:2], [0, 7])), ("never seen",)),
    BadInput(
        "evaluate: fewer labels", _fitted(lambda clf: clf.evaluate(_X, [0])), ("1 labels", "20 examples")
    ),
    BadInput("score: fewer weights", _fitted(lambda clf: clf.score(_X, _Y, [1.0])), ("(1,)", "(20,)")),
    BadInput("leaderboard: x alone", _fitted(lambda clf: clf.leaderboard(_X)), ("belong together",)),
    BadInput("feature_extractor: a name", _fitted(lambda clf: clf.feature_extractor("dense")), ("'dense'",)),
    BadInput(
        "feature_extractor: too far", _fitted(lambda clf: clf.feature_extractor(99)), ("from 0 to", "99")
    ),
    BadInput("export: format", _fitted(lambda clf: clf.export("m", "pickle")), ("'pickle'", "saved_model")),
    BadInput(
        "export: no such folder", _fitted(lambda clf: clf.export("/dev/null/m.keras")), ("/dev/null/m.keras",)
    ),
    BadInput(
        "export: SavedModel in a file",
        _fitted(lambda clf: clf.export("/dev/null", "saved_model")),
        ("/dev/null",),
    ),
    BadInput(
        "export_keras_model: other ending", _fitted(lambda clf: clf.export_keras_model("m.h5")), (".keras",)
    ),
    BadInput(
        "final_fit: other size", _fitted(lambda clf: clf.final_fit(_X[:, :7], _Y)), ("x_train", "(8, 8, 1)")
    ),
    BadInput("final_fit: unseen label", _fitted(lambda clf: clf.final_fit(_X, [0, 7] * 10)), ("never seen",)),
    BadInput(
        "final_fit: x_test alone", _fitted(lambda clf: clf.final_fit(_X, _Y, _X)), ("x_test and y_test",)
    ),
    BadInput(
        "final_fit: no time", _fitted(lambda clf: clf.final_fit(_X, _Y, time_limit=-1)), ("time_limit", "-1")
    ),
    BadInput(
        "final_fit: trainer_args",
        _fitted(lambda clf: clf.final_fit(_X, _Y, trainer_args={"epochs": 3})),
        ("'epochs'", "max_iter_num"),
    ),
    BadInput(
        "final_fit: max_disk",
        _fitted(lambda clf: clf.final_fit(_X, _Y), max_disk=1000),
        ("max_disk=1,000", "max_parameters"),
    ),
    BadInput(
        "resume: other images", _fitted(lambda clf: clf.fit(_X[:, :7], _Y)), ("(20, 7, 8, 1)", "(8, 8, 1)")
    ),
    BadInput("resume: other labels", _fitted(lambda clf: clf.fit(_X, ["a", "b"] * 10)), ("other data",)),
    BadInput(
        "load_model_by_id: no such model",
        _fitted(lambda clf: clf.load_searcher().load_model_by_id(7)),
        ("no model 7", "the ids are 0"),
    ),
    BadInput(
        "load_model_by_id: a list",
        _fitted(lambda clf: clf.load_searcher().load_model_by_id([0])),
        ("no model [0]",),
    ),
    BadInput("edit_distance: a name", lambda: edit_distance(_start(), "resnet"), ("Graph", "str")),
    BadInput("distances: one graph", lambda: distances(_start(), _start()), ("list", "edit_distance")),
    BadInput("EditDistanceKernel: an array", lambda: EditDistanceKernel()(np.eye(3)), ("Graph", "ndarray")),
    BadInput("WeisfeilerLehmanKernel: a name", lambda: WeisfeilerLehmanKernel()(["cnn"]), ("Graph", "str")),
    BadInput("Graph.save: no such folder", lambda: _start().save("no-such-folder/g"), ("no-such-folder",)),
    BadInput("Graph.load: no such file", lambda: kmorph.Graph.load("no-such-file"), ("no-such-file",)),
    BadInput(
        "detector: boxes as x, y, width, height", _detect(boxes=[[[9, 9, 4, 4]]]), ("x + width", "x1 > x0")
    ),
    BadInput("detector: relative boxes", _detect(boxes=[[[0.1, 0.1, 0.4, 0.4]]]), ("boxes[0]", "in pixels")),
    BadInput("detector: three numbers a box", _detect(boxes=[[[9, 9, 12]]]), ("(boxes, 4)", "(1, 3)")),
    BadInput("detector: no box at all", _detect(boxes=[[]], labels=[[]]), ("learns from boxes",)),
    BadInput("detector: two labels, one box", _detect(labels=[["a", "b"]]), ("1 boxes", "2 labels")),
    BadInput("detector: one picture", _detect(images=np.zeros((8, 8, 3))), ("a list of pictures",)),
    BadInput("detector: size", _detect(image_size=100), ("multiples of 32", "100")),
    BadInput("detector: not fitted", lambda: ObjectDetector(None).predict(_X[0]), ("not fitted", "preset")),
    BadInput("detector: a number as preset", lambda: ObjectDetector(3).predict(_X[0]), ("pretrained",)),
    BadInput("encoder: a file", _texts(encoder=__file__), ("is a file", "config.json")),
    BadInput("encoder: a folder of anything", _texts(encoder="/dev"), ("is no preset", "config.json")),
    BadInput("encoder: a number", _texts(encoder=3), ("got int", "folder")),
    BadInput("encoder: empty", _texts(encoder=""), ("empty",)),
    BadInput("encoder: signals", _fit_signals(encoder="/dev"), ("texts and images", "signals")),
    BadInput(
        "encoder_features: misspelled",
        _texts(encoder="/dev", encoder_features="embed"),
        ("'joined'", "'embed'"),
    ),
    BadInput("encoder_features: alone", _texts(encoder_features="joined"), ("encoder=", "'joined'")),
    BadInput("encoder_features: of images", _fit(encoder="/dev", encoder_features="joined"), ("for images",)),
    BadInput(
        "encoder: a search without one",
        _fitted(lambda clf: clf.predict(_X), encoder="/dev"),
        ("made without an encoder", "leave out"),
    ),
    BadInput("load_searcher: no folder", lambda: kmorph.load_searcher("no-such-folder"), ("no search",)),
]
