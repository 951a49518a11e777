"""The next candidate: which parent to grow, and how.

One posterior judges everything: parents trained on unchanged (`Continue`), their children, and chains of up
to three morphs, each predicted at the examples its lineage would have seen at the deadline. So what a
change costs in speed counts against what it promises, and no parent profits from a lucky measurement.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from math import exp
from typing import Any

import numpy as np

from kmorph.errors import GraphError
from kmorph.graph import Graph
from kmorph.morphs import Limits, Morph, sites
from kmorph.search.space import Space
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

VARIED = 0.3  # share of children whose hyperparameters are changed too, if they may be
VARIANTS = 6  # other hyperparameters that are tried for each of the best parents, unchanged otherwise

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
        The parent's, or changed within the space.
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
    """A parent, a chain of morphs and hyperparameters; the lower its `advantage`, the better."""

    parent: Observation
    morphs: tuple[Morph, ...]
    graph: Graph
    hyperparameters: Mapping[str, Any]
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
    space: Space | None = None,
    expected: Observation | None = None,
    parents: Collection[int] | None = None,
) -> Proposal | None:
    """Choose the candidate that may credibly end furthest below the best parent trained on unchanged.

    Its score is the lower confidence bound of the *difference* to that parent's log loss: what is unknown
    of both alike, such as how far longer training gets, must not drown what is unknown of the change.

    Parameters
    ----------
    observations : sequence of Observation
        Those with a finite loss are learned from, and are possible parents.
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
    space : Space, optional
        Hyperparameters that may be changed, together with the architecture or alone; None: the parent's stay.
    expected : Observation, optional
        A candidate in training that may be a parent as well, with the number that it will have. It is taken
        to come out as predicted.
    parents : collection of int, optional
        Model ids of the possible parents; None: all observed, and the expected one.

    Returns
    -------
    Proposal or None
        None if nothing was measured yet, or nothing is left that was not tried.
    """
    known = [o for o in observations if o.loss is not None and np.isfinite(o.loss) and o.loss > 0]
    waiting = [] if expected is None else [expected]
    if not known and expected is not None:
        # Whatever it comes out as, what counts of its children is how they differ from it.
        known, waiting = [dataclasses.replace(expected, loss=1.0)], []
    grown = [o for o in (*known, *waiting) if parents is None or o.model_id in parents]
    if not grown:
        return None
    rng = np.random.default_rng(rng)
    limits = limits or Limits()
    kinds = None if kinds is None else tuple(kinds)
    process = (surrogate or Surrogate()).fit(
        [o.as_candidate() for o in known],
        [o.loss for o in known if o.loss is not None],
        [o.as_candidate() for o in failed],
    )
    process = process.with_pending([o.as_candidate() for o in (*pending, *waiting)])
    deadline = time.monotonic() + seconds
    make = _Children(limits, kinds, space or Space(), rng, (*observations, *pending, *waiting, *failed))
    score = _Score(process, beta, known, grown, time_left)
    rounds = [score(score.unchanged)]
    beam = rounds[0][:PARENTS]
    rounds.append(score([other for option in beam for other in make.with_other_hyperparameters(option)]))
    branches = max(SINGLES // len(beam), 1)
    for _ in range(DEPTH):
        children: list[_Option] = []
        for option in beam:
            children += make(option, branches)
            if time.monotonic() > deadline:
                break
        rounds.append(score(children))
        beam, branches = rounds[-1][:BEAM], BRANCHES
        if time.monotonic() > deadline:
            break
    rounds[0] = [option for option in rounds[0] if not make.was_tried(option)]
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
        hyperparameters=best.hyperparameters,
        log_loss=mean,
        log_loss_std=std,
        change=_in_words(best),
    )


class _Score:
    """Predicts options at the deadline and sorts them, the most promising first."""

    def __init__(
        self,
        process: Surrogate,
        beta: float,
        known: Sequence[Observation],
        grown: Sequence[Observation],
        time_left: float | None,
    ) -> None:
        self.process, self.beta = process, beta
        self.speed = float(
            np.median([o.images_per_second for o in known if o.images_per_second > 0] or [1.0])
        )
        trained = [o.lineage_images / self._speed_of(o) for o in known]
        self.seconds = float(np.median(trained)) if time_left is None else max(time_left, 0.0)
        # Converted once for each parent, not for each of its many children.
        self.parents = {id(o): o.as_candidate() for o in grown}
        options = [_Option(o, (), self.parents[id(o)].graph, o.hyperparameters) for o in grown]
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
        changed = option.hyperparameters is not option.parent.hyperparameters
        return dataclasses.replace(
            parent,
            graph=option.graph,
            images=self._images(option),
            hyperparameters=option.hyperparameters if changed else parent.hyperparameters,
        )

    def _images(self, option: _Option) -> float:
        """Examples that the lineage would have seen at the deadline."""
        growth = max(option.graph.flops, 1) / max(option.parent.graph.flops, 1)
        return (
            option.parent.lineage_images
            + self._speed_of(option.parent) / growth**SPEED_EXPONENT * self.seconds
        )

    def _speed_of(self, observation: Observation) -> float:
        return observation.images_per_second if observation.images_per_second > 0 else self.speed


class _Children:
    """Makes options from options, none twice.

    Parameters
    ----------
    limits, kinds, space, rng
        As in `propose`.
    met : sequence of Observation
        What is not to be made again.
    """

    def __init__(
        self,
        limits: Limits,
        kinds: tuple[str | type[Morph], ...] | None,
        space: Space,
        rng: np.random.Generator,
        met: Sequence[Observation],
    ) -> None:
        self.limits, self.kinds, self.space, self.rng = limits, kinds, space, rng
        self.tried = {self._key(o.parent_id, o.graph, o.hyperparameters) for o in met}

    def __call__(self, option: _Option, most: int) -> list[_Option]:
        """Options one morph longer, at most so many."""
        parent = option.parent.graph
        # Sites would make every child to check its bounds; it is made and checked here, once.
        few = min(self.limits.max_skips, 4 * most)
        offered = self.limits if self.limits.exceeded_by(option.graph) else Limits(max_skips=few)
        used = {_family(morph) for morph in option.morphs}
        fitting = [morph for morph in sites(option.graph, offered, self.kinds) if _family(morph) not in used]
        children = []
        for morph in _sample(fitting, most, self.rng):
            try:
                graph = morph.apply(option.graph)
            except GraphError:
                continue
            if graph.flops > max(MAX_GROWTH * parent.flops, 1) or not self.limits.allow(option.graph, graph):
                continue
            values = option.hyperparameters
            if self.space and self.rng.random() < VARIED:
                values = self.space.vary(values, self.rng)
            children.append(_Option(option.parent, (*option.morphs, morph), graph, values))
        return self._new(children)

    def with_other_hyperparameters(self, option: _Option) -> list[_Option]:
        """The same network, trained in some other ways."""
        if not self.space:
            return []
        values = [self.space.vary(option.hyperparameters, self.rng) for _ in range(VARIANTS)]
        return self._new([dataclasses.replace(option, hyperparameters=other) for other in values])

    def was_tried(self, option: _Option) -> bool:
        """Whether it is among what was met."""
        return self._key(option.parent.model_id, option.graph, option.hyperparameters) in self.tried

    def _new(self, options: list[_Option]) -> list[_Option]:
        """Those not met before."""
        new = []
        for option in options:
            key = self._key(option.parent.model_id, option.graph, option.hyperparameters)
            if key not in self.tried:
                self.tried.add(key)
                new.append(option)
        return new

    def _key(self, parent_id: int | None, graph: Graph, values: Mapping[str, Any]) -> tuple[Any, ...]:
        return parent_id, structure_key(graph), *self.space.key(values)


def _in_words(option: _Option) -> str:
    """What is changed."""
    before, after = option.parent.hyperparameters, option.hyperparameters
    changes = [morph.describe() for morph in option.morphs]
    changes += [f"{name} {value:g}" for name, value in after.items() if before.get(name) != value]
    return "; ".join(changes) or "train on, unchanged"


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
