"""Classification of images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import ClassifierMixin

from kmorph.data.checks import check_sample_weight
from kmorph.data.images import check_images
from kmorph.data.symmetry import is_mirror_symmetric
from kmorph.errors import DataError
from kmorph.files import UserPath
from kmorph.graph import Layer, Normalize
from kmorph.graph.keras_bridge import functional
from kmorph.search.workers.calibration import measure_power
from kmorph.search.workers.pool import Pool
from kmorph.tasks.estimator import Estimator
from kmorph.tasks.options import check_count
from kmorph.tasks.sizes import sized_starts
from kmorph.training.backend import load_backend

if TYPE_CHECKING:
    import keras

ERASABLE = 16  # positions along each side, from which what an image shows survives the loss of a part


class ImageClassifier(ClassifierMixin, Estimator):
    """Searches for a network that tells images apart.

    It trains small networks, grows the best of them by changes that keep what was learned, chooses each
    change by a Gaussian process over architectures, and keeps everything in a folder.

    Parameters
    ----------
    path : path-like, optional
        Folder of the search; None: a new temporary folder, which is kept and is `path_`.
    resume : bool, default=False
        True: go on with the search in `path`, or start one if there is none. False: a folder that holds a
        search is renamed aside (``path.1``, …), or if that search is still at work, the new one begins in the
        first free one of these; nothing is overwritten. A fitted estimator keeps to its own search, wherever
        that was renamed to.
    seed : int, optional
        One seed for everything.
    verbose : bool, default=True
        Whether progress is shown.
    objective : {"accuracy", "loss"}, default="accuracy"
        The validation metric by which the best model is told, ``metric_value`` in the history; with
        ``"accuracy"`` the model trained to the end stands before those that do not beat it in accuracy and
        loss both. Growth is led by the loss (cross-entropy) in both cases: it tells more on few examples.
    max_models, max_parameters, max_flops : int, optional
        Most models in the search; most weights, and multiply-adds for one image, of a model.
    augment : bool or "auto", default="auto"
        Whether training images are changed at random (shifted, and mirrored where that keeps the class).
        "auto": where enough epochs are to come.
    starts : sequence, optional
        Where the search begins: names (``"resnet"``, ``"cnn"``, ``"densenet"``, ``"mlp"``), names with
        sizes (``("resnet", {"stem_stride": 1, "resolution": 14})``), graphs, Keras models (trained ones
        keep their weights), or functions like those in `kmorph.starts`. A softmax at the end of a network is
        removed, for the search trains on logits, and exported models have one; ends in other probabilities,
        such as sigmoid, are refused, all others are taken as scores.
    morphs : sequence, optional
        How networks may grow, by name (``"Widen"``, …) or class; None: every way.
    hyperparameters : dict, optional
        ``learning_rate``, ``batch_size``, ``weight_decay``, ``label_smoothing``: a number fixes one; ``(low,
        high)`` or ``(low, high, "log")``, or a list of values, let the search choose it with the
        architecture. What is not named keeps its default: batches of 64, of 128 from 20,000 examples on,
        with a learning rate of 0.1 for each 64, and weight decay 5e-4. A model that does not fit the memory
        is trained with half the batch size and learning rate, or less; the history tells what was used.
    ensemble : bool or "auto", default="auto"
        True: the last model is the mean of two or three, trained to their end one after the other and joined
        into one network; they are chosen for what each adds on the validation data. "auto": if their mean is
        clearly better there, and each can be trained for 15 epochs.
    workers : int, default=1
        Models trained at once.
    executor : concurrent.futures.Executor, optional
        Where models are trained; None: processes of our own, which a crash cannot take down with it. Clones
        and copies of the estimator use the same executor, strategy and callbacks. A pickle leaves out those
        that cannot be pickled, as executors with threads; fitting after unpickling then warns.
    callbacks : sequence of callable, default=()
        Called with each record.
    searcher_args : dict, optional
        Known from Auto-Keras 0.x: ``trainer_args``, ``default_model_len``, ``default_model_width``,
        ``t_min``.
    strategy : "mirrored" or callable, optional
        One model trained by several devices. ``"mirrored"``: by all GPUs of the machine. Or a function
        without arguments that builds a ``tf.distribute.MirroredStrategy`` in the worker (``lambda:
        tf.distribute.MirroredStrategy(["GPU:0", "GPU:1"])``). The hyperparameters ``batch_size`` and
        ``learning_rate`` are those of one device: with r devices (``replicas`` in the history) a batch has
        r times as many images, and the learning rate is r times as high.
    max_disk : int, optional
        Most bytes of the folder, with its temporary files. The weights of poor models are dropped to keep
        it; their records stay, and `load_searcher` rebuilds such a model approximately, with a warning.
    loss, optimizer
        Not supported yet; anything but the default is refused.

    Attributes
    ----------
    path_ : pathlib.Path
        Folder in which the search is now.
    classes_ : ndarray of shape (classes,)
        The labels, in the order of the columns of `predict_proba`.

    Examples
    --------
    >>> clf = ImageClassifier(path="run")            # doctest: +SKIP
    >>> clf.fit(x_train, y_train, time_limit=60)     # doctest: +SKIP
    >>> clf.evaluate(x_test, y_test)                 # doctest: +SKIP
    """

    _task = "image_classification"

    @property
    def classes_(self) -> np.ndarray:
        """The labels, in the order of the columns of `predict_proba`."""
        return self._codec(self._searcher()).classes_array

    def predict_proba(self, x: Any) -> np.ndarray:
        """Probability of each class.

        Parameters
        ----------
        x : array-like of shape (n, height, width) or (n, height, width, channels)

        Returns
        -------
        ndarray of shape (n, classes)
            In the order of `classes_`.

        Raises
        ------
        DataError
            If the images cannot be used, or have another shape than those of `fit`.
        NotFittedError
            If there is no model yet.
        """
        graph, model = self._best()
        x = check_images(x, like=graph.input_shape)
        logits = self._outputs(model, x).astype(np.float64)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    def predict(self, x: Any) -> np.ndarray:
        """The most probable label of each image, in the form that `y` had in `fit`."""
        return self._codec(self._searcher()).decode(self.predict_proba(x).argmax(axis=1))

    def evaluate(self, x: Any, y: Any) -> float:
        """Accuracy: the share of images whose most probable label is the right one.

        Raises
        ------
        DataError
            If the data cannot be used, or has labels that `fit` never saw.
        """
        return self.score(x, y)

    def score(self, x: Any, y: Any, sample_weight: Any = None) -> float:
        """Accuracy, weighted by `sample_weight`."""
        probabilities = self.predict_proba(x)
        codes = self._codec(self._searcher()).encode(y, n=len(probabilities))
        weights = check_sample_weight(sample_weight, len(codes))
        return float(np.average(probabilities.argmax(axis=1) == codes, weights=weights))

    def leaderboard(self, x: Any = None, y: Any = None) -> list[dict[str, Any]]:
        """The models, best first.

        Parameters
        ----------
        x, y : array-like, optional
            Data on which every model's ``accuracy`` is measured; it then decides the order.

        Returns
        -------
        list of dict
            ``rank``, ``model_id``, ``parent_id``, ``change``, ``n_parameters``, ``metric_value``, ``loss``,
            ``phase``, ``seconds`` and, if data was given, ``accuracy``. ``pandas.DataFrame`` takes it as it
            is.
        """
        if (x is None) != (y is None):
            raise DataError("x and y belong together: give both, or neither")
        searcher = self._searcher()
        names = (
            "model_id",
            "parent_id",
            "change",
            "n_parameters",
            "metric_value",
            "loss",
            "phase",
            "seconds",
        )
        rows = [{name: entry[name] for name in names} for entry in searcher.history]
        if x is not None:
            codec = self._codec(searcher)
            x = check_images(x, like=tuple(searcher.meta("input_shape")))
            codes = codec.encode(y, n=len(x))
            load_backend()
            for row in rows:
                model = searcher.load_model_by_id(row["model_id"]).to_keras()
                logits = self._outputs(model, x)
                row["accuracy"] = float(np.mean(logits.argmax(axis=1) == codes))
        best = searcher.get_best_model_id()
        rows.sort(
            key=lambda row: (
                -row.get("accuracy", 0.0),
                x is None and row["model_id"] != best,
                row["loss"] if row["loss"] is not None else np.inf,
            )
        )
        return [{"rank": rank, **row} for rank, row in enumerate(rows, 1)]

    def feature_extractor(self, layer: int | None = None) -> keras.Model:
        """The best model up to one of its nodes.

        Parameters
        ----------
        layer : int, optional
            Layer of `best_graph` whose output is wanted; None: what the last dense layer reads.

        Returns
        -------
        keras.Model
            Raw images in, features out.
        """
        graph, model = self._best()
        layer = check_count("layer", layer, least=0)
        if layer is None:
            layer = graph.inputs[-1][0] - 1
        if not 0 <= layer < len(graph.layers):  # below, if the last layer reads the images themselves
            raise DataError(f"layer must be from 0 to {len(graph.layers) - 1}, got {layer!r}")
        name = f"{graph.layers[layer].kind}_{layer}"
        return functional(model.inputs, model.get_layer(name).output, "features")

    def transform(self, x: Any) -> np.ndarray:
        """Features of images: what the last layer reads, shape (n, features)."""
        extractor = self.feature_extractor()
        x = check_images(x, like=self._best()[0].input_shape)
        return self._outputs(extractor, x)

    def export(self, target: UserPath, format: str = "keras") -> Path:
        """Write the best model in a form that needs no kmorph.

        Parameters
        ----------
        target : path-like
            File, or for a SavedModel the folder above its version folders.
        format : {"keras", "saved_model"}, default="keras"

        Returns
        -------
        Path
            What was written.

        Raises
        ------
        ExportError
            If the format is unknown or `target` cannot be written.
        """
        from kmorph.export import export

        load_backend()
        return export(self.best_graph, self._codec(self._searcher()).class_names, target, format)

    def export_keras_model(self, file: UserPath) -> Path:
        """Write the best model as a ``.keras`` file: raw images in, class probabilities out."""
        return self.export(file, "keras")

    def _default_starts(self, x: np.ndarray, time_limit: float | None, pool: Pool) -> Sequence[Any]:
        return sized_starts(
            ("resnet", "cnn", "densenet"),
            x.shape[1:],
            len(x),
            time_limit,
            lambda graph: measure_power(pool, graph, len(x), time_limit),
        )

    def _preprocessing(self, x: np.ndarray) -> list[Layer]:
        """Normalisation by each channel's mean and variance, measured on at most 10,000 images."""
        some = x[:: max(1, len(x) // 10_000)]
        axes = tuple(range(x.ndim - 1))
        mean, variance = some.mean(axis=axes, dtype=np.float64), some.var(axis=axes, dtype=np.float64)
        # A channel that never changes is left at its scale.
        variance = np.where(variance > 1e-12 * mean**2, variance, 1.0)
        if not (1e-30 < variance.min() and variance.max() < 1e30 and np.abs(mean).max() < 1e15):
            raise DataError(
                f"x has values around {np.abs(x).max():.0e}, which networks cannot compute with: scale them, "
                "as x / np.abs(x).max()"
            )
        return [Normalize(tuple(mean.tolist()), tuple(variance.tolist()))]

    def _augmentation(self, x: np.ndarray, codes: np.ndarray) -> tuple[str, ...]:
        side = min(x.shape[1:3])
        if not self.augment or side < 3:
            return ()
        kinds = ["shift"]
        if is_mirror_symmetric(x, codes):
            kinds.append("flip")
        if side >= ERASABLE:
            kinds.append("erase")
        return tuple(kinds)
