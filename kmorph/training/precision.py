"""In which numbers the training step computes.

Weights, their updates and averages are float32 always, and so are evaluation and what is exported. Where
bfloat16 is fast, the forward and backward passes of the training step compute in it: it has the range of
float32, so gradients neither overflow nor vanish and the loss needs no scaling. Older GPUs are fast only in
float16, which does need that; they compute in float32. A search measures whether bfloat16 is fast
(`kmorph.search.workers.calibration`); without that, TensorFlow's GPUs are judged by their capability.

CPUs have instructions for products in bfloat16 (AVX512-BF16, AMX), but none for functions such as GELU:
TensorFlow takes twice as long for those as in float32, so there activations compute in float32 on CPUs.

References: Micikevicius et al., "Mixed Precision Training", ICLR 2018; Kalamkar et al., "A Study of BFLOAT16
for Deep Learning Training", 2019.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from kmorph.training.backend import has_gpu

if TYPE_CHECKING:
    import keras

FLOAT32, BFLOAT16 = "float32", "mixed_bfloat16"  # Keras' names of the policies
BFLOAT16_FROM = (8, 0)  # compute capability of the first NVIDIA GPUs that gain from it (Ampere)


def fitting_policy() -> str:
    """The dtype policy that suits every GPU TensorFlow sees, by their capability; float32 without any."""
    import tensorflow as tf

    details = [
        tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU")
    ]
    capabilities = [detail.get("compute_capability") or (0, 0) for detail in details]
    return BFLOAT16 if capabilities and min(capabilities) >= BFLOAT16_FROM else FLOAT32


@contextlib.contextmanager
def computing_in(model: keras.Model, policy: str) -> Iterator[None]:
    """Let the layers of a float32 model follow a dtype policy meanwhile: what is traced here computes in it.

    Normalisation of the input stays as it is, because raw input may need all its digits, be it over all
    examples or over each; so do tables of vectors, whose input is numbers of entries, and the last layer: a
    logit of 10 in bfloat16 is only known to 0.06.
    """
    import keras

    if policy == FLOAT32:
        yield
        return
    layers = keras.layers
    kept: tuple[type, ...] = (layers.InputLayer, layers.Normalization, layers.Rescaling, layers.Embedding)
    kept += (layers.GroupNormalization,)
    if keras.config.backend() == "tensorflow" and not has_gpu():
        kept += (layers.Activation, layers.LeakyReLU)
    last = model.outputs[0]._keras_history.operation
    changed = [
        layer
        for layer in model.layers
        if layer.dtype_policy.name == FLOAT32 and not isinstance(layer, kept) and layer is not last
    ]
    held = [layer.dtype_policy for layer in changed]
    for layer in changed:
        layer.dtype_policy = policy
    try:
        yield
    finally:
        for layer, before in zip(changed, held, strict=True):
            layer.dtype_policy = before
