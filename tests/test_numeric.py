"""Numbers as NumPy and users write them become Python's."""

from decimal import Decimal
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest

from kmorph.numeric import real_number, whole_number

WHOLE = [3, np.int64(3), np.uint8(3), np.array(3), np.array(3, np.int8)]
REAL = [0.5, np.float16(0.5), np.float32(0.5), np.longdouble(0.5), np.array(0.5), Fraction(1, 2)]
REAL += [ml_dtypes.bfloat16(0.5), np.array(0.5, ml_dtypes.bfloat16)]
NEITHER = [
    True,
    np.bool_(True),
    np.array(True),
    "3",
    None,
    [3],
    np.array([3]),
    1j,
    np.complex64(1),
    Decimal(3),
]
NEITHER += [np.datetime64("2020"), np.timedelta64(1), np.array("a"), np.void(b"abc")]


@pytest.mark.parametrize("value", WHOLE, ids=repr)
def test_whole_numbers_become_ints(value):
    for convert in (whole_number, real_number):
        assert type(convert(value)) is int and convert(value) == 3


@pytest.mark.parametrize("value", REAL, ids=repr)
def test_real_numbers_become_floats(value):
    assert type(real_number(value)) is float and real_number(value) == 0.5
    with pytest.raises(TypeError, match="whole number"):
        whole_number(value)


@pytest.mark.parametrize("value", NEITHER, ids=repr)
def test_anything_else_is_refused(value):
    for convert in (whole_number, real_number):
        with pytest.raises(TypeError, match="expected a"):
            convert(value)
