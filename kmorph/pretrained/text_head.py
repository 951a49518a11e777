"""A classifier on an encoder: how a text's tokens become one vector, and a first head on these vectors.

KerasHub's classifiers read the vector of a text's first token. In encoders that were not trained for that
vector, and in those trained for the mean of all vectors, such as those of Sentence Transformers, the mean
says more. `with_mean` appends a layer of the encoder's own kind whose attention is even, so that the first
token's vector becomes the mean: what is saved is an ordinary preset of KerasHub's.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from kmorph.errors import PresetError
from kmorph.presets import keras_hub

SHARE = 100.0  # weight of the mean beside the first token's own vector, which the layer adds to it
SLOPE = 0.1  # of the identity before tanh, which is all but straight there
STRENGTHS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""What is tried as `C` of logistic regression, on features of variance 1."""
FOLDS = 5
CROSS_VALIDATED = 1000  # most texts for which the strength is chosen in several folds


def make_classifier(backbone: Any, preprocessor: Any, classes: int) -> Any:
    """A new classifier of KerasHub's on an encoder.

    Raises
    ------
    PresetError
        If KerasHub has no classifier of texts for this encoder.
    """
    models = keras_hub("TextClassifier").models
    for name in dir(models):
        kind: Any = getattr(models, name)
        if not isinstance(kind, type) or not issubclass(kind, models.TextClassifier):
            continue
        if getattr(kind, "backbone_cls", None) is type(backbone):
            # The activation is written out, for default ones differ among versions.
            return kind(backbone, num_classes=classes, preprocessor=preprocessor, activation=None)
    raise PresetError(
        f"the preset's encoder is a {type(backbone).__name__}, for which KerasHub has no TextClassifier: "
        "choose an encoder of texts, of BERT's family for example"
    )


def with_mean(backbone: Any) -> Any | None:
    """The encoder with one more layer, after which the first token's vector is the mean of all.

    None if the encoder is not made of the layers that this is known for.
    """
    from keras_hub.layers import TransformerEncoder

    config = backbone.get_config()
    count = config.get("num_layers")
    if not isinstance(count, int) or "hidden_dim" not in config:
        return None
    names = {layer.name for layer in backbone.layers}
    old = [f"transformer_layer_{i}" for i in range(count)]
    if not names.issuperset(old):
        return None
    last = backbone.get_layer(old[-1])
    if type(last) is not TransformerEncoder or last.normalize_first:
        return None
    longer = type(backbone).from_config({**config, "num_layers": count + 1})
    for layer in backbone.layers:
        if layer.weights:
            longer.get_layer(layer.name).set_weights(layer.get_weights())
    _set_to_mean(longer.get_layer(f"transformer_layer_{count}"), config["hidden_dim"])
    if any(layer.name == "pooled_dense" for layer in longer.layers):
        set_to_identity(longer.get_layer("pooled_dense"))
    return longer


def layers_of_mean(classifier: Any) -> list[Any]:
    """The layers between the encoder and the head that `with_mean` and `set_to_identity` gave weights.

    They are left as they are in training: their weights are so far from others in size that steps which
    suit these would spoil them.
    """
    backbone = classifier.backbone
    names = [f"transformer_layer_{backbone.num_layers - 1}", "pooled_dense"]
    layers = [layer for layer in backbone.layers if layer.name in names]
    pooled = getattr(classifier, "pooled_dense", None)
    return layers if pooled is None else [*layers, pooled]


def _set_to_mean(layer: Any, width: int) -> None:
    """Give a new layer weights by which each token's vector becomes the normalised mean of all."""
    attention = layer._self_attention_layer
    query = attention.query_dense.kernel  # zero: all tokens are looked at alike
    query.assign(np.zeros(query.shape))
    for kernel, factor in ((attention.value_dense.kernel, 1.0), (attention.output_dense.kernel, SHARE)):
        kernel.assign(factor * np.eye(width).reshape(kernel.shape))
    last = layer._feedforward_output_dense.kernel
    last.assign(np.zeros(last.shape))


def set_to_identity(dense: Any) -> None:
    """Let a dense layer with tanh pass on what it gets, all but unchanged and smaller."""
    dense.set_weights([SLOPE * np.eye(dense.kernel.shape[0]), np.zeros(dense.kernel.shape[1])])


def fit_head(x: np.ndarray, targets: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Kernel and bias of a linear classifier: logistic regression, its strength by held-out log loss.

    Parameters
    ----------
    x : ndarray of shape (n, width)
    targets : ndarray of shape (n, classes)
        Probabilities of the classes.
    seed : int

    Returns
    -------
    (kernel, bias) : ndarrays of shapes (width, classes) and (classes,)
    """
    mean, scale = x.mean(0), x.std(0) + 1e-6
    features = (x - mean) / scale
    losses = np.zeros(len(STRENGTHS))
    for train, held in _folds(targets, seed):
        for i, strength in enumerate(STRENGTHS):
            kernel, bias = _regression(features[train], targets[train], strength)
            losses[i] += log_loss(features[held] @ kernel + bias, targets[held])
    kernel, bias = _regression(features, targets, STRENGTHS[int(np.argmin(losses))])
    kernel = kernel / scale[:, None]
    return kernel, bias - mean @ kernel


def _folds(targets: np.ndarray, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs of positions to train on and to measure on, with classes in proportion."""
    from sklearn.model_selection import StratifiedKFold

    codes = targets.argmax(1)
    folds = min(FOLDS, int(np.bincount(codes)[np.unique(codes)].min()))
    if folds < 2:
        return []
    splits = StratifiedKFold(folds, shuffle=True, random_state=seed).split(codes, codes)
    return list(splits)[: FOLDS if len(codes) <= CROSS_VALIDATED else 1]


def _regression(x: np.ndarray, targets: np.ndarray, strength: float) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    rows, codes = np.nonzero(targets)  # once a class, with its probability as weight
    model = LogisticRegression(C=strength, max_iter=200)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(x[rows], codes, sample_weight=targets[rows, codes])
    kernel = np.zeros((x.shape[1], targets.shape[1]))
    bias = np.full(targets.shape[1], -10.0)  # of classes that are not among these examples
    if len(model.classes_) == 2:  # scikit-learn has one row for two classes
        kernel[:, model.classes_] = np.stack([-model.coef_[0], model.coef_[0]], 1) / 2
        bias[model.classes_] = np.array([-model.intercept_[0], model.intercept_[0]]) / 2
    else:
        kernel[:, model.classes_] = model.coef_.T
        bias[model.classes_] = model.intercept_
    return kernel, bias


def log_loss(logits: np.ndarray, targets: np.ndarray) -> float:
    """Mean cross-entropy."""
    logits = logits - logits.max(1, keepdims=True)
    logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    return float(-(targets * logs).sum(1).mean())
