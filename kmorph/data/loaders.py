"""Loaders that bring their labels: data sets of TensorFlow, Keras and PyTorch, and functions that yield."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Any

import numpy as np

from kmorph.data.texts import decoded
from kmorph.errors import DataError
from kmorph.numeric import as_array

KINDS = (
    "a tf.data.Dataset, a keras.utils.PyDataset, a torch DataLoader or a function that returns a generator"
)

Batch = tuple[Any, Any, Any]
"""Examples, their labels and their weights; the last two may be None. All have an axis of examples."""


def is_loader(x: Any) -> bool:
    """Return whether an object yields examples, rather than holding them."""
    return _reader(x) is not None or _is_generator(x)


def batches_of(loader: Any) -> Iterator[Batch]:
    """The batches of a loader, from its beginning.

    Parameters
    ----------
    loader : object
        See `KINDS`. It yields examples, pairs (x, y) or triples (x, y, weights), batched or one by one.

    Yields
    ------
    x, y, weights
        Arrays or lists with an axis of examples; y and weights are None where there are none.

    Raises
    ------
    DataError
        If it never ends, as a data set that repeats, can be read only once, or fails.
    """
    if _is_generator(loader):
        raise DataError(
            "x is a generator, which can be read only once: give the function that makes it, uncalled"
        )
    reader = _reader(loader)
    if reader is None:
        raise DataError(f"x is no loader: expected {KINDS}, got {type(loader).__name__}")
    seen = 0
    source = reader(loader)
    while True:
        try:
            batch = next(source, None)
        except DataError:
            raise
        except Exception as error:
            raise DataError(
                f"the loader failed after {seen:,} examples: {type(error).__name__}: {error}"
            ) from error
        if batch is None:
            return
        seen += len(batch[0])
        yield batch


def _is_generator(x: Any) -> bool:
    return inspect.isgenerator(x) or (hasattr(x, "__next__") and not hasattr(x, "__getitem__"))


def _reader(x: Any) -> Callable[[Any], Iterator[Batch]] | None:
    """How to read an object. A library that is not loaded cannot have made it."""
    for module, name, reader in READERS:
        if type(x).__module__ == "builtins" or module not in sys.modules:
            continue
        try:
            found = attrgetter(name)(sys.modules[module])
        except AttributeError:  # another thread has only begun to load it
            continue
        if isinstance(x, found):
            return reader
    if inspect.isfunction(x) or inspect.ismethod(x):
        return _of_function
    return None


def _of_tensorflow(loader: Any) -> Iterator[Batch]:
    if int(loader.cardinality()) == -1:
        raise DataError("the tf.data.Dataset never ends: leave out its repeat()")
    batched = _is_batched(loader.element_spec)
    for element in loader.as_numpy_iterator():
        yield _split(element, batched)


def _is_batched(spec: Any) -> bool:
    """Return whether the elements of a tf.data.Dataset are batches."""
    specs = [one for one in (spec if isinstance(spec, tuple | list) else [spec]) if hasattr(one, "shape")]
    shapes = [one.shape for one in specs]
    if not shapes or any(shape.rank is None for shape in shapes):
        return True
    if min(shape.rank for shape in shapes) == 0:
        return False
    first = [shape[0] for shape in shapes]
    return None in first or (len(first) > 1 and len(set(first)) == 1)


def _of_keras(loader: Any) -> Iterator[Batch]:
    count = loader.num_batches
    if count is None:
        raise DataError("the keras.utils.PyDataset says that it never ends (num_batches is None)")
    for i in range(count):
        yield _split(loader[i], True)


def _of_torch(loader: Any) -> Iterator[Batch]:
    batched = loader.batch_size is not None or loader.batch_sampler is not None
    for element in loader:
        yield _split(element, batched)


def _of_function(loader: Any) -> Iterator[Batch]:
    made = loader()
    if not hasattr(made, "__iter__"):
        raise DataError(
            f"{getattr(loader, '__name__', 'the function')}() returned {type(made).__name__}; expected a "
            "generator of batches (x, y)"
        )
    for element in made:
        label = element[1] if isinstance(element, tuple | list) and len(element) > 1 else None
        yield _split(element, label is None or np.ndim(label) > 0)


def _split(element: Any, batched: bool) -> Batch:
    """Examples, labels and weights of what a loader yields."""
    parts = tuple(element) if isinstance(element, tuple | list) else (element,)
    if len(parts) > 1 and all(isinstance(part, str | bytes) for part in parts):
        parts = (parts,)  # a batch of texts without labels
    if not 1 <= len(parts) <= 3:
        raise DataError(f"the loader yields {len(parts)} parts; expected (x, y), (x, y, weights) or x")
    if any(isinstance(part, dict) for part in parts):
        raise DataError("the loader yields dicts; expected pairs (x, y) of arrays or texts")
    found = [_as_batch(part, batched) for part in parts]
    x, y, weights = (*found, None, None)[:3]
    for what, part in (("labels", y), ("weights", weights)):
        if part is not None and len(part) != len(x):
            raise DataError(f"the loader yields {len(x)} examples with {len(part)} {what}")
    return x, y, weights


def _as_batch(part: Any, batched: bool) -> Any:
    """A part of an element, with an axis of examples; texts become str."""
    if part is None:
        return None
    if isinstance(part, str | bytes):
        return _texts([part])
    if isinstance(part, tuple | list) and part and isinstance(part[0], str | bytes):
        return _texts(part)
    if isinstance(part, tuple | list) and part and np.ndim(part[0]) > 0:
        return [as_array(one) for one in part]  # examples that may differ in shape
    array = as_array(part)
    array = array if batched else array[None]
    if array.ndim == 0:
        raise DataError("the loader yields single numbers where examples are expected")
    return _texts(array.reshape(-1)) if array.dtype.kind in "OSU" else array


def _texts(given: Any) -> list[str]:
    return [
        decoded(one, f"text {i} of what the loader yields") if isinstance(one, bytes) else one
        for i, one in enumerate(given)
    ]


READERS: tuple[tuple[str, str, Callable[[Any], Iterator[Batch]]], ...] = (
    ("tensorflow", "data.Dataset", _of_tensorflow),
    ("keras", "utils.PyDataset", _of_keras),
    ("torch", "utils.data.DataLoader", _of_torch),
)
