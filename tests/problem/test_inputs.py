"""Inputs of signals, volumes and plain arrays: what they learn, encode, change and store."""

import warnings

import keras
import numpy as np
import pytest

from kmorph import starts
from kmorph.errors import DataError
from kmorph.graph import Graph
from kmorph.problem import ArrayInput, Classes, ImageInput, Input, SignalInput, VolumeInput
from kmorph.problem.inputs.changes import change_grids
from kmorph.problem.inputs.symmetry import helps_neighbours, keeps_target

RNG = np.random.default_rng(0)
UNEQUAL = [RNG.normal(5.0, 2.0, (n, 2)) for n in (9, 14, 11, 10)]
GIVEN = {
    SignalInput: [RNG.normal(size=(6, 20)), RNG.normal(size=(6, 20, 3)), UNEQUAL],
    ImageInput: [RNG.integers(0, 256, (6, 5, 4)).astype(np.uint8)],
    VolumeInput: [RNG.normal(size=(6, 4, 5, 3)), RNG.integers(0, 9, (6, 4, 5, 3, 2)), np.ones((4, 1, 5, 3))],
    ArrayInput: [RNG.normal(3.0, 1.0, (6, 4)), RNG.normal(size=(6, 3, 4, 2)), np.ones((5, 2, 2, 2, 2, 2))],
}


def objects(*examples):
    array = np.empty(len(examples), object)
    array[:] = examples
    return array


CASES = [(kind, i) for kind, given in GIVEN.items() for i in range(len(given))]


@pytest.mark.parametrize(("kind", "i"), CASES)
def test_it_learns_encodes_and_is_stored(kind, i):
    x = GIVEN[kind][i]
    made = kind.learn(kind.check(x))
    encoded = made.encode(x)
    assert encoded.shape == (len(x), *made.shape)
    assert Input.restored(made.stored()) == made
    pieces = [made.encode(x[a : a + 1]) for a in range(len(x))]
    np.testing.assert_array_equal(np.concatenate(pieces), encoded)
    noise = made.noise(3, RNG)
    assert noise.shape == (3, *made.shape)


def test_statistics_are_those_of_the_values_alone():
    made = SignalInput.learn(SignalInput.check(UNEQUAL))
    values = np.concatenate(UNEQUAL)
    np.testing.assert_allclose(made.mean[:2], values.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(made.variance[:2], values.var(axis=0), rtol=1e-5)
    assert made.shape == (14, 3) and made.mean[2] == 0 and made.variance[2] == 1


def test_shorter_and_longer_signals_than_seen():
    made = SignalInput.learn(SignalInput.check(UNEQUAL))
    encoded = made.encode([np.ones((3, 2)), np.ones((40, 2))])
    assert encoded[..., 2].sum(axis=1).tolist() == [3, 14]
    assert made.encode(np.ones((2, 6, 2))).shape == (2, 14, 3)
    equal = SignalInput.learn(np.zeros((4, 9, 1), np.float32) + np.arange(9, dtype=np.float32)[:, None])
    with pytest.raises(DataError, match="different lengths.*length 9"):
        equal.encode([np.ones(9), np.ones(8)])
    with pytest.raises(DataError, match=r"\(2, 8\).*\(9, 1\)"):
        equal.encode(np.ones((2, 8)))


def test_one_very_long_signal_does_not_blow_up_all_others():
    made = SignalInput.learn(SignalInput.check([np.arange(5.0)] * 50 + [np.arange(100_000.0)]))
    assert made.shape[0] == 5


@pytest.mark.parametrize(
    ("kind", "x", "words"),
    [
        (SignalInput, np.zeros((2, 3, 4, 5)), "signal has one axis"),
        (SignalInput, np.zeros(5), r"x\[None\]"),
        (VolumeInput, np.zeros((2, 3, 4)), r"x\[None\]"),
        (VolumeInput, np.zeros((2, 60)), "reshape"),
        (VolumeInput, np.zeros((1, 2, 3, 4, 5, 6)), "volume has three axes"),
        (ArrayInput, np.zeros(5), r"reshape\(x, \(-1, 1\)\)"),
        (ArrayInput, [[1.0, np.nan]], "NaN, first in example 0"),
        (ArrayInput, [["a"]], "dtype"),
        (ArrayInput, None, "None"),
        (SignalInput, [[1.0], ["a", "b"]], r"x\[1\] has dtype"),
        (SignalInput, [np.zeros((4, 2)), np.zeros((4, 3))], r"\(4, 2\), x\[1\] has \(4, 3\).*Resize, crop"),
        (VolumeInput, [np.zeros((2, 3, 4)), np.zeros((2, 3, 5))], r"\(2, 3, 4\), x\[1\] has \(2, 3, 5\)"),
        (VolumeInput, objects(np.zeros((2, 3, 4)), np.zeros((2, 3, 5))), r"Resize, crop or pad all"),
        (ArrayInput, [np.zeros(3), np.zeros(4)], r"\(3,\), x\[1\] has \(4,\)"),
    ],
)
def test_what_cannot_be_used(kind, x, words):
    with pytest.raises(DataError, match=words):
        kind.check(x)


@pytest.mark.parametrize("kind", GIVEN)
def test_an_example_that_is_none_is_named(kind):
    example = np.zeros((4, 4, 4)[: {SignalInput: 1, ImageInput: 2, VolumeInput: 3}.get(kind, 1)])
    for other in (None, 3.0, {}):
        for x in ([example, other, example], objects(example, other)):
            with pytest.raises(DataError, match=r"x\[1\] is .*; expected .*leave it out"):
                kind.check(x)
    with pytest.raises(DataError, match=r"x\[0\] is None"):
        kind.check([None, None])


@pytest.mark.parametrize("kind", GIVEN)
def test_nothing_is_no_input(kind):
    for given in GIVEN[kind]:
        made = kind.learn(kind.check(given))
        for x in ([], np.zeros(0), np.zeros((0, *np.shape(given[0]))), np.empty(0, object)):
            for call in (kind.check, made.encode):
                with pytest.raises(DataError, match="holds nothing"):
                    call(x)


@pytest.mark.parametrize("kind", [SignalInput, VolumeInput, ImageInput, ArrayInput])
def test_a_few_examples_of_a_far_larger_scale_are_named(kind):
    x = RNG.normal(size=(40, 5, 4, 3)[: {SignalInput: 2, ImageInput: 3, ArrayInput: 2}.get(kind, 4)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kind.check(x)
        kind.check(x * np.where(np.arange(40) % 3, 1, 1e5).reshape(-1, *[1] * (x.ndim - 1)))  # many are
        kind.check(np.zeros(x.shape))
    for i, factor in ((7, 1e9), (0, -1e5)):
        large = x.copy()
        large[i] *= factor
        with pytest.warns(UserWarning, match=rf"x\[{i}\] has values as large as .*other {kind.noun}"):
            kind.check(large)


def test_the_signal_of_a_far_larger_scale_among_unequal_ones_is_named():
    x = [RNG.normal(size=8 + i % 5) for i in range(300)]
    x[11], x[200] = x[11] * 1e9, x[200] * 1e7
    with pytest.warns(UserWarning, match=r"x\[11\] has values.*and 1 more"):
        SignalInput.check(x)


@pytest.mark.parametrize("kind", [SignalInput, VolumeInput])
def test_damaged_inputs_are_refused(kind):
    stored = kind.learn(kind.check(GIVEN[kind][0])).stored()
    for changes in ({"shape": [1, 2]}, {"variance": [-1.0]}, {"mean": []}, {"unequal": 3}):
        if set(changes) <= set(stored["values"]):
            damaged = {**stored, "values": {**stored["values"], **changes}}
            with pytest.raises(DataError, match="damaged"):
                Input.restored(damaged)


# Random changes.


def changed(made, batch, kinds, seed=(1, 2)):
    tensor = keras.ops.convert_to_tensor(batch)
    return keras.ops.convert_to_numpy(made.augment(tensor, kinds, np.array(seed, np.int32)))


def test_volumes_are_shifted_and_mirrored():
    x = RNG.integers(0, 255, (60, 4, 5, 6, 1)).astype(np.uint8)
    made = VolumeInput.learn(x)
    for kind, axis in (("flip", 3), ("flip_height", 2), ("flip_depth", 1)):
        found = changed(made, x, (kind,))
        mirrored = [np.array_equal(a, b) for a, b in zip(found, np.flip(x, axis), strict=True)]
        same = [np.array_equal(a, b) for a, b in zip(found, x, strict=True)]
        assert all(m or s for m, s in zip(mirrored, same, strict=True)) and 10 < sum(mirrored) < 50
    moved = changed(made, x, ("shift",))
    assert moved.shape == x.shape and moved.dtype == x.dtype and (moved != x).any()
    jittered = change_grids(keras.ops.convert_to_tensor(x), ("jitter",), np.array([1, 2], np.int32))
    assert abs(float(keras.ops.mean(jittered)) - x.mean()) < 5


def test_signals_are_changed_a_little():
    x = np.tile(np.sin(np.arange(64) / 5).astype(np.float32)[:, None], (40, 1, 2))
    made = SignalInput.learn(x)
    for kind, most in (("noise", 0.3), ("scale", 0.6), ("shift", 2.1), ("crop", 2.1)):
        found = changed(made, x, (kind,))
        difference = np.abs(found - x)
        assert 0 < difference.mean() and difference.max() < most, kind
        assert len(np.unique(found[:, 20, 0])) > 5  # each in its own way


def test_the_end_of_a_signal_moves_with_it_and_stays_zero_or_one():
    made = SignalInput.learn(SignalInput.check(UNEQUAL * 10))
    x = made.encode(UNEQUAL * 10)
    for kinds in (("shift",), ("crop",), ("noise", "scale"), ("noise", "scale", "shift", "crop")):
        found = changed(made, x, kinds)
        assert set(np.unique(found[..., -1])) <= {0.0, 1.0}
        assert (found[..., :-1] != x[..., :-1]).any(), kinds


def test_changes_of_signals_that_change_the_class_are_found_out():
    """Where a peak is decides: shifts take that away."""
    n, length = 200, 40
    y = RNG.integers(0, 4, n)
    x = RNG.normal(0, 0.1, (n, length, 1)).astype(np.float32)
    x[np.arange(n), 10 + 3 * y] += 3
    assert not helps_neighbours("shift", x, y)
    from kmorph.data import LabelCodec

    target = Classes(LabelCodec.from_labels(y))
    assert "shift" not in SignalInput.learn(x).augmentations(x, y, target)
    assert not keeps_target("shift", x, y, target)


def test_changes_of_signals_that_help_are_found():
    """Up and down or down and up, anywhere: neighbours know more of it from shifted copies."""
    n, length = 40, 40
    y, begin = RNG.integers(0, 2, n), RNG.integers(8, 30, n)
    x = RNG.normal(0, 0.01, (n, length, 1)).astype(np.float32)
    x[np.arange(n), begin] += 1 - 2 * y[:, None]
    x[np.arange(n), begin + 1] -= 1 - 2 * y[:, None]
    assert helps_neighbours("shift", x, y)


def test_signals_of_many_scales_are_seen_by_themselves_too():
    """What differs by a factor of 100,000 is told apart by its shape as if it did not."""
    n = 40
    x = RNG.normal(size=(n, 32, 2)).astype(np.float32)
    assert not SignalInput.learn(x).instance_norm
    many = x * 10 ** RNG.uniform(-4, 1, (n, 1, 1)).astype(np.float32)
    made = SignalInput.learn(many)
    assert made.instance_norm and SignalInput.from_json(made.to_json()) == made
    assert SignalInput.learn(x + 10 * RNG.normal(size=(n, 1, 1)).astype(np.float32)).instance_norm
    lengths = [one[: 8 + i % 20] for i, one in enumerate(many)]
    assert SignalInput.learn(SignalInput.check(lengths)).instance_norm

    start = starts.fcn(made.shape, 3, preprocessing=made.front())
    joined = next(i for i, layer in enumerate(start.layers) if layer.kind == "concat")
    front = Graph(start.input_shape, start.layers[: joined + 1], start.inputs[: joined + 1], {})
    seen = front.to_keras().predict(made.encode(many), verbose=0)
    np.testing.assert_allclose(seen[..., 2:].std(axis=1), 1, rtol=1e-2)
    np.testing.assert_allclose(
        seen[..., :2], (many - made.mean) / np.sqrt(made.variance), rtol=1e-3, atol=1e-5
    )


def test_tables_are_trained_for_few_epochs_and_small_ones_in_small_steps():
    table, grids = ArrayInput.learn(np.eye(4, 3)), ArrayInput.learn(RNG.normal(size=(4, 3, 2)))
    rates = [table.hyperparameters(n)["learning_rate"] for n in (100, 3_000, 50_000)]
    assert rates == pytest.approx([0.01, 0.03, 0.1]) and table.most_epochs(100) == 50
    assert grids.hyperparameters(100) == {} and grids.most_epochs(100) is None
