"""The next candidate: which parent to grow, and how.

One posterior judges everything: parents trained on unchanged, their children, and chains of up to three
morphs, each predicted at the examples its lineage would have seen at the deadline. So what a
change costs in speed counts against what it promises, and no parent profits from a lucky measurement.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np

from kmorph.errors import GraphError
from kmorph.graph import Graph
from kmorph.morphs import Limits, Morph, sites
from kmorph.search.strategy.observe import Observation
from kmorph.search.strategy.proposal import Proposal, Situation
from kmorph.surrogate.acquisition import lower_confidence_bound
from kmorph.surrogate.encoding import structure_key
from kmorph.surrogate.process import Surrogate
from kmorph.surrogate.trained_graph import TrainedGraph

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
class _Option:
    """A parent, a chain of morphs and hyperparameters; the lower its `advantage`, the better."""

    parent: Observation
    morphs: tuple[Morph, ...]
    graph: Graph
    hyperparameters: Mapping[str, Any]
    advantage: float = 0.0


class SurrogateProposer:
    """Chooses the candidate that may credibly end furthest below the best parent trained on unchanged.

    Its score is the lower confidence bound of the *difference* to that parent's log loss. Options are ranked
    by the difference, so uncertainty shared with the parent (how far longer training gets, for example)
    cancels.

    Parameters
    ----------
    surrogate : Surrogate, optional
        Its parameters are kept from call to call, and learned anew when there is much more to learn from.
    beta : float, default=0.3
        How much uncertainty counts.
    """

    def __init__(self, surrogate: Surrogate | None = None, beta: float = BETA) -> None:
        self.surrogate, self.beta = surrogate or Surrogate(), beta

    def __call__(self, situation: Situation, rng: np.random.Generator) -> Proposal | None:
        """Return the choice; see `kmorph.search.strategy.proposal.Proposer`."""
        known = [
            o for o in situation.observations if o.loss is not None and np.isfinite(o.loss) and o.loss > 0
        ]
        waiting = [] if situation.expected is None else [situation.expected]
        if not known and situation.expected is not None:
            # Any loss will do: its children are compared by how they differ from it.
            known, waiting = [dataclasses.replace(situation.expected, loss=1.0)], []
        parents = situation.parents
        grown = [o for o in (*known, *waiting) if parents is None or o.model_id in parents]
        if not grown:
            return None
        process = self.surrogate.fit(
            [o.as_point() for o in known],
            [o.loss for o in known if o.loss is not None],
            [o.as_point() for o in situation.failed],
        )
        process = process.with_pending([o.as_point() for o in (*situation.pending, *waiting)])
        score = _Score(process, self.beta, known, grown, situation.time_left)
        make = _Children(
            situation, rng, (*situation.observations, *situation.pending, *waiting, *situation.failed)
        )
        best = _best_option(score, make, time.monotonic() + situation.seconds)
        return None if best is None else _proposal(best, rng)


def _best_option(score: _Score, make: _Children, deadline: float) -> _Option | None:
    """Score all single morphs of the best parents, then lengthen the best chains."""
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
    return min(options, key=lambda option: option.advantage, default=None)


def _proposal(best: _Option, rng: np.random.Generator) -> Proposal:
    seeds = rng.integers(2**32, size=len(best.morphs)).tolist()
    return Proposal(
        parent_id=best.parent.model_id,
        morphs=tuple(zip(best.morphs, seeds, strict=True)),
        graph=best.graph,
        hyperparameters=best.hyperparameters,
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
            np.median([o.examples_per_second for o in known if o.examples_per_second > 0] or [1.0])
        )
        trained = [o.lineage_examples / self._speed_of(o) for o in known]
        self.seconds = float(np.median(trained)) if time_left is None else max(time_left, 0.0)
        # Converted once for each parent, not for each of its many children.
        self.parents = {id(o): o.as_point() for o in grown}
        options = [_Option(o, (), self.parents[id(o)].graph, o.hyperparameters) for o in grown]
        mean = process.predict_mean([self._point(option) for option in options])
        self.unchanged = [options[i] for i in np.argsort(mean, kind="stable")[:CONTINUED]]
        self.reference = self._point(self.unchanged[0])

    def __call__(self, options: list[_Option]) -> list[_Option]:
        mean, std = self.process.advantage([self._point(option) for option in options], self.reference)
        scored = lower_confidence_bound(mean, std, self.beta)
        return [
            dataclasses.replace(options[i], advantage=float(scored[i]))
            for i in np.argsort(scored, kind="stable")
        ]

    def _point(self, option: _Option) -> TrainedGraph:
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
            option.parent.lineage_examples
            + self._speed_of(option.parent) / growth**SPEED_EXPONENT * self.seconds
        )

    def _speed_of(self, observation: Observation) -> float:
        return observation.examples_per_second if observation.examples_per_second > 0 else self.speed


class _Children:
    """Makes options from options, none twice.

    Parameters
    ----------
    situation : Situation
        Its limits, kinds and space hold.
    rng : numpy.random.Generator
    met : sequence of Observation
        Models and candidates that are not made again.
    """

    def __init__(self, situation: Situation, rng: np.random.Generator, met: Sequence[Observation]) -> None:
        self.limits, self.kinds, self.space = situation.limits, situation.kinds, situation.space
        self.rng = rng
        self.tried = {self._key(o.parent_id, o.graph, o.hyperparameters) for o in met}

    def __call__(self, option: _Option, most: int) -> list[_Option]:
        """Options one morph longer, at most so many."""
        parent = option.parent.graph
        # `sites` would build every child to check its bounds; each is built and checked here, once.
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
        """Return whether it was met before."""
        return self._key(option.parent.model_id, option.graph, option.hyperparameters) in self.tried

    def _new(self, options: list[_Option]) -> list[_Option]:
        """Options that were not met before."""
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
    """The change in words."""
    before, after = option.parent.hyperparameters, option.hyperparameters
    changes = [morph.describe() for morph in option.morphs]
    changes += [f"{name} {value:g}" for name, value in after.items() if before.get(name) != value]
    return "; ".join(changes) or "train on, unchanged"


def _family(morph: Morph) -> str:
    """Group of morphs of which a chain has at most one: three skips side by side add hardly more than one."""
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
