"""How large the networks are that a search begins with, for so much data and so much time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import sqrt
from typing import Any

from kmorph import starts
from kmorph.graph import Graph
from kmorph.starts.sizing import Sizing

# Epochs that a network should get in two minutes; in more time so many more, to this power.
EPOCHS = 6.0
EXPONENT = 0.6
EXAMPLES = 15_000  # that the default width is enough for; four times as many take twice the width
WIDEST = 2.0  # largest width, as a multiple of the default
LEAST_FACTOR = 1.2  # a smaller difference is left to growing


def sized_starts(
    names: Sequence[str],
    input_shape: tuple[int, ...],
    n: int,
    time_limit: float | None,
    power: Callable[[Graph], float],
) -> tuple[Any, ...]:
    """Starts as wide as time and data allow: what is begun large need not be grown.

    Parameters
    ----------
    names : sequence of str
        Of convolutional starts.
    input_shape : tuple of int
    n : int
        Training examples.
    time_limit : float or None
        Seconds. None: the default size, there is time to grow.
    power : callable
        Tells how many multiply-adds per second a graph is trained with here; asked only where it matters.

    Returns
    -------
    tuple of str or (str, dict)
        What `kmorph.tasks.options.choose_starts` takes.
    """
    widest = min(sqrt(n / EXAMPLES), WIDEST)
    if time_limit is None or widest < LEAST_FACTOR:
        return tuple(names)
    start = starts.KINDS[names[0]](input_shape, 10)
    epochs = time_limit * power(start) / max(start.flops, 1) / n
    enough = EPOCHS * (time_limit / 120) ** EXPONENT
    factor = min(sqrt(epochs / enough), widest)
    if factor < LEAST_FACTOR:
        return tuple(names)
    default = Sizing.of(input_shape, None, None, None, None).width
    width = 8 * round(factor * default / 8)
    return tuple((name, {"width": width}) for name in names)
