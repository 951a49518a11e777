"""The next candidate: which parent to grow, and how.

One posterior judges everything: parents trained on unchanged (`Continue`), their children, and chains of up
to three morphs, each predicted at the examples its lineage would have seen at the deadline. So what a
change costs in speed counts against what it promises, and no parent profits from a lucky measurement.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from math import exp
from typing import Any

import numpy as np

from kmorph.errors import GraphError
from kmorph.graph import Graph
from kmorph.morphs import Limits, Morph, sites
from kmorph.surrogate.acquisition import lower_confidence_bound
from kmorph.surrogate.candidate import Candidate
from kmorph.surrogate.encoding import structure_key
from kmorph.surrogate.process import Surrogate

MAX_GROWTH = 1.5
"""Largest FLOPs of a proposed child, as a multiple of its parent's."""

CONTINUED = 100  # models whose training on, unchanged, is scored: those with the lowest mean
PARENTS = 5
SINGLES = 300  # children with one morph that are scored, over all parents
BEAM = 6
BRANCHES = 20  # ways tried to lengthen each chain of the beam
DEPTH = 3

BETA = 0.3
"""Weight of uncertainty. The most uncertain children are those that change most: more chases novelty."""

SPEED_EXPONENT = 0.7
"""Examples per second fall with FLOPs to this power; below one, as each layer costs time at any size."""


@dataclass(frozen=True)
class Observation:
    """What is known of one model of a search.

    Parameters
    ----------
    model_id : int
        Any number if it is not yet measured.
    parent_id : int or None
    graph : Graph
    loss : float or None
        Validation cross-entropy; None for a candidate still in training, or failed.
    lineage_images : float
        Examples that its lineage had seen when the loss was measured, or is to have seen.
    images_per_second : float
    hyperparameters : mapping, default={}
    path : sequence of (model_id, images), default=()
        Models of the lineage from the start on, itself included if measured, with the examples the lineage
        had seen at the end of each.
    """

    model_id: int
    parent_id: int | None
    graph: Graph
    loss: float | None
    lineage_images: float
    images_per_second: float = 0.0
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    path: tuple[tuple[int, float], ...] = ()

    def as_candidate(self) -> Candidate:
        """The same for the surrogate."""
        graph = self.graph.without_weights()
        return Candidate(graph, self.hyperparameters, self.lineage_images, self.path)


@dataclass(frozen=True)
class Proposal:
    """A candidate to be trained from its parent's weights.

    Parameters
    ----------
    parent_id : int
    morphs : tuple of (Morph, int)
        Each with the seed of its new weights; empty: train the parent on.
    graph : Graph
        The child's structure.
    hyperparameters : mapping
        The parent's.
    log_loss, log_loss_std : float
        Prediction for the deadline.
    change : str
        In words.
    """

    parent_id: int
    morphs: tuple[tuple[Morph, int], ...]
    graph: Graph
    hyperparameters: Mapping[str, Any]
    log_loss: float
    log_loss_std: float
    change: str

    @property
    def loss(self) -> float:
        """The loss predicted: median of its distribution."""
        return exp(self.log_loss)


@dataclass(frozen=True)
class _Option:
    """A parent and a chain of morphs, scored or not; the lower its `advantage`, the better."""

    parent: Observation
    morphs: tuple[Morph, ...]
    graph: Graph
    advantage: float = 0.0


def propose(
    observations: Sequence[Observation],
    *,
    limits: Limits | None = None,
    rng: np.random.Generator | int | None = None,
    time_left: float | None = None,
    pending: Sequence[Observation] = (),
    failed: Sequence[Observation] = (),
    kinds: Iterable[str | type[Morph]] | None = None,
    beta: float = BETA,
    seconds: float = 2.0,
    surrogate: Surrogate | None = None,
) -> Proposal | None:
    """Choose the candidate that may credibly end furthest below the best parent trained on unchanged.

    Its score is the lower confidence bound of the *difference* to that parent's log loss: what is unknown
    of both alike, such as how far longer training gets, must not drown what is unknown of the change.

    Parameters
    ----------
    observations : sequence of Observation
        Those with a finite loss are learned from, and are the possible parents.
    limits : Limits, optional
        Bounds of growth.
    rng : numpy.random.Generator or int, optional
    time_left : float, optional
        Seconds to the deadline; None: as long again as the lineages have trained.
    pending, failed : sequences of Observation, default=()
        Candidates in training, taken to come out as predicted, and those that failed; neither is proposed
        again.
    kinds : iterable of str or Morph classes, optional
        How networks may grow; default: every way.
    beta : float, default=0.3
        How much uncertainty counts.
    seconds : float, default=2.0
        Time for the choice itself, fitting the surrogate not counted.
    surrogate : Surrogate, optional
        One from an earlier call, whose parameters need not be learned anew.

    Returns
    -------
    Proposal or None
        None if nothing was measured yet, or nothing is left that was not tried.
    """
    known = [o for o in observations if o.loss is not None and np.isfinite(o.loss) and o.loss > 0]
    if not known:
        return None
    rng = np.random.default_rng(rng)
    limits = limits or Limits()
    kinds = None if kinds is None else tuple(kinds)
    process = (surrogate or Surrogate()).fit(
        [o.as_candidate() for o in known],
        [o.loss for o in known if o.loss is not None],
        [o.as_candidate() for o in failed],
    )
    process = process.with_pending([o.as_candidate() for o in pending])
    deadline = time.monotonic() + seconds
    tried = {(o.parent_id, structure_key(o.graph)) for o in (*observations, *pending, *failed)}
    score = _Score(process, beta, known, time_left)
    rounds = [score(score.unchanged)]
    parents = rounds[0][:PARENTS]
    branches = max(SINGLES // len(parents), 1)
    for _ in range(DEPTH):
        children: list[_Option] = []
        for option in parents:
            children += _children(option, branches, limits, kinds, rng, tried)
            if time.monotonic() > deadline:
                break
        rounds.append(score(children))
        parents, branches = rounds[-1][:BEAM], BRANCHES
        if time.monotonic() > deadline:
            break
    rounds[0] = [o for o in rounds[0] if (o.parent.model_id, structure_key(o.graph)) not in tried]
    options = [option for scored in rounds for option in scored[:1]]
    if not options:
        return None
    best = min(options, key=lambda option: option.advantage)
    mean, std = score.predict(best)
    seeds = rng.integers(2**32, size=len(best.morphs)).tolist()
    return Proposal(
        parent_id=best.parent.model_id,
        morphs=tuple(zip(best.morphs, seeds, strict=True)),
        graph=best.graph,
        hyperparameters=best.parent.hyperparameters,
        log_loss=mean,
        log_loss_std=std,
        change="; ".join(morph.describe() for morph in best.morphs) or "train on, unchanged",
    )


class _Score:
    """Predicts options at the deadline and sorts them, the most promising first."""

    def __init__(
        self,
        process: Surrogate,
        beta: float,
        known: Sequence[Observation],
        time_left: float | None,
    ) -> None:
        self.process, self.beta = process, beta
        self.speed = float(
            np.median([o.images_per_second for o in known if o.images_per_second > 0] or [1.0])
        )
        trained = [o.lineage_images / self._speed_of(o) for o in known]
        self.seconds = float(np.median(trained)) if time_left is None else max(time_left, 0.0)
        # Converted once for each parent, not for each of its many children.
        self.parents = {id(o): o.as_candidate() for o in known}
        options = [_Option(o, (), self.parents[id(o)].graph) for o in known]
        mean = process.predict_mean([self._candidate(option) for option in options])
        self.unchanged = [options[i] for i in np.argsort(mean, kind="stable")[:CONTINUED]]
        self.reference = self._candidate(self.unchanged[0])

    def __call__(self, options: list[_Option]) -> list[_Option]:
        mean, std = self.process.advantage([self._candidate(option) for option in options], self.reference)
        scored = lower_confidence_bound(mean, std, self.beta)
        return [
            dataclasses.replace(options[i], advantage=float(scored[i]))
            for i in np.argsort(scored, kind="stable")
        ]

    def predict(self, option: _Option) -> tuple[float, float]:
        """Log loss at the deadline, and its standard deviation."""
        mean, std = self.process.predict([self._candidate(option)])
        return float(mean[0]), float(std[0])

    def _candidate(self, option: _Option) -> Candidate:
        parent = self.parents[id(option.parent)]
        return dataclasses.replace(parent, graph=option.graph, images=self._images(option))

    def _images(self, option: _Option) -> float:
        """Examples that the lineage would have seen at the deadline."""
        growth = max(option.graph.flops, 1) / max(option.parent.graph.flops, 1)
        return (
            option.parent.lineage_images
            + self._speed_of(option.parent) / growth**SPEED_EXPONENT * self.seconds
        )

    def _speed_of(self, observation: Observation) -> float:
        return observation.images_per_second if observation.images_per_second > 0 else self.speed


def _children(
    option: _Option,
    most: int,
    limits: Limits,
    kinds: tuple[str | type[Morph], ...] | None,
    rng: np.random.Generator,
    tried: set[tuple[int | None, int]],
) -> list[_Option]:
    """Options one morph longer, at most so many; what was met goes into `tried`."""
    parent = option.parent.graph
    # Sites would make every child to check its bounds; it is made and checked here, once.
    few = min(limits.max_skips, 4 * most)
    offered = limits if limits.exceeded_by(option.graph) else Limits(max_skips=few)
    used = {_family(morph) for morph in option.morphs}
    fitting = [morph for morph in sites(option.graph, offered, kinds) if _family(morph) not in used]
    children = []
    for morph in _sample(fitting, most, rng):
        try:
            child = morph.apply(option.graph)
        except GraphError:
            continue
        if child.flops > max(MAX_GROWTH * parent.flops, 1) or not limits.allow(option.graph, child):
            continue
        place = option.parent.model_id, structure_key(child)
        if place not in tried:
            tried.add(place)
            children.append(_Option(option.parent, (*option.morphs, morph), child))
    return children


def _family(morph: Morph) -> str:
    """What a chain has at most one of: three skips side by side are novel, but hardly more than one."""
    return "skip" if morph.kind.endswith("skip") else morph.kind


def _sample(morphs: list[Morph], most: int, rng: np.random.Generator) -> list[Morph]:
    """At most so many morphs, kinds in turn: skips have by far the most sites."""
    if len(morphs) <= most:
        return morphs
    by_kind: dict[str, list[Morph]] = {}
    for i in rng.permutation(len(morphs)):
        by_kind.setdefault(morphs[i].kind, []).append(morphs[i])
    turns = zip_longest(*by_kind.values())
    return [morph for turn in turns for morph in turn if morph is not None][:most]
