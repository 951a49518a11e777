"""The source of an exported model in PyTorch: a network, the mean over views of an example, and scores."""

from __future__ import annotations

from dataclasses import dataclass
from pprint import pformat
from textwrap import indent

import numpy as np

from kmorph.errors import ExportError
from kmorph.export.views import Views
from kmorph.export.wrap import back_layers
from kmorph.graph import Graph, GraphBuilder
from kmorph.graph.torch_bridge import torch_class
from kmorph.problem import ImageInput, Input, LabelSets, Target, TextInput
from kmorph.problem.targets.label_sets import THRESHOLD

WIDTH = 96  # characters of a line of labels

_HEADER = '''\
"""A network found by kmorph, in plain PyTorch; needs the packages torch and safetensors.

    from model import load

    model = load()  # with its weights, in evaluation mode
{use}

{meaning}

``torch.export.load("model.pt2").module()`` is the same model without this file, for batches of float32.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
'''

_LOAD = '''\
def load(folder=Path(__file__).parent):
    """The model with the weights in a folder, in evaluation mode."""
    model = Model()
    model.load_state_dict(load_file(Path(folder) / "model.safetensors"))
    return model.eval()
'''

_MODEL = '''\
class Model(nn.Module):
    """{about}"""
{labels}
    def __init__(self):
        super().__init__()
        self.network = Network()
{scores}
    def forward(self, x):
        if tuple(x.shape[1:]) != {shape}:
            raise ValueError(f"expected examples of shape {shape}, got a batch of shape {{tuple(x.shape)}}")
{means}        return {result}
'''

_VIEWS = '''\
def views_of(images):
    """Groups of views of images (n, height, width, channels), to be averaged in each and then over them."""
    groups = [[images]]
{changes}
    return groups
'''

_SHIFTED = '''\
def shifted(images, by):
    """Images moved by a pixel down and to the right (1), or up and to the left (-1), with edges repeated."""
    rows, columns = (torch.arange(size, device=images.device) - by for size in images.shape[1:3])
    return images[:, rows.clamp(0, len(rows) - 1)][:, :, columns.clamp(0, len(columns) - 1)]
'''

_CHANGES = {
    "shift": "    groups.append([shifted(images, 1), shifted(images, -1)])",
    "flip": "    groups = [[*group, *(view.flip(2) for view in group)] for group in groups]",
}

_MEANS = """\
        means = [torch.stack([self.network(view) for view in group]).mean(0) for group in views_of(x)]
"""


@dataclass(frozen=True)
class TorchModel:
    """An exported model as source.

    Parameters
    ----------
    source : str
        Of the class ``Model`` and all that it uses; needs ``torch`` and ``nn``.
    file : str
        The same as a whole module.
    state : dict of arrays
        Its weights and constants by name.
    """

    source: str
    file: str
    state: dict[str, np.ndarray]


def torch_model(graph: Graph, target: Target, views: Views | None, input: Input | None) -> TorchModel:
    """Write a network with all that makes scores of its outputs.

    Parameters
    ----------
    graph : Graph
        With weights.
    target : Target
    views : Views, optional
        Over which outputs are averaged.
    input : Input, optional
        Encodes examples outside of the model where they are texts.

    Raises
    ------
    ExportError
        If a layer, or the views, have no counterpart in PyTorch; they are named.
    """
    network = torch_class(graph, "Network")
    state = {f"network.{name}": array for name, array in network.state.items()}
    parts = [network.source]
    kinds = _kinds(views)
    outputs = "torch.stack(means).mean(0)" if kinds else "self.network(x)"
    if kinds:
        parts += [_SHIFTED] * ("shift" in kinds)
        parts.append(_VIEWS.format(changes="\n".join(_CHANGES[kind] for kind in kinds)))
    layers = back_layers(graph, target)
    scores = ""
    if layers:
        builder = GraphBuilder(graph.output_shape)
        for layer, weights in layers:
            builder.add(layer, weights=weights)
        back = torch_class(builder.build(), "Scores", raw=False)
        parts.append(back.source)
        state |= {f"scores.{name}": array for name, array in back.state.items()}
        scores = "        self.scores = Scores().requires_grad_(False)\n"
        outputs = f"self.scores({outputs})"
    labels = "" if target.is_numeric else f"\n{_assigned('labels', target.names)}\n"
    shape = ", ".join(map(str, graph.input_shape))
    about = f"Raw examples (n, {shape}) to {_result(target)}."
    means = _MEANS if kinds else ""
    parts.append(
        _MODEL.format(
            about=about, labels=labels, scores=scores, means=means, result=outputs, shape=graph.input_shape
        )
    )
    source = "\n\n".join(parts)
    header = _HEADER.format(use=indent(_use(graph, target, input), "    "), meaning=_meaning(target))
    return TorchModel(source, "\n\n".join([header, source, _LOAD]), state)


def _kinds(views: Views | None) -> list[str]:
    """The views that PyTorch makes, in Keras' order."""
    if views is None or type(views.input).views is Input.views:
        return []
    if type(views.input).views is not ImageInput.views:
        raise ExportError(
            f"the views of {type(views.input).__name__} cannot be written in PyTorch: set views=False, or "
            "write a .keras file or a SavedModel"
        )
    return [kind for kind in _CHANGES if kind in views.kinds]


def _assigned(name: str, values: tuple[str, ...]) -> str:
    return indent(f"{name} = {pformat(values, width=WIDTH, compact=True)}", "    ")


def _result(target: Target) -> str:
    return "numbers" if target.is_numeric else "scores, the probability of each of `labels`"


def _use(graph: Graph, target: Target, input: Input | None) -> str:
    """Lines of an example."""
    shape = ", ".join(map(str, graph.input_shape))
    lines = []
    if isinstance(input, TextInput):
        lines.append("x = torch.from_numpy(encode_texts.encode(texts))  # texts: a list")
        given = f"(n, {shape})"
    else:
        last = ", channels last" if len(graph.input_shape) > 1 else ""
        given = f"x: a tensor (n, {shape}){last}, bytes or floats"
    if target.is_numeric:
        return "\n".join([*lines, f"numbers = model(x)  # {given}"])
    lines.append(f"scores = model(x)  # {given}")
    if isinstance(target, LabelSets):
        some = f"[label for label, score in zip(model.labels, row) if score >= {THRESHOLD}]"
        lines.append(f"labels = [{some} for row in scores]")
    else:
        lines.append("labels = [model.labels[i] for i in scores.argmax(1)]")
    return "\n".join(lines)


def _meaning(target: Target) -> str:
    if target.is_numeric:
        return (
            "Numbers are in the units that the model was fitted on. To train on: `model.train()`, and\n"
            "a loss of `model(x)`; `model.scores`, which brings numbers into their units, stays."
        )
    return (
        "Scores are the probabilities of `labels`. To train on: `model.train()`, and a loss of\n"
        "`model.network(x)`, the logits."
    )
