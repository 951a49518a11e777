"""The ONNX format, as onnxruntime reads it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kmorph.errors import ExportError
from kmorph.export.compare import check_equal, outputs_of, samples
from kmorph.export.numbers_only import NumbersOnly
from kmorph.export.onnx_layers import OnnxGraph
from kmorph.export.placing import file_target, write_placed
from kmorph.export.text_core import write_text_core
from kmorph.export.views import Views
from kmorph.export.wrap import back_layers, checked_target, need_utf8
from kmorph.files import UserPath
from kmorph.graph import Graph, GraphBuilder
from kmorph.problem import Input, LabelSets, Target
from kmorph.problem.targets.label_sets import THRESHOLD

OPSET = 17  # the first with LayerNormalization; any onnxruntime since 1.12 reads it
IR_VERSION = 8
LARGEST = 2**31 - 2**20  # bytes of weights; a file has 2 GB at most


def write_onnx(
    graph: Graph,
    classes: Sequence[str] | Target,
    file: UserPath,
    views: Views | None = None,
    input: Input | None = None,
) -> Path:
    """Write a network as one ``.onnx`` file, from any backend and without TensorFlow.

    Its only input, ``images`` or ``inputs``, is a float32 tensor of shape ``(n, *input_shape)``, channels
    last and raw; unsigned bytes are cast by the caller. Outputs of classifiers are

    - ``scores``: float32 ``(n, classes)``, the class probabilities in the order of `classes`;
    - ``labels``: string ``(n,)``, the name of each example's most probable class. Where examples may have
      several labels, of shape ``(n, classes)``, with an empty text for each they have not.

    Regressors give ``values``, float32 ``(n, outputs)``. The metadata ``classes`` holds the names as a JSON
    list. The file is run by onnxruntime and compared with Keras before it is moved to its place.

    ONNX has no operations for texts that onnxruntime runs: there the file takes encoded texts, and a folder
    beside it holds what encodes them; see `write_text_core`.

    Parameters
    ----------
    graph : Graph
        With weights; its output node is logits, or standardised numbers.
    classes : sequence of str, or Target
        Name of each class, in the order of the logits; or what turns outputs into scores.
    file : path
        Ends in ``.onnx``; its folder is made if need be.
    views : Views, optional
        Over which outputs are averaged.
    input : Input, optional
        Reads examples as users have them, where these are no arrays.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    ExportError
        If onnx or onnxruntime is missing, the suffix is another, the graph holds a layer of a kind that
        kmorph does not write, the file computes something else than Keras, or cannot be written.
    """
    file = file_target(file, ".onnx")
    target = checked_target(graph, classes)
    need_utf8(target.names, "ONNX")
    whole = NumbersOnly.of(graph, input)
    try:
        import onnx  # noqa: F401
        import onnxruntime
    except ImportError as error:
        raise ExportError(f"ONNX needs {error.name or 'onnx'}: pip install 'kmorph[onnx]'") from error
    examples = samples(graph, input)
    expected, _ = outputs_of(graph, target, views, input, examples)
    content = _model(whole.graph, target, views).SerializeToString()

    def write(temporary: Path) -> None:
        temporary.write_bytes(content)
        try:
            session = onnxruntime.InferenceSession(temporary, providers=["CPUExecutionProvider"])
        except Exception as error:  # its own classes, which have no base of their own
            raise ExportError(
                f"onnxruntime does not read what kmorph wrote: {error}. Please report it"
            ) from error
        (given,) = session.get_inputs()
        found = session.run(None, {given.name: whole.arrays(examples)})[0]
        check_equal(expected, found, f"the file {file.name}, run by onnxruntime,")
        if whole.texts is not None:
            folder = temporary.with_suffix(".text")
            folder.mkdir()
            write_text_core(folder, whole.texts)

    return write_placed(file, write)


def _model(graph: Graph, target: Target, views: Views | None) -> Any:
    """The `onnx.ModelProto`."""
    from onnx import TensorProto, helper

    size = 4 * graph.n_parameters
    if size > LARGEST:
        raise ExportError(f"an ONNX file holds at most 2 GB, the network has weights of {size / 1e9:.1f} GB")
    operations = OnnxGraph()
    name = "images" if len(graph.input_shape) == 3 else "inputs"
    outputs = _outputs(operations, graph, name, views)
    back = GraphBuilder(graph.output_shape)
    for layer, weights in back_layers(graph, target):
        back.add(layer, weights=weights)
    if back.last > 0:
        outputs = operations.add_graph(back.build(), outputs)
    scores = operations.add("Identity", outputs, output="values" if target.is_numeric else "scores")
    width = len(target.names)
    tensors: list[tuple[str, int, tuple[str | int, ...]]] = [(scores, TensorProto.FLOAT, ("n", width))]
    if not target.is_numeric:
        _add_labels(operations, target)
        shape = ("n", width) if isinstance(target, LabelSets) else ("n",)
        tensors.append(("labels", TensorProto.STRING, shape))
    model = helper.make_model(
        helper.make_graph(
            operations.operations,
            "kmorph",
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, ("n", *graph.input_shape))],
            [helper.make_tensor_value_info(*tensor) for tensor in tensors],
            operations.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="kmorph",
    )
    if not target.is_numeric:
        helper.set_model_props(model, {"classes": json.dumps(target.names, ensure_ascii=False)})
    return model


def _outputs(g: OnnxGraph, graph: Graph, examples: str, views: Views | None) -> str:
    """A graph's outputs, or their mean over views: these stand one behind the other in a larger batch."""
    positions, weights = (None, [1.0]) if views is None else views.positions()
    if positions is None or len(positions) == 1:
        return g.add_graph(graph, examples)
    shape = graph.input_shape
    rows = g.add("Reshape", examples, g.constant([0, -1, shape[-1]], np.int64))
    chosen = g.add("Gather", rows, g.constant(positions, np.int64), axis=1)
    batch = g.add("Transpose", chosen, perm=[1, 0, 2, 3])
    outputs = g.add_graph(graph, g.add("Reshape", batch, g.constant([-1, *shape], np.int64)))
    grouped = g.add("Reshape", outputs, g.constant([len(weights), -1, *graph.output_shape], np.int64))
    weighted = g.add("Mul", grouped, g.constant(np.reshape(weights, (-1, 1, 1))))
    return g.add("ReduceSum", weighted, g.constant([0], np.int64), keepdims=0)


def _add_labels(g: OnnxGraph, target: Target) -> None:
    """The names that belong to the scores, as in SavedModels."""
    names = g.texts(target.names)
    if isinstance(target, LabelSets):
        given = g.add("GreaterOrEqual", "scores", g.constant(THRESHOLD))
        g.add("Where", given, names, g.texts(("",)), output="labels")
    else:
        g.add("Gather", names, g.add("ArgMax", "scores", axis=1, keepdims=0), output="labels")
