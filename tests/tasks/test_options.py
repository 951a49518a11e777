"""Numbers of every kind in an estimator's arguments."""

import json
from fractions import Fraction

import numpy as np
import pytest

from kmorph import ImageClassifier, starts
from kmorph.errors import DataError
from kmorph.graph import Activation, Dense, Graph
from kmorph.search import InlineExecutor
from kmorph.tasks.arguments import check_arguments
from kmorph.tasks.options import (
    UNNORMALISED,
    SearcherArgs,
    TrainerArgs,
    check_count,
    check_flag,
    check_number,
    choose_hyperparameters,
    choose_starts,
    rate_share_for,
)

WHOLE = [3, np.int64(3), np.uint8(3), np.array(3)]
REAL = [0.5, np.float32(0.5), np.float64(0.5), np.array(0.5), Fraction(1, 2)]


@pytest.mark.parametrize("value", WHOLE, ids=repr)
def test_counts(value):
    assert type(check_count("n", value)) is int and check_count("n", value) == 3
    assert type(check_number("n", value)) is int


@pytest.mark.parametrize("value", REAL, ids=repr)
def test_numbers(value):
    assert type(check_number("n", value, above=True)) is float
    with pytest.raises(DataError, match="whole number"):
        check_count("n", value)


@pytest.mark.parametrize(
    "value", [np.True_, "3", -1, np.nan, np.inf, np.float32("nan"), 10**400, [3], np.array([3]), 1j]
)
def test_anything_else_is_refused(value):
    with pytest.raises(DataError, match="must be"):
        check_number("n", value)
    if not isinstance(value, int) or value < 1:
        with pytest.raises(DataError, match="must be"):
            check_count("n", value)


def test_flags():
    assert check_flag("f", np.True_) is True and check_flag("f", False) is False
    assert check_flag("f", "auto") == "auto"
    for value in ("yes", None, 2, np.array([True, False])):
        with pytest.raises(DataError, match="auto"):
            check_flag("f", value)


def test_an_estimator_keeps_what_it_was_given_and_works_with_pythons_numbers():
    given = {name: np.int64(2) for name in ("seed", "max_models", "max_parameters", "max_flops", "max_disk")}
    clf = ImageClassifier(**given, workers=np.int8(2), augment=np.False_, executor=InlineExecutor())
    arguments = check_arguments(clf, np.float32(5))
    for name in (*given, "workers"):
        assert type(getattr(arguments, name)) is int and getattr(arguments, name) == 2
        assert isinstance(getattr(clf, name), np.integer)
    assert type(arguments.time_limit) is float and arguments.augment is False
    assert arguments.ensemble == "auto"


def test_trainer_and_searcher_arguments():
    values = {"max_iter_num": np.int64(2), "lr": np.float32(0.5), "min_loss_dec": np.float64(0)}
    searcher = SearcherArgs.of(
        {"trainer_args": values, "default_model_len": np.int16(1), "t_min": np.float32(1)}
    )
    assert json.dumps([vars(searcher.trainer_args), searcher.default_model_len, searcher.t_min])
    assert TrainerArgs.of(None) == TrainerArgs() == TrainerArgs.of({"min_loss_dec": None})


def test_hyperparameters():
    chosen, space = choose_hyperparameters(
        {
            "learning_rate": np.float32(0.5),
            "batch_size": (np.int64(16), np.int64(64)),
            "weight_decay": np.logspace(-4, -3, 2),
            "label_smoothing": [np.float32(0), Fraction(1, 8)],
        },
        TrainerArgs(),
    )
    assert chosen.learning_rate == 0.5
    assert json.dumps([chosen.to_dict(), [vars(dimension) for dimension in space.dimensions.values()]])


def test_defaults_that_suit_the_examples():
    suited = {"batch_size": 512, "learning_rate": 0.05}
    chosen, _ = choose_hyperparameters(None, TrainerArgs(), 30_000, suited=suited)
    assert (chosen.batch_size, chosen.learning_rate) == (512, 0.05)
    chosen, _ = choose_hyperparameters({"learning_rate": 0.2}, TrainerArgs(), 30_000, suited=suited)
    assert (chosen.batch_size, chosen.learning_rate) == (512, 0.2)
    chosen, _ = choose_hyperparameters({"batch_size": 32}, TrainerArgs(), 30_000, suited=suited)
    assert chosen == choose_hyperparameters({"batch_size": 32}, TrainerArgs(), 30_000)[0]


def test_sizes_of_starts():
    ((name, graph),) = choose_starts([("mlp", {"width": np.int64(4)})], (), (2, 2, 1), 3, [], SearcherArgs())
    assert name == "mlp (width=4)" and graph.output_shape == (3,)


def test_networks_without_normalisation_learn_at_a_lower_rate():
    plain = Graph((8,), [Dense(8), Activation("relu"), Dense(3)], [[0], [1], [2]])
    assert rate_share_for(plain) == UNNORMALISED
    assert rate_share_for(Graph((8,), [Dense(3)], [[0]])) == 1  # linear
    assert all(rate_share_for(make((16, 16, 1), 3)) == 1 for make in (starts.cnn, starts.resnet, starts.mlp))
    shares = {share: choose_hyperparameters(None, TrainerArgs(), rate_share=share)[0] for share in (1, 0.25)}
    assert shares[0.25].learning_rate == 0.25 * shares[1].learning_rate
    given = choose_hyperparameters({"learning_rate": 0.3}, TrainerArgs(), rate_share=0.25)[0]
    assert given.learning_rate == 0.3
