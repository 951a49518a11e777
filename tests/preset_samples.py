"""Small presets of KerasHub's with new weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kmorph.presets import keras_hub, save_preset
from kmorph.training.backend import load_backend

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "good", "bad", "film"]
BERT_WIDTH, BERT_LENGTH = 8, 16
RESNET_WIDTH, RESNET_SIDE = 64, 16
MEAN, SPREAD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.5)  # of colours, from 0 to 1, as the ResNet expects them


def tiny_bert(folder: Path, seed: int = 0) -> Path:
    """A classifier of texts with nine words, as a preset."""
    load_backend()
    import keras

    keras.utils.set_random_seed(seed)
    models = keras_hub().models
    backbone = models.BertBackbone(
        vocabulary_size=len(VOCABULARY),
        num_layers=1,
        num_heads=2,
        hidden_dim=BERT_WIDTH,
        intermediate_dim=16,
        max_sequence_length=BERT_LENGTH,
    )
    tokenizer = models.BertTokenizer(vocabulary=VOCABULARY)
    preprocessor = models.BertTextClassifierPreprocessor(tokenizer, sequence_length=BERT_LENGTH)
    return save_preset(models.BertTextClassifier(backbone, num_classes=2, preprocessor=preprocessor), folder)


def tiny_resnet(folder: Path, seed: int = 0, side: int | None = RESNET_SIDE, **resizing: Any) -> Path:
    """A classifier of images with one residual block of 64 filters, the fewest there can be, as a preset.

    Images are resized to `side`, and how is said by settings of KerasHub's converter, by default without
    cropping; None: they stay as they are.
    """
    load_backend()
    import keras

    keras.utils.set_random_seed(seed)
    library = keras_hub()
    models = library.models
    backbone = models.ResNetBackbone(
        input_conv_filters=[RESNET_WIDTH],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[RESNET_WIDTH],
        stackwise_num_blocks=[1],
        stackwise_num_strides=[1],
        block_type="basic_block",
        image_shape=(None, None, 3),
    )
    converter = library.layers.ResNetImageConverter(
        image_size=None if side is None else (side, side),
        scale=[float(1 / (255 * spread)) for spread in SPREAD],
        offset=[float(-mean / spread) for mean, spread in zip(MEAN, SPREAD, strict=True)],
        **{"crop_to_aspect_ratio": False, **resizing},
    )
    preprocessor = models.ResNetImageClassifierPreprocessor(image_converter=converter)
    return save_preset(
        models.ResNetImageClassifier(backbone, num_classes=2, preprocessor=preprocessor), folder
    )


def tiny_vit(folder: Path, side: int = 16) -> Path:
    """A classifier of images of one size, whose first layer is KerasHub's own, as a preset."""
    load_backend()
    library = keras_hub()
    backbone = library.models.ViTBackbone(
        image_shape=(side, side, 3), patch_size=8, num_layers=1, num_heads=2, hidden_dim=8, mlp_dim=16
    )
    converter = library.layers.ViTImageConverter(image_size=(side, side), scale=1 / 255)
    preprocessor = library.models.ViTImageClassifierPreprocessor(converter)
    return save_preset(
        library.models.ViTImageClassifier(backbone, num_classes=2, preprocessor=preprocessor), folder
    )
