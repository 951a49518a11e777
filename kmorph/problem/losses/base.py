"""The protocol of losses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from kmorph.problem.targets.base import Target


class Loss(ABC):
    """A number for each example, from its code and the network's outputs, that training lowers.

    It stands twice: as tensors of any backend of Keras, for the compiled step, and as arrays, for what is
    decided outside of it (losses on validation data, races, the choice of an ensemble's members).

    Attributes
    ----------
    name : str
        As it is stored in a search's folder.
    is_per_example : bool
        False if it gives one value a batch: then nothing can be compared example by example.
    smooths : bool
        True if the hyperparameter ``label_smoothing`` means something.
    mark : str
        Tells losses of the user's own apart that have the same name.
    """

    name: str
    is_per_example = True
    smooths = False
    mark: str = ""

    @abstractmethod
    def tensors(self, codes: Any, outputs: Any, target: Target, smoothing: float = 0.0) -> Any:
        """Losses of a batch, a float32 tensor of shape (n,), or of shape () if not `is_per_example`.

        Parameters
        ----------
        codes : tensor, shape (n,) or (n, width)
        outputs : tensor of float32, shape (n, width)
        target : Target
        smoothing : float, default=0.0
            Share of the target spread evenly over the classes.
        """

    @abstractmethod
    def arrays(self, codes: np.ndarray, outputs: np.ndarray, target: Target) -> np.ndarray:
        """Losses without smoothing, float32 of shape (n,), from arrays of the same shapes."""
