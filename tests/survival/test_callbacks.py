"""Callbacks that misbehave, and what cannot be used and says so at once."""

import keras
import pytest
from search_runs import QUICK, digits

from kmorph import ImageClassifier
from kmorph.errors import DataError


def test_an_error_of_a_callback_reaches_the_caller_and_costs_no_model(tmp_path):
    def fail(record):
        seen.append(record["model_id"])
        if record["model_id"] == 2:
            raise ZeroDivisionError("mine")

    seen = []
    options = {"path": tmp_path / "run", "verbose": False, "seed": 0, "max_models": 5, **QUICK}
    clf = ImageClassifier(callbacks=[fail], **options)
    with pytest.raises(ZeroDivisionError, match="mine"):
        clf.fit(*digits())
    assert seen == [0, 1, 2] and [record["model_id"] for record in clf.history] == [0, 1, 2]
    assert clf.evaluate(*digits()) > 0.5
    # They are arguments, not part of the search: whoever resumes it gives them again.
    again = ImageClassifier(
        callbacks=[lambda record: seen.append(record["model_id"])], resume=True, **options
    )
    again.fit(*digits())
    assert seen == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"callbacks": [keras.callbacks.EarlyStopping()]}, "Callbacks of Keras are not called"),
        ({"callbacks": print}, "list of functions"),
        ({"loss": keras.losses.MeanSquaredError()}, "y_true of shape"),
        ({"loss": keras.losses.CTC()}, "sequences"),
        ({"optimizer": keras.optimizers.Adam}, "optimizer must be"),
        ({"objective": "val_f1"}, "objective"),
        ({"objective": keras.metrics.Mean()}, "pair"),
    ],
)
def test_what_cannot_be_used_says_so_before_anything_is_trained(tmp_path, arguments, words):
    with pytest.raises(DataError, match=words):
        ImageClassifier(path=tmp_path / "run", verbose=False, **arguments).fit(*digits())
    assert not (tmp_path / "run").exists()
