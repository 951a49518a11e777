"""Use the best model of a fitted estimator: predict, evaluate, compare, export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import TransformerMixin

from kmorph.data.checks import check_sample_weight
from kmorph.data.loaders import is_loader
from kmorph.data.spool import joined_parts
from kmorph.errors import DataError, SearchError
from kmorph.files import UserPath
from kmorph.graph import Graph
from kmorph.graph.keras_bridge import functional, layer_output
from kmorph.tasks.fitted import Fitted
from kmorph.tasks.options import check_count
from kmorph.tasks.reading import joined, parted, pieces
from kmorph.training.backend import load_backend

if TYPE_CHECKING:
    import keras

LISTED = ("model_id", "parent_id", "change", "n_parameters", "metric_value", "loss", "phase", "seconds")


class Predictor(TransformerMixin, Fitted):
    """The part of an estimator that works on new examples."""

    def predict(self, x: Any) -> np.ndarray:
        """Labels of examples, in the form that `y` had in `fit`; numbers for regressors.

        Parameters
        ----------
        x : array-like or loader
            Examples as in `fit`.

        Raises
        ------
        DataError
            If they cannot be used, or have another form than those of `fit`.
        NotFittedError
            If there is no model yet.
        """
        return self._target().decode(self._scores(x))

    def _scores(self, x: Any) -> np.ndarray:
        """Probabilities, or numbers in the user's units."""
        return self._scores_and_labels(x)[0]

    def _scores_and_labels(self, x: Any, model: keras.Model | None = None) -> tuple[np.ndarray, Any]:
        """The same, piece by piece, and the labels that a loader yields; None if it yields none.

        By the best model, or another one.
        """
        input, model = self._predicting() if model is None else (self._input(), model)
        target = self._target()
        scores, labels = [], []
        for examples, theirs in pieces(x):
            scores.append(target.scores(self._outputs(model, input.encode(examples))))
            labels.append(theirs)
        return joined(scores), joined_parts(labels, "labels")

    def evaluate(self, x: Any, y: Any = None) -> float:
        """Accuracy for classifiers, mean squared error for regressors.

        Parameters
        ----------
        x, y : array-like
            Examples and labels; None: `x` is a loader, or a pair (x, y).

        Raises
        ------
        DataError
            If the data cannot be used, or does not go with that of `fit`.
        """
        return self._measure(x, y, None, self._target().evaluation_metric)

    def score(self, x: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Accuracy for classifiers, R² for regressors, weighted by `sample_weight`: higher is better."""
        return self._measure(x, y, sample_weight, self._target().score_metric)

    def _measure(self, x: Any, y: Any, sample_weight: Any, metric: str) -> float:
        x, y = parted(x, y)
        if y is None and not is_loader(x):
            raise DataError(
                "y is None; give labels, or x as a pair (x, y) or a loader that yields such pairs"
            )
        scores, found = self._scores_and_labels(x)
        y = _labels(y, found)
        return self._target().measure(y, scores, metric, check_sample_weight(sample_weight, len(scores)))

    def leaderboard(self, x: Any = None, y: Any = None) -> list[dict[str, Any]]:
        """The models: the best one, then the others by their validation loss, those without one last.

        Parameters
        ----------
        x, y : array-like, or a loader or a pair (x, y) as `x`, optional
            Data on which every model is measured as by `evaluate`; that then decides the order. A loader is
            read for each model.

        Returns
        -------
        list of dict
            ``rank``, ``model_id``, ``parent_id``, ``change``, ``n_parameters``, ``metric_value``, ``loss``,
            ``phase``, ``seconds`` and, if data was given, ``accuracy`` or ``mse``. ``pandas.DataFrame`` takes
            it as it is.
        """
        x, y = parted(x, y)
        if (x is None) != (y is None) and not is_loader(x):
            raise DataError("x and y belong together: give both, or neither")
        searcher = self._searcher()
        rows = [{name: entry[name] for name in LISTED} for entry in searcher.history]
        target = self._target()
        metric = target.metrics[target.evaluation_metric]
        if x is not None:
            encoded = None if is_loader(x) else self._input().encode(x)
            if encoded is not None:
                target.encode(y, n=len(encoded))  # refused before any model is loaded
            load_backend()
            views = self._views()
            for row in rows:
                try:
                    model = searcher.load_model_by_id(row["model_id"]).to_keras()
                    model = model if views is None else views.over(model)
                except SearchError:  # its weights are gone
                    row[metric.name] = float("nan")
                    continue
                if encoded is None:
                    scores, found = self._scores_and_labels(x, model)
                else:
                    scores, found = target.scores(self._outputs(model, encoded)), None
                row[metric.name] = target.measure(_labels(y, found), scores, metric.name)
        best = searcher.get_best_model_id()
        rows.sort(
            key=lambda row: (
                np.nan_to_num(-metric.objective.merit(row.get(metric.name, 0.0)), nan=np.inf),
                x is None and row["model_id"] != best,
                np.inf if row["loss"] is None else np.nan_to_num(row["loss"], nan=np.inf),
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
            Raw examples in, features out. It is a copy: the estimator predicts as before, whatever is done
            with it.
        """
        _, graph, _ = self._best()
        return self._features(graph, graph.to_keras(), layer)

    def _features(self, graph: Graph, model: keras.Model, layer: int | None) -> keras.Model:
        """A graph's Keras model up to one of its layers."""
        layer = check_count("layer", layer, least=0)
        if layer is None:
            layer = graph.inputs[-1][0] - 1
        if not 0 <= layer < len(graph.layers):  # below, if the last layer reads the examples themselves
            raise DataError(f"layer must be from 0 to {len(graph.layers) - 1}, got {layer!r}")
        return functional(model.inputs[0], layer_output(model, graph, layer), "features")

    def transform(self, x: Any) -> np.ndarray:
        """Features of examples: what the last layer reads, shape (n, features)."""
        input, graph, model = self._best()
        extractor = self._features(graph, model, None)
        return joined([self._outputs(extractor, input.encode(examples)) for examples, _ in pieces(x)])

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the columns of `transform`, as scikit-learn gives them: ``imageclassifier0``, …

        Parameters
        ----------
        input_features : ignored
        """
        graph = self.best_graph
        *positions, features = graph.node_shapes[graph.inputs[-1][0]]
        if positions:
            raise DataError(
                f"the last layer reads features of shape {(*positions, features)}, which have no names: "
                'leave set_output at "default"'
            )
        return np.array([f"{type(self).__name__.lower()}{i}" for i in range(features)], object)

    def export(
        self, target: UserPath, format: str = "keras", *, model_id: int | None = None, **options: Any
    ) -> Path:
        """Write the best model, or another one, in a form that needs no kmorph.

        Parameters
        ----------
        target : path-like
            File or folder, as the format wants it.
        format : str, default="keras"
            - ``"keras"``: a ``.keras`` file, which Keras loads; see `kmorph.export.write_keras`;
            - ``"saved_model"``: a version in a folder of versions, for TensorFlow and its servers; see
              `kmorph.export.write_saved_model`;
            - ``"onnx"``: an ``.onnx`` file, for onnxruntime; see `kmorph.export.write_onnx`;
            - ``"litert"``: a ``.tflite`` file, for LiteRT; see `kmorph.export.write_litert`;
            - ``"torch"``: a folder with source and weights, for PyTorch; see `kmorph.export.write_torch`.
        model_id : int, optional
            Model of the history; None: the best one.
        **options
            Of the format. ``"litert"`` alone has any: ``int8=True`` keeps weights as bytes; with
            ``examples``, an array-like of some hundred examples, arithmetic is done with bytes, too.

        Returns
        -------
        Path
            What was written.

        Raises
        ------
        ExportError
            If the format or an option is unknown, the format cannot hold the model, or `target` cannot be
            written.
        SearchError
            If there is no such model, or its weights are gone.
        """
        from kmorph.export import export

        load_backend()
        searcher = self._searcher()
        if model_id is None:
            version = searcher.best_version()
            graph, input = searcher.load_version(version), self._input_of(version)
        else:
            graph, input = searcher.load_model_by_id(model_id), self._input()
        return export(graph, self._target(), target, format, self._views(), input, **options)

    def export_keras_model(self, file: UserPath) -> Path:
        """Write the best model as a ``.keras`` file: raw examples in, probabilities or numbers out."""
        return self.export(file, "keras")


def _labels(given: Any, found: Any) -> Any:
    """Labels that the user gave, or else those that a loader yielded."""
    labels = found if given is None else given
    if labels is None:
        raise DataError("x is a loader without labels: give y, or let it yield pairs (x, y)")
    return labels
