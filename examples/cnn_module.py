"""A search for images with one-hot labels, drawn model by model: `CnnModule`."""

import numpy as np
from sklearn.datasets import load_digits

import kmorph
from kmorph import CnnModule

if __name__ == "__main__":
    x, y = load_digits(return_X_y=True)
    x, onehot = x.reshape(-1, 8, 8, 1), np.eye(10, dtype="float32")[y]
    cnn = CnnModule(loss="categorical_crossentropy", metric="accuracy", path="cnn", verbose=True)
    cnn.fit(10, (8, 8, 1), (x[:1400], onehot[:1400]), (x[1400:], onehot[1400:]), time_limit=40)
    print(f"accuracy: {cnn.evaluate(x[1400:], onehot[1400:]):.3f}")
    cnn.best_graph.to_keras().summary()
    searcher = kmorph.load_searcher("cnn")
    for item in searcher.history:
        print(searcher.load_model_by_id(item["model_id"]).draw(f"cnn/{item['model_id']}.dot"))
