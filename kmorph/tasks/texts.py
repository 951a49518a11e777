"""Classification of texts, and regression from them."""

from __future__ import annotations

from kmorph.problem import TextInput
from kmorph.tasks.kinds import Classifier, Regressor


class TextClassifier(Classifier):
    """Searches for a network that classifies texts.

    Examples are lists of str. Words and pairs of words are learned from the training texts; where words are
    not set apart by spaces, as in Chinese, Japanese and Thai, characters and pairs of characters are.

    Parameters
    ----------
    starts : sequence, optional
        Names are ``"bag"`` (the mean of vectors of words and pairs) and ``"fcn"`` (convolutions); all else as
        for `ImageClassifier`. Networks of your own receive numbers of entries, see
        `kmorph.problem.TextInput`.
    encoder : path-like, optional
        Preset of KerasHub's, by name or folder, or a folder in the layout of Hugging Face: texts are read by
        this encoder, frozen, and the search is for the network behind it; see `docs/pretrained.md`.
    encoder_features : {"embeddings", "joined"}, default="embeddings"
        ``"joined"``: counts of words and pairs of words beside the encoder's vectors.

    Notes
    -----
    Exported models take texts, of shape (n, 1), and read them by TensorFlow: a ``.keras`` file needs it,
    whatever Keras' backend is.

    See Also
    --------
    ImageClassifier : all other arguments.

    Examples
    --------
    >>> clf = TextClassifier(path="run")             # doctest: +SKIP
    >>> clf.fit(texts, labels, time_limit=60)        # doctest: +SKIP
    """

    _task = "text_classification"
    input = TextInput


class TextRegressor(Regressor):
    """Searches for a network that reads numbers off texts: one a text, or several.

    See Also
    --------
    TextClassifier : the form of the examples.
    ImageRegressor : all other arguments.
    """

    _task = "text_regression"
    input = TextInput
