"""Classify signals of unequal length: which of three waves a noisy series shows."""

import numpy as np

from kmorph import ImageClassifier1D

rng = np.random.default_rng(0)
WAVES = {"sine": np.sin, "square": lambda t: np.sign(np.sin(t)), "saw": lambda t: t / np.pi % 2 - 1}


def wave(name: str) -> np.ndarray:
    """A series of 60 to 120 values with two to five periods, a phase of its own, and noise."""
    length = rng.integers(60, 121)
    time = np.linspace(0, 2 * np.pi * rng.uniform(2, 5), length) + rng.uniform(0, 2 * np.pi)
    return WAVES[name](time) + rng.normal(0, 0.5, length)


if __name__ == "__main__":
    labels = rng.choice(list(WAVES), 600)
    series = [wave(label) for label in labels]
    clf = ImageClassifier1D(path="waves", seed=0)
    clf.fit(series[:450], labels[:450], time_limit=40)
    print(f"accuracy on unseen series: {clf.evaluate(series[450:], labels[450:]):.3f}")
    print(clf.predict([wave("saw"), wave("sine")]))
