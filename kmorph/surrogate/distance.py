"""Edit distance between architectures, one graph against many at a time.

==========  ==========  ================================================================================
symbol      shape       meaning
==========  ==========  ================================================================================
a, b        graphs      with tokens t_1 … t_l and s skip connections (see `kmorph.surrogate.encoding`)
g(t)        ()          cost of inserting or deleting token t
c(t, u)     ()          cost of turning token t into u; for different kinds g(t) + g(u)
r(a, b)     ()          cost of the cheapest alignment of the tokens, plus that of the cheapest matching of
                        the skip connections
|a|         ()          r(a, nothing) = Σ g(t) + s · `SKIP_GAP`
==========  ==========  ================================================================================

``d(a, b) = r + RELATIVE · 2r / (|a| + |b| + r) + DIFFERENT · [a ≠ b]``

Tokens are aligned in their order by dynamic programming (Needleman and Wunsch, J. Mol. Biol. 48, 1970), in
the form that looks for the greatest saving,

``G_ij = max(G_{i-1,j}, G_{i,j-1}, G_{i-1,j-1} + g(t_i) + g(u_j) - c(t_i, u_j))``,

so that ``r = Σ g(t_i) + Σ g(u_j) - G_lm``; it is filled an antidiagonal at a time, for all graphs at once.
Skip connections are matched optimally (Crouse, IEEE Trans. AES 52(4), 2016, as in SciPy); their ends are
fractions of the depth, so that a layer inserted early moves the others but little.

Triangle inequality. c is a metric on tokens and the gap (sums of capped absolute differences), so both
parts of r are metrics on the encoded graphs; the second term is the Steinhaus transform of r, a metric if r
is one (Marczewski and Steinhaus, Colloquium Mathematicum 6, 1958); the third is the discrete metric. So
d satisfies the triangle inequality, up to rounding by `UNIT` for each layer and skip connection. What d is
not: the *graph* edit distance, which is NP-hard. Branches are compared in the order of one traversal, so
that parallel branches of equal depth may be charged for changing places when one of them changes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from kmorph.errors import GraphError
from kmorph.graph import Graph
from kmorph.surrogate.encoding import (
    FEATURE_CAPS,
    MISMATCH,
    SKIP_GAP,
    TOKENS,
    UNIT,
    Encoded,
    encode,
    rounded_up,
)

RELATIVE = 10.0
"""Weight of the part that is normalised by size: one more layer says more about a small network."""

DIFFERENT = 0.01
"""Least distance of two different graphs."""

SKIP_MISMATCH = 0.15
"""Cost between two skip connections whose merges are of different kinds."""

_BLOCK = 256  # graphs aligned at once; keeps a row of the table in the second-level cache


def edit_distance(a: Graph, b: Graph) -> float:
    """Distance between two architectures; weights do not count.

    Symmetric, zero for equal structures and for these alone, and subject to the triangle inequality (see the
    module's text for its limits).

    Parameters
    ----------
    a, b : Graph

    Returns
    -------
    float
        About 1 for a 3×3 convolution more, 0.15 for an activation more, 0.4 for a convolution twice as wide,
        each plus a part that is greater in small networks.

    Raises
    ------
    GraphError
        If one is no graph.
    """
    return float(distances(a, [b])[0])


def distances(a: Graph, graphs: Sequence[Graph]) -> np.ndarray:
    """Distance from one architecture to each of many, much faster than one by one.

    Parameters
    ----------
    a : Graph
    graphs : sequence of Graph

    Returns
    -------
    array of shape (n,), float64

    Raises
    ------
    GraphError
        If something is no graph, or `graphs` is a single one.
    """
    if isinstance(graphs, Graph):
        raise GraphError(
            "graphs must be a list of graphs, got a single one; edit_distance(a, b) compares two"
        )
    one = encode(a)
    many = [encode(graph) for graph in graphs]
    result = np.empty(len(many))
    for start in range(0, len(many), _BLOCK):
        block = many[start : start + _BLOCK]
        result[start : start + len(block)] = _distances(one, block)
    return result


def _distances(one: Encoded, many: list[Encoded]) -> np.ndarray:
    counts = np.array([len(other.skips) for other in many])
    lengths = np.array([len(other.tokens) for other in many])
    tokens = np.concatenate([other.tokens for other in many])
    gaps = TOKENS.gaps.astype(np.float64)
    sizes = np.add.reduceat(gaps[tokens], np.cumsum(lengths) - lengths) + SKIP_GAP * counts
    size = gaps[one.tokens].sum() + SKIP_GAP * len(one.skips)
    saved = _saved_by_layers(one.tokens, tokens, lengths)
    if len(one.skips) and counts.any():
        saved += _saved_by_skips(one.skips, np.concatenate([other.skips for other in many]), counts)
    raw = size + sizes - saved
    different = np.array([other.key for other in many]) != one.key
    return np.where(different, raw + RELATIVE * 2 * raw / (size + sizes + raw) + DIFFERENT, 0.0)


def _saved_by_layers(one: np.ndarray, tokens: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """G_lm for each of n graphs, (n,): what aligning the tokens saves against replacing all of them."""
    rows, row_of = np.unique(one, return_inverse=True)
    present = np.zeros(TOKENS.count, bool)
    present[tokens] = True
    used = np.flatnonzero(present)
    table = np.zeros((len(rows), len(used) + 1), np.float32)  # the last column is padding and saves nothing
    table[:, :-1] = token_savings(rows, used)
    place = np.cumsum(present) - 1
    # columns[j, k]: token j of graph k.
    columns = np.full((lengths.max(), len(lengths)), len(used))
    columns.T[np.arange(len(columns)) < lengths[:, None]] = place[tokens]
    return _greatest_saving(np.take(table, columns, axis=1)[row_of]).astype(np.float64)


def _greatest_saving(table: np.ndarray) -> np.ndarray:
    """G_lm from the savings of each pair of tokens; (l, m, n) to (n,).

    Fills G along its antidiagonals, on which no cell depends on another; arrays are indexed by i.
    """
    rows, columns, n = table.shape
    flat = table.reshape(-1, n)
    before_last, last, new, taken = np.zeros((4, rows + 1, n), np.float32)
    for diagonal in range(2, rows + columns + 1):
        low, high = max(1, diagonal - columns), min(rows, diagonal - 1)
        # Cells (i, diagonal - i) lie columns - 1 apart in the flattened table.
        first = (low - 1) * columns + diagonal - low - 1
        step = max(columns - 1, 1)
        cells = flat[first : first + (high - low) * step + 1 : step]
        np.add(before_last[low - 1 : high], cells, out=taken[low : high + 1])
        np.maximum(last[low : high + 1], last[low - 1 : high], out=new[low : high + 1])
        np.maximum(new[low : high + 1], taken[low : high + 1], out=new[low : high + 1])
        before_last, last, new = last, new, before_last
    return last[rows]


def token_savings(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """g(t) + g(u) - c(t, u) for tokens t in rows, u in columns.

    Parameters
    ----------
    rows, columns : int arrays of shapes (p,), (q,)

    Returns
    -------
    array of shape (p, q), float32
        Whole multiples of `UNIT`, never negative; zero for tokens of different kinds.
    """
    gaps = TOKENS.gaps[rows][:, None] + TOKENS.gaps[columns]
    cost = np.zeros(gaps.shape, np.float32)
    for feature, cap in enumerate(FEATURE_CAPS):
        values = TOKENS.features[:, feature]
        cost += np.minimum(np.abs(values[rows][:, None] - values[columns]), cap)
    cost += MISMATCH * (TOKENS.rests[rows][:, None] != TOKENS.rests[columns])
    cost = np.maximum(rounded_up(cost), UNIT * (rows[:, None] != columns))
    same_kind = TOKENS.kinds[rows][:, None] == TOKENS.kinds[columns]
    return np.where(same_kind, np.maximum(gaps - cost, 0), 0).astype(np.float32)


def _saved_by_skips(one: np.ndarray, skips: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Cost that the best matching of skip connections saves against replacing all of them, (n,)."""
    savings = skip_savings(one, skips)
    result = np.zeros(len(counts))
    ends = np.cumsum(counts)
    for k, (start, end) in enumerate(zip((ends - counts).tolist(), ends.tolist(), strict=True)):
        if start < end:
            part = savings[:, start:end]
            result[k] = part[linear_sum_assignment(part, maximize=True)].sum()
    return result


def skip_savings(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cost saved by matching each of some skip connections with each of others.

    Parameters
    ----------
    a, b : arrays of shapes (p, 3), (q, 3)
        As in `Encoded.skips`.

    Returns
    -------
    array of shape (p, q), float64
        Whole multiples of `UNIT`, never negative.
    """
    cost = np.abs(a[:, None, 1:] - b[None, :, 1:]).sum(axis=2, dtype=np.float64)
    cost += SKIP_MISMATCH * (a[:, None, 0] != b[None, :, 0])
    return np.maximum(2 * SKIP_GAP - rounded_up(cost), 0)
