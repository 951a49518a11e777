"""Short searches on real photographs: Fashion-MNIST."""

import pytest

from kmorph import ImageClassifier
from kmorph.datasets import FASHION_MNIST_PACKAGE, load_fashion_mnist

pytestmark = pytest.mark.skipif(
    not FASHION_MNIST_PACKAGE.exists(), reason="apt-get install dataset-fashion-mnist"
)


def test_four_epochs_of_two_thousand_images(tmp_path):
    (x, y), (x_test, y_test) = load_fashion_mnist()
    epochs = {"trainer_args": {"max_iter_num": 4}}
    clf = ImageClassifier(
        path=tmp_path, seed=0, starts=["cnn"], max_models=2, searcher_args=epochs, verbose=False
    )
    clf.fit(x[:2000], y[:2000])
    assert clf.evaluate(x_test, y_test) > 0.70
    # Clothes may be mirrored.
    assert all("flip" in entry["hyperparameters"]["augment"] for entry in clf.history)


@pytest.mark.wall
def test_half_a_minute_on_five_thousand_images(tmp_path):
    (x, y), (x_test, y_test) = load_fashion_mnist()
    clf = ImageClassifier(path=tmp_path, seed=0).fit(x[:5000], y[:5000], time_limit=30)
    assert len(clf.history) >= 2
    assert clf.evaluate(x_test, y_test) > 0.70
    # How many epochs half a minute is worth depends on the machine: blocks are erased only on a fast one.
    augments = {tuple(entry["hyperparameters"]["augment"]) for entry in clf.history}
    assert augments <= {(), ("shift", "flip"), ("shift", "flip", "erase")}
