"""Tables of vectors: the row of each entry moves by the same length whenever an example has the entry.

A gradient of the mean over a batch is tiny for the row of a rare word, which one example of the batch has;
steps in proportion to it would hardly move that row in any number of epochs. So the gradient of each row is
scaled to one length, and rows of entries that the batch has not stay as they are.

Reference: Bernstein and Newhouse, "Modular Duality in Deep Learning", arXiv:2410.21265, 2024, where this is
the steepest descent of an embedding.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, Any

from kmorph.graph import Graph, Role
from kmorph.graph.keras_bridge import variables_of

if TYPE_CHECKING:
    import keras

ROW_RATE = 0.05  # root mean square of a row's step, relative to the learning rate
LEAST_NORM = 1e-12


def trained_by_rows(graph: Graph, model: keras.Model) -> list[bool]:
    """Return, for each trainable variable of a graph's Keras model, whether it is a table of vectors."""
    tables = {
        id(variable)
        for layer, _, variables in variables_of(model, graph)
        if graph.layers[layer].role() is Role.LOOKUP
        for variable in variables
    }
    return [id(variable) in tables for variable in model.trainable_variables]


def scaled_rows(gradient: Any) -> Any:
    """Rows of one length, where they are not zero; tensor of Keras' backend, shape (entries, units)."""
    from keras import ops

    norms = ops.sqrt(ops.sum(ops.square(gradient), axis=1, keepdims=True))
    factors = ops.where(norms > LEAST_NORM, sqrt(gradient.shape[1]) / ops.maximum(norms, LEAST_NORM), 0.0)
    return gradient * factors
