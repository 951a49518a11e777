"""Sizes of the networks that a search begins with, for given amounts of data and time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import sqrt
from typing import Any

from kmorph import starts
from kmorph.graph import Graph

# Epochs that a network should get in two minutes; in more time so many more, to this power.
EPOCHS = 5.0
EXPONENT = 0.6
EXAMPLES = 4_000  # that the default width is enough for; four times as many take twice the width
WIDEST = 4.0  # largest width, as a multiple of the default
PROBED = 1.5  # width at which speed is measured: wide networks keep processors busier than narrow ones
LEAST_FACTOR = 1.2  # a smaller difference is left to growing
# Time that a multiply-add takes, beside one of a residual network: many small layers do not keep a CPU busy.
COSTS = {"densenet": 2.2}


def sized_starts(
    names: Sequence[str],
    input_shape: tuple[int, ...],
    outputs: int,
    n: int,
    time_limit: float | None,
    power: Callable[[Graph], float],
) -> tuple[Any, ...]:
    """Starts as wide as time and data allow: what is begun large need not be grown.

    All of them cost the same. Starts are compared after equal times, where one that costs half has seen twice
    the images: it is ahead then, and behind in the end.

    Parameters
    ----------
    names : sequence of str
        Of convolutional starts.
    input_shape : tuple of int
    outputs : int
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
    default = starts.default_width(names[0], input_shape)
    start, probe = (
        starts.KINDS[names[0]](input_shape, outputs, width=wide)
        for wide in (default, _whole(PROBED * default))
    )
    epochs = time_limit * power(probe) / max(start.flops, 1) / n
    enough = EPOCHS * (time_limit / 120) ** EXPONENT
    factor = min(sqrt(epochs / enough), widest)
    width = default if factor < LEAST_FACTOR else _whole(factor * default)
    price = _cost(names[0], input_shape, outputs, width)
    widths = [width * sqrt(price / _cost(name, input_shape, outputs, width)) for name in names]
    return tuple((name, {"width": _whole(wide)}) for name, wide in zip(names, widths, strict=True))


def _whole(width: float) -> int:
    """The nearest width of whole blocks of numbers that processors multiply at once."""
    return max(8, 16 * round(width / 16))


def _cost(name: str, input_shape: tuple[int, ...], outputs: int, width: int) -> float:
    """Cost of training a start on one example, in multiply-adds of a residual network."""
    return starts.KINDS[name](input_shape, outputs, width=width).flops * COSTS.get(name, 1.0)
