"""Random parents and morphs that fit them, for the property tests of every kind."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from morphs.random_graphs import batch, random_graph, random_weights

from kmorph import morphs
from kmorph.graph import Graph

KINDS = [kind.kind for kind in morphs.KINDS]
EXACT = [kind.kind for kind in morphs.KINDS if not kind.approximate]
EXACT_IN_TRAINING = [kind.kind for kind in morphs.KINDS if kind.exact_in_training and not kind.approximate]


def parents(
    kind: str, first_seed: int = 0, dtype=np.float64, smooth: bool = False, steps: int | None = None
) -> Iterator[tuple[int, Graph, np.ndarray, list]]:
    """Endlessly: seed, graph with weights, batch, and the sites of `kind` (at least one)."""
    seed = first_seed
    while True:
        rng = np.random.default_rng([seed, 1])
        graph = random_weights(random_graph(rng, steps=steps, smooth=smooth), rng, dtype)
        found = list(morphs.sites(graph, kinds=[kind]))
        if found:
            yield seed, graph, batch(graph, rng), found
        seed += 1


def draw(found: list, rng: np.random.Generator, number: int) -> list:
    """Some of the sites; half of the Widen ones repeat filters rather than add random ones."""
    chosen = [found[k] for k in rng.permutation(len(found))[:number]]
    return [
        morphs.Widen(layer=m.layer, to=m.to, how="repeats")
        if isinstance(m, morphs.Widen) and rng.random() < 0.5
        else m
        for m in chosen
    ]


def scaled_error(child: np.ndarray, parent: np.ndarray) -> float:
    """Largest difference, relative to the scale of the parent's values."""
    return float(np.abs(child - parent).max() / max(1.0, np.abs(parent).max()))
