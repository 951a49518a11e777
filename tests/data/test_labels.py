"""Labels come back as they were handed in."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kmorph.data import LabelCodec
from kmorph.errors import DataError

KINDS = [
    st.text(max_size=8),
    st.integers(),
    st.integers(-(2**70), 2**70),
    st.booleans(),
    st.integers(-(2**60), 2**60).map(float),
]
LABELS = st.one_of(
    *(st.lists(kind, min_size=2, max_size=12).filter(lambda v: len(set(v)) > 1) for kind in KINDS)
)


def round_trip(y) -> np.ndarray:
    codec = LabelCodec.from_json(json.loads(json.dumps(LabelCodec.from_labels(y).to_json())))
    assert codec == LabelCodec.from_labels(y)
    codes = codec.encode(y)
    assert codes.dtype == np.int64 and codes.shape == (len(y),)
    return codec.decode(codes)


@settings(max_examples=300)
@given(LABELS)
def test_lists_survive_exactly(y):
    decoded = round_trip(y).tolist()
    assert decoded == y
    assert [type(value) for value in decoded] == [type(value) for value in y]


@settings(max_examples=200)
@given(LABELS)
def test_columns_survive_exactly(y):
    assert round_trip([[label] for label in y]).tolist() == [[label] for label in y]


@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "uint8", "int64", "uint64", "float16", "float32", "float64", "U3"]
)
@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_form_and_dtype_survive(dtype, shape):
    y = np.array([1, 0, 0, 1]).astype(dtype).reshape(shape)
    decoded = round_trip(y)
    assert decoded.dtype == y.dtype
    np.testing.assert_array_equal(decoded, y)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float32", "float64"])
def test_one_hot_rows(dtype):
    y = np.eye(4, dtype=dtype)[[3, 1, 1, 0]]
    codec = LabelCodec.from_labels(y)
    assert (codec.classes, codec.form) == ((0, 1, 2, 3), "one_hot")
    assert codec.encode(y).tolist() == [3, 1, 1, 0]
    assert codec.classes_array.tolist() == [0, 1, 2, 3]
    decoded = round_trip(y)
    assert decoded.dtype == y.dtype
    np.testing.assert_array_equal(decoded, y)


def test_one_hot_codec_takes_class_numbers():
    assert LabelCodec.from_labels([[1, 0], [0, 1]]).encode([1, 0, 1]).tolist() == [1, 0, 1]


def test_classes_are_sorted_and_named():
    codec = LabelCodec.from_labels(["cat", "ant", "bee", "ant"])
    assert codec.classes == ("ant", "bee", "cat")
    assert codec.classes_array.tolist() == ["ant", "bee", "cat"]
    assert codec.class_names == ("ant", "bee", "cat")
    assert LabelCodec.from_labels([3, -1]).class_names == ("-1", "3")
    assert LabelCodec.from_labels([True, False]).class_names == ("False", "True")


def test_object_arrays_of_text_stay_objects():
    y = np.array(["b", "a"], dtype=object)
    assert round_trip(y).dtype == object


@pytest.mark.parametrize("values", [["b", "a", "b"], [5, -7, 5], [True, False, True], [1.0, 2.0, 1.0]])
@pytest.mark.parametrize("kind", ["series", "frame", "category"])
def test_pandas(values, kind):
    pd = pytest.importorskip("pandas")
    y = pd.Series(values, index=[7, 8, 9])
    y = {"series": y, "frame": y.to_frame(), "category": y.astype("category")}[kind]
    assert round_trip(y).tolist() == np.asarray(y).tolist()


def test_pandas_missing_label():
    pd = pytest.importorskip("pandas")
    with pytest.raises(DataError, match="missing label"):
        LabelCodec.from_labels(pd.Series([1, 2, None], dtype="Int64"))


def test_encoding_goes_by_value_and_not_by_dtype():
    assert LabelCodec.from_labels([0, 1, 2]).encode(np.array([2.0, 0.0])).tolist() == [2, 0]
    assert LabelCodec.from_labels(np.array([0, 1], np.uint8)).encode([True, False]).tolist() == [1, 0]
    assert LabelCodec.from_labels(["a", "bbb"]).encode(np.array(["bbb"], object)).tolist() == [1]
    assert LabelCodec.from_labels([2**63, -1]).encode([-1, 2**63]).tolist() == [0, 1]


def test_unseen_labels_are_named():
    codec = LabelCodec.from_labels(["a", "b"])
    with pytest.raises(DataError, match=r"'x', 'z', never seen.*'a', 'b'"):
        codec.encode(["a", "z", "x"])
    with pytest.raises(DataError, match="'1'"):
        LabelCodec.from_labels([0, 1]).encode(["1"])


def test_fewer_classes_than_at_the_fit_are_fine():
    assert LabelCodec.from_labels(["a", "b"]).encode(["b"]).tolist() == [1]


def test_no_codes_give_no_labels():
    assert LabelCodec.from_labels([1, 2]).decode(np.empty(0, np.int64)).shape == (0,)


@pytest.mark.parametrize("codes", [[0, 2], [-1], [0.5], [[0]]])
def test_codes_out_of_range(codes):
    with pytest.raises(DataError, match="codes"):
        LabelCodec.from_labels([1, 2]).decode(codes)


@pytest.mark.parametrize(
    "data",
    [
        None,
        {},
        {"classes": [0, 1], "form": "rows", "dtype": "int64"},
        {"classes": [0, 1], "form": "column", "dtype": "datetime64[s]"},
        {"classes": [0, 1], "form": "column", "dtype": "nonsense"},
        {"classes": [0, 0], "form": "column", "dtype": "int64"},
        {"classes": [0, "1"], "form": "column", "dtype": "int64"},
        {"classes": [[0], [1]], "form": "column", "dtype": "int64"},
        {"classes": [0], "form": "column", "dtype": "int64"},
    ],
)
def test_damaged_json(data):
    with pytest.raises(DataError, match="stored labels"):
        LabelCodec.from_json(data)
