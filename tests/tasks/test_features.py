"""What a network has learned, reused: in scikit-learn's pipelines, and under layers of one's own."""

import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from kmorph import ImageClassifier

X, Y = load_digits(return_X_y=True)
X = X.reshape(-1, 8, 8, 1)
QUICK = {
    "searcher_args": {"trainer_args": {"max_iter_num": 8}, "default_model_width": 16},
    "verbose": False,
    "max_models": 1,
    "seed": 0,
}


def test_an_estimator_in_a_pipeline_gives_features(tmp_path):
    pipeline = make_pipeline(
        ImageClassifier(path=tmp_path / "run", **QUICK), StandardScaler(), LogisticRegression(max_iter=500)
    )
    assert pipeline.fit(X[:1300], Y[:1300]).score(X[1300:], Y[1300:]) > 0.85


def test_features_have_names(tmp_path):
    clf = ImageClassifier(path=tmp_path / "run", **QUICK).fit(X[:300], Y[:300])
    features = clf.transform(X[:5])
    names = clf.get_feature_names_out()
    assert names.tolist() == [f"imageclassifier{i}" for i in range(features.shape[1])]
    assert clf.evaluate((X[300:400], Y[300:400])) == clf.score(X[300:400], Y[300:400])
    assert clf.leaderboard((X[300:400], Y[300:400]))[0]["accuracy"] == clf.evaluate(X[300:400], Y[300:400])
    pytest.importorskip("pandas")
    pipeline = make_pipeline(clf, StandardScaler()).set_output(transform="pandas")
    table = pipeline.fit(X[:300], Y[:300]).transform(X[:5])
    assert table.shape[0] == 5 and table.columns[0] == "imageclassifier0"
    table = clf.transform(X[:5])
    np.testing.assert_array_equal(table.columns, clf.get_feature_names_out())
    assert clf.set_output(transform="default").transform(X[:5]).shape == table.shape


@pytest.mark.parametrize("trainable", [False, True])
def test_features_under_a_layer_of_ones_own(trainable, tmp_path):
    clf = ImageClassifier(path=tmp_path / "run", **QUICK).fit(X[:1300], Y[:1300])
    before = clf.predict_proba(X[:5])
    extractor = clf.feature_extractor()
    np.testing.assert_allclose(
        extractor.predict(X[:5], verbose=0), clf.transform(X[:5]), rtol=1e-4, atol=1e-5
    )
    extractor.trainable = trainable
    weights = [np.array(w) for w in extractor.get_weights()]
    outputs = keras.layers.Dense(1, activation="sigmoid")(extractor.outputs[0])
    network = keras.Model(extractor.inputs, outputs)
    network.compile(keras.optimizers.Adam(0.01), "binary_crossentropy", metrics=["accuracy"])
    network.fit(X[:1300], Y[:1300] % 2, epochs=8, verbose=0)
    assert network.evaluate(X[1300:], Y[1300:] % 2, verbose=0)[1] > 0.6
    same = all(np.array_equal(a, b) for a, b in zip(weights, extractor.get_weights(), strict=True))
    assert same != trainable
    # What was trained is not the estimator's own model.
    np.testing.assert_allclose(clf.predict_proba(X[:5]), before, atol=1e-6)
