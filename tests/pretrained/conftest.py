"""A tiny encoder with new weights, and presets that are trained on it within seconds."""

from __future__ import annotations

import numpy as np
import pytest

WORDS = ["good", "fine", "lovely", "bad", "awful", "dull", "ball", "goal", "tax", "vote", "a", "film", "the"]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]


@pytest.fixture(scope="session")
def encoder(tmp_path_factory):
    """An encoder of BERT's kind as a preset: thirteen words, two layers, new weights."""
    pytest.importorskip("keras_hub")
    from kmorph.presets import keras_hub, save_preset
    from kmorph.training.backend import load_backend

    load_backend()
    import keras

    keras.utils.set_random_seed(0)
    models = keras_hub().models
    backbone = models.BertBackbone(
        vocabulary_size=len(VOCABULARY),
        num_layers=2,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
        max_sequence_length=16,
    )
    preprocessor = models.BertTextClassifierPreprocessor(
        models.BertTokenizer(vocabulary=VOCABULARY), sequence_length=16
    )
    masked = models.BertTextClassifier(backbone, num_classes=2, preprocessor=preprocessor)
    return save_preset(_EncoderOnly(masked), tmp_path_factory.mktemp("encoder") / "tiny")


class _EncoderOnly:
    """Writes what a preset without classes holds."""

    def __init__(self, classifier):
        self.classifier = classifier

    def save_to_preset(self, folder):
        self.classifier.backbone.save_to_preset(folder)
        self.classifier.preprocessor.save_to_preset(folder)


def sentences(n, groups, seed=0):
    """Sentences with words of one of several groups, and the group's number."""
    rng = np.random.default_rng(seed)
    numbers = np.arange(n) % len(groups)
    texts = [
        " ".join(rng.permutation([*rng.choice(groups[i], 2), *rng.choice(["a", "the", "film"], 3)]))
        for i in numbers
    ]
    return texts, numbers
