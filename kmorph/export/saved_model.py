"""TensorFlow's SavedModel format, as TF Serving reads it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kmorph.errors import ExportError
from kmorph.export.child import in_tensorflow
from kmorph.export.views import Views
from kmorph.export.wrap import checked_target, wrap
from kmorph.files import UserPath, user_path
from kmorph.graph import Graph
from kmorph.problem import Input, LabelSets, Target
from kmorph.problem.targets.label_sets import THRESHOLD
from kmorph.training.backend import backend_name

MOST_TRIES = 100


def write_saved_model(
    graph: Graph,
    classes: Sequence[str] | Target,
    target: UserPath,
    views: Views | None = None,
    input: Input | None = None,
) -> Path:
    """Write a network as ``target/<version>/``, the layout that TF Serving watches.

    The version is one above the highest that is there, 1 in a new folder. It is written under another name
    and then renamed, so that a server never sees half a model. Two signatures take a float32 tensor
    ``images`` of shape ``(n, *input_shape)``, raw: unsigned bytes are cast by the caller (JSON has one kind
    of number anyway).

    ``serving_default`` gives

    - ``scores``: float32 ``(n, classes)``, the class probabilities in the order of `classes`;
    - ``labels``: string ``(n,)``, the name of each example's most probable class: what ``predict`` gives.
      Where examples may have several labels, of shape ``(n, classes)``, with an empty text for each they have
      not.

    ``classify`` has the outputs of TF Serving's Classify API: ``scores``, and ``classes`` of the same shape
    with the name that belongs to each score. Regressors give ``values``, float32 ``(n, outputs)``, and have
    ``regress`` with the same as ``outputs``, as the Regress API has it. In Python the loaded object can also
    be called with a batch of unsigned bytes or floats, ``loaded.predict(images)``.

    Parameters
    ----------
    graph : Graph
        With weights; its output node is logits, or standardised numbers.
    classes : sequence of str, or Target
        Name of each class, in the order of the logits; or what turns outputs into scores.
    target : path
        Folder of the model; made if need be.
    views : Views, optional
        Over which outputs are averaged.
    input : Input, optional
        Reads examples as users have them, where these are no arrays.

    Returns
    -------
    Path
        The folder of the version written.

    Raises
    ------
    ExportError
        If the target is a file or cannot be written, the graph cannot be exported, a class name cannot be
        written as UTF-8, or TensorFlow, which another backend uses in a child process, is not installed.
    """
    if backend_name() != "tensorflow":
        return in_tensorflow(write_saved_model, graph, classes, target, views, input)
    target = user_path(target, ExportError)
    try:
        str(target).encode()
    except UnicodeEncodeError as error:
        raise ExportError(
            f"TensorFlow cannot write to {str(target)!r}: the path is not text in UTF-8; choose another place"
        ) from error
    if target.exists() and not target.is_dir():
        raise ExportError(f"cannot write to {target}: it is a file; name a folder")
    predicted = checked_target(graph, classes)
    for name in predicted.names:
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise ExportError(
                f"the class name {name!r} cannot be written as UTF-8, as SavedModels hold text: it has a "
                "surrogate, half of a character. Name the class otherwise, or write a .keras file"
            ) from error
    archive = _archive(graph, predicted, views, input)
    try:
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".writing-", dir=target) as folder:
            temporary = Path(folder) / "model"
            archive.write_out(str(temporary), verbose=False)
            return _moved(temporary, target)
    except OSError as error:
        raise ExportError(
            f"cannot write to {target}: {error.strerror or error}; choose another place"
        ) from error


def _archive(graph: Graph, target: Target, views: Views | None, input: Input | None) -> Any:
    """A Keras export archive with the two signatures, not yet written."""
    import keras
    import tensorflow as tf

    model = wrap(graph, target, views, input)
    texts = tf.constant(target.names)
    reads_text = model.inputs[0].dtype == "string"
    shape, dtype = (
        (tuple(model.inputs[0].shape[1:]), tf.string) if reads_text else (graph.input_shape, tf.float32)
    )
    name = "texts" if reads_text else "images" if len(graph.input_shape) == 3 else "inputs"

    def scores_of(examples: Any) -> Any:
        return model(examples if reads_text else tf.cast(examples, tf.float32), training=False)

    def classify(examples: Any) -> dict[str, Any]:
        scores = scores_of(examples)
        return {"scores": scores, "classes": tf.broadcast_to(texts, tf.shape(scores))}

    def predict(examples: Any) -> dict[str, Any]:
        scores = scores_of(examples)
        if isinstance(target, LabelSets):
            labels = tf.where(scores >= THRESHOLD, tf.broadcast_to(texts, tf.shape(scores)), "")
        else:
            labels = tf.gather(texts, tf.argmax(scores, axis=-1))
        return {"scores": scores, "labels": labels}

    def values(examples: Any) -> dict[str, Any]:
        return {"values": scores_of(examples)}

    def regress(examples: Any) -> dict[str, Any]:
        return {"outputs": scores_of(examples)}

    def batch_of(dtype: Any) -> Any:
        return tf.TensorSpec((None, *shape), dtype, name=name)

    archive = keras.export.ExportArchive()
    archive.track(model)
    main, other = (values, ("regress", regress)) if target.is_numeric else (predict, ("classify", classify))
    endpoints: dict[str, Callable[..., Any]] = {"serving_default": main, other[0]: other[1]}
    for endpoint, function in endpoints.items():
        archive.add_endpoint(endpoint, function, input_signature=[batch_of(dtype)])
    either = tf.function(main)
    for given in (tf.string,) if reads_text else (tf.float32, tf.uint8):
        either.get_concrete_function(batch_of(given))
    archive.add_endpoint("predict", either)
    return archive


def _moved(folder: Path, target: Path) -> Path:
    """Move a folder to the next free version of the target."""
    versions = [int(child.name) for child in target.iterdir() if child.name.isdecimal()]
    first = max(versions, default=0) + 1
    for version in range(first, first + MOST_TRIES):
        place = target / str(version)
        if place.exists():
            continue
        try:
            os.rename(folder, place)
        except FileExistsError:
            continue  # another process has just taken it
        except OSError:
            if place.exists():
                continue
            raise
        return place
    raise ExportError(f"cannot find a free version in {target}: other processes keep writing there")
