"""Processor cores that this process may use: affinity, and the quotas of control groups."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

CGROUPS = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")


def cores() -> int:
    """Processor cores that this process may use, at least 1.

    The least of the cores that it may run on (its affinity) and the processor time that its control groups
    grant it, as containers and batch systems set it; part of a core counts as one.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return max(1, affinity if quota is None else min(affinity, math.ceil(quota)))


def cpu_quota(root: Path = CGROUPS, own: Path = OWN_GROUPS) -> float | None:
    """Cores' worth of processor time that control groups grant this process; None: no limit.

    Parameters
    ----------
    root : pathlib.Path, default=/sys/fs/cgroup
        Where control groups are mounted.
    own : pathlib.Path, default=/proc/self/cgroup
        Lists the groups of this process.
    """
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return None
    found: list[float] = []
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            # Version 2; where both versions are in use, it is mounted beside the other's controllers.
            bases, read = [root, root / "unified"], _quota_of_version_2
        elif "cpu" in controllers.split(","):
            bases, read = [root / "cpu", root / controllers], _quota_of_version_1
        else:
            continue
        for folder in _with_parents(bases, path):
            try:
                quota = read(folder)
            except (OSError, ValueError):  # no such group here, or no limit of its own
                continue
            if quota is not None:
                found.append(quota)
    return min(found, default=None)


def _with_parents(bases: list[Path], path: str) -> Iterator[Path]:
    """Folders of a group and of those above it: the limits of all of them hold.

    A container may see its own group as the root, under a path that is not there.
    """
    parts = PurePosixPath("/" + path.lstrip("/")).parts[1:]
    for base in bases:
        for length in range(len(parts), -1, -1):
            yield base.joinpath(*parts[:length])


def _quota_of_version_2(folder: Path) -> float | None:
    quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
    return None if quota == "max" else int(quota) / int(period)


def _quota_of_version_1(folder: Path) -> float | None:
    quota = int((folder / "cpu.cfs_quota_us").read_text(encoding="ascii"))
    return None if quota <= 0 else quota / int((folder / "cpu.cfs_period_us").read_text(encoding="ascii"))
