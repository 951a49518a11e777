"""In which numbers the training step computes.

Weights, their updates and averages are float32 always, and so are evaluation and what is exported. On GPUs
with fast bfloat16 the forward and backward passes of the training step compute in bfloat16: it has the range
of float32, so gradients neither overflow nor vanish and the loss needs no scaling. Older GPUs are fast in
float16 alone, which does need that; they compute in float32.

References: Micikevicius et al., "Mixed Precision Training", ICLR 2018; Kalamkar et al., "A Study of BFLOAT16
for Deep Learning Training", 2019.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras

BFLOAT16_FROM = (8, 0)  # compute capability of the first NVIDIA GPUs that gain from it (Ampere)


def fitting_policy() -> str:
    """Keras' name of the dtype policy that suits every GPU TensorFlow sees: ``"float32"`` without any."""
    import tensorflow as tf

    details = [
        tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU")
    ]
    capabilities = [detail.get("compute_capability") or (0, 0) for detail in details]
    return "mixed_bfloat16" if capabilities and min(capabilities) >= BFLOAT16_FROM else "float32"


@contextlib.contextmanager
def computing_in(model: keras.Model, policy: str) -> Iterator[None]:
    """Let the layers of a float32 model follow a dtype policy meanwhile: what is traced here computes in it.

    Normalisation of the input stays as it is, because raw input may need all its digits.
    """
    import keras

    if policy == "float32":
        yield
        return
    kept = (keras.layers.InputLayer, keras.layers.Normalization, keras.layers.Rescaling)
    changed = [
        layer
        for layer in model.layers
        if layer.dtype_policy.name == "float32" and not isinstance(layer, kept)
    ]
    held = [layer.dtype_policy for layer in changed]
    for layer in changed:
        layer.dtype_policy = policy
    try:
        yield
    finally:
        for layer, before in zip(changed, held, strict=True):
            layer.dtype_policy = before
