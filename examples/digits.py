"""Search a network for handwritten digits for a minute, train it on, and take it away."""

from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from kmorph import ImageClassifier

x, y = load_digits(return_X_y=True)
x = x.reshape(-1, 8, 8, 1)
x_train, x_test, y_train, y_test = train_test_split(x, y, stratify=y, random_state=0)

# An earlier search in the folder is renamed to auto.1, auto.2, …; resume=True would go on with it.
clf = ImageClassifier(path="auto", seed=0)
clf.fit(x_train, y_train, time_limit=60)

for row in clf.leaderboard()[:5]:
    # None for the last trainings and their mean, which saw the validation images, too.
    print(f"model {row['model_id']}: {row['change']}, validation accuracy {row['metric_value']}")

# Train the best model on: it has seen all of the training data by now, so 30 epochs more on all of it.
clf.final_fit(x_train, y_train, time_limit=15)
print("test accuracy:", clf.evaluate(x_test, y_test))

# This file takes raw images and loads wherever Keras is, without kmorph.
clf.export_keras_model("best.keras")
clf.best_graph.to_keras().summary()
