"""The architectures a search begins from; a new one is one file and one entry in `KINDS`."""

from __future__ import annotations

from collections.abc import Callable

from kmorph.graph import Graph
from kmorph.starts.cnn import cnn
from kmorph.starts.densenet import densenet
from kmorph.starts.mlp import mlp
from kmorph.starts.resnet import resnet

KINDS: dict[str, Callable[..., Graph]] = {
    "resnet": resnet,
    "cnn": cnn,
    "densenet": densenet,
    "mlp": mlp,
}

__all__ = ["KINDS", "cnn", "densenet", "mlp", "resnet"]
