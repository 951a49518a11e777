"""Problems on their way to workers."""

from __future__ import annotations

import functools

from kmorph.errors import DataError
from kmorph.problem.problem import Problem


def pack_problem(problem: Problem) -> bytes:
    """A problem in a form that reaches a worker through any executor, classes of a script included.

    Raises
    ------
    DataError
        If its input or target holds something that cannot be pickled.
    """
    import cloudpickle

    try:
        return cloudpickle.dumps(problem)
    except Exception as error:
        raise DataError(
            f"the problem cannot be sent to a worker ({type(error).__name__}: {error}): keep to plain values "
            "in the fields of inputs and targets"
        ) from error


@functools.lru_cache(maxsize=2)
def unpack_problem(packed: bytes | None) -> Problem | None:
    """The problem that was packed."""
    import cloudpickle

    return None if packed is None else cloudpickle.loads(packed)
