"""The architectures a search begins from; a new one is one file and one entry in `KINDS`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kmorph.graph import Graph
from kmorph.starts.bag import bag
from kmorph.starts.cnn import WIDTHS as CNN_WIDTHS
from kmorph.starts.cnn import cnn
from kmorph.starts.densenet import densenet
from kmorph.starts.fcn import WIDTHS as FCN_WIDTHS
from kmorph.starts.fcn import fcn
from kmorph.starts.mlp import mlp
from kmorph.starts.resnet import resnet
from kmorph.starts.sizing import WIDTHS

KINDS: dict[str, Callable[..., Graph]] = {
    "resnet": resnet,
    "cnn": cnn,
    "densenet": densenet,
    "fcn": fcn,
    "mlp": mlp,
    "bag": bag,
}


def default_width(name: str, input_shape: Sequence[int]) -> int:
    """The `width` that a convolutional start has if none is given."""
    return {"cnn": CNN_WIDTHS, "fcn": FCN_WIDTHS}.get(name, WIDTHS)[len(input_shape) - 1]


__all__ = ["KINDS", "bag", "cnn", "default_width", "densenet", "fcn", "mlp", "resnet"]
