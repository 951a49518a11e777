"""Trained networks as starts: what they have learned is not lost, whatever training does to it."""

import keras
import numpy as np
import pytest
from keras import layers as L
from sklearn.datasets import load_digits

from kmorph import ImageClassifier, ImageRegressor

X, Y = load_digits(return_X_y=True)
X = X.reshape(-1, 8, 8, 1).astype(np.uint8)
ONE = {"max_models": 1, "seed": 0, "verbose": False, "searcher_args": {"trainer_args": {"max_iter_num": 1}}}


def linear(y, outputs):
    """A network of one dense layer, fitted by least squares on the raw pixels of the first 1,300 images."""
    rows = np.eye(outputs)[y] if outputs > 1 else y[:, None]
    inputs = np.concatenate([X.reshape(len(X), -1), np.ones((len(X), 1))], axis=1)[:1300]
    solution = np.linalg.lstsq(inputs, rows[:1300], rcond=None)[0].astype(np.float32)
    model = keras.Sequential([keras.Input((8, 8, 1)), L.Flatten(), L.Dense(outputs)])
    model.layers[-1].set_weights([solution[:-1], solution[-1]])
    return model


def test_a_regressor_gives_what_it_gave(tmp_path):
    y = 1000 + 50.0 * Y
    model = linear(y, 1)
    given = np.asarray(model(X[1300:].astype(np.float32)))[:, 0]
    reg = ImageRegressor(path=tmp_path / "run", starts=[model], **ONE).fit(X[:1300], y[:1300])
    assert reg.evaluate(X[1300:], y[1300:]) < 1.05 * np.mean((given - y[1300:]) ** 2)


@pytest.mark.parametrize("trained", [True, False])
def test_where_training_fails_a_trained_one_is_kept(tmp_path, trained):
    model = linear(Y, 10)
    if not trained:
        model.layers[-1].set_weights([np.zeros((64, 10)), np.zeros(10)])
    wild = {"learning_rate": 1e30}
    clf = ImageClassifier(path=tmp_path / "run", starts=[model], hyperparameters=wild, **ONE)
    with pytest.warns(UserWarning, match=r"model 0, the best one, was stopped: .*Rescaling"):
        clf.fit(X[:1300], Y[:1300])
    (record,) = clf.history
    assert record["state"] == "stopped" and "best ones before that" in record["reason"]
    accuracy = np.mean(np.asarray(model(X[1300:].astype(np.float32))).argmax(1) == Y[1300:])
    assert clf.evaluate(X[1300:], Y[1300:]) == pytest.approx(accuracy)
