"""Several networks as one: they read the same input, and their outputs are averaged.

An ensemble is an ordinary graph, so that it is saved, drawn, exported and trained on like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import inf

import numpy as np

from kmorph.errors import GraphError
from kmorph.graph import Add, Concat, Dense, Graph, GraphBuilder, Rescale
from kmorph.morphs import Limits
from kmorph.search.store.record import ModelRecord
from kmorph.training.race import is_behind


def join(graphs: Sequence[Graph]) -> Graph:
    """One graph whose output is the mean of those of several.

    Where each ends in a dense layer on features, shape ``(features,)``, as all starts do, features are put
    side by side, and the dense layers become one with their kernels below one another, all divided by the
    number of graphs. A network that grew may end otherwise, as with a skip connection to its output; then
    outputs are added and divided. For logits this is the normalised geometric mean of the predicted
    probabilities.

    Parameters
    ----------
    graphs : sequence of Graph
        Of equal input and output shape. With weights if all have some.

    Returns
    -------
    Graph

    Raises
    ------
    GraphError
        If shapes differ.

    References
    ----------
    Hansen and Salamon, "Neural network ensembles", IEEE PAMI 12, 1990.
    """
    first = graphs[0]
    for graph in graphs:
        if (graph.input_shape, graph.output_shape) != (first.input_shape, first.output_shape):
            raise GraphError(
                f"graphs of different shapes cannot be joined: {first.input_shape} to {first.output_shape} "
                f"and {graph.input_shape} to {graph.output_shape}"
            )
    if len(graphs) == 1:
        return first
    builder = GraphBuilder(first.input_shape)
    trained = all(graph.has_weights for graph in graphs)
    no_weights: dict[str, np.ndarray] | None = {} if trained else None  # of a layer that has none to train
    if not all(map(_ends_in_dense, graphs)):
        outputs = [_add_layers(builder, graph, len(graph.layers)) for graph in graphs]
        total = builder.add(Add(), *outputs, weights=no_weights)
        builder.add(Rescale(1 / len(graphs)), total, weights=no_weights)
        return builder.build()
    features = [_add_layers(builder, graph, len(graph.layers) - 1) for graph in graphs]
    builder.add(Concat(), *features, weights=no_weights)
    weights = None
    if trained:
        last = [graph.layer_weights(len(graph.layers) - 1) for graph in graphs]
        biases = [layer.get("bias", np.zeros(first.output_shape, np.float32)) for layer in last]
        weights = {
            "kernel": np.concatenate([layer["kernel"] for layer in last]) / np.float32(len(graphs)),
            "bias": np.mean(biases, axis=0, dtype=np.float32),
        }
    builder.add(Dense(first.output_shape[0]), weights=weights)
    return builder.build()


def _ends_in_dense(graph: Graph) -> bool:
    return isinstance(graph.layers[-1], Dense) and len(graph.node_shapes[graph.inputs[-1][0]]) == 1


def _add_layers(builder: GraphBuilder, graph: Graph, number: int) -> int:
    """Add the first layers of a graph; returns the node that the next one reads, or the output after all."""
    nodes = [0]
    for i, layer in enumerate(graph.layers[:number]):
        weights = graph.layer_weights(i) if graph.has_weights else None
        nodes.append(builder.add(layer, *(nodes[n] for n in graph.inputs[i]), weights=weights))
    return nodes[graph.inputs[number][0] if number < len(graph.layers) else -1]


def within_limits(members: Sequence[Graph | ModelRecord], limits: Limits) -> bool:
    """Return whether the mean of networks keeps the limits of a single one."""
    n_parameters = sum(member.n_parameters for member in members)
    flops = sum(member.flops for member in members)
    return n_parameters <= (limits.max_parameters or inf) and flops <= (limits.max_flops or inf)


def choose_members(
    best: ModelRecord,
    records: Sequence[ModelRecord],
    outputs: Mapping[int, np.ndarray],
    losses: Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]],
    fits: Callable[[list[ModelRecord]], bool],
    most: int,
    least: int = 1,
    wanted: int = 1,
) -> list[ModelRecord]:
    """Models whose mean predicts best, found one after the other: each lowers the mean's loss the most.

    Parameters
    ----------
    best : ModelRecord
        The first member.
    records : sequence of ModelRecord
        Measured models; the best one may be among them.
    outputs : mapping from model id to ndarray, shape (n, width)
        Of the networks, for the validation examples. A model without any is only chosen if it is the best;
        and if the best has none, the fewest are those with the lowest loss.
    losses : callable
        Gives the losses of these examples, each of shape (n,), for several outputs of shape (n, width).
    fits : callable
        Whether a list of members keeps the limits of the search.
    most, least : int
        Most and fewest members.
    wanted : int, default=1
        Members up to which one may raise the loss, but not beyond chance. After that, one must lower it by
        more than its standard error: of many models some fit the validation examples by chance.

    Returns
    -------
    list of ModelRecord
        The best one first.

    References
    ----------
    Caruana, Niculescu-Mizil, Crew and Ksikes, "Ensemble selection from libraries of models", ICML 2004.
    """
    ranked = sorted(records, key=lambda record: record.loss or 0.0)
    ranked = [record for record in ranked if record.model_id != best.model_id]
    members = [best]
    others = [record for record in ranked if record.model_id in outputs]
    if best.model_id not in outputs:
        for record in ranked:
            if len(members) < min(max(least, wanted), most) and fits([*members, record]):
                members.append(record)
        return members
    total = np.asarray(outputs[best.model_id], np.float64)
    (before,) = losses([total])
    while others and len(members) < most:
        n = len(members) + 1
        fitting = [record for record in others if fits([*members, record])]
        if not fitting:
            break
        found = losses([(total + outputs[record.model_id]) / n for record in fitting])
        lower, record = min(zip(found, fitting, strict=True), key=lambda pair: float(pair[0].mean()))
        gain = before - lower
        adds = not is_behind(lower, before) if n <= wanted else gain.mean() > gain.std() / np.sqrt(len(gain))
        if n > least and not adds:
            break
        total, before = total + outputs[record.model_id], lower
        members.append(record)
        others.remove(record)
    return members
