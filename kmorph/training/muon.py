"""Muon: the momentum of a kernel is replaced by the nearest orthogonal matrix before it is applied.

So all directions in which a kernel can change get the same share of a step, where gradient descent follows
the few that gradients favour. The rule is for matrices inside a network. The last layer, vectors, and kernels
that are no map from all channels to all channels (depthwise ones, those of layers that kmorph does not know)
are trained by gradient descent with Nesterov momentum.

References: Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024; Bernstein and
Newhouse, "Old Optimizer, New Norm: An Anthology", arXiv:2409.20325.
"""

from __future__ import annotations

from math import prod, sqrt
from typing import TYPE_CHECKING, Any

from kmorph.graph import Channels, Graph
from kmorph.graph.keras_bridge import variables_of

if TYPE_CHECKING:
    import keras

MUON_MOMENTUM = 0.6
MUON_RATE = 0.5  # size of a step relative to the learning rate of gradient descent
ITERATIONS = 5
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic iteration of Newton and Schulz, by Jordan et al.
EPSILON = 1e-7
STACKED = 2**16  # elements of a matrix up to which stacking costs less than the calls it saves


def trained_by_muon(graph: Graph, model: keras.Model) -> list[bool]:
    """Return, for each trainable variable of a graph's Keras model, whether Muon trains it."""
    maps: dict[int, int] = {}
    for layer, names, variables in variables_of(model, graph):
        parameters = graph.parameters(layer)
        mixes = graph.layers[layer].channels(*graph.input_shapes(layer)) is Channels.MIX
        for name, variable in zip(names, variables, strict=True):
            axes = parameters[name].axes
            if mixes and axes[-2:] == ("input", "output") and not any(axes[:-2]):
                maps[id(variable)] = layer
    last = max(maps.values(), default=-1)
    return [maps.get(id(variable), last) != last for variable in model.trainable_variables]


def step_size(shape: tuple[int, ...]) -> float:
    """The factor by which an orthogonal matrix becomes as large as a kernel freshly drawn ("he_normal")."""
    rows, columns = prod(shape[:-1]), shape[-1]
    return sqrt(2.0 * max(1.0, columns / rows))


def orthogonal(updates: list[Any]) -> list[Any]:
    """For each update the nearest matrix whose singular values are all about 1.

    They come out between 0.7 and 1.2, which trains as well as exact ones (Jordan et al.); singular values
    below a thousandth of the norm are not raised as far, and zero stays zero.

    The iteration X ← (a + b X Xᵀ + c (X Xᵀ)²) X multiplies X by polynomials of its Gram matrix, which all
    commute. So it is done on the Gram matrix of the shorter side, and X is multiplied once in the end.
    Small matrices of one shape are stacked.

    Parameters
    ----------
    updates : list of tensor of Keras' backend, shape (*window, inputs, outputs)
        Each taken as a matrix of `outputs` columns.

    Returns
    -------
    list of tensor of the same shapes
    """
    from keras import ops

    stacks: dict[tuple[int, int, int], list[int]] = {}
    for i, update in enumerate(updates):
        alone = i if prod(update.shape) > STACKED else -1
        stacks.setdefault((prod(update.shape[:-1]), update.shape[-1], alone), []).append(i)
    found = list(updates)
    for (rows, columns, _), places in stacks.items():
        stack = ops.stack([ops.reshape(updates[i], (rows, columns)) for i in places])
        for i, matrix in zip(places, ops.unstack(_orthogonal(stack)), strict=True):
            found[i] = ops.reshape(matrix, updates[i].shape)
    return found


def _orthogonal(matrices: Any) -> Any:
    """The same for a stack of matrices, shape (n, rows, columns)."""
    from keras import ops

    a, b, c = COEFFICIENTS
    rows, columns = matrices.shape[1:]
    turned = ops.transpose(matrices, (0, 2, 1))
    gram = ops.matmul(turned, matrices) if rows > columns else ops.matmul(matrices, turned)
    norms = ops.sqrt(ops.sum(ops.square(matrices), axis=(1, 2), keepdims=True)) + EPSILON
    gram = gram / ops.square(norms)
    one = ops.eye(min(rows, columns), dtype="float32")
    product = one
    for _ in range(ITERATIONS):
        factor = a * one + b * gram + c * ops.matmul(gram, gram)
        product = ops.matmul(factor, product)
        gram = ops.matmul(ops.matmul(factor, gram), factor)
    product = product / norms
    return ops.matmul(matrices, product) if rows > columns else ops.matmul(product, matrices)
