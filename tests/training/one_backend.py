"""Run in a process of its own, with KERAS_BACKEND set: what `test_backends.py` compares.

python one_backend.py step FILE.npz    one step from given weights; the weights after it go to the file
python one_backend.py search FOLDER    a search on digits, predictions and an exported model
"""

import json
import sys

import numpy as np
from sklearn.datasets import load_digits

from kmorph import ImageClassifier, starts
from kmorph.graph import Embedding, Normalize
from kmorph.training.backend import load_backend
from kmorph.training.examples import Data
from kmorph.training.plan import Hyperparameters, Plan
from kmorph.training.step_factory import make_step
from kmorph.training.trainer import train

X, Y = load_digits(return_X_y=True)
X = X.reshape(-1, 8, 8, 1).astype(np.uint8)


def step(file: str) -> None:
    """For starts that have pools, sums, both activations and a table of vectors among their layers."""
    load_backend(threads=1)
    found = {}
    for name in ("resnet", "cnn"):
        graph = starts.KINDS[name]((8, 8, 1), 10, width=8, preprocessing=[Normalize((4.9,), (36.2,))])
        found.update({f"{name}/{key}": value for key, value in trained(graph.initialize(0), X).items()})
    # The pixels as numbers of entries of a table.
    graph = starts.bag((64,), 10, dropout=0.0, preprocessing=[Embedding(17, 8)]).initialize(0)
    found.update({f"bag/{key}": value for key, value in trained(graph, X.reshape(-1, 64)).items()})
    np.savez(file, **found)


def trained(graph, x) -> dict:
    """Losses of three steps, weights after them, and logits of the averaged weights."""
    step = make_step(graph, Hyperparameters(batch_size=60, label_smoothing=0.1), 0)
    losses = [float(step.train(x[i : i + 60], Y[i : i + 60].astype(np.int32), 0.05, i)) for i in (0, 60, 120)]
    step.recalibrate([x[:500], x[500:1000]])
    moved = step.to_graph().weights
    step.average(0.5)
    step.swap()
    step.recalibrate([x[:500], x[500:1000]])
    weights = {f"{layer}/{name}": value for (layer, name), value in moved.items()}
    return {"losses": np.array(losses), "logits": step.predict(x[:130], 50), **weights}


def search(folder: str) -> None:
    data = Data(X[:1200], Y[:1200], X[1200:], Y[1200:])
    hyperparameters = Hyperparameters(augment=("shift",))
    graph = starts.cnn((8, 8, 1), 10, width=8, preprocessing=[Normalize((4.9,), (36.2,))]).initialize(0)
    outcome = train(graph, data, Plan(phase="decay", max_epochs=8, hyperparameters=hyperparameters))
    small_cnn = [("cnn", {"width": 8})]
    classifier = ImageClassifier(path=folder, seed=0, verbose=False, max_models=2, starts=small_cnn)
    classifier.searcher_args = {"trainer_args": {"max_iter_num": 2}}
    classifier.fit(X[:1200], Y[:1200])
    searched = classifier.evaluate(X[1200:], Y[1200:])
    modules = [name for name in ("tensorflow", "jax", "torch") if name in sys.modules]
    # Saving loads TensorFlow where it is installed: Keras looks whether something is a TensorShape.
    exported = classifier.export_keras_model(f"{folder}/best.keras")
    print(
        json.dumps(
            {
                "trained": outcome.metrics["accuracy"],
                "speed": outcome.examples_per_second,
                "searched": searched,
                "models": len(classifier.history),
                "exported": exported.exists(),
                "modules": modules,
            }
        )
    )


if __name__ == "__main__":
    {"step": step, "search": search}[sys.argv[1]](sys.argv[2])
