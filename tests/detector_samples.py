"""Small detectors of KerasHub's with new weights, as presets."""

from __future__ import annotations

from typing import Any

from kmorph.presets import keras_hub
from kmorph.pretrained.detection.network import prepare_outputs


def dfine(n_labels: int = 3, size: int = 64) -> Any:
    """A D-FINE with 12 queries."""
    library = keras_hub()
    models = library.models
    encoder = models.HGNetV2Backbone(
        stem_channels=[3, 8, 8],
        stackwise_stage_filters=[
            [8, 8, 16, 1, 2, 3],
            [16, 8, 16, 1, 2, 3],
            [16, 16, 32, 1, 2, 3],
            [32, 16, 32, 1, 2, 3],
        ],
        apply_downsample=[False, True, True, True],
        use_lightweight_conv_block=[False, False, True, True],
        depths=[1, 1, 1, 1],
        hidden_sizes=[16, 16, 32, 32],
        embedding_size=8,
        use_learnable_affine_block=True,
        hidden_act="relu",
        image_shape=(None, None, 3),
        out_features=["stage3", "stage4"],
    )
    backbone = models.DFineBackbone(
        backbone=encoder,
        decoder_in_channels=[16, 16],
        encoder_hidden_dim=16,
        num_denoising=0,
        num_labels=n_labels,
        hidden_dim=16,
        learn_initial_query=False,
        num_queries=12,
        anchor_image_size=(size, size),
        feat_strides=[16, 32],
        num_feature_levels=2,
        encoder_in_channels=[32, 32],
        encode_proj_layers=[1],
        num_attention_heads=2,
        encoder_ffn_dim=16,
        num_encoder_layers=1,
        hidden_expansion=0.5,
        depth_multiplier=0.5,
        eval_idx=-1,
        num_decoder_layers=2,
        decoder_attention_heads=2,
        decoder_ffn_dim=16,
        decoder_n_points=[2, 2],
        lqe_hidden_dim=8,
        num_lqe_layers=1,
        out_features=["stage3", "stage4"],
        image_shape=(None, None, 3),
        seed=0,
    )
    converter = library.layers.DFineImageConverter(
        image_size=(size, size), scale=1 / 255, crop_to_aspect_ratio=False
    )
    return models.DFineObjectDetector(
        backbone,
        num_classes=n_labels,
        preprocessor=models.DFineObjectDetectorPreprocessor(image_converter=converter),
    )


def retinanet(n_labels: int = 3, size: int = 64, box_format: str = "yxyx", **options: Any) -> Any:
    """A RetinaNet with two levels of features."""
    import keras

    keras.utils.set_random_seed(0)
    library = keras_hub()
    models = library.models
    encoder = models.ResNetBackbone(
        input_conv_filters=[8],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64, 8, 8],
        stackwise_num_blocks=[1, 1, 1],
        stackwise_num_strides=[1, 2, 2],
        block_type="basic_block_vd",
        image_shape=(None, None, 3),
    )
    backbone = models.RetinaNetBackbone(encoder, min_level=3, max_level=4, use_p5=False)
    converter = library.layers.RetinaNetImageConverter(
        image_size=(size, size), scale=1 / 255, crop_to_aspect_ratio=False, pad_to_aspect_ratio=True
    )
    model = models.RetinaNetObjectDetector(
        backbone,
        num_classes=n_labels,
        bounding_box_format=box_format,
        pre_logits_num_conv_layers=0,
        preprocessor=models.RetinaNetObjectDetectorPreprocessor(image_converter=converter),
        **options,
    )
    prepare_outputs(model)
    return model
