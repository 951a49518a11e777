"""What a SavedModel can be asked for: its signatures, each with the function behind it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kmorph.export.pictures import Pictures
from kmorph.export.views import Views
from kmorph.export.wrap import has_features, wrap
from kmorph.graph import Graph
from kmorph.problem import Input, LabelSets, Target
from kmorph.problem.targets.label_sets import THRESHOLD

if TYPE_CHECKING:
    import keras

EXAMPLES = "inputs"  # the name that TF Serving's Classify and Regress APIs look for


@dataclass(frozen=True)
class Signature:
    """A function of one tensor that a server calls.

    Parameters
    ----------
    name : str
    api : {"predict", "classify", "regress"}
        API of TensorFlow Serving that the signature is made for; Predict takes all of them.
    spec : tf.TensorSpec
        Of its input, with the input's name.
    function : callable
        From a batch to tensors by name.
    numbers : str
        Name of the output that holds numbers.
    request : callable
        From examples, as the Keras model takes them, to such a batch.
    """

    name: str
    api: str
    spec: Any
    function: Callable[[Any], dict[str, Any]]
    numbers: str
    request: Callable[[Any], Any]

    @property
    def method_name(self) -> str:
        """The API by the name that SavedModels have for it."""
        return f"tensorflow/serving/{self.api}"


class Served:
    """A network with what goes before and behind it, as the functions of a SavedModel.

    Parameters
    ----------
    graph, target, views, input
        As for `wrap`.

    Attributes
    ----------
    model : keras.Model
        From examples to scores, and to features where the graph has them.
    pictures : Pictures or None
        Decodes examples that are encoded pictures.
    name : str
        Of the input: ``texts``, ``images``, or ``inputs`` for anything else.
    """

    def __init__(self, graph: Graph, target: Target, views: Views | None, input: Input | None) -> None:
        import tensorflow as tf

        self.target = target
        self.model: keras.Model = wrap(graph, target, views, input, features=True)
        self._has_features = has_features(graph)
        is_text = self.model.inputs[0].dtype == "string"
        self.shape = tuple(self.model.inputs[0].shape[1:])
        self.dtype = tf.string if is_text else tf.float32
        self.pictures = Pictures.of(self.shape, input)
        self.name = "texts" if is_text else "images" if len(self.shape) == 3 else "inputs"
        self._names = tf.constant(target.names)
        # All signatures call one function: tracing a tokenizer takes a second.
        self._call = tf.function(self._called, input_signature=[self.batch()])

    def signatures(self) -> list[Signature]:
        """Those that this network can have; see `write_saved_model`."""
        import tensorflow as tf

        numbers = "values" if self.target.is_numeric else "scores"
        found = [Signature("serving_default", "predict", self.batch(), self.predict, numbers, _as_given)]
        if self.pictures is not None:
            spec = tf.TensorSpec((None,), tf.string, name="bytes")
            encode = self.pictures.encode
            found.append(Signature("bytes", "predict", spec, self._of_pictures, numbers, encode))
        if self._has_features:
            found.append(
                Signature("features", "predict", self.batch(), self._features, "features", _as_given)
            )
        spec = tf.TensorSpec((None,), tf.string, name=EXAMPLES)
        if not self.target.is_numeric:
            found.append(Signature("classify", "classify", spec, self._classify, "scores", self._examples))
        elif self.target.width == 1:
            found.append(Signature("regress", "regress", spec, self._regress, "outputs", self._examples))
        return found

    def batch(self, dtype: Any = None) -> Any:
        """The specification of a batch of examples."""
        import tensorflow as tf

        return tf.TensorSpec((None, *self.shape), dtype or self.dtype, name=self.name)

    def predict(self, examples: Any) -> dict[str, Any]:
        """Scores and labels, or values."""
        import tensorflow as tf

        scores = self._scores(examples)
        if self.target.is_numeric:
            return {"values": scores}
        if isinstance(self.target, LabelSets):
            labels = tf.where(scores >= THRESHOLD, self._names_like(scores), "")
        else:
            labels = tf.gather(self._names, tf.argmax(scores, axis=-1))
        return {"scores": scores, "labels": labels}

    def _of_pictures(self, encoded: Any) -> dict[str, Any]:
        assert self.pictures is not None
        return self.predict(self.pictures.decode(encoded))

    def _features(self, examples: Any) -> dict[str, Any]:
        return {"features": self._outputs(examples)[1]}

    def _classify(self, examples: Any) -> dict[str, Any]:
        scores = self._scores(self._parsed(examples))
        return {"scores": scores, "classes": self._names_like(scores)}

    def _regress(self, examples: Any) -> dict[str, Any]:
        return {"outputs": self._scores(self._parsed(examples))}

    def _outputs(self, examples: Any) -> Any:
        import tensorflow as tf

        # A loaded signature takes batches of any shape, whatever its specification says.
        return self._call(tf.ensure_shape(tf.cast(examples, self.dtype), (None, *self.shape)))

    def _called(self, examples: Any) -> Any:
        return self.model(examples, training=False)

    def _scores(self, examples: Any) -> Any:
        outputs = self._outputs(examples)
        return outputs[0] if self._has_features else outputs

    def _names_like(self, scores: Any) -> Any:
        import tensorflow as tf

        return tf.broadcast_to(self._names, tf.shape(scores))

    def _parsed(self, examples: Any) -> Any:
        """A batch from serialised `tf.train.Example` messages with one feature."""
        import tensorflow as tf

        feature = tf.io.FixedLenFeature(self.shape, self.dtype)
        return tf.io.parse_example(examples, {self.name: feature})[self.name]

    def _examples(self, examples: Any) -> np.ndarray:
        """The messages that `_parsed` reads."""
        import tensorflow as tf

        def feature(example: Any) -> Any:
            flat = example.ravel().tolist()
            if self.dtype == tf.string:
                return tf.train.Feature(bytes_list=tf.train.BytesList(value=[text.encode() for text in flat]))
            return tf.train.Feature(float_list=tf.train.FloatList(value=flat))

        return np.array(
            [
                tf.train.Example(
                    features=tf.train.Features(feature={self.name: feature(one)})
                ).SerializeToString()
                for one in examples
            ],
            object,
        )


def _as_given(examples: Any) -> Any:
    return examples
