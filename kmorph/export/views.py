"""A model that takes the mean of its outputs over several views of each example."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from kmorph.graph.keras_bridge import functional, input_tensor
from kmorph.graph.layers.base import stock_layer
from kmorph.problem import Input

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Views:
    """Views of the examples of one input.

    Parameters
    ----------
    input : Input
    kinds : tuple of str
        The random changes of training examples that keep their target, by name.
    """

    input: Input
    kinds: tuple[str, ...]

    def over(self, model: keras.Model) -> keras.Model:
        """The same model, averaged: each view costs as much as a prediction without.

        Parameters
        ----------
        model : keras.Model
            From examples to one vector each.
        """
        examples = input_tensor(model.input_shape[1:])
        groups = self.input.views(examples, self.kinds)
        means = [_mean([model(view) for view in group]) for group in groups]
        return functional(examples, _mean(means), "kmorph_views")

    def positions(self) -> tuple[np.ndarray, np.ndarray]:
        """Where each view takes its values from, for formats that know no Keras layers.

        Returns
        -------
        positions : ndarray of int, shape (views, positions)
            Counted over the examples' axes but the last.
        weights : ndarray, shape (views,)
            With which the outputs are averaged.
        """
        space = self.input.shape[:-1]
        examples = input_tensor((*space, 1))
        groups = self.input.views(examples, self.kinds)
        model = functional(examples, [view for group in groups for view in group], "kmorph_positions")
        counted = np.arange(prod(space), dtype=np.float32).reshape(1, *space, 1)
        views = model.predict_on_batch(counted)
        weights = [1 / len(groups) / len(group) for group in groups for _ in group]
        return np.asarray(views).astype(np.int64).reshape(len(weights), -1), np.array(weights)


def _mean(outputs: list[Any]) -> Any:
    return outputs[0] if len(outputs) == 1 else stock_layer("Average")(outputs)
