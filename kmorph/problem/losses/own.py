"""A loss of the user's own: a name of Keras', a Keras loss, or a function ``(y_true, y_pred)``."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kmorph.errors import DataError
from kmorph.problem.losses.base import Loss
from kmorph.problem.own import cached, mark_of, name_of, pack

if TYPE_CHECKING:
    from kmorph.problem.targets.base import Target

REFUSED = {
    "ctc": "it compares sequences, and a graph gives one row of outputs an example",
    "circle": "it compares the examples of a batch with each other, so that no example has a loss of its own",
}
CLASS_NUMBERS = ("sparse", "generalized")  # in names of "categorical" losses that take these all the same
BATCH = 1000  # examples computed at once, outside of training


@dataclass(frozen=True)
class OwnLoss(Loss):
    """A loss of the user's, called with labels as `y` had them and what users get for the outputs.

    ``y_true`` are class numbers (int32), one-hot rows where `y` had such or the loss's name says
    "categorical", rows of zeros and ones, or numbers in the user's units of shape (n, outputs); ``y_pred``
    are probabilities, or such numbers. Keras' cross-entropies get logits, from which they compute the same
    more exactly. For two classes a loss whose name says "binary" gets a column of zeros and ones, and the
    second class's probability.

    Parameters
    ----------
    name : str
    packed : bytes
        As `kmorph.problem.own.pack` gave it.
    is_per_example : bool, default=True
    divisor : float, default=1.0
        Losses are divided by this: for numbers, the loss of the best constant, so that learning rates hold.
    mark : str, default=""
        See `kmorph.problem.own.mark_of`.
    """

    name: str
    packed: bytes
    is_per_example: bool = True
    divisor: float = 1.0
    mark: str = ""

    @classmethod
    def of(cls, given: Any) -> OwnLoss:
        """Take what the user gave as `loss`.

        Raises
        ------
        DataError
            If it is no loss, one that cannot be computed here, or it cannot be sent to a worker.
        """
        if not isinstance(given, str) and not callable(given) and not hasattr(given, "call"):
            raise DataError(
                'loss must be a name that Keras knows, such as "mae", a keras.losses.Loss or a function '
                f"(y_true, y_pred), got {given!r}"
            )
        name = name_of(given)
        plain = (given if isinstance(given, str) else name_of(type(given)), name)
        for refused, why in REFUSED.items():
            if any(word.lower().replace("_", "") in (refused, f"{refused}loss") for word in plain):
                raise DataError(f"loss={given!r} is not supported: {why}")
        packed = pack(given, "loss", "write it as a function of plain values, or as a keras.losses.Loss")
        return cls(name, packed, mark=mark_of(given))

    def tensors(self, codes: Any, outputs: Any, target: Target, smoothing: float = 0.0) -> Any:
        """Losses of a batch; see `Loss.tensors`. `smoothing` is the loss's own affair."""
        from keras import ops

        function, truth, scores = self.called_with(codes, outputs, target)
        values = ops.cast(function(truth, scores), "float32")
        if len(values.shape) > 1:
            values = ops.mean(values, axis=tuple(range(1, len(values.shape))))
        return values / self.divisor if self.divisor != 1.0 else values

    def called_with(self, codes: Any, outputs: Any, target: Target) -> tuple[Callable[..., Any], Any, Any]:
        """Return the function that computes the loss, and its arguments ``y_true`` and ``y_pred``."""
        from keras import ops

        function, logits, kind = _ready(self.packed)
        if "binary" in kind and not target.is_numeric and target.width == 2 and len(codes.shape) == 1:
            truth, scores = ops.cast(codes, "float32")[:, None], outputs[:, 1:] - outputs[:, :1]
            scores = scores if logits else ops.sigmoid(scores)
        else:
            one_hot = "categorical" in kind and not any(word in kind for word in CLASS_NUMBERS)
            truth, scores = target.truth_tensor(codes, one_hot), target.score_tensor(outputs, logits)
        return function, truth, scores

    def arrays(self, codes: np.ndarray, outputs: np.ndarray, target: Target) -> np.ndarray:
        """Losses of examples, by Keras; see `Loss.arrays`. Of a batch with one value all have that."""
        from keras import ops

        codes = codes.astype(np.int32 if codes.dtype.kind == "i" else np.float32)
        outputs = outputs.astype(np.float32)
        parts = []
        for start in range(0, len(codes), BATCH):
            part = slice(start, start + BATCH)
            y, found = (ops.convert_to_tensor(np.array(array[part])) for array in (codes, outputs))
            values = ops.convert_to_numpy(self.tensors(y, found, target))
            parts.append(np.broadcast_to(values, len(codes[part])))
        return np.concatenate(parts).astype(np.float32)


@functools.lru_cache(maxsize=8)
def _ready(packed: bytes) -> tuple[Any, bool, str]:
    """The function of a packed loss, whether it takes logits, and its names in lower case."""
    import keras

    given = cached(packed)
    loss = keras.losses.get(given) if isinstance(given, str) else given
    kind = f"{type(loss).__name__} {name_of(loss)}".lower()
    of_keras = (getattr(loss, "__module__", None) or "").split(".")[0] == "keras"
    if hasattr(loss, "call"):
        # A user-defined class may have an incomplete get_config.
        takes_logits = of_keras and "from_logits" in inspect.signature(type(loss).__init__).parameters
        if takes_logits:
            loss = type(loss).from_config({**loss.get_config(), "from_logits": True})
        return loss.call, takes_logits, kind
    if of_keras and "from_logits" in inspect.signature(loss).parameters:
        return functools.partial(loss, from_logits=True), True, kind
    return loss, False, kind
