"""What stands for one layer in the source of a PyTorch class, and where its channels are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kmorph.errors import ExportError
from kmorph.graph.layers import Shape, Weights

MOST_AXES = 3  # of positions that PyTorch's layers slide over


@dataclass
class Piece:
    """One layer on its way into the source of a class.

    Parameters
    ----------
    name : str
        Attribute under which the class keeps the layer.
    shapes : tuple of shapes
        Of the nodes read, channels last as in the graph.
    nodes : list of str
        Variables that hold them.
    weights : dict of arrays
        As the graph has them; empty if it has none.
    """

    name: str
    shapes: tuple[Shape, ...]
    nodes: list[str]
    weights: Weights
    setup: list[str] = field(default_factory=list)
    """Statements of ``__init__``."""
    state: dict[str, np.ndarray] = field(default_factory=dict)
    """Values of parameters and buffers, by their name in the class's ``state_dict``."""

    @property
    def x(self) -> str:
        """The variable read first."""
        return self.nodes[0]

    @property
    def rank(self) -> int:
        """Number of axes of positions."""
        return len(self.shapes[0]) - 1

    @property
    def channels(self) -> int:
        """Channels of the node read first."""
        return self.shapes[0][-1]

    def module(self, kind: str, *arguments: Any, suffix: str = "", **settings: Any) -> str:
        """Keep a module of ``torch.nn``; settings that are None are left out. Returns its name."""
        given = [str(value) for value in arguments]
        given += [f"{key}={value}" for key, value in settings.items() if value is not None]
        self.setup.append(f"self.{self.name}{suffix} = nn.{kind}({', '.join(given)})")
        return f"self.{self.name}{suffix}"

    def keep(self, **arrays: np.ndarray | None) -> None:
        """Give values to parameters and buffers of the layer's module."""
        for name, array in arrays.items():
            if array is not None:
                self.state[f"{self.name}.{name}"] = array

    def buffer(self, name: str, value: str) -> str:
        """Keep constants beside the modules. Returns their name."""
        self.setup.append(f'self.register_buffer("{self.name}_{name}", {value})')
        return f"self.{self.name}_{name}"

    def freeze(self, *names: str) -> None:
        """Keep training from changing parameters of the module; all of them if none is named."""
        for name in names or ("",):
            self.setup.append(f"self.{self.name}{'.' * bool(name)}{name}.requires_grad_(False)")

    def padded(self, margins: Sequence[tuple[int, int]], kind: str = "Zero", value: str = "") -> str:
        """The node read first with numbers around its positions."""
        sides = [size for margin in reversed(margins) for size in margin]  # PyTorch begins with the last axis
        sides_text = f"({', '.join(map(str, sides))})"
        given = [sides_text, *([value] if value else [])]
        return f"{self.module(f'{kind}Pad{len(margins)}d', *given, suffix='_pad')}({self.x})"

    def needs_rank(self, kind: str) -> None:
        """Refuse nodes with more axes than PyTorch's layer takes."""
        if self.rank > MOST_AXES:
            raise ExportError(
                f"layer {self.name!r}: PyTorch has no {kind} over {self.rank} axes of positions; reshape the "
                "node before it to three or fewer"
            )


def channels_last(x: str, rank: int) -> str:
    """A node of so many axes of positions, with its channels behind them."""
    return f"{x}.movedim(1, -1)" if rank else x


def channels_first(x: str, rank: int) -> str:
    """The same with its channels in front of them."""
    return f"{x}.movedim(-1, 1)" if rank else x
