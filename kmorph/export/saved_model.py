"""TensorFlow's SavedModel format, as TF Serving reads it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kmorph.errors import ExportError
from kmorph.export.child import in_tensorflow
from kmorph.export.compare import DEVICE, check_equal, outputs_of, samples
from kmorph.export.signatures import Served, Signature
from kmorph.export.views import Views
from kmorph.export.warmup import warmup_request, write_warmup
from kmorph.export.wrap import checked_target, need_utf8
from kmorph.files import UserPath, user_path
from kmorph.graph import Graph
from kmorph.problem import Input, Target
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

    The version is one above the highest that is there, 1 in a new folder. It is written under another name,
    loaded, compared with the network and then renamed, so that a server never sees half a model. Requests in
    ``assets.extra`` warm a server up before it takes the version into service.

    Its signatures, each with one input and the first axis over examples:

    ``serving_default``
        Takes a float32 tensor of shape ``(n, *input_shape)``, raw: unsigned bytes are cast by the caller
        (JSON has one kind of number anyway). It is called ``images``, or ``inputs`` where examples have not
        three axes, or ``texts``, strings of shape ``(n, 1)``. Gives ``scores``, float32 ``(n, classes)``, the
        class probabilities in the order of `classes`, and ``labels``, string ``(n,)``, the name of each
        example's most probable class: what ``predict`` gives. Where examples may have several labels, these
        are of shape ``(n, classes)``, with an empty text for each label that an example has not. Regressors
        give ``values``, float32 ``(n, outputs)``.
    ``bytes``
        The same of encoded pictures, string ``(n,)``, for networks of images whose values are pictures'
        values; see `kmorph.export.pictures`.
    ``features``
        ``features`` of the examples that ``serving_default`` takes: what the last layer reads, as
        ``transform`` gives it.
    ``classify``
        For TF Serving's Classify API: serialised ``tf.train.Example`` messages as ``inputs``, string
        ``(n,)``, each with one feature that is called as the input of ``serving_default`` is, a list of
        floats (row by row) or one text. Gives ``scores`` and ``classes``, string of the same shape, the name
        that belongs to each score.
    ``regress``
        The same for the Regress API, of regressors with one output, which that API wants: ``outputs``,
        float32 ``(n, 1)``.

    In Python the loaded object can also be called with a batch of unsigned bytes or floats,
    ``loaded.predict(images)``.

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
        written as UTF-8, what was written gives other numbers than the network, or TensorFlow, which another
        backend uses in a child process, is not installed.
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
    need_utf8(predicted.names, "a SavedModel")
    served = Served(graph, predicted, views, input)
    examples = samples(graph, input)
    if served.pictures is not None:
        examples = served.pictures.rounded(examples)
    expected = outputs_of(graph, predicted, views, input, examples)
    import tensorflow as tf

    try:
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".writing-", dir=target) as folder:
            temporary = Path(folder) / "model"
            _write(served, temporary, examples)
            _compare(served, temporary, examples, *expected)
            return _moved(temporary, target)
    except OSError as error:
        raise ExportError(
            f"cannot write to {target}: {error.strerror or error}; choose another place"
        ) from error
    except tf.errors.OpError as error:  # TensorFlow's own of a full disk, among others
        raise ExportError(f"cannot write to {target}: {error.message}; choose another place") from error


def _write(served: Served, folder: Path, examples: Any) -> None:
    """Write the model with its signatures, and the requests that warm it up."""
    import keras
    import tensorflow as tf

    archive = keras.export.ExportArchive()
    archive.track(served.model)
    signatures = served.signatures()
    for signature in signatures:
        archive.add_endpoint(signature.name, signature.function, input_signature=[signature.spec])
    either = tf.function(served.predict)
    for dtype in {served.dtype, tf.string if served.dtype == tf.string else tf.uint8}:
        either.get_concrete_function(served.batch(dtype))
    archive.add_endpoint("predict", either)
    archive.write_out(str(folder), verbose=False)
    _name_methods(folder, signatures)
    write_warmup(folder, (_warmup(signature, examples[:1]) for signature in signatures))


def _name_methods(folder: Path, signatures: Sequence[Signature]) -> None:
    """Mark the signatures of the Classify and Regress APIs as such; saved, all are of the Predict API."""
    import tensorflow as tf

    updater = tf.compat.v1.saved_model.signature_def_utils.MethodNameUpdater(str(folder))
    for signature in signatures:
        updater.replace_method_name(signature.name, signature.method_name)
    updater.save()


def _warmup(signature: Signature, example: Any) -> bytes:
    return warmup_request(signature.api, signature.name, signature.spec.name, signature.request(example))


def _compare(
    served: Served, folder: Path, examples: Any, scores: np.ndarray, features: np.ndarray | None
) -> None:
    """Load what was written, and compare what each signature gives with the network's outputs."""
    import tensorflow as tf

    with tf.device(DEVICE):
        loaded = tf.saved_model.load(str(folder))
        for signature in served.signatures():
            batch = tf.constant(signature.request(examples))
            found = loaded.signatures[signature.name](**{signature.spec.name: batch})
            expected = features if signature.name == "features" else scores
            check_equal(expected, found[signature.numbers], f"the signature {signature.name!r}")


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
