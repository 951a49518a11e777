"""Search a network for Fashion-MNIST, show the models tried, test the best one and export it.

The data comes from Debian's package (`apt-get install dataset-fashion-mnist`), from a folder with the four
IDX files (`--folder`), or is downloaded by keras.datasets.

    python examples/fashion_mnist.py --time-limit 300
    python examples/fashion_mnist.py --images 5000 --time-limit 60
    python examples/fashion_mnist.py --path runs/fashion-mnist --resume --time-limit 300
"""

import argparse
import sys
from pathlib import Path

from rich.console import Console

from kmorph import ImageClassifier
from kmorph.datasets import load_fashion_mnist
from kmorph.errors import KmorphError
from kmorph.report import models_table

CLASSES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--time-limit", type=float, default=300, help="seconds for the search (default: 300)")
    parser.add_argument("--images", type=int, help="search on this many of the 60,000 training images")
    parser.add_argument("--path", type=Path, default=Path("runs/fashion-mnist"), help="folder of the search")
    parser.add_argument("--resume", action="store_true", help="go on with the search in --path")
    parser.add_argument("--folder", type=Path, help="folder with the four IDX files of Fashion-MNIST")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    args = arguments()
    (x, y), (x_test, y_test) = load_fashion_mnist(args.folder)
    # Labels may be text; predictions, and the exported models, then speak the same words.
    x, y = x[: args.images], [CLASSES[number] for number in y[: args.images]]

    # Without `resume` an earlier search in the folder is renamed, never written over.
    classifier = ImageClassifier(path=args.path, resume=args.resume, seed=args.seed)
    classifier.fit(x, y, time_limit=args.time_limit)

    Console().print(models_table(classifier.history, classifier.get_best_model_id(), title="Models tried"))
    accuracy = classifier.evaluate(x_test, [CLASSES[number] for number in y_test])
    print(f"Test accuracy of model {classifier.get_best_model_id()}: {accuracy:.4f}")
    print("First test images:", *classifier.predict(x_test[:5]))

    print("Keras file:", classifier.export_keras_model(args.path / "best.keras"))
    print("SavedModel:", classifier.export(args.path / "serving", format="saved_model"))


if __name__ == "__main__":
    try:
        main()
    except KmorphError as error:
        sys.exit(f"fashion_mnist.py: {error}")
