"""Class labels as users hand them in, and the numbers 0 … k−1 that networks are trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np

from kmorph.errors import DataError
from kmorph.numeric import as_array

Label = str | int | float | bool
Form = Literal["column", "matrix", "one_hot"]

_EXPECTED = "one label for each example, of shape (n,) or (n, 1), or one-hot rows of shape (n, classes)"
_SEVERAL = (
    "For several labels per example give rows of zeros and ones, e.g. by "
    "`sklearn.preprocessing.MultiLabelBinarizer().fit_transform(y)`."
)
_FORMS = ("column", "matrix", "one_hot")


@dataclass(frozen=True)
class LabelCodec:
    """Translates labels to class numbers and back.

    Parameters
    ----------
    classes : tuple of str, int, float or bool
        The classes in sorted order; class number i is ``classes[i]``.
    form : {"column", "matrix", "one_hot"}
        How labels were handed in: shape (n,), shape (n, 1), or one-hot rows of shape (n, classes).
    dtype : str
        numpy dtype that decoded labels have, for example ``"int64"``, ``"<U5"`` or ``"object"``.
    """

    classes: tuple[Label, ...]
    form: Form
    dtype: str

    @classmethod
    def from_labels(cls, y: Any, n: int | None = None) -> LabelCodec:
        """Learn the classes from the labels of a fit.

        Parameters
        ----------
        y : array-like of shape (n,), (n, 1) or (n, classes)
            Strings, integers of any size, bools or whole floats; bytes are read as UTF-8 text. Two or more
            columns must be one-hot rows, which are the classes 0 … columns−1.
        n : int, default=None
            Number of examples that there must be; ``None``: any.

        Returns
        -------
        LabelCodec

        Raises
        ------
        DataError
            If ``y`` is None, empty, of other length, incomplete, mixed, continuous, multi-label, or one class
            only.
        """
        array = as_label_array(y, n)
        if array.ndim == 2 and array.shape[1] > 1:
            if not _is_one_hot(array):
                raise _not_one_hot(array)
            _check_two_classes(np.unique(array.argmax(axis=1)).tolist())
            return cls(tuple(range(array.shape[1])), "one_hot", array.dtype.str)
        classes = np.unique(array).tolist()
        _check_two_classes(classes)
        form: Form = "column" if array.ndim == 1 else "matrix"
        return cls(tuple(classes), form, "object" if array.dtype == object else array.dtype.str)

    def encode(self, y: Any, n: int | None = None) -> np.ndarray:
        """Turn labels into class numbers.

        Parameters
        ----------
        y : array-like of shape (n,), (n, 1) or (n, classes)
            Labels that were seen at the fit, in any of the forms; one-hot rows only if the fit had them too.
        n : int, default=None
            Number of examples that there must be; ``None``: any.

        Returns
        -------
        numpy.ndarray of shape (n,), int64
            Class numbers, 0 … k−1.

        Raises
        ------
        DataError
            If ``y`` holds labels that were never seen at the fit, or is no usable labels at all.
        """
        array = as_label_array(y, n)
        if array.ndim == 2 and array.shape[1] > 1:
            if not _is_one_hot(array):
                raise _not_one_hot(array)
            if self.form != "one_hot" or array.shape[1] != len(self.classes):
                raise DataError(
                    f"y holds one-hot rows of {array.shape[1]} columns; the model was fitted on "
                    f"{self._describe()}. Give labels in that form."
                )
            return array.argmax(axis=1).astype(np.int64)
        found, positions = np.unique(array, return_inverse=True)
        numbers = {label: number for number, label in enumerate(self.classes)}
        values = found.tolist()
        unseen = [value for value in values if value not in numbers]
        if unseen:
            raise DataError(
                f"y holds {_listing(unseen)}, never seen when the model was fitted on {self._describe()}. "
                "Remove these examples, or fit again with examples of these classes."
            )
        table = np.array([numbers[value] for value in values], np.int64)
        return cast(np.ndarray, table[positions.reshape(-1)])

    def decode(self, codes: Any) -> np.ndarray:
        """Turn class numbers into labels, in the form and the dtype that the labels of the fit had.

        Parameters
        ----------
        codes : array-like of shape (n,)
            Class numbers, 0 … k−1.

        Returns
        -------
        numpy.ndarray of shape (n,), (n, 1) or (n, classes)

        Raises
        ------
        DataError
            If ``codes`` are no class numbers.
        """
        numbers = np.asarray(codes)
        k = len(self.classes)
        if numbers.ndim != 1 or (numbers.size and numbers.dtype.kind not in "iu"):
            raise DataError(
                f"codes has shape {numbers.shape} and dtype {numbers.dtype}; expected integers (n,)."
            )
        if numbers.size and (numbers.min() < 0 or numbers.max() >= k):
            raise DataError(f"codes reach from {numbers.min()} to {numbers.max()}; expected 0 to {k - 1}.")
        numbers = numbers.astype(np.int64)
        if self.form == "one_hot":
            rows = np.zeros((len(numbers), k), np.dtype(self.dtype))
            rows[np.arange(len(numbers)), numbers] = 1
            return rows
        labels = self.classes_array[numbers]
        return labels if self.form == "column" else labels[:, np.newaxis]

    @property
    def classes_array(self) -> np.ndarray:
        """The classes as an array (k,), in the dtype of the labels; for one-hot rows int64."""
        return _object_array(self.classes).astype("int64" if self.form == "one_hot" else self.dtype)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes as strings, for exported models and reports."""
        return tuple(str(label) for label in self.classes)

    def to_json(self) -> dict[str, Any]:
        """Return the codec as plain JSON types, from which `from_json` makes an equal one."""
        return {"classes": list(self.classes), "form": self.form, "dtype": self.dtype}

    @classmethod
    def from_json(cls, data: Any) -> LabelCodec:
        """Make a codec from what `to_json` returned.

        Parameters
        ----------
        data : dict
            With ``classes``, ``form`` and ``dtype``.

        Returns
        -------
        LabelCodec

        Raises
        ------
        DataError
            If ``data`` is something else.
        """
        try:
            classes, form, dtype = tuple(data["classes"]), data["form"], data["dtype"]
            valid = (
                form in _FORMS
                and np.dtype(dtype).kind in "biufUO"
                and len(set(classes)) == len(classes) >= 2
                and len({type(label) for label in classes}) == 1
                and type(classes[0]) in (str, int, float, bool)
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"These are no stored labels: {error!r}. The file is probably damaged."
            ) from error
        if not valid:
            raise DataError(
                f"These are no stored labels: form {form!r}, dtype {dtype!r}, {len(classes)} classes; "
                f"expected a form of {', '.join(_FORMS)}, a numpy dtype, and at least two different labels "
                "of one type."
            )
        return cls(classes, form, dtype)

    def _describe(self) -> str:
        form = " as one-hot rows" if self.form == "one_hot" else ""
        return f"{_listing(self.classes)}{form}"


def _listing(labels: Sequence[Label]) -> str:
    """Name labels in a message, at most ten of them."""
    names = ", ".join(repr(label) for label in labels[:10])
    more = f" and {len(labels) - 10} more" if len(labels) > 10 else ""
    return f"the label{'s' if len(labels) > 1 else ''} {names}{more}"


def _object_array(items: Sequence[Any]) -> np.ndarray:
    """Make a one-dimensional array of objects, without numpy looking into them."""
    array = np.empty(len(items), object)
    array[:] = items
    return array


def as_dense(y: Any) -> Any:
    """Labels without SciPy's sparse form, if they have it."""
    return y.toarray() if hasattr(y, "toarray") else y


def as_label_array(y: Any, n: int | None) -> np.ndarray:
    """Check labels; return them as (n,) or (n, columns) of dtype bool, integer, whole float, str or object.

    An array of objects holds only ``str``, or only ``int`` beyond 64 bits.
    """
    if y is None:
        raise DataError(f"y is None; expected {_EXPECTED}.")
    try:
        # In a list the types are looked at one by one: numpy would turn ["a", 1] into two strings, and
        # [2**63, -1] into floats.
        array = np.array(y, dtype=object) if isinstance(y, (list, tuple)) else as_array(y)
    except (ValueError, TypeError, RuntimeError) as error:
        raise DataError(f"y cannot be made into one array ({error}); expected {_EXPECTED}.") from error
    if isinstance(y, np.ma.MaskedArray) and np.ma.is_masked(y):
        raise DataError("y is a masked array with masked labels. Remove the examples whose label is missing.")
    if array.ndim not in (1, 2):
        raise DataError(f"y has shape {array.shape}; expected {_EXPECTED}. Reshape it, `y.reshape(-1)`.")
    if array.size == 0:
        raise DataError(f"y is empty (shape {array.shape}); expected {_EXPECTED}.")
    if n is not None and len(array) != n:
        raise DataError(
            f"y has {len(array)} labels but x has {n} examples; expected one label for each example."
        )
    # An array of objects stays one: its owner chose that.
    may_be_text = array.dtype != object or isinstance(y, (list, tuple))
    if array.dtype.kind == "S":
        array = array.astype(object)
    if array.dtype == object:
        array = _from_objects(array, may_be_text)
    if array.dtype.kind not in "biufUO":
        raise DataError(f"y has dtype {array.dtype}; expected text, integers, bools or whole numbers.")
    if array.dtype.kind == "f":
        array = _check_whole(array)
    if array.dtype.kind in "UO" and array.ndim == 2 and array.shape[1] > 1:
        raise DataError(
            f"y has shape {array.shape}; expected {_EXPECTED}. Choose the one column to be predicted. "
            f"{_SEVERAL}"
        )
    return array


def _from_objects(array: np.ndarray, may_be_text: bool) -> np.ndarray:
    """Find the one type that all labels have, and use numpy's dtype for it where that is exact."""
    values = [_python_label(item, index) for index, item in enumerate(array.reshape(-1))]
    for index, value in enumerate(values):
        if isinstance(value, list | tuple | set | frozenset | np.ndarray):
            text = repr(value)
            raise DataError(
                f"y holds {text if len(text) <= 40 else f'{text[:40]}…'} (at position {index}), of type "
                f"{type(value).__name__}; expected {_EXPECTED}. {_SEVERAL}"
            )
        is_nan = isinstance(value, float) and value != value
        if value is None or is_nan or type(value).__name__ in ("NAType", "NaTType"):
            raise DataError(
                f"y holds {value!r} (at position {index}): a missing label. Remove the examples without a "
                "label."
            )
    kinds = {type(value) for value in values}
    if kinds == {int, float}:
        kinds = {float}
    if kinds == {bool, int} and array.ndim == 2 and array.shape[1] > 1:  # rows of zeros and ones
        kinds = {int}
    if len(kinds) > 1 or not kinds <= {bool, int, float, str}:
        names = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise DataError(
            f"y holds objects of these types: {names}; expected only text, only numbers or only bools. "
            "Bring all labels to one type, for example with `[str(label) for label in y]`."
        )
    kind = kinds.pop()
    if kind is str:
        # numpy's fixed-width strings drop zero characters at the end.
        as_text = may_be_text and not any(value.endswith("\0") for value in values)
        result = np.array(values) if as_text else _object_array(values)
    elif kind is int:
        result = _exact_integers(values)
    else:
        result = np.array(values, kind)
    return result.reshape(array.shape)


def _python_label(item: Any, index: int) -> Any:
    """A label as an object of Python: the value of a scalar or zero-dimensional tensor, text for bytes."""
    if isinstance(item, np.generic):
        item = item.item()
    elif getattr(item, "shape", None) == () and hasattr(item, "__array__"):
        try:
            item = as_array(item).item()
        except (ValueError, TypeError, RuntimeError) as error:
            raise DataError(
                f"y holds {type(item).__name__} (at position {index}) that is no label ({error}); expected "
                "text, numbers or bools."
            ) from error
    if not isinstance(item, bytes):
        return item
    try:
        return item.decode()
    except UnicodeDecodeError:
        raise DataError(
            f"y holds the bytes {item!r} (at position {index}), which are no UTF-8 text; expected text, "
            'numbers or bools. Decode them first, such as `[label.decode("latin-1") for label in y]`.'
        ) from None


def _exact_integers(values: list[int]) -> np.ndarray:
    low, high = min(values), max(values)
    if -(2**63) <= low and high < 2**63:
        return np.array(values, np.int64)
    if low >= 0 and high < 2**64:
        return np.array(values, np.uint64)
    return _object_array(values)


def _check_whole(array: np.ndarray) -> np.ndarray:
    if np.isnan(array).any():
        raise DataError("y holds NaN: a missing label. Remove the examples without a label.")
    if np.isinf(array).any():
        raise DataError("y holds infinity; expected one class label for each example. Remove these examples.")
    fractions = array != np.floor(array)
    if fractions.any():
        if array.ndim == 2 and array.shape[1] > 1:
            raise DataError(
                f"y holds rows of numbers such as {array[0].tolist()}; one-hot rows have exactly one 1 and "
                "zeros else. For probabilities of classes take the most probable one, `y.argmax(axis=1)`."
            )
        raise DataError(
            f"y holds numbers such as {float(array[fractions][0])!r}, which look like measurements and not "
            "like classes; expected whole numbers, text or bools. Use a regressor for measurements, or name "
            "the classes, for example with `np.digitize` or `y.astype(str)`."
        )
    # Floats wider than 64 bits have no exact counterpart in Python or JSON.
    return array.astype(np.float64) if array.dtype.itemsize > 8 else array


def _is_one_hot(array: np.ndarray) -> bool:
    if array.dtype.kind == "O":
        return False
    ones = array == 1
    return bool((ones | (array == 0)).all() and (ones.sum(axis=1) == 1).all())


def _not_one_hot(array: np.ndarray) -> DataError:
    if array.dtype.kind != "O" and ((array == 0) | (array == 1)).all():
        return DataError(
            f"y has shape {array.shape} with several ones or none in a row, so an example may have several "
            "labels; expected one label for each example, or one-hot rows with exactly one 1."
        )
    return DataError(
        f"y has shape {array.shape} with values other than 0 and 1; expected {_EXPECTED}. "
        f"Choose the one column to be predicted. {_SEVERAL}"
    )


def _check_two_classes(classes: list[Label]) -> None:
    if len(classes) < 2:
        raise DataError(
            f"y holds {_listing(classes)} only; expected at least two classes. "
            "Add examples of another class; with one there is nothing to learn."
        )
