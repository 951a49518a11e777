"""The first requests of a service come at once: threads load Keras and the model without waiting."""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "folders" / "v1"
SERVE = """
import os, sys, threading
import numpy as np
from kmorph import ImageClassifier
clf = ImageClassifier(path=sys.argv[1], resume=True)
x = np.zeros((40, *clf.best_graph.input_shape), np.uint8)
before = os.fstat(2).st_ino, os.fstat(2).st_dev
errors, answers = [], []
def ask():
    try:
        for _ in range(3):
            answers.append((clf.predict_proba(x), clf.transform(x)))
    except BaseException as error:
        errors.append(repr(error))
threads = [threading.Thread(target=ask) for _ in range(5)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert not errors, errors
assert (os.fstat(2).st_ino, os.fstat(2).st_dev) == before
for answer in answers:
    for values, first in zip(answer, answers[0]):
        assert np.allclose(values, first, atol=1e-5)
"""


@pytest.mark.parametrize("backend", ["tensorflow", "jax", pytest.param("torch", marks=pytest.mark.slow)])
def test_they_are_all_answered(backend, tmp_path):
    if find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    run = shutil.copytree(FOLDER, tmp_path / "run")
    environment = {**os.environ, "KERAS_BACKEND": backend}
    done = subprocess.run(
        [sys.executable, "-c", SERVE, str(run)], env=environment, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr[-2000:]
