"""Pickling estimators: for deployment, what is bound to the process they were made in stays behind."""

from __future__ import annotations

import inspect
import pickle
import threading
import warnings
from typing import Any

import cloudpickle
from sklearn.base import BaseEstimator

from kmorph.problem.own import pack, unpack

LEFT_OUT = "_left_out"
"""Attribute of an unpickled estimator: names of arguments that could not travel."""

_DEFAULTS = (None, ())  # of arguments that may be left out

_under_way = threading.local()


class _ByValue:
    """Stands in a pickle for an object that pickle alone cannot take, and comes back as that object."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def __reduce__(self) -> tuple[Any, ...]:
        return pickle.loads, (self.content,)


class _OfKeras:
    """Stands in a pickle for an object of Keras', which Keras itself would not pickle completely."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def __reduce__(self) -> tuple[Any, ...]:
        return unpack, (self.content,)


def kept_in_pickle(
    estimator: BaseEstimator, state: dict[str, Any], arguments: dict[str, Any]
) -> dict[str, Any]:
    """State of an estimator that can be pickled.

    Functions that pickle knows by no name (lambdas, functions of a notebook) are stored by value. Arguments
    that belong to the process, as executors, locks and open files do, are left out: the default of the
    constructor takes their place, and the next `fit` warns of it.

    Parameters
    ----------
    estimator : BaseEstimator
    state : dict
        What would be pickled.
    arguments : dict
        The constructor's arguments, part of the state.
    """
    under_way: set[int] = _under_way.__dict__.setdefault("estimators", set())
    if id(estimator) in under_way:  # an argument refers to the estimator that it belongs to
        return state
    under_way.add(id(estimator))
    try:
        parameters = inspect.signature(type(estimator).__init__).parameters
        left_out = list(state.get(LEFT_OUT, ()))
        for name, value in arguments.items():
            if value is None or isinstance(value, bool | int | float | str | bytes):
                continue
            if hasattr(value, "get_config") and not isinstance(value, type):
                state[name] = _OfKeras(pack(value, name, "leave it out"))
                continue
            for attempt in (pickle.dumps, cloudpickle.dumps):
                try:
                    content = attempt(value)
                except Exception:  # objects raise whatever they like when they cannot be pickled
                    continue
                if attempt is not pickle.dumps:
                    state[name] = _ByValue(content)
                break
            else:
                state[name] = parameters[name].default
                left_out.append(name)
        if left_out:
            state[LEFT_OUT] = tuple(left_out)
    finally:
        under_way.discard(id(estimator))
    return state


def warn_of_left_out(estimator: BaseEstimator) -> None:
    """Warn before a fit if the estimator was unpickled without arguments that could not be pickled."""
    names = [name for name in estimator.__dict__.pop(LEFT_OUT, ()) if getattr(estimator, name) in _DEFAULTS]
    if names:
        warnings.warn(
            f"{', '.join(names)} could not be pickled with this {type(estimator).__name__}, and the default "
            f"is used instead: set {'them' if len(names) > 1 else 'it'} again with set_params",
            stacklevel=3,
        )
