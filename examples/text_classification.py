"""Classify texts: to which package of Python's ecosystem does a paragraph of documentation belong?"""

import argparse
import inspect
import statistics

import numpy as np
import sklearn.metrics

from kmorph import TextClassifier


def paragraphs() -> tuple[list[str], list[str]]:
    """Paragraphs of at least sixty characters, and the package of each."""
    texts, labels = [], []
    for package in (np, np.linalg, sklearn.metrics, statistics, argparse):
        for name in sorted(vars(package)):
            text = inspect.getdoc(getattr(package, name)) or ""
            parts = [part for part in text.split("\n\n") if len(part) > 60]
            texts += parts
            labels += [package.__name__.partition(".")[0]] * len(parts)
    return texts, labels


if __name__ == "__main__":
    texts, labels = paragraphs()
    order = np.random.default_rng(0).permutation(len(texts))
    texts, labels = [texts[i] for i in order], np.array(labels)[order]
    held = len(texts) // 4
    clf = TextClassifier(path="texts", seed=0).fit(texts[held:], labels[held:], time_limit=40)
    print(f"accuracy on unseen paragraphs: {clf.evaluate(texts[:held], labels[:held]):.3f}")
    print(clf.predict(["Compute the mean absolute error between predictions and labels."]))
    # The exported model takes texts, and needs TensorFlow to read them.
    print(clf.export_keras_model("texts.keras"))
