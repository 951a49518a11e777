"""The settings of a search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from kmorph.graph import Graph
from kmorph.morphs import Limits, Morph
from kmorph.problem import Objective, Problem
from kmorph.problem.packing import pack_problem
from kmorph.problem.problem import classification_of_images
from kmorph.search.space import Space
from kmorph.training.plan import Hyperparameters


@dataclass(frozen=True)
class Settings:
    """The task of a search, and its limits.

    Parameters
    ----------
    starts : tuple of (str, Graph)
        Names and architectures, without weights or with (then they begin warm).
    problem : Problem, optional
        What is predicted from what, and the loss; None: classes of images.
    hyperparameters : Hyperparameters
        Of the starts, and of every candidate but for what `space` lets vary.
    space : Space, default=Space()
        Hyperparameters that the search varies.
    augment : tuple of str
        Changes of training images that suit the data; used where enough epochs are to come.
    always_augment : bool, default=False
        Use them also where few epochs are to come.
    limits : Limits
        Bounds of growth.
    kinds : tuple of Morph classes or None
        How networks may grow; None: every way.
    affordable : int, optional
        FLOPs that a network may have in the given time; smaller ones are grown to that size before anything
        else is done. None: no such size is known.
    is_sized : bool, default=False
        Whether kmorph chose the widths of the starts for the time: a search that goes on with another time
        takes such a start for trained whatever its width.
    growth : mapping of str to float, default={}
        By name, how much larger a start is than the user gave it, in FLOPs.
    max_models, max_epochs, patience : int or None
    most_epochs : int, optional
        Number of epochs after which training overfits; `max_epochs` takes precedence.
    max_disk : int, optional
        Bytes that the folder of the search may take.
    min_loss_decrease : float
    merge_validation : bool, default=False
        Whether, under a time limit, the last training is on the validation examples as well.
    ensemble : bool or "auto", default=False
        Whether the last model is the mean of several, at least two; "auto": if their mean is better on the
        validation examples before they settle, or the schedule averages, and each can be trained long
        enough.
    smooths : bool, default=False
        Whether the last training smooths labels by as much as the network is overconfident on the validation
        examples before.
    seed : int
    n_train, n_val : int
        Numbers of training and of validation examples.
    strategy : str or bytes, optional
        How several devices train one model, as `kmorph.training.distribute.pack_strategy` gave it.
    """

    starts: tuple[tuple[str, Graph], ...]
    n_train: int
    problem: Problem | None = None
    hyperparameters: Hyperparameters = field(default_factory=Hyperparameters)
    space: Space = field(default_factory=Space)
    augment: tuple[str, ...] = ()
    always_augment: bool = False
    limits: Limits = field(default_factory=Limits)
    kinds: tuple[type[Morph], ...] | None = None
    affordable: int | None = None
    is_sized: bool = False
    growth: Mapping[str, float] = field(default_factory=dict)
    max_models: int | None = None
    max_disk: int | None = None
    max_epochs: int | None = None
    most_epochs: int | None = None
    patience: int | None = None
    min_loss_decrease: float = 0.0
    merge_validation: bool = False
    ensemble: bool | str = False
    smooths: bool = False
    seed: int = 0
    strategy: str | bytes | None = None
    n_val: int = 0

    @property
    def epochs(self) -> int | None:
        """Maximum number of epochs per training: `max_epochs`, or else `most_epochs`."""
        return self.max_epochs or self.most_epochs

    @property
    def settles_anew(self) -> bool:
        """True if settling starts from new weights.

        Where a few epochs overfit, a lineage has used them up by the time it settles. Starts that come with
        the user's weights keep them.
        """
        return self.most_epochs is not None and not any(graph.has_weights for _, graph in self.starts)

    @property
    def may_average(self) -> bool:
        """True if the last model may be the mean of several: validation losses of examples choose them."""
        return bool(self.ensemble) and self.posed.loss.is_per_example

    @cached_property
    def posed(self) -> Problem:
        """The problem, the default one included."""
        return self.problem or classification_of_images(self.starts[0][1])

    @cached_property
    def packed_problem(self) -> bytes | None:
        """The problem as jobs carry it."""
        return None if self.problem is None else pack_problem(self.problem)

    @property
    def objective(self) -> Objective:
        """The metric that decides which model is the best."""
        return Objective() if self.problem is None else self.problem.objective.objective
