"""From graphs to PyTorch: the source of a class, and a module made of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kmorph.errors import ExportError
from kmorph.graph.keras_bridge import layer_name
from kmorph.graph.layers import ChannelScale, Embedding
from kmorph.graph.torch_layers import torch_code
from kmorph.graph.torch_piece import Piece, channels_first, channels_last

if TYPE_CHECKING:
    import torch

    from kmorph.graph.graph import Graph


@dataclass(frozen=True)
class TorchClass:
    """A subclass of ``torch.nn.Module`` as Python source, and what it computes with.

    Parameters
    ----------
    source : str
        Needs the names ``torch`` and ``nn`` (``torch.nn``).
    state : dict of arrays
        Weights, and constants such as a mean, by their names in ``state_dict()``. Without weights of the
        graph the constants alone.
    """

    source: str
    state: dict[str, np.ndarray]


def require_torch() -> Any:
    """Import PyTorch.

    Raises
    ------
    ExportError
        If it is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise ExportError(
            f"this needs PyTorch, which cannot be imported ({error}): run `pip install 'kmorph[torch]'`"
        ) from error
    return torch


def to_torch(graph: Graph, weights: bool = True) -> torch.nn.Module:
    """Compile a graph; see `Graph.to_torch`."""
    torch = require_torch()
    weights = weights and graph.has_weights
    written = torch_class(graph if weights else graph.without_weights(), "Network")
    network = module_of(written.source, "Network", written.state)
    # Unlike the class, which no other process can import, what `trace` gives can be copied and pickled.
    traced = torch.fx.GraphModule(network, torch.fx.Tracer().trace(network), class_name="Network")
    return traced.train(not weights)


def module_of(source: str, name: str, state: dict[str, np.ndarray]) -> torch.nn.Module:
    """An instance of a class in float32, with these parameters and buffers; others are as the class has them.

    Parameters
    ----------
    source : str
        Of the class and those that it uses; see `TorchClass`.
    name : str
        Of the class.
    state : dict of arrays
    """
    import torch

    names: dict[str, Any] = {"torch": torch, "nn": torch.nn}
    exec(compile(source, "<kmorph network>", "exec"), names)
    module = names[name]().float()
    arrays = {key: torch.tensor(np.array(array)) for key, array in state.items()}
    module.load_state_dict({**module.state_dict(), **arrays})
    return module


def torch_class(graph: Graph, name: str, raw: bool = True) -> TorchClass:
    """Write a graph as a class.

    Parameters
    ----------
    graph : Graph
        With weights or without.
    name : str
        Of the class.
    raw : bool, default=True
        Whether its input may be of any dtype, such as bytes.

    Raises
    ------
    ExportError
        If a layer has no counterpart in PyTorch.
    """
    variables = _variables(graph)
    setup, state = ["super().__init__()"], {}
    forward = [f"{variables[0]} = {_begin(graph, raw)}"]
    for i, (layer, nodes) in enumerate(zip(graph.layers, graph.inputs, strict=True)):
        piece = Piece(
            name=layer_name(graph, i),
            shapes=graph.input_shapes(i),
            nodes=[variables[node] for node in nodes],
            weights=graph.layer_weights(i) if graph.has_weights else {},
        )
        forward.append(f"{variables[i + 1]} = {torch_code(layer, piece)}")
        if not layer.trainable and _is_trained(graph, i):
            piece.freeze()
        setup += piece.setup
        state.update(piece.state)
    given, result = graph.input_shape, graph.output_shape
    forward.append(f"return {channels_last(variables[-1], len(result) - 1)}")
    if forward[0] == "x = x":
        del forward[0]
    lines = [
        f"class {name}(nn.Module):",
        f'    """{_batch(given)} to {_batch(result)}."""',
        "",
        "    def __init__(self):",
        *(f"        {line}" for line in setup),
        "",
        "    def forward(self, x):",
        *(f"        {line}" for line in forward),
    ]
    return TorchClass("\n".join(lines) + "\n", state)


def _variables(graph: Graph) -> list[str]:
    """For each node the variable that holds it: ``x`` where only the next layer reads it."""
    last = len(graph.layers)
    names = ["input", *(layer_name(graph, i) for i in range(last))]
    return [
        "x" if node == last or {layer for _, layer in graph.adjacency[node]} == {node} else name
        for node, name in enumerate(names)
    ]


def _begin(graph: Graph, raw: bool) -> str:
    """The input, channels first, in the dtype of the first parameter, which ``module.half()`` changes."""
    x = "x"
    readers = [graph.layers[layer] for _, layer in graph.adjacency[0]]
    if raw and not all(isinstance(layer, Embedding) for layer in readers):
        trained = [i for i in range(len(graph.layers)) if _is_trained(graph, i)]
        x = "x.float()"
        if trained:
            name, is_gain = layer_name(graph, trained[0]), isinstance(graph.layers[trained[0]], ChannelScale)
            x = f"x.to(self.{name}{'' if is_gain else '.weight'}.dtype)"
    return channels_first(x, len(graph.input_shape) - 1)


def _is_trained(graph: Graph, layer: int) -> bool:
    """True if a layer has parameters, rather than none or statistics alone."""
    return any(parameter.trainable for parameter in graph.parameters(layer).values())


def _batch(shape: tuple[int, ...]) -> str:
    return f"(n, {', '.join(map(str, shape))})"
