"""Cores that a process may use: affinity, and quotas of control groups of both versions."""

import os

import pytest

from kmorph.training import cores as module
from kmorph.training.cores import cores, cpu_quota


def groups(folder, lines, files):
    """A tree of control groups and the list of a process' own."""
    root, own = folder / "cgroup", folder / "own"
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    own.write_text(lines)
    return root, own


@pytest.mark.parametrize(
    "lines, files, expected",
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/\n", {}, None),
        ("0::/a/b\n", {"a/b/cpu.max": "400000 100000\n", "a/cpu.max": "200000 100000\n"}, 2.0),
        ("0::/elsewhere/b\n", {"cpu.max": "300000 100000\n"}, 3.0),  # a container sees its group as the root
        ("0::/../b\n", {"cpu.max": "nonsense\n"}, None),
        ("2:cpu:/\n0::/\n", {"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, 0.5),
        ("2:cpu,cpuacct:/j\n", {"cpu,cpuacct/j/cpu.cfs_quota_us": "-1"}, None),
        (
            "4:cpu,cpuacct:/j/k\n3:cpuset:/j\n",
            {"cpu,cpuacct/j/cpu.cfs_quota_us": "250000", "cpu,cpuacct/j/cpu.cfs_period_us": "100000"},
            2.5,
        ),
    ],
)
def test_quotas(tmp_path, lines, files, expected):
    assert cpu_quota(*groups(tmp_path, lines, files)) == expected


def test_without_control_groups_there_is_no_quota(tmp_path):
    assert cpu_quota(tmp_path / "none", tmp_path / "no such list") is None


@pytest.mark.parametrize("quota, most", [(0.2, 1), (1.0, 1), (1.5, 2), (1000.0, 10_000), (None, 10_000)])
def test_the_least_limit_holds(monkeypatch, quota, most):
    monkeypatch.setattr(module, "cpu_quota", lambda: quota)
    assert 1 <= cores() <= min(most, os.cpu_count())


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="affinity of Linux")
def test_affinity_is_respected(monkeypatch):
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert cores() == 1
    finally:
        os.sched_setaffinity(0, before)
