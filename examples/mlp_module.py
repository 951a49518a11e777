"""A search for rows of a table, with a loss of one's own: `MlpModule`."""

from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

from kmorph import MlpModule

if __name__ == "__main__":
    x, y = load_breast_cancer(return_X_y=True)
    x, x_test, y, y_test = train_test_split(x, y, random_state=0, stratify=y)
    mlp = MlpModule(loss="binary_crossentropy", metric="accuracy", path="cancer", verbose=True)
    # One output: the probability of label 1.
    mlp.fit(n_output_node=1, input_shape=(30,), train_data=(x, y), test_data=(x_test, y_test), time_limit=30)
    print(f"accuracy: {mlp.evaluate(x_test, y_test):.3f}")
    print(f"probabilities of the first three: {mlp.predict_proba(x_test[:3]).ravel()}")
