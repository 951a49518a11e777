"""Classification of volumes, and regression from them."""

from __future__ import annotations

from kmorph.problem import VolumeInput
from kmorph.tasks.kinds import Classifier, Regressor


class ImageClassifier3D(Classifier):
    """Searches for a network that classifies volumes, such as scans.

    Examples are arrays of shape (n, depth, height, width) or (n, depth, height, width, channels).

    See Also
    --------
    ImageClassifier : the arguments.

    Examples
    --------
    >>> clf = ImageClassifier3D(path="run")          # doctest: +SKIP
    >>> clf.fit(scans, labels, time_limit=60)        # doctest: +SKIP
    """

    _task = "volume_classification"
    input = VolumeInput


class ImageRegressor3D(Regressor):
    """Searches for a network that reads numbers off volumes: one a volume, or several.

    See Also
    --------
    ImageClassifier3D : the form of the examples.
    ImageRegressor : all other arguments.
    """

    _task = "volume_regression"
    input = VolumeInput
