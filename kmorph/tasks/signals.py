"""Classification of signals, and regression from them."""

from __future__ import annotations

from kmorph.problem import SignalInput
from kmorph.tasks.kinds import Classifier, Regressor


class ImageClassifier1D(Classifier):
    """Searches for a network that classifies signals, such as series of measurements in time.

    Examples are arrays of shape (n, length) or (n, length, channels), or lists of n arrays (length,) or
    (length, channels) that differ in length. Then a channel is added that is 1 where a signal has values and
    0 behind its end; at predict, signals may be shorter than those of `fit`, or longer: they lose their end.

    Parameters
    ----------
    starts : sequence, optional
        Names are ``"fcn"``, ``"cnn"``, ``"resnet"``, ``"densenet"``, ``"mlp"``; all else as for
        `ImageClassifier`.
    augment : bool or "auto", default="auto"
        Whether training signals are changed at random: by noise, scaled, shifted, cropped in time, each where
        that keeps what they mean.

    See Also
    --------
    ImageClassifier : all other arguments.

    Examples
    --------
    >>> clf = ImageClassifier1D(path="run")          # doctest: +SKIP
    >>> clf.fit(series, labels, time_limit=60)       # doctest: +SKIP
    """

    _task = "signal_classification"
    input = SignalInput


class ImageRegressor1D(Regressor):
    """Searches for a network that reads numbers off signals: one a signal, or several.

    See Also
    --------
    ImageClassifier1D : the form of the examples.
    ImageRegressor : all other arguments.
    """

    _task = "signal_regression"
    input = SignalInput
