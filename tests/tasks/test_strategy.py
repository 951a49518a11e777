"""An estimator whose models are trained by several devices."""

import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from sklearn.datasets import load_digits

from kmorph import ImageClassifier
from kmorph.errors import SearchError

# The worker's devices are set up by the strategy function, before TensorFlow starts there.
SCRIPT = """
import sys
import numpy as np
from sklearn.datasets import load_digits
from kmorph import ImageClassifier

def two_cpus():
    import tensorflow as tf
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])

x, y = load_digits(return_X_y=True)
x = x.reshape(-1, 8, 8).astype(np.uint8)
clf = ImageClassifier(
    path=sys.argv[1], seed=0, verbose=False, max_models=2, strategy=two_cpus, starts=["cnn"],
    hyperparameters={"batch_size": 16, "learning_rate": 0.05},
    searcher_args={"trainer_args": {"max_iter_num": 4}},
)
clf.fit(x[:1200], y[:1200])
assert [entry["replicas"] for entry in clf.history] == [2, 2], clf.history
assert {entry["hyperparameters"]["batch_size"] for entry in clf.history} == {16}
assert clf.evaluate(x[1200:], y[1200:]) > 0.85
clf.final_fit(x[:1200], y[:1200], trainer_args={"max_iter_num": 1})
final = clf.history[clf.get_best_model_id()]
assert (final["phase"], final["replicas"]) == ("final", 2), final
assert not clf.failures
print("accuracy", clf.evaluate(x[1200:], y[1200:]))
"""


@pytest.mark.slow
def test_images_are_classified_by_two_devices(tmp_path):
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "accuracy" in done.stdout


def test_a_lambda_reaches_the_processes_of_the_standard_library(tmp_path):
    x, y = load_digits(return_X_y=True)
    x = x.reshape(-1, 8, 8).astype(np.uint8)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        clf = ImageClassifier(
            path=tmp_path / "run",
            seed=0,
            verbose=False,
            max_models=1,
            starts=["mlp"],
            executor=executor,
            searcher_args={"trainer_args": {"max_iter_num": 1}},
            strategy=lambda: __import__("tensorflow").distribute.OneDeviceStrategy("CPU:0"),
        )
        clf.fit(x[:300], y[:300])
    assert [entry["replicas"] for entry in clf.history] == [1]


def test_a_function_that_fails_is_told_of(tmp_path):
    x, y = load_digits(return_X_y=True)
    clf = ImageClassifier(path=tmp_path / "run", verbose=False, max_models=1, strategy=lambda: 3)
    with pytest.raises(SearchError, match="strategy function must build a tf.distribute"):
        clf.fit(x[:100].reshape(-1, 8, 8), y[:100])
