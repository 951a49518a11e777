"""User data, checked and brought into the form that networks are trained on."""

from kmorph.data.checks import check_sample_weight, fingerprint
from kmorph.data.grids import check_images
from kmorph.data.labels import LabelCodec

__all__ = ["LabelCodec", "check_images", "check_sample_weight", "fingerprint"]
