"""Losses and optimisers of the user's own train as Keras' `fit` does, on every backend and on two devices."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("own_problems.py")
RUNS = [
    ("tensorflow", ()),
    pytest.param("jax", (), marks=pytest.mark.slow),
    pytest.param("torch", (), marks=pytest.mark.slow),
    ("tensorflow", ("devices",)),
]
# One rounding error more is enough for some weights of Muon, which works in bfloat16 where Keras says so.
TOLERANCE = {"Muon": 0.05}


@pytest.mark.parametrize(("backend", "arguments"), RUNS)
def test_steps_are_those_of_keras(backend, arguments):
    if find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    done = subprocess.run(
        [sys.executable, SCRIPT, *arguments],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found) == 10
    for name, compared in found.items():
        assert compared["moved"] > 1e-4, name
        assert compared["apart"] < TOLERANCE.get(name, 0.01), (name, compared)
        assert compared["loss"] == pytest.approx(1, abs=0.01), (name, compared)
