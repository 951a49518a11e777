"""What all estimators share: arguments, fitting in a folder, looking at a search, taking models away."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kmorph.data.checks import check_sample_weight, fingerprint
from kmorph.data.images import check_images
from kmorph.data.labels import LabelCodec
from kmorph.data.split import stratified_split, validation_fraction
from kmorph.errors import DataError, SearchError
from kmorph.graph import Graph, Layer
from kmorph.search.final import train_final
from kmorph.search.loop import Search
from kmorph.search.settings import Settings
from kmorph.search.store.disk import DiskLimit, fit_disk
from kmorph.search.store.folder import RunFolder
from kmorph.search.store.history import PINNED, History
from kmorph.search.store.models import Models
from kmorph.search.store.record import ModelRecord
from kmorph.search.strategy.planning import augmentation_for
from kmorph.search.workers.leases import pool_for
from kmorph.search.workers.pool import Pool
from kmorph.tasks import options
from kmorph.tasks.arguments import check_arguments
from kmorph.tasks.audience import Audience
from kmorph.tasks.fitted import Fitted
from kmorph.training.distribute import pack_strategy
from kmorph.training.examples import Data
from kmorph.training.plan import Hyperparameters, Plan

FINAL_EPOCHS = 200  # most epochs of `final_fit`, if nothing else is said
FINAL_PATIENCE = 30
WARM_LEARNING_RATE = 0.2  # share of the learning rate at which a trained model is trained on


class Estimator(Fitted):
    """Base of the estimators; see `ImageClassifier` for the arguments."""

    _task: str

    def __init__(
        self,
        *,
        path: str | os.PathLike[str] | None = None,
        resume: bool = False,
        seed: int | None = None,
        verbose: bool = True,
        objective: str = "accuracy",
        max_models: int | None = None,
        max_parameters: int | None = None,
        max_flops: int | None = None,
        max_disk: int | None = None,
        augment: bool | str = "auto",
        starts: Sequence[Any] | None = None,
        morphs: Sequence[Any] | None = None,
        loss: Any = None,
        optimizer: Any = None,
        hyperparameters: dict[str, Any] | None = None,
        ensemble: bool | str = "auto",
        workers: int = 1,
        executor: Any = None,
        strategy: Any = None,
        callbacks: Sequence[Any] = (),
        searcher_args: dict[str, Any] | None = None,
    ) -> None:
        self.path = path
        self.resume = resume
        self.seed = seed
        self.verbose = verbose
        self.objective = objective
        self.max_models = max_models
        self.max_parameters = max_parameters
        self.max_flops = max_flops
        self.max_disk = max_disk
        self.augment = augment
        self.starts = starts
        self.morphs = morphs
        self.loss = loss
        self.optimizer = optimizer
        self.hyperparameters = hyperparameters
        self.ensemble = ensemble
        self.workers = workers
        self.executor = executor
        self.strategy = strategy
        self.callbacks = callbacks
        self.searcher_args = searcher_args

    # What a task decides.

    def _default_starts(self, x: np.ndarray, time_limit: float | None, pool: Pool) -> Sequence[Any]:
        raise NotImplementedError

    def _preprocessing(self, x: np.ndarray) -> list[Layer]:
        raise NotImplementedError

    def _augmentation(self, x: np.ndarray, codes: np.ndarray) -> tuple[str, ...]:
        raise NotImplementedError

    # Fitting.

    def fit(
        self,
        x: Any,
        y: Any,
        time_limit: float | None = None,
        validation_data: tuple[Any, Any] | None = None,
        sample_weight: Any = None,
    ) -> Estimator:
        """Search for a good network.

        Parameters
        ----------
        x : array-like of shape (n, height, width) or (n, height, width, channels)
            Images, uint8 or float.
        y : array-like of shape (n,), (n, 1) or (n, classes)
            One label an example (strings, any integers, …), or one-hot rows.
        time_limit : float, optional
            Seconds for this call. None: until `max_models` is reached, or for ever; then interrupt it with
            Ctrl-C: the models found so far stay, and the one in training is evaluated and kept if that takes
            no longer than two seconds.
        validation_data : tuple (x, y), optional
            What models are compared on. By default a part of the training data, split by class; under a
            `time_limit` the last training is then on that part as well, so that the final model has seen
            all data and has no ``metric_value`` of its own.
        sample_weight : array-like of shape (n,), optional
            How much each training example counts, relative to the others.

        Returns
        -------
        self

        Raises
        ------
        DataError
            If data or arguments cannot be used; nothing was trained then.
        SearchError
            If the folder cannot be used, or not a single model could be trained.
        """
        begun = time.time()
        sizes = check_arguments(self, time_limit)
        x = check_images(x)
        codec = LabelCodec.from_labels(y, n=len(x))
        codes = codec.encode(y)
        weights = check_sample_weight(sample_weight, len(x))
        held_out = None if validation_data is None else self._check_validation(validation_data, x, codec)
        with self._pool() as pool:
            self._search(x, codes, codec, weights, held_out, sizes, pool, time_limit, begun)
        return self

    def _search(
        self,
        x: np.ndarray,
        codes: np.ndarray,
        codec: LabelCodec,
        weights: np.ndarray | None,
        held_out: tuple[np.ndarray, np.ndarray] | None,
        sizes: options.SearcherArgs,
        pool: Pool,
        time_limit: float | None,
        begun: float,
    ) -> None:
        starts = options.choose_starts(
            self.starts,
            self._default_starts(x, time_limit, pool) if self.starts is None else (),
            x.shape[1:],
            len(codec.classes),
            self._preprocessing(x),
            sizes,
        )
        most = self.max_parameters
        if self.max_disk is not None:
            arrays = (x, codes, weights, *(held_out or ()))
            size = sum(array.nbytes for array in arrays if array is not None)
            starts, most = fit_disk(starts, most, self.max_disk, size)
        with RunFolder.open(self.path, self.resume) as folder, self._progress() as progress:
            if folder.moved_aside is not None:
                progress.message(f"The earlier search was moved to {folder.moved_aside}")
            self._enter(folder.path)
            with self._history(folder, x, codes, codec, progress) as history:
                seed = history.get_meta("seed")
                data = self._split(x, codes, weights, held_out, history)
                settings = self._settings(data, starts, most, sizes.trainer_args, held_out is None, seed)
                with folder.translated_errors():
                    data.save(folder.scratch)
                history.set_meta(PINNED, None)
                history.set_meta("objective", self.objective)
                search = Search(folder, history, folder.scratch, settings, progress, pool, self.workers)
                search.run(time_limit, begun)

    def final_fit(
        self,
        x_train: Any,
        y_train: Any,
        x_test: Any = None,
        y_test: Any = None,
        trainer_args: dict[str, Any] | None = None,
        retrain: bool = False,
        time_limit: float | None = None,
    ) -> Estimator:
        """Train the best model on; the result takes its place.

        Parameters
        ----------
        x_train, y_train : array-like
            As in `fit`.
        x_test, y_test : array-like, optional
            Validation data: the weights with the lowest loss on it are kept. By default a part of the
            training data.
        trainer_args : dict, optional
            ``max_iter_num`` (most epochs, default 200), ``max_no_improvement_num`` (epochs without
            improvement before training ends, default 30), ``min_loss_dec``, ``lr``.
        retrain : bool, default=False
            Whether to begin with new weights.
        time_limit : float, optional
            Seconds for this call.

        Returns
        -------
        self

        Raises
        ------
        DataError
            If data or arguments cannot be used.
        SearchError
            If there is no model yet, or training failed. A time limit too short for anything gives a
            warning, and the model stays as it was.
        """
        begun = time.time()
        trainer = options.TrainerArgs.of(trainer_args)
        sizes = check_arguments(self, time_limit)
        searcher = self._searcher()
        codec, shape = self._codec(searcher), tuple(searcher.meta("input_shape"))
        x = check_images(x_train, name="x_train", like=shape)
        codes = codec.encode(y_train, n=len(x))
        if (x_test is None) != (y_test is None):
            raise DataError("x_test and y_test belong together: give both, or neither")
        held_out = None if x_test is None else self._check_validation((x_test, y_test), x, codec)
        best = searcher.get_best_model_id()
        with RunFolder.open(searcher.path, resume=True) as folder, self._progress() as progress:
            self._enter(folder.path)
            with History.open(folder.database) as history:
                data = self._split(x, codes, None, held_out, history)
                if self.max_disk is not None:
                    models = Models.read(history.records(), folder.model_file)
                    limit = DiskLimit(folder, models, self.max_disk)
                    limit.make_room(models.structures[best], data.nbytes, keep=[best])
                with folder.translated_errors():
                    data.save(folder.scratch)
                (record,) = [record for record in history.records() if record.model_id == best]
                # What a model was trained on cannot tell when to stop.
                merge = record.is_unmeasured and held_out is None and not retrain
                hyperparameters = self._hyperparameters_of(record, trainer, sizes)
                if trainer.lr is None and not retrain:
                    hyperparameters = replace(
                        hyperparameters, learning_rate=WARM_LEARNING_RATE * hyperparameters.learning_rate
                    )
                epochs = trainer.max_iter_num or (FINAL_PATIENCE if merge else FINAL_EPOCHS)
                plan = Plan(
                    phase="final",
                    seconds_left=None if time_limit is None else begun + time_limit - time.time(),
                    seconds=None if time_limit is None else max(1.0, begun + time_limit - time.time()),
                    max_epochs=epochs,
                    patience=None if merge else trainer.max_no_improvement_num or FINAL_PATIENCE,
                    min_loss_decrease=trainer.min_loss_dec,
                    keep_best=not merge,
                    merge_validation=merge,
                    hyperparameters=replace(
                        hyperparameters,
                        augment=augmentation_for(self._augmentation(data.x, data.y), epochs),
                    ),
                    seed=history.get_meta("seed"),
                )
                strategy = pack_strategy(self.strategy)
                with self._pool() as pool:
                    train_final(
                        folder, history, record, folder.scratch, plan, retrain, progress, pool, strategy
                    )
        return self

    def _check_validation(self, data: Any, x: np.ndarray, codec: LabelCodec) -> tuple[np.ndarray, np.ndarray]:
        if not isinstance(data, tuple | list) or len(data) != 2:
            raise DataError("validation_data must be a pair (x, y)")
        held_x = check_images(data[0], name="validation x", like=x.shape[1:])
        return held_x, codec.encode(data[1], n=len(held_x))

    def _history(
        self, folder: RunFolder, x: np.ndarray, codes: np.ndarray, codec: LabelCodec, progress: Any
    ) -> History:
        """The folder's history, described by this task; an existing one must be of the same task."""
        seed = self.seed if self.seed is not None else int(np.random.default_rng().integers(2**31))
        meta = {
            "task": self._task,
            "objective": self.objective,
            "labels": codec.to_json(),
            "input_shape": list(x.shape[1:]),
            "seed": seed,
            "split_fraction": validation_fraction(len(x)),
            "data": fingerprint(x, codes),
        }
        if not folder.holds_search:
            return History.create(folder.database, meta)
        history = History.open(folder.database)
        try:
            for key in ("task", "labels", "input_shape"):
                if history.get_meta(key) != meta[key]:
                    raise SearchError(
                        f"the search in {folder.path} was made for other data (its {key} is "
                        f"{history.get_meta(key)!r}, now {meta[key]!r}): use another path, or resume=False"
                    )
            if history.get_meta("data") != meta["data"]:
                progress.message(
                    "The data is not what this search began with: earlier metrics may not compare"
                )
        except BaseException:
            history.close()
            raise
        return history

    def _split(
        self,
        x: np.ndarray,
        codes: np.ndarray,
        weights: np.ndarray | None,
        held_out: tuple[np.ndarray, np.ndarray] | None,
        history: History,
    ) -> Data:
        if held_out is not None:
            return Data(x, codes, *held_out, weights=weights)
        train, held = stratified_split(codes, history.get_meta("split_fraction"), history.get_meta("seed"))
        chosen = None if weights is None else weights[train]
        return Data(x[train], codes[train], x[held], codes[held], weights=chosen)

    def _settings(
        self,
        data: Data,
        starts: tuple[tuple[str, Graph], ...],
        max_parameters: int | None,
        trainer: options.TrainerArgs,
        own_split: bool,
        seed: int,
    ) -> Settings:
        from kmorph.morphs import Limits

        hyperparameters, space = options.choose_hyperparameters(self.hyperparameters, trainer, len(data.x))
        return Settings(
            starts=starts,
            n_train=len(data.x),
            n_val=len(data.x_val),
            objective=self.objective,
            hyperparameters=hyperparameters,
            space=space,
            augment=self._augmentation(data.x, data.y),
            always_augment=self.augment is True,
            limits=Limits(max_parameters=max_parameters, max_flops=self.max_flops),
            kinds=options.choose_morphs(self.morphs),
            max_models=self.max_models,
            max_disk=self.max_disk,
            max_epochs=trainer.max_iter_num,
            patience=trainer.max_no_improvement_num,
            min_loss_decrease=trainer.min_loss_dec or 0.0,
            # Validation data of the user's own stays apart; weights there are none for; and a loss, unlike
            # an accuracy, need not improve by settling, so that it has to be measured.
            merge_validation=own_split and data.weights is None and self.objective == "accuracy",
            ensemble=self.ensemble,
            seed=seed,
            strategy=pack_strategy(self.strategy),
        )

    def _hyperparameters_of(
        self, record: ModelRecord, trainer: options.TrainerArgs, sizes: options.SearcherArgs
    ) -> Hyperparameters:
        """What a model is trained on with: the user's values, otherwise the model's own."""
        trainer = trainer if trainer.lr is not None else sizes.trainer_args
        chosen, space = options.choose_hyperparameters(self.hyperparameters, trainer)
        given = {*(self.hyperparameters or {}), *(["learning_rate"] if trainer.lr is not None else [])}
        fixed = {name: getattr(chosen, name) for name in given - set(space.dimensions)}
        return Hyperparameters.from_dict({**record.hyperparameters, **fixed})

    def _pool(self) -> AbstractContextManager[Pool]:
        """Where candidates are trained, for one call."""
        return pool_for(self.executor, self.workers, pack_strategy(self.strategy))

    def _progress(self) -> Audience:
        return Audience(self.verbose, self.objective, self.callbacks)

    def _enter(self, path: Path) -> None:
        self.path_ = path
        self.__dict__.pop("_loaded", None)
