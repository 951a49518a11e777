"""The LiteRT format (``.tflite``), as phones and small devices run it."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kmorph.errors import ExportError
from kmorph.export.child import in_tensorflow
from kmorph.export.compare import check_close, check_equal, outputs_of, samples
from kmorph.export.litert_layers import for_litert
from kmorph.export.numbers_only import NumbersOnly
from kmorph.export.placing import file_target, write_placed
from kmorph.export.text_core import write_text_core
from kmorph.export.views import Views
from kmorph.export.wrap import checked_target, need_utf8, wrap
from kmorph.files import UserPath
from kmorph.graph import Graph, Opaque
from kmorph.graph.layers import KINDS
from kmorph.problem import EncodedInput, Input, Target
from kmorph.training.quiet import without_native_messages

SIGNATURE = "serving_default"
MOST_EXAMPLES = 500  # from which ranges are measured


def write_litert(
    graph: Graph,
    classes: Sequence[str] | Target,
    file: UserPath,
    views: Views | None = None,
    input: Input | None = None,
    *,
    int8: bool = False,
    examples: Any = None,
) -> Path:
    """Write a network as one ``.tflite`` file of LiteRT's builtin operations.

    Its signature ``serving_default`` takes a float32 tensor ``images`` or ``inputs`` of shape
    ``(n, *input_shape)``, channels last and raw, and gives ``scores``, the class probabilities in the order
    of `classes`; for regressors ``values``. LiteRT has no texts: ``<name>.labels.json`` beside the file holds
    the class names as a list, and where examples are texts, a folder ``<name>.text`` holds what encodes them;
    see `write_text_core`. The file is run by LiteRT and compared with Keras before it is moved to its place.

    TensorFlow converts it, in a child process where Keras' backend is another.

    Parameters
    ----------
    graph : Graph
        With weights; its output node is logits, or standardised numbers.
    classes : sequence of str, or Target
        Name of each class, in the order of the logits; or what turns outputs into scores.
    file : path
        Ends in ``.tflite``; its folder is made if need be.
    views : Views, optional
        Over which outputs are averaged.
    input : Input, optional
        Reads examples as users have them, where these are no arrays.
    int8 : bool, default=False
        Keep weights as bytes: the file is a quarter as large.
    examples : array-like, optional
        Some hundred examples as in training, without labels. With `int8`, ranges of all nodes are measured on
        them, and arithmetic is done with bytes, too, as small devices want it; input and output stay float32.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    ExportError
        If ai-edge-litert is missing, the suffix is another, LiteRT has no builtin operation for a layer, the
        file computes something else than Keras, or cannot be written.
    """
    try:
        import ai_edge_litert.interpreter  # noqa: F401
    except ImportError as error:
        raise ExportError("LiteRT needs ai-edge-litert: pip install 'kmorph[litert]'") from error
    file = file_target(file, ".tflite")
    if type(int8) is not bool:
        raise ExportError(f"int8 must be True or False, got {int8!r}")
    if examples is not None and not int8:
        raise ExportError("examples are for int8=True, which measures ranges on them")
    target = checked_target(graph, classes)
    need_utf8(target.names, "a JSON file")
    whole = NumbersOnly.of(graph, input)
    measured = None if examples is None else _arrays(examples, whole, input)
    compared = whole.arrays(samples(graph, input)) if measured is None else measured
    expected, _ = outputs_of(graph, target, views, None if whole.texts else input, compared)
    content = in_tensorflow(_converted, whole.graph, target, views, int8, measured)

    def write(temporary: Path) -> None:
        temporary.write_bytes(content)
        check = check_close if int8 else check_equal
        check(expected, _run(whole.graph, temporary, compared), f"the file {file.name}, run by LiteRT,")
        if not target.is_numeric:
            names = json.dumps(target.names, ensure_ascii=False)
            temporary.with_suffix(".labels.json").write_text(names, encoding="utf-8")
        if whole.texts is not None:
            folder = temporary.with_suffix(".text")
            folder.mkdir()
            write_text_core(folder, whole.texts)

    return write_placed(file, write)


def _arrays(examples: Any, whole: NumbersOnly, input: Input | None) -> np.ndarray:
    """Some of the examples, as the file takes them."""
    if input is None:
        arrays = np.asarray(examples)
    elif isinstance(input, EncodedInput):  # the encoder is in the file
        arrays = input.check(examples, name="examples")
    else:
        arrays = input.encode(examples, name="examples")
    expected = whole.graph.input_shape
    if arrays.shape[1:] != expected or not len(arrays):
        raise ExportError(f"examples have shape {arrays.shape}; expected (n, *{expected})")
    return arrays[:: -(-len(arrays) // MOST_EXAMPLES)].astype(np.float32)


def _converted(
    graph: Graph, target: Target, views: Views | None, int8: bool, examples: np.ndarray | None
) -> bytes:
    """The file's content, in a process with TensorFlow."""
    import keras
    import tensorflow as tf

    model = wrap(for_litert(graph), target, views)
    given = "images" if len(graph.input_shape) == 3 else "inputs"
    result = "values" if target.is_numeric else "scores"
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint(
        SIGNATURE,
        lambda x: {result: model(x, training=False)},
        input_signature=[tf.TensorSpec((None, *graph.input_shape), tf.float32, name=given)],
    )

    def representative() -> Iterator[dict[str, np.ndarray]]:
        for example in () if examples is None else examples:
            yield {given: example[None]}

    with tempfile.TemporaryDirectory() as folder, without_native_messages():
        archive.write_out(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SIGNATURE])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if int8:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if examples is not None:
            converter.representative_dataset = representative
            # What has no arithmetic of bytes, as three-dimensional convolutions, keeps that of floats.
            converter.target_spec.supported_ops.insert(0, tf.lite.OpsSet.TFLITE_BUILTINS_INT8)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # of its own interpreter, which measures ranges
                return converter.convert()
        except Exception as error:  # the converter raises whatever its parts raise
            raise ExportError(_refusal(graph, error)) from None


def _run(graph: Graph, file: Path, x: np.ndarray) -> np.ndarray:
    """Scores of examples, from a file of the graph."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        with without_native_messages():
            signature = Interpreter(model_path=str(file)).get_signature_runner(SIGNATURE)
            (name,) = signature.get_input_details()
            (scores,) = signature(**{name: x}).values()
    except (RuntimeError, ValueError) as error:
        raise ExportError(_refusal(graph, error)) from None
    return scores


def _refusal(graph: Graph, error: Exception) -> str:
    """Why a graph cannot be converted or run; layers of kinds that are not kmorph's are named."""
    foreign = [
        f"{layer.describe()} (layer {i})"
        for i, layer in enumerate(graph.layers)
        if isinstance(layer, Opaque) or type(layer) not in KINDS
    ]
    reason = " ".join(str(error).split())[:300]
    if foreign:
        return (
            f"LiteRT cannot hold one of {', '.join(foreign)}: write a .keras file or a "
            f"SavedModel. Its reason: {reason}"
        )
    return f"LiteRT cannot hold this network: write a .keras file or ONNX. Its reason: {reason}"
