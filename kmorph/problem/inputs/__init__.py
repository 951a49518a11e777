"""Kinds of inputs: a file each. A subclass of `Input` with a `kind` registers itself."""

from kmorph.problem.inputs.array import ArrayInput
from kmorph.problem.inputs.base import Input
from kmorph.problem.inputs.encoded import EncodedInput
from kmorph.problem.inputs.encoded_image import EncodedImageInput
from kmorph.problem.inputs.encoded_text import EncodedTextInput
from kmorph.problem.inputs.image import ImageInput
from kmorph.problem.inputs.signal import SignalInput
from kmorph.problem.inputs.text import TextInput
from kmorph.problem.inputs.volume import VolumeInput

__all__ = [
    "ArrayInput",
    "EncodedImageInput",
    "EncodedInput",
    "EncodedTextInput",
    "ImageInput",
    "Input",
    "SignalInput",
    "TextInput",
    "VolumeInput",
]
