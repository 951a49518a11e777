"""Read plain data out of a pickle without running anything from it.

A pickle is a program for a small stack machine, and Python's own reader calls whatever functions that program
names. The reader here interprets only the instructions that build dictionaries, lists, tuples, numbers,
strings and numpy arrays of plain numbers; it imports nothing and calls nothing. Everything else is an error.
This is enough for the python version of CIFAR-10, whose files were written by Python 2 with protocol 2, and
for the same content written again by Python 3 with protocols 2 to 4.
"""

from __future__ import annotations

import io
import math
import pickletools
from dataclasses import dataclass
from typing import Any

import numpy as np

from kmorph.errors import DataError

_MARK = object()
_PUSH_ARGUMENT = frozenset(
    {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"}
    | {"BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"}
)
_PUSH_CONSTANT = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLE_SIZES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_CORE = ("numpy.core.multiarray", "numpy._core.multiarray")
_KNOWN_GLOBALS = {
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): "dtype",
    ("_codecs", "encode"): "encode",
    **{(module, "_reconstruct"): "reconstruct" for module in _CORE},
}


@dataclass(frozen=True)
class _Global:
    """A name the pickle mentions; it stands for itself and cannot be called."""

    name: str


@dataclass
class _DType:
    code: str
    byte_order: str = "|"

    def resolve(self) -> np.dtype:
        kind, size = self.code[:1], self.code[1:]
        if (
            kind not in "biuf"
            or size not in ("1", "2", "4", "8")
            or self.byte_order not in ("<", ">", "|", "=")
        ):
            raise _Refused(f"the array type {self.code!r}")
        return np.dtype(self.byte_order + self.code)


@dataclass
class _Array:
    value: np.ndarray | None = None


class _Refused(Exception):
    """Something in the pickle that is more than plain data."""


def read_plain_pickle(data: bytes, source: str) -> Any:
    """Read a pickle that holds only plain data.

    Parameters
    ----------
    data : bytes
        The pickle, protocol 2 to 4.
    source : str
        Where it comes from, for messages.

    Returns
    -------
    object
        Dictionaries, lists, tuples, numbers, ``str``, ``bytes`` (Python 2's strings) and numpy arrays.

    Raises
    ------
    DataError
        If the pickle is damaged or asks for anything but plain data. Nothing it names has been run.
    """
    try:
        return _finish(_interpret(data))
    except _Refused as refused:
        raise DataError(
            f"{source} is a pickle that holds {refused}. Only plain numbers, strings, lists, dictionaries "
            "and arrays are read from pickles, because anything else could run code. Use the original file, "
            "or CIFAR-10's binary version."
        ) from None
    except (
        ValueError,
        IndexError,
        TypeError,
        AttributeError,
        KeyError,
        RecursionError,
        MemoryError,
    ) as error:
        raise DataError(f"{source} is not a complete pickle ({error}). Download it again.") from error


def _interpret(data: bytes) -> Any:
    stack: list[Any] = []
    memo: dict[int, Any] = {}

    def pop_to_mark() -> list[Any]:
        position = len(stack) - 1
        while stack[position] is not _MARK:
            position -= 1
            if position < 0:
                raise ValueError("no mark on the stack")
        items = stack[position + 1 :]
        del stack[position:]
        return items

    for opcode, argument, _ in pickletools.genops(io.BytesIO(data)):
        name = opcode.name
        if name in _PUSH_ARGUMENT:
            stack.append(argument)
        elif name in ("BINSTRING", "SHORT_BINSTRING"):
            stack.append(str(argument).encode("latin-1"))
        elif name in _PUSH_CONSTANT:
            stack.append(_PUSH_CONSTANT[name])
        elif name in ("PROTO", "FRAME"):
            pass
        elif name == "MARK":
            stack.append(_MARK)
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[_expect(argument, int)] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[_expect(argument, int)])
        elif name == "EMPTY_DICT":
            stack.append({})
        elif name == "EMPTY_LIST":
            stack.append([])
        elif name == "EMPTY_TUPLE":
            stack.append(())
        elif name in _TUPLE_SIZES:
            size = _TUPLE_SIZES[name]
            stack[-size:] = [tuple(stack[-size:])]
        elif name == "TUPLE":
            stack.append(tuple(pop_to_mark()))
        elif name in ("APPEND", "APPENDS"):
            items = [stack.pop()] if name == "APPEND" else pop_to_mark()
            _expect(stack[-1], list).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = [stack.pop(-2), stack.pop()] if name == "SETITEM" else pop_to_mark()
            _set_items(_expect(stack[-1], dict), items)
        elif name == "GLOBAL":
            stack.append(_find(*str(argument).split(" ", 1)))
        elif name == "STACK_GLOBAL":
            attribute = stack.pop()
            stack.append(_find(stack.pop(), attribute))
        elif name == "REDUCE":
            arguments = _expect(stack.pop(), tuple)
            stack.append(_call(stack.pop(), arguments))
        elif name == "BUILD":
            state = stack.pop()
            _set_state(stack[-1], state)
        elif name == "STOP":
            return stack.pop()
        else:
            raise _Refused(f"the instruction {name}")
    raise ValueError("no end")


def _expect(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise ValueError(f"a {kind.__name__} was expected")
    return value


def _set_items(target: dict[Any, Any], items: list[Any]) -> None:
    for key, value in zip(items[::2], items[1::2], strict=True):
        # A nested tuple as a key could take exponential time to hash.
        if not isinstance(key, (str, bytes, int)):
            raise _Refused("a dictionary whose keys are not strings or numbers")
        target[key] = value


def _find(module: Any, name: Any) -> _Global:
    known = _KNOWN_GLOBALS.get((_expect(module, str), _expect(name, str)))
    if known is None:
        raise _Refused(f"a reference to {module}.{name}")
    return _Global(known)


def _call(function: Any, arguments: tuple[Any, ...]) -> Any:
    if function == _Global("reconstruct"):
        if arguments[0] != _Global("ndarray"):
            raise _Refused("an array of a type that is not numpy.ndarray")
        return _Array()
    if function == _Global("dtype"):
        code = arguments[0]
        return _DType(code.decode("ascii") if isinstance(code, bytes) else _expect(code, str))
    if function == _Global("encode"):
        text, encoding = arguments
        if encoding not in ("latin1", "latin-1", b"latin1"):
            raise _Refused(f"text in the encoding {encoding!r}")
        return _expect(text, str).encode("latin-1")
    raise _Refused("a function call")


def _set_state(target: Any, state: Any) -> None:
    state = _expect(state, tuple)
    if type(target) is _DType:
        order = state[1]
        target.byte_order = order.decode("ascii") if isinstance(order, bytes) else _expect(order, str)
    elif type(target) is _Array:
        _, shape, dtype, is_fortran, content = state
        resolved = _expect(dtype, _DType).resolve()
        sizes = [_expect(size, int) for size in _expect(shape, tuple)]
        if min(sizes, default=0) < 0 or math.prod(sizes) * resolved.itemsize != len(_expect(content, bytes)):
            raise ValueError(f"an array of shape {tuple(sizes)} with {len(content):,} bytes")
        values = np.frombuffer(content, resolved)
        target.value = values.reshape(sizes[::-1]).T if is_fortran else values.reshape(sizes)
    else:
        raise _Refused("an object with a state")


def _finish(value: Any) -> Any:
    """Replace the stand-ins for arrays where data files have them: at the top or in one dictionary."""
    if type(value) is dict:
        return {key: _finish_array(item) for key, item in value.items()}
    return _finish_array(value)


def _finish_array(value: Any) -> Any:
    if type(value) in (_Global, _DType):
        raise _Refused("a function or a type as a value")
    if type(value) is not _Array:
        return value
    if value.value is None:
        raise ValueError("an array without content")
    return value.value
