"""Targets: labels to codes and back, whatever their form."""

import json

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_np

from kmorph.errors import DataError
from kmorph.problem import Classes, LabelSets, Numbers, Target
from kmorph.problem.targets import learn_labels

ROWS = [[1, 0, 1], [0, 0, 0], [0, 1, 1], [1, 1, 0]]
EXAMPLES = {
    "classes": ["b", "a", "c", "a"],
    "two classes": [True, False, True, False],
    "one-hot rows": [[0, 1], [1, 0], [0, 1], [1, 0]],
    "label sets": ROWS,
    "numbers": [0.5, 2.0, -3.0, 8.0],
    "rows of numbers": [[0.5, 1e6], [2.0, 0.0], [-3.0, 5.0], [8.0, 7.0]],
}


def learned(name):
    return Numbers.learn(EXAMPLES[name]) if "numbers" in name else learn_labels(EXAMPLES[name])


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_target_survives_json_and_knows_its_kind(name):
    target = learned(name)
    again = Target.restored(json.loads(json.dumps(target.stored())))
    assert again == target and type(again) is type(target)
    assert target.is_like(again) and target.describe()


@pytest.mark.parametrize("name", EXAMPLES)
def test_perfect_outputs_give_the_labels_back(name):
    target, y = learned(name), np.asarray(EXAMPLES[name])
    codes = target.encode(y, n=4)
    outputs = np.eye(target.width)[codes] * 20 if codes.ndim == 1 else codes
    outputs = outputs * 40 - 20 if isinstance(target, LabelSets) else outputs
    scores = target.scores(outputs.astype(np.float32))
    assert scores.shape == (4, len(target.names)) and len(target.score_labels) == scores.shape[1]
    decoded = target.decode(scores)
    assert decoded.shape == y.shape
    assert np.array_equal(decoded, y) if y.dtype.kind != "f" else np.allclose(decoded, y, rtol=1e-5, atol=0.1)
    for metric in target.metrics.values():
        best = 1.0 if metric.greater_is_better else 0.0
        assert metric(target, codes, scores) == pytest.approx(best, abs=0.02), metric.name
    assert np.shape(target.truth(codes))[0] == len(target.predicted(scores)) == 4


@pytest.mark.parametrize("name", EXAMPLES)
def test_noise_and_strata_have_the_form_of_codes(name):
    target = learned(name)
    codes, noise = target.encode(EXAMPLES[name]), target.noise(50, np.random.default_rng(0))
    assert noise.shape[1:] == codes.shape[1:] and noise.dtype == codes.dtype
    strata = target.strata(codes)
    assert strata.shape == (4,) and strata.dtype.kind == "i" and strata.min() >= 0


def test_rows_with_one_1_each_are_classes_and_others_label_sets():
    assert isinstance(learn_labels(EXAMPLES["one-hot rows"]), Classes)
    assert isinstance(learn_labels(ROWS), LabelSets)
    assert isinstance(learn_labels(np.array(ROWS, bool)), LabelSets)


def test_sparse_rows_are_label_sets():
    from scipy.sparse import csr_array

    target = learn_labels(csr_array(np.array(ROWS)), 4)
    assert target == LabelSets.learn(ROWS)
    assert np.array_equal(target.encode(csr_array(np.array(ROWS))), ROWS)


def test_columns_that_never_vary_are_warned_of_and_predicted():
    rows = np.array([[1, 0, 1, 1], [1, 0, 0, 0], [1, 0, 1, 0]])
    with pytest.warns(UserWarning, match="1 \\(always 0\\)"):
        target = LabelSets.learn(rows)
    assert target.width == 2 and len(target.names) == 4
    scores = target.scores(np.array([[9.0, 9.0], [-9.0, -9.0]], np.float32))
    assert np.array_equal(target.decode(scores), [[1, 0, 1, 1], [1, 0, 0, 0]])
    codes = target.encode(rows)
    assert np.array_equal(target.truth(codes), rows)
    activation, (dense, weights) = target.back()
    found = 1 / (1 + np.exp(-np.array([[9.0, 9.0]]))) @ weights["kernel"] + weights["bias"]
    assert activation[0].function == "sigmoid" and dense.units == 4
    assert np.allclose(found, scores[:1], atol=1e-6)


def test_a_split_keeps_rare_labels_in_proportion():
    rng = np.random.default_rng(0)
    rows = (rng.random((1000, 3)) < [0.5, 0.3, 0.02]).astype(int)
    target = LabelSets.learn(rows)
    strata = target.strata(target.encode(rows))
    assert np.array_equal(strata == 3, rows[:, 2] == 1)  # the rarest of an example's labels


@given(
    st_np.arrays(np.float64, st.integers(3, 30), elements=st.floats(-1, 1, width=32)),
    st.sampled_from([1e-300, 1e-30, 1.0, 1e30, 1e300]),
    st.floats(-1e6, 1e6),
)
def test_huge_and_tiny_numbers_come_back(values, scale, shift):
    y = (values + shift) * scale
    if np.ptp(y) <= 1e-9 * np.abs(y).max():
        return
    target = Numbers.learn(y)
    codes = target.encode(y)
    assert np.isfinite(codes).all() and codes.dtype == np.float32 and codes.shape == (len(y), 1)
    assert abs(codes.mean()) < 1e-3 and codes.std() == pytest.approx(1, rel=1e-3)
    assert np.allclose(target.decode(target.scores(codes)), y, rtol=0, atol=1e-5 * np.ptp(y))


@pytest.mark.parametrize(
    ("y", "words"),
    [
        ([3.0, 3.0, 3.0], ("3.0", "all 3 examples")),
        ([[1.0, 2.0], [3.0, 2.0]], ("column 1",)),
        (["a", "b"], ("dtype", "classifier")),
        ([1.0, np.nan], ("nan", "position 1")),
        ([1.0, np.inf], ("inf",)),
        (None, ("None",)),
        ([], ("shape (0,)",)),
        ([[[1.0]]], ("shape (1, 1, 1)",)),
        ([1 + 2j, 3.0], ("complex",)),
        ([[1.0], [2.0, 3.0]], ("one array",)),
        ([object(), 1.0], ("objects",)),
    ],
)
def test_what_is_no_numbers_is_refused(y, words):
    with pytest.raises(DataError) as caught:
        Numbers.learn(y)
    assert all(word in str(caught.value) for word in words), caught.value


def test_numbers_of_another_form_are_refused_later():
    target = Numbers.learn([1.0, 2.0])
    with pytest.raises(DataError, match="3 examples"):
        target.encode([1.0, 2.0], n=3)
    with pytest.raises(DataError, match="1 number an example"):
        target.encode([[1.0, 2.0]])
    with pytest.raises(DataError, match="too far"):
        target.encode([1e300])
    assert not target.is_like(Numbers.learn([[1.0], [2.0]]))
    assert target.is_like(Numbers.learn([5.0, 9.0]))


def test_numbers_that_float32_does_not_hold_are_not_exported():
    with pytest.raises(DataError, match="float32"):
        Numbers.learn([1e300, 2e300]).back()


def test_label_sets_of_another_form_are_refused():
    target = LabelSets.learn(ROWS)
    for y, word in ([[[1, 0]], "2 columns"], [[1, 2, 3], "shape"], [[[1, 2, 0]], "other than 0 and 1"]):
        with pytest.raises(DataError, match=word):
            target.encode(y)
    with pytest.raises(DataError, match="equal"):
        LabelSets.learn([[1, 1, 0], [1, 1, 0]])


@pytest.mark.parametrize(
    "stored",
    [
        None, 3, {}, {"kind": "classes"}, {"kind": ["a"], "module": "m", "values": {}},
        {"kind": "numbers", "module": "m", "values": {"mean": [1], "scale": [0], "flat": True}},
        {"kind": "numbers", "module": "m", "values": {"mean": [1], "scale": [1, 2], "flat": False}},
        {"kind": "numbers", "module": "m", "values": {"mean": ["x"], "scale": [1], "flat": False}},
        {"kind": "label_sets", "module": "m", "values": {"columns": [0, 1], "dtype": "<i8"}},
        {"kind": "label_sets", "module": "m", "values": {"columns": [None], "dtype": "<U5"}},
        {"kind": "classes", "module": "m", "values": [1, 2]},
    ],
)  # fmt: skip
def test_damaged_targets_are_refused(stored):
    with pytest.raises(DataError):
        Target.restored(stored)


def test_an_unknown_kind_names_what_to_import():
    stored = {"kind": "ages", "module": "my_project.targets", "values": {}}
    with pytest.raises(DataError, match=r"'ages'.*import the module.*my_project\.targets"):
        Target.restored(stored)


def test_rows_of_objects_and_of_mixed_flags_are_rows_of_numbers():
    """As `[[d % 2, d > 4] for d in y]` makes them."""
    for rows in (
        [[1, True], [0, False], [1, False]],
        np.array([[1, 0], [0, 1], [1, 1]], object),
        [[True, False], [True, True], [False, False]],
    ):
        target = learn_labels(rows, 3)
        assert isinstance(target, LabelSets)
        again = Target.restored(json.loads(json.dumps(target.stored())))
        assert again == target
        decoded = again.decode(again.truth(again.encode(rows)).astype(float))
        assert decoded.dtype.kind in "bi" and np.array_equal(decoded, np.array(rows, int))


def test_labels_that_never_varied_count_when_predictions_are_measured():
    with pytest.warns(UserWarning, match="never vary"):
        target = LabelSets.learn([[1, 0, 0], [0, 0, 1], [1, 0, 1]])
    rows = np.array([[1, 1, 0], [0, 0, 1]])
    scores = np.array([[0.9, 0.0, 0.1], [0.1, 0.0, 0.8]])
    assert target.measure(rows, scores, "accuracy") == 0.5
    assert target.measure(rows, scores, "accuracy", np.array([1.0, 3.0])) == 0.75
    assert 0 < target.measure(rows, scores, "f1") <= 1


def test_sparse_rows_are_what_they_are_when_dense():
    one_hot, several = np.eye(3, dtype=int)[[0, 1, 2, 1]], np.array(ROWS)
    for dense in (one_hot, several):
        target = learn_labels(scipy.sparse.csr_matrix(dense), 4)
        assert target == learn_labels(dense, 4)
        assert np.array_equal(target.encode(scipy.sparse.csr_matrix(dense)), target.encode(dense))


def test_numbers_that_float32_rounds_too_much_are_not_exported():
    late = Numbers.learn(1.7e9 + np.random.default_rng(0).normal(0, 10, 100))
    with pytest.raises(DataError, match="precisely"):
        late.back()
    assert Numbers.learn(1000.0 + np.arange(9.0)).back()
