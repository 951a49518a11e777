"""Training on several devices gives what training on one gives."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kmorph.errors import DataError
from kmorph.training.distribute import build_strategy, pack_strategy


@pytest.fixture(scope="module")
def compared():
    """Results of `two_devices.py`."""
    program = Path(__file__).with_name("two_devices.py")
    done = subprocess.run([sys.executable, program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_two_devices_take_the_same_steps_as_one(compared):
    steps = compared["steps"]
    assert steps["fell"] < 0.5  # it learned
    assert steps["after ten"] < 3e-5  # rounding: Muon raises small directions to the size of large ones
    assert max(steps["losses"], steps["weights"], steps["averages"]) < 3e-4
    assert steps["logits"] < 3e-3
    assert steps["spread"] == 0  # the copies are the same


def test_averaged_weights_are_swapped_on_all_devices(compared):
    assert compared["steps"]["average is another"] > 0.01
    assert compared["steps"]["swapped back"] == 0


def test_a_run_on_two_devices_is_as_good_as_on_one(compared):
    runs = compared["runs"]
    assert min(runs["accuracy"]) > 0.85
    assert runs["accuracy"][0] == pytest.approx(runs["accuracy"][1], abs=0.04)
    assert runs["loss"][0] == pytest.approx(runs["loss"][1], abs=0.08)
    assert runs["exported"] == pytest.approx(runs["accuracy"][1])
    assert runs["images"][0] == runs["images"][1]
    assert (runs["replicas"], runs["batch sizes"]) == ([1, 2], [64, 32])


def test_statistics_of_batch_norm_agree(compared):
    statistics = compared["statistics"]
    assert statistics["apart"] > 1e-4  # each device saw other images
    assert statistics["agreed"] == statistics["calibrated"] == 0
    assert statistics["difference from one device"] < 0.02 * statistics["size"]


def test_each_device_drops_other_units(compared):
    assert compared["dropout"]["difference"] > 0.1


def test_bfloat16_and_few_examples_work_on_two_devices(compared):
    assert compared["bfloat16"]["loss"] < 1.5
    assert compared["few"]["images"] > 0


def test_all_devices_take_smaller_batches_where_memory_runs_out(compared):
    memory = compared["memory"]
    assert (memory["batch_size"], memory["learning_rate"]) == (8, 0.02)
    assert memory["images"] == pytest.approx(1401, abs=16)


def test_functions_reach_workers_by_value():
    word = "built"

    def build():
        return word

    assert isinstance(pack_strategy(build), bytes) and pack_strategy(build) == pack_strategy(build)
    assert pack_strategy(None) is None and pack_strategy("mirrored") == "mirrored"


def test_a_strategy_is_built_once():
    def one():
        import tensorflow as tf

        return tf.distribute.OneDeviceStrategy("CPU:0")

    packed = pack_strategy(one)
    assert build_strategy(packed) is build_strategy(packed)


def test_functions_that_build_no_usable_strategy_say_so():
    def fail():
        raise OSError("no such device")

    with pytest.raises(DataError, match="strategy function failed: OSError: no such device"):
        build_strategy(pack_strategy(fail))
    with pytest.raises(DataError, match="must build a tf.distribute.MirroredStrategy.* not a int"):
        build_strategy(pack_strategy(int))
