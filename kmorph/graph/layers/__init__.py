"""The kinds of layers a graph is made of; a new kind is one file and one line in `registry`."""

from kmorph.graph.layers.activation import FUNCTIONS, Activation
from kmorph.graph.layers.base import (
    ACTIVATIONS,
    ANY,
    Channels,
    Layer,
    Parameter,
    Range,
    Role,
    Shape,
    Weights,
    stock_layer,
)
from kmorph.graph.layers.batch_norm import BatchNorm
from kmorph.graph.layers.conv import Conv
from kmorph.graph.layers.dense import Dense
from kmorph.graph.layers.dropout import Dropout
from kmorph.graph.layers.embedding import Embedding
from kmorph.graph.layers.merging import Add, Concat, Multiply
from kmorph.graph.layers.norm import GroupNorm, LayerNorm
from kmorph.graph.layers.opaque import Opaque
from kmorph.graph.layers.pool import GlobalPool, Pool
from kmorph.graph.layers.registry import (
    BY_KIND,
    KINDS,
    kind_of_keras_class,
    layer_from_json,
    modules_to_import,
    register_layer,
    registered_layers,
)
from kmorph.graph.layers.scaling import ChannelScale, Normalize, Rescale, affine
from kmorph.graph.layers.shaping import Flatten, Reshape, ZeroPadding

__all__ = [
    "ACTIVATIONS",
    "ANY",
    "BY_KIND",
    "FUNCTIONS",
    "KINDS",
    "Activation",
    "Add",
    "BatchNorm",
    "ChannelScale",
    "Channels",
    "Concat",
    "Conv",
    "Dense",
    "Dropout",
    "Embedding",
    "Flatten",
    "GlobalPool",
    "GroupNorm",
    "Layer",
    "LayerNorm",
    "Multiply",
    "Normalize",
    "Opaque",
    "Parameter",
    "Pool",
    "Range",
    "Rescale",
    "Reshape",
    "Role",
    "Shape",
    "Weights",
    "ZeroPadding",
    "affine",
    "kind_of_keras_class",
    "layer_from_json",
    "modules_to_import",
    "register_layer",
    "registered_layers",
    "stock_layer",
]
