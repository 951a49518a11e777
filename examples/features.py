"""What a network has learned, as features: in a scikit-learn pipeline, and under layers of one's own."""

import keras
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from kmorph import ImageClassifier

if __name__ == "__main__":
    x, y = load_digits(return_X_y=True)
    x = x.reshape(-1, 8, 8, 1)
    clf = ImageClassifier(path="features", seed=0).fit(x[:1400], y[:1400], time_limit=30)

    # Fixed features for another question: is the digit even?
    print(f"features: {clf.transform(x[:5]).shape}")
    even = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    even.fit(clf.transform(x[:1400]), y[:1400] % 2)
    print(f"even or odd, logistic regression: {even.score(clf.transform(x[1400:]), y[1400:] % 2):.3f}")

    # The same under a layer of one's own; `trainable` decides whether what is below learns too.
    extractor = clf.feature_extractor()
    extractor.trainable = False
    outputs = keras.layers.Dense(1, activation="sigmoid")(extractor.outputs[0])
    network = keras.Model(extractor.inputs, outputs)
    network.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    network.fit(x[:1400], y[:1400] % 2, epochs=20, verbose=0)
    print(f"even or odd, a layer: {network.evaluate(x[1400:], y[1400:] % 2, verbose=0)[1]:.3f}")
