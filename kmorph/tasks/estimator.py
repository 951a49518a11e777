"""The base of all estimators: arguments, `fit` and `final_fit`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from kmorph.data.images import check_images
from kmorph.errors import DataError
from kmorph.files import UserPath
from kmorph.graph import Graph, Layer
from kmorph.search.final import train_final
from kmorph.search.loop import Search
from kmorph.search.settings import Settings
from kmorph.search.store.disk import DiskLimit, fit_disk
from kmorph.search.store.folder import RunFolder
from kmorph.search.store.history import PINNED, History
from kmorph.search.store.models import Models
from kmorph.search.store.reader import Searcher
from kmorph.search.store.record import ModelRecord
from kmorph.search.strategy.planning import final_plan
from kmorph.search.workers.leases import pool_for
from kmorph.search.workers.pool import Pool
from kmorph.tasks import options
from kmorph.tasks.arguments import Arguments, check_arguments
from kmorph.tasks.audience import Audience
from kmorph.tasks.fitted import Fitted
from kmorph.tasks.fitting import Examples, check_validation, open_history
from kmorph.tasks.pickling import warn_of_left_out
from kmorph.training.distribute import pack_strategy
from kmorph.training.examples import Data
from kmorph.training.plan import Hyperparameters


class Estimator(Fitted):
    """Base of the estimators; see `ImageClassifier` for the arguments."""

    _task: str

    def __init__(
        self,
        *,
        path: UserPath | None = None,
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
        warn_of_left_out(self)
        arguments = check_arguments(self, time_limit)
        examples = Examples.of(x, y, validation_data, sample_weight)
        with self._pool(arguments) as pool:
            starts, max_parameters = self._starts(examples, arguments, pool)
            with RunFolder.open(self.path, self.resume) as folder, self._progress() as progress:
                _announce(folder, progress)
                with open_history(
                    folder, examples, self._task, self.objective, arguments.seed, progress
                ) as history:
                    self._belong_to(Searcher(folder.path))
                    data = examples.split(history)
                    with folder.translated_errors():
                        data.save(folder.scratch)
                    history.set_meta(PINNED, None)
                    history.set_meta("objective", self.objective)
                    own_split, seed = examples.held_out is None, history.get_meta("seed")
                    settings = self._settings(data, starts, max_parameters, arguments, own_split, seed)
                    search = Search(
                        folder, history, folder.scratch, settings, progress, pool, arguments.workers
                    )
                    search.run(arguments.time_limit, begun)
        return self

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
        warn_of_left_out(self)
        trainer = options.TrainerArgs.of(trainer_args)
        arguments = check_arguments(self, time_limit)
        time_limit = arguments.time_limit
        searcher = self._searcher()
        codec, shape = self._codec(searcher), tuple(searcher.meta("input_shape"))
        x = check_images(x_train, name="x_train", like=shape)
        codes = codec.encode(y_train, n=len(x))
        if (x_test is None) != (y_test is None):
            raise DataError("x_test and y_test belong together: give both, or neither")
        held_out = None if x_test is None else check_validation((x_test, y_test), x, codec)
        examples = Examples(x, codes, codec, held_out=held_out)
        best = searcher.get_best_model_id()
        with searcher.home.lock() as folder, self._progress() as progress:
            self._belong_to(searcher)
            with History.open(folder.database) as history:
                data = examples.split(history)
                if arguments.max_disk is not None:
                    models = Models.read(history.records(), folder.model_file)
                    limit = DiskLimit(folder, models, arguments.max_disk)
                    limit.make_room(models.structures[best], data.nbytes, keep=[best])
                with folder.translated_errors():
                    data.save(folder.scratch)
                (record,) = [record for record in history.records() if record.model_id == best]
                plan = final_plan(
                    record,
                    self._hyperparameters_of(record, trainer, arguments.searcher_args),
                    self._augmentation(data.x, data.y),
                    seed=history.get_meta("seed"),
                    seconds=None if time_limit is None else begun + time_limit - time.time(),
                    has_validation=held_out is not None,
                    retrain=retrain,
                    learning_rate_given=trainer.lr is not None,
                    max_epochs=trainer.max_iter_num,
                    patience=trainer.max_no_improvement_num,
                    min_loss_decrease=trainer.min_loss_dec,
                )
                strategy = pack_strategy(self.strategy)
                with self._pool(arguments) as pool:
                    train_final(
                        folder, history, record, folder.scratch, plan, retrain, progress, pool, strategy
                    )
        return self

    # Steps of fitting.

    def _starts(
        self, examples: Examples, arguments: Arguments, pool: Pool
    ) -> tuple[tuple[tuple[str, Graph], ...], int | None]:
        """Starts, and the most parameters of a model; `max_disk` bounds both."""
        x = examples.x
        starts = options.choose_starts(
            self.starts,
            self._default_starts(x, arguments.time_limit, pool) if self.starts is None else (),
            x.shape[1:],
            len(examples.codec.classes),
            self._preprocessing(x),
            arguments.searcher_args,
        )
        if arguments.max_disk is None:
            return starts, arguments.max_parameters
        return fit_disk(starts, arguments.max_parameters, arguments.max_disk, examples.nbytes)

    def _settings(
        self,
        data: Data,
        starts: tuple[tuple[str, Graph], ...],
        max_parameters: int | None,
        arguments: Arguments,
        own_split: bool,
        seed: int,
    ) -> Settings:
        from kmorph.morphs import Limits

        trainer = arguments.searcher_args.trainer_args
        hyperparameters, space = options.choose_hyperparameters(self.hyperparameters, trainer, len(data.x))
        return Settings(
            starts=starts,
            n_train=len(data.x),
            n_val=len(data.x_val),
            objective=self.objective,
            hyperparameters=hyperparameters,
            space=space,
            augment=self._augmentation(data.x, data.y),
            always_augment=arguments.augment is True,
            limits=Limits(max_parameters=max_parameters, max_flops=arguments.max_flops),
            kinds=options.choose_morphs(self.morphs),
            max_models=arguments.max_models,
            max_disk=arguments.max_disk,
            max_epochs=trainer.max_iter_num,
            patience=trainer.max_no_improvement_num,
            min_loss_decrease=trainer.min_loss_dec,
            # Validation data of the user's own stays apart; weights there are none for; and a loss, unlike
            # an accuracy, need not improve by settling, so that it has to be measured.
            merge_validation=own_split and data.weights is None and self.objective == "accuracy",
            ensemble=arguments.ensemble,
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

    def _pool(self, arguments: Arguments) -> AbstractContextManager[Pool]:
        """Where candidates are trained, for one call."""
        return pool_for(self.executor, arguments.workers, pack_strategy(self.strategy))

    def _progress(self) -> Audience:
        return Audience(self.verbose, self.objective, self.callbacks)


def _announce(folder: RunFolder, progress: Audience) -> None:
    """Show where the search is, if that is not simply the folder that was asked for."""
    if folder.moved_aside is not None:
        progress.message(f"The earlier search was moved to {folder.moved_aside}")
    if folder.instead_of is not None:
        progress.message(f"Another search is at work in {folder.instead_of}: this one is in {folder.path}")
