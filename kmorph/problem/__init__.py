"""Problems: an input, a target, a loss and an objective. A new kind of each is one file."""

from kmorph.problem.inputs import (
    ArrayInput,
    EncodedImageInput,
    EncodedInput,
    EncodedTextInput,
    ImageInput,
    Input,
    SignalInput,
    TextInput,
    VolumeInput,
)
from kmorph.problem.losses import Loss
from kmorph.problem.metrics import Metric, Objective
from kmorph.problem.problem import Problem
from kmorph.problem.targets import Classes, LabelSets, Numbers, Target, YesNo

__all__ = [
    "ArrayInput",
    "Classes",
    "EncodedImageInput",
    "EncodedInput",
    "EncodedTextInput",
    "ImageInput",
    "Input",
    "LabelSets",
    "Loss",
    "Metric",
    "Numbers",
    "Objective",
    "Problem",
    "SignalInput",
    "Target",
    "TextInput",
    "VolumeInput",
    "YesNo",
]
