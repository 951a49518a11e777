"""Kinds of inputs: a file each. A subclass of `Input` with a `kind` registers itself."""

from kmorph.problem.inputs.base import Input
from kmorph.problem.inputs.image import ImageInput

__all__ = ["ImageInput", "Input"]
