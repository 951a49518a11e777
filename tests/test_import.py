"""``import kmorph`` is quick and loads nothing heavy."""

import configparser
import subprocess
import sys
from pathlib import Path

import pytest

import kmorph

HEAVY = ("tensorflow", "keras", "sklearn")


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_import_loads_nothing_heavy():
    loaded = run("import sys, kmorph; dir(kmorph); print(*sys.modules)").split()
    assert "kmorph" in loaded
    assert not set(HEAVY) & set(loaded)


def test_data_rooms_load_nothing_heavy():
    loaded = run("import sys, kmorph.data, kmorph.datasets; print(*sys.modules)").split()
    assert not set(HEAVY) & set(loaded)


def test_import_takes_less_than_half_a_second():
    code = "import time; t = time.process_time(); import kmorph; print(time.process_time() - t)"
    assert min(float(run(code)) for _ in range(3)) < 0.5  # of the processor: other programs do not count


@pytest.mark.parametrize("name", kmorph.__all__)
def test_every_public_name_can_be_had(name):
    assert name in dir(kmorph)
    assert getattr(kmorph, name) is not None


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = kmorph.nonsense


def test_version_has_one_source():
    config = configparser.ConfigParser()
    config.read(Path(__file__).parents[1] / "setup.cfg", encoding="utf-8")
    assert config["metadata"]["version"] == "attr: kmorph._version.__version__"
    assert kmorph.__version__ == "0.1.0"
