"""Volumes: images with a third axis, such as scans or short films."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kmorph.data.grids import VOLUMES
from kmorph.problem.inputs.changes import FLIPS
from kmorph.problem.inputs.grid import GridInput
from kmorph.problem.inputs.symmetry import keeps_target

if TYPE_CHECKING:
    from kmorph.problem.targets.base import Target

LEAST_TO_CHANGE = 3  # positions along each axis of a volume that is changed at random


@dataclass(frozen=True)
class VolumeInput(GridInput):
    """Volumes of one size; `shape` is (depth, height, width, channels)."""

    kind = "volume"
    noun = "volumes"
    form = VOLUMES

    def augmentations(self, x: np.ndarray, codes: np.ndarray, target: Target) -> tuple[str, ...]:
        """Shifts, which labels survive, and mirroring along each axis, which is tested.

        For numbers all are tested, and where shifts fail, shifts by a fraction of a position.
        """
        if min(self.shape[:3]) < LEAST_TO_CHANGE:
            return ()
        kept = [kind for kind in FLIPS if keeps_target(kind, x, codes, target)]
        if not target.is_numeric or keeps_target("shift", x, codes, target):
            kept.insert(0, "shift")
        elif keeps_target("jitter", x, codes, target):
            kept.append("jitter")
        return tuple(kept)
