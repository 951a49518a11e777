"""Pretrained models of KerasHub: finding them, loading them, and saying what is wrong with them.

KerasHub (the extra ``kmorph[pretrained]``) knows a few hundred architectures. What they have learned lies in
*presets*: folders with a configuration, weights, and for texts a vocabulary.
"""

from kmorph.presets.finding import find_preset
from kmorph.presets.library import keras_hub
from kmorph.presets.loading import check_place, load_preset, save_preset

__all__ = ["check_place", "find_preset", "keras_hub", "load_preset", "save_preset"]
