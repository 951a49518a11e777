"""Promises of the README: its commands are those of CI, its code runs, its links lead somewhere."""

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = sorted(file.relative_to(ROOT).as_posix() for file in (ROOT / "docs").rglob("*.md"))
COMMANDS = ("pip install . && kmorph demo", "pip install '.[test]' && pytest")
README = (ROOT / "README.md").read_text(encoding="utf-8")
CI = (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_two_commands_are_in_readme_and_ci(command):
    assert f"{command}\n" in blocks("sh")
    stage, function = re.search(rf'^stage "({re.escape(command)})" (\w+)$', CI, re.MULTILINE).groups()
    assert stage == command
    body = re.search(rf"^{function}\(\) {{\n(.*?)^}}", CI, re.MULTILINE | re.DOTALL)[1]
    # Options that only make less noise, and what becomes of the output, make no difference.
    assert body.replace(" --quiet", "").strip().startswith(command)


def test_readme_opens_with_what_why_and_how():
    assert README.startswith("# kmorph\n")
    picture, code, first, second = (
        README.index(mark) for mark in ("![", "```python", *(f"```sh\n{command}" for command in COMMANDS))
    )
    assert picture < code < first < second
    assert len(blocks("python")[0].splitlines()) == 10


def test_links_lead_to_files():
    targets = [target for target in re.findall(r"\]\(([^)#]+)", README) if "://" not in target]
    assert "docs/architecture.md" in targets
    for target in targets:
        assert (ROOT / target).is_file(), target
    for target in re.findall(r"(?:examples|docs|tests)/\w+\.(?:py|md)", README):
        assert (ROOT / target).is_file(), target


# The ten lines with less to do: by the clock, or by the numbers of models and of epochs.
SHORTER = {
    "clock": {"time_limit=60": "time_limit=20"},
    "models": {
        "time_limit=60": "time_limit=10_000",
        "seed=0": "seed=0, max_models=2, searcher_args={'trainer_args': {'max_iter_num': 4}}",
    },
}


@pytest.mark.parametrize("way", [pytest.param("clock", marks=pytest.mark.wall), "models"])
def test_the_ten_lines_run(tmp_path, way):
    code = blocks("python")[0]
    for long, short in SHORTER[way].items():
        assert code.count(long) == 1
        code = code.replace(long, short)
    (tmp_path / "lines.py").write_text(code, encoding="utf-8")
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [sys.executable, "lines.py"], cwd=tmp_path, env=environment, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert float(re.search(r"^[01]\.\d+$", done.stdout, re.MULTILINE)[0]) > 0.8
    assert "Total params" in done.stdout
    assert (tmp_path / "digits.keras").is_file()
    assert (tmp_path / "digits" / "search.db").is_file()


def test_the_pieces_work_alone():
    (session,) = blocks("pycon")
    test = doctest.DocTestParser().get_doctest(session, {}, "README", str(ROOT / "README.md"), 0)
    assert test.examples
    assert doctest.DocTestRunner().run(test).failed == 0


@pytest.mark.parametrize("file", ["README.md", "CHANGELOG.md", *DOCS])
def test_no_line_is_too_long_to_read(file):
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    assert all(len(line) <= 120 for line in lines if not line.startswith("|"))
