"""Every bad input is one of kmorph's own errors, which says what was given and what to do."""

import pytest
from bad_inputs import BAD_INPUTS, BadInput

from kmorph.errors import KmorphError


@pytest.mark.parametrize("row", BAD_INPUTS, ids=lambda row: row.id)
def test_bad_input(row: BadInput):
    with pytest.raises(KmorphError) as caught:
        row.call()
    for words in row.words:
        assert words in str(caught.value)


def test_rows_have_names_of_their_own():
    assert len({row.id for row in BAD_INPUTS}) == len(BAD_INPUTS)
