"""A task of one's own in one file: the level, from 1 to 5, of a square of a picture.

Examples are pairs (picture, corner), of which a square at the corner is read: an `Input`. Levels are whole
numbers in order, so that 4 for 5 is better than 1 for 5: a `Target`. An `Estimator` with both is all.

    python examples/own_task.py
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kmorph import Estimator
from kmorph.errors import DataError
from kmorph.graph import Normalize
from kmorph.problem import Input, Metric, Target
from kmorph.problem.losses import SquaredError


@dataclass(frozen=True)
class Squares(Input):
    """Pairs (picture, corner): what is cut out at the corner is read."""

    kind = "squares"
    noun = "pairs"
    start_names = ("mlp",)

    shape: tuple[int, int, int]
    mean: float

    @classmethod
    def check(cls, x, name="x"):
        pairs = np.empty(len(x), object)
        for i, pair in enumerate(x):
            if len(pair) != 2:
                raise DataError(f"{name} holds {pair!r}; expected pairs (picture, corner)")
            pairs[i] = pair
        return pairs

    @classmethod
    def learn(cls, x):
        return cls((4, 4, 1), float(np.mean([cut(pair) for pair in x])))

    def encode(self, x, name="x"):
        return np.array([cut(pair) for pair in self.check(x, name)], np.float32)

    def front(self):
        return [Normalize((self.mean,), (1.0,))]

    def to_json(self):
        return {"mean": self.mean}

    @classmethod
    def from_json(cls, values):
        return cls((4, 4, 1), float(values["mean"]))


def cut(pair):
    """The square that a pair means, shape (4, 4, 1)."""
    picture, (row, column) = pair
    return picture[row : row + 4, column : column + 4, None]


def closeness(target, codes, scores, weights):
    """Share of the examples whose level is right after rounding."""
    return float(np.average(np.abs(target.truth(codes) - scores[:, 0]) < 0.5, weights=weights))


@dataclass(frozen=True)
class Levels(Target):
    """Whole numbers in order."""

    kind = "levels"
    is_numeric = True

    low: int
    high: int

    @classmethod
    def learn(cls, y, n=None):
        return cls(int(np.min(y)), int(np.max(y)))

    @property
    def width(self):
        return 1

    @property
    def loss(self):
        return SquaredError()

    @property
    def metrics(self):
        return {"closeness": Metric("closeness", True, closeness)}

    def encode(self, y, n=None):
        return ((np.asarray(y, np.float32) - self.low) / (self.high - self.low))[:, None]

    def scores(self, outputs):
        return outputs.astype(np.float64) * (self.high - self.low) + self.low

    def decode(self, scores):
        return np.clip(np.rint(scores[:, 0]), self.low, self.high).astype(int)

    def truth(self, codes):
        return codes[:, 0] * (self.high - self.low) + self.low

    def noise(self, n, rng):
        return rng.random((n, 1)).astype(np.float32)

    def truth_tensor(self, codes, one_hot=False):
        return codes

    def score_tensor(self, outputs, logits=False):
        return outputs

    def to_json(self):
        return {"low": self.low, "high": self.high}

    @classmethod
    def from_json(cls, values):
        return cls(values["low"], values["high"])


class LevelReader(Estimator):
    """Reads the level of a square."""

    input, target = Squares, Levels


def make_examples(n, seed=0):
    """Noise in which a square stands out by its level."""
    rng = np.random.default_rng(seed)
    levels = rng.integers(1, 6, n)
    pairs = []
    for level in levels:
        picture = rng.normal(0, 3, (10, 10))
        row, column = rng.integers(0, 6, 2)
        picture[row : row + 4, column : column + 4] = level + rng.normal(0, 0.3, (4, 4))
        pairs.append((picture, (row, column)))
    return pairs, levels


if __name__ == "__main__":
    pairs, levels = make_examples(2000)
    reader = LevelReader(seed=0).fit(pairs[:1500], levels[:1500], time_limit=20)
    print(f"levels right: {reader.evaluate(pairs[1500:], levels[1500:]):.3f}")
