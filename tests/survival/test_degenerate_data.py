"""Data that is strange but legal is searched on, and predicted in its own terms."""

import numpy as np
import pytest

from kmorph import ImageClassifier

RNG = np.random.default_rng(0)


def images(n, *shape):
    return RNG.integers(0, 256, (n, *shape), dtype=np.uint8)


def stripes(n, classes, *shape):
    """Images whose brightness tells the class."""
    y = np.arange(n) % classes
    x = (y[:, None] * (200 // classes) + RNG.integers(0, 20, (n, int(np.prod(shape))))).astype(np.uint8)
    return x.reshape(n, *shape), y


CASES = {
    "two examples a class": (*stripes(8, 4, 6, 6),),
    "three examples, one alone": (images(3, 6, 6), np.array([0, 0, 1])),
    "one pixel": (*stripes(60, 3, 1, 1),),
    "one pixel high": (*stripes(60, 3, 1, 12),),
    "one channel": (*stripes(60, 3, 8, 8, 1),),
    "seven channels": (*stripes(60, 3, 8, 8, 7),),
    "not square": (*stripes(60, 3, 5, 17, 3),),
    "texts": (stripes(60, 3, 8, 8)[0], np.array(["cat", "dog", "ü 漢"])[np.arange(60) % 3]),
    "bool": (stripes(60, 2, 8, 8)[0], np.arange(60) % 2 == 0),
    "whole floats": (stripes(60, 3, 8, 8)[0], (np.arange(60) % 3).astype(float) - 1),
    "large integers": (stripes(60, 2, 8, 8)[0], (np.arange(60) % 2) * 2**62 - 5),
    "list of lists": (stripes(60, 3, 8, 8)[0].tolist(), (np.arange(60) % 3).tolist()),
    "one column": (stripes(60, 3, 8, 8)[0], (np.arange(60) % 3)[:, None]),
    "very imbalanced": (images(300, 6, 6), np.r_[np.zeros(298, int), [1, 1]]),
    "duplicates": (np.repeat(images(1, 6, 6), 40, axis=0), np.arange(40) % 2),
    "all black": (np.zeros((40, 6, 6)), np.arange(40) % 2),
    "small values": (stripes(60, 3, 8, 8)[0] * 1e-10, np.arange(60) % 3),
    "large values": (stripes(60, 3, 8, 8)[0] * 1e10, np.arange(60) % 3),
    "float64": (stripes(60, 3, 8, 8)[0].astype(float), np.arange(60) % 3),
    "float16": (stripes(60, 3, 8, 8)[0].astype(np.float16), np.arange(60) % 3),
    "int64": (stripes(60, 3, 8, 8)[0].astype(np.int64) - 128, np.arange(60) % 3),
    "bool images": (images(60, 6, 6) > 128, np.arange(60) % 3),
    "not contiguous": (stripes(60, 3, 8, 16)[0][:, ::-1, ::2], np.arange(60) % 3),
    "read-only": (stripes(60, 3, 8, 8)[0], np.arange(60) % 3),
}
# Those that may be strange to a network; the others are so to what comes before it, and one network will do.
FOR_ALL_STARTS = ("two examples a class", "one pixel", "one pixel high", "seven channels", "not square")


@pytest.mark.parametrize("name", CASES)
def test_it_is_searched_on(tmp_path, name):
    x, y = CASES[name]
    if name == "read-only":
        x.flags.writeable = False
    starts = None if name in FOR_ALL_STARTS else ["cnn"]
    clf = ImageClassifier(
        path=tmp_path / "run", verbose=False, seed=0, max_models=4 if starts is None else 1, starts=starts,
        searcher_args={"trainer_args": {"max_iter_num": 2}},
    )  # fmt: skip
    clf.fit(x, y)
    predicted, probabilities = clf.predict(x), clf.predict_proba(x)
    flat = np.ravel(y)
    assert len(clf.history) == (1 if starts else 4) and set(predicted.ravel()) <= set(flat)
    assert predicted.shape == np.shape(y) and predicted.dtype.kind == flat.dtype.kind
    assert probabilities.shape == (len(x), len(set(flat)))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert 0 <= clf.evaluate(x, y) <= 1


def test_a_thousand_classes(tmp_path):
    x, y = images(4000, 4, 4), np.arange(4000) % 1000
    clf = ImageClassifier(path=tmp_path / "run", verbose=False, seed=0)
    clf.fit(x, y, time_limit=10)
    assert clf.predict_proba(x[:5]).shape == (5, 1000)


def test_within_a_time_limit_too(tmp_path):
    x, y = images(4, 6, 6), ["a", "b", "a", "b"]
    clf = ImageClassifier(path=tmp_path / "run", verbose=False, seed=0)
    clf.fit(x, y, time_limit=5)
    assert set(clf.predict(x)) <= {"a", "b"}
