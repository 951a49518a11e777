"""Take the architecture that a search found, and train it by hand, from new weights."""

import keras
import numpy as np
from sklearn.datasets import load_digits

from kmorph import ImageClassifier

if __name__ == "__main__":
    x, y = load_digits(return_X_y=True)
    x, onehot = x.reshape(-1, 8, 8, 1), np.eye(10)[y]
    clf = ImageClassifier(path="by_hand", seed=0).fit(x[:1400], y[:1400], time_limit=30)
    network = clf.best_graph.to_keras(weights=False)  # it ends in logits
    network.compile(
        optimizer=keras.optimizers.Adam(1e-3),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    network.fit(x[:1400], onehot[:1400], batch_size=64, epochs=15, verbose=2)
    print(f"by hand {network.evaluate(x[1400:], onehot[1400:], verbose=0)[1]:.3f}")
    print(f"by the search {clf.evaluate(x[1400:], y[1400:]):.3f}")
