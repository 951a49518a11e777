"""Training that goes wrong fails the candidate, with the reason, and nothing else."""

import numpy as np
import pytest
from search_runs import digits

from kmorph import ImageClassifier
from kmorph.errors import SearchError
from kmorph.graph import Activation, Dense, Flatten, Graph, GraphBuilder
from kmorph.search.workers.pool import InlineExecutor
from kmorph.training.examples import Data
from kmorph.training.plan import Hyperparameters, Plan
from kmorph.training.trainer import Stopped, train

EPOCHS = {"trainer_args": {"max_iter_num": 2}}


def data(x=None):
    known, y = digits()
    x = known.reshape(-1, 8, 8, 1).astype(np.float32) / 16 if x is None else x
    return Data(x[:600], y[:600], x[600:900], y[600:900])


def mlp(bias=0.0):
    """Two dense layers with weights; a bias far below zero makes every hidden unit silent for ever."""
    builder = GraphBuilder((8, 8, 1))
    for layer in (Flatten(), Dense(16), Activation("relu"), Dense(10)):
        builder.add(layer)
    graph = builder.build().initialize(0)
    weights = {key: np.array(array) for key, array in graph.weights.items()}
    weights[1, "bias"] += bias
    return graph.with_weights(weights)


def test_constant_predictions_fail():
    with pytest.raises(Stopped, match="predicts the same for every example"):
        train(mlp(bias=-1e6), data(), Plan(max_epochs=2))


def test_constant_predictions_of_equal_examples_are_right():
    outcome = train(mlp(), data(np.ones((900, 8, 8, 1), np.float32)), Plan(max_epochs=2))
    assert np.isfinite(outcome.metrics["loss"])


def test_a_loss_that_is_not_finite_fails():
    with pytest.raises(Stopped, match="loss"):
        train(mlp(), data(), Plan(max_epochs=2, hyperparameters=Hyperparameters(learning_rate=1e12)))


def test_weights_that_are_not_finite_fail():
    graph = mlp()
    weights = {key: np.array(array) for key, array in graph.weights.items()}
    weights[3, "kernel"][0, 0] = 1e38  # finite, and so are its predictions where unit 0 is silent
    weights[1, "kernel"][:, 0], weights[1, "bias"][0] = 0.0, -1.0
    outcome = train(graph.with_weights(weights), data(), Plan(max_epochs=0))
    assert np.isfinite(outcome.metrics["loss"])
    weights[3, "kernel"][0, 0] = np.inf
    with pytest.raises(Stopped, match="not finite"):
        train(graph.with_weights(weights), data(), Plan(max_epochs=0))


def test_if_all_starts_explode_one_error_says_why_for_each(tmp_path):
    starts = ["cnn", "mlp", ("cnn", {"width": 8}), ("mlp", {"width": 16})]
    clf = ImageClassifier(
        path=tmp_path / "run", verbose=False, seed=0, executor=InlineExecutor(), searcher_args=EPOCHS,
        hyperparameters={"learning_rate": 1e12}, starts=starts, max_models=4,
    )  # fmt: skip
    with pytest.raises(SearchError) as caught:
        clf.fit(*digits())
    for name in ("cnn:", "mlp:", "cnn (width=8)", "mlp (width=16)"):
        assert f"start: {name}" in str(caught.value)
    assert "loss" in str(caught.value)
    assert {failure["state"] for failure in clf.failures} == {"failed"}


def test_a_start_that_explodes_costs_itself_alone(tmp_path):
    bad = mlp()
    weights = {key: np.array(array) for key, array in bad.weights.items()}
    weights[1, "kernel"][:] = np.nan
    bad = Graph(bad.input_shape, bad.layers, bad.inputs, weights)
    clf = ImageClassifier(
        path=tmp_path / "run", verbose=False, seed=0, executor=InlineExecutor(), searcher_args=EPOCHS,
        starts=[bad, "cnn"], max_models=3,
    )  # fmt: skip
    clf.fit(*digits())
    assert "not finite" in clf.failures[0]["reason"]
    assert len(clf.history) == 3 and clf.evaluate(*digits()) > 0.8
