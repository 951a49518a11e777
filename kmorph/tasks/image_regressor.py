"""Regression from images."""

from __future__ import annotations

from kmorph.problem import ImageInput
from kmorph.tasks.kinds import Regressor


class ImageRegressor(Regressor):
    """Searches for a network that reads numbers off images: one an image, or several.

    Numbers are standardised inside, and come back in the user's units. Images are changed at random only in
    ways that are shown to keep the numbers, by simple models of the training images.

    Parameters
    ----------
    objective : str, callable, Keras metric, scorer, or pair (metric, greater_is_better), optional
        ``"mse"`` (the default), ``"mae"``, ``"r2"``, ``"loss"``, or one of the user's, as for
        `ImageClassifier`; functions are called with numbers of shape (n, outputs).
    starts : sequence, optional
        As for `ImageClassifier`. A Keras model predicts in the units of `y`, and if it is trained it keeps
        what it has learned; a `Graph` predicts standardised numbers, as `best_graph` does.
    loss : str, keras.losses.Loss or callable, optional
        None: squared error. Others are called with numbers in the user's units, of shape (n, outputs), and
        are divided by the loss of the best constant, so that ``loss`` in the history is 1 for that.

    See Also
    --------
    ImageClassifier : all other arguments.

    Examples
    --------
    >>> reg = ImageRegressor(path="run")             # doctest: +SKIP
    >>> reg.fit(x_train, y_train, time_limit=60)     # doctest: +SKIP
    >>> reg.score(x_test, y_test)                    # doctest: +SKIP
    """

    _task = "image_regression"
    input = ImageInput
