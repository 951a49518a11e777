"""The base of all estimators: arguments, `fit` and `final_fit`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from kmorph.data.checks import check_sample_weight
from kmorph.data.loaders import is_loader
from kmorph.errors import DataError
from kmorph.files import UserPath
from kmorph.problem import Input, Problem, Target
from kmorph.search.final import train_final
from kmorph.search.loop import Search
from kmorph.search.recording import clear_final
from kmorph.search.remeasure import measure_again
from kmorph.search.store.disk import DiskLimit
from kmorph.search.store.folder import RunFolder
from kmorph.search.store.history import History
from kmorph.search.store.models import Models
from kmorph.search.store.reader import Searcher
from kmorph.search.strategy.planning import final_plan
from kmorph.search.workers.leases import pool_for
from kmorph.search.workers.pool import Pool
from kmorph.tasks import options
from kmorph.tasks.arguments import Arguments, check_arguments, check_class_weight, pose_problem
from kmorph.tasks.audience import Audience
from kmorph.tasks.choices import choose_beginning, hyperparameters_of, settings_of
from kmorph.tasks.encoding import Encoding
from kmorph.tasks.fine_tuning import fine_tune
from kmorph.tasks.fitting import KEPT_CHANGES, Examples, Origin, try_problem
from kmorph.tasks.pickling import warn_of_left_out
from kmorph.tasks.predictor import Predictor
from kmorph.tasks.reading import Reading
from kmorph.tasks.resuming import FIRST_PROBLEM, announce, ask_again, open_history
from kmorph.training.distribute import pack_strategy


class Estimator(Predictor):
    """Base of the estimators; see `ImageClassifier` for the arguments.

    A task of one's own is a subclass with an `input` and a `target`:

    >>> class DoseRegressor(Estimator):                      # doctest: +SKIP
    ...     input, target = ImageInput, Numbers

    Attributes
    ----------
    input : type of Input
        How examples are read.
    target : type of Target
        How labels are read.
    """

    input: ClassVar[type[Input]]
    target: ClassVar[type[Target]]

    def __init__(
        self,
        *,
        path: UserPath | None = None,
        resume: bool = False,
        seed: int | None = None,
        verbose: bool = True,
        objective: Any = None,
        time_limit: float | None = None,
        class_weight: Any = None,
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
        views: bool = False,
        encoder: UserPath | None = None,
        encoder_features: str = "embeddings",
    ) -> None:
        self.path = path
        self.resume = resume
        self.seed = seed
        self.verbose = verbose
        self.objective = objective
        self.time_limit = time_limit
        self.class_weight = class_weight
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
        self.views = views
        self.encoder = encoder
        self.encoder_features = encoder_features

    @property
    def _task(self) -> str:
        """Name of the task, as folders keep it."""
        return type(self).__name__

    def _learn_target(self, y: Any, n: int) -> Target:
        return self.target.learn(y, n)

    # Fitting.

    def fit(
        self,
        x: Any,
        y: Any = None,
        time_limit: float | None = None,
        validation_data: Any = None,
        sample_weight: Any = None,
    ) -> Estimator:
        """Search for a good network.

        Parameters
        ----------
        x : array-like or loader
            Examples. Images: of shape (n, height, width) or (n, height, width, channels), uint8 or float. A
            loader is a ``tf.data.Dataset``, a ``keras.utils.PyDataset``, a torch ``DataLoader`` or a function
            that returns a generator, of pairs (x, y), batched or not. It is read once, to the disk.
        y : array-like, optional
            Labels; None: `x` is a loader, or a pair (x, y). Classifiers: one an example (strings, any
            integers, …), of shape (n,) or (n, 1), one-hot rows, or rows of zeros and ones with several ones
            for several labels. Regressors: numbers, of shape (n,) or (n, outputs).
        time_limit : float, optional
            Seconds for this call. None: that of the constructor; if that is None too, until `max_models` is
            reached, or for ever; then interrupt it with Ctrl-C: the models found so far stay, and the one in
            training is evaluated and kept if that takes no longer than two seconds.
        validation_data : tuple (x, y) or (x, y, weights), or loader, optional
            What models are compared on. By default a part of the training data, with classes in proportion;
            under a `time_limit` the last training is then on that part as well, so that the final model has
            seen all data and has no ``metric_value`` of its own (not where the objective is a loss, or the
            user's own).
        sample_weight : array-like of shape (n,), optional
            How much each example counts in the loss, relative to the others.

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
        with Reading(arguments, self.path, self.verbose) as reading:
            x, y, sample_weight = reading.examples(x, y, sample_weight)
            validation_data = reading.validation(validation_data)
            self._search(x, y, validation_data, sample_weight, arguments, begun, reading.new_folder)
        return self

    def _search(
        self,
        x: Any,
        y: Any,
        validation_data: Any,
        sample_weight: Any,
        arguments: Arguments,
        begun: float,
        new_folder: Callable[[], Path],
    ) -> None:
        encoding = Encoding.of(self, arguments)
        raw = encoding.kind.check(x)
        target = self._learn_target(y, len(raw))
        check_class_weight(self, target)
        weights = check_sample_weight(sample_weight, len(raw))
        origin = encoding.used_by(Origin.of(self.path, self.resume, arguments.seed, target, len(raw)))
        examples = Examples.of(encoding.kind, origin, raw, y, validation_data, weights)
        problem = pose_problem(
            self, arguments, examples.input, examples.target, examples.codes, origin.objective
        )
        data, limit = examples.divided(problem.class_weights, new_folder), arguments.time_limit
        strategy = pack_strategy(self.strategy)
        with self._pool(arguments) as pool, self._progress(problem) as progress:
            problem = try_problem(problem, examples, pool, limit, strategy, progress.message)
            beginning = choose_beginning(self, examples, problem, arguments, pool)
            with RunFolder.open(self.path, self.resume) as folder:
                announce(folder, progress)
                history, change = open_history(folder, examples, origin, self._task, problem)
                with history:
                    self._belong_to(Searcher(folder.path))
                    with folder.translated_errors():
                        encoding.encodings.keep(folder.path)
                        data.save(folder.scratch)
                    if change is not None:
                        measured = measure_again(folder, history, problem, change, pool, limit, strategy)
                        progress.message(change.describe(*measured))
                    if change is not None or arguments.max_disk is not None:
                        clear_final(history, folder)  # elsewhere the first new model does
                    own_split, seed = examples.held_out is None, history.get_meta("seed")
                    kept = problem.input.augmentations(data.x, data.y, problem.target)
                    history.set_meta(KEPT_CHANGES, kept)
                    settings = settings_of(self, data, beginning, problem, arguments, own_split, seed, kept)
                    search = Search(
                        folder, history, folder.scratch, settings, progress, pool, arguments.workers
                    )
                    search.run(limit, begun)

    def final_fit(
        self,
        x_train: Any,
        y_train: Any = None,
        x_test: Any = None,
        y_test: Any = None,
        trainer_args: dict[str, Any] | None = None,
        retrain: bool = False,
        time_limit: float | None = None,
        sample_weight: Any = None,
    ) -> Estimator:
        """Train the best model on; the result takes its place.

        Parameters
        ----------
        x_train, y_train : array-like or loader
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
        sample_weight : array-like of shape (n,), optional
            Weights of the training examples, as in `fit`. The search's class weights hold here too.

        Returns
        -------
        self

        Raises
        ------
        DataError
            If data or arguments cannot be used.
        SearchError
            If there is no model yet, loss, optimiser or objective of the search were the user's own and are
            not given, or training failed. A time limit too short for anything gives a
            warning, and the model stays as it was.
        """
        begun = time.time()
        warn_of_left_out(self)
        trainer = options.TrainerArgs.of(trainer_args)
        arguments = check_arguments(self, time_limit)
        self._searcher()
        if (x_test is None) != (y_test is None) and not is_loader(x_test):
            raise DataError("x_test and y_test belong together: give both, or neither")
        with Reading(arguments, self.path, self.verbose) as reading:
            x, y, sample_weight = reading.examples(x_train, y_train, sample_weight, "x_train")
            held_out = None if x_test is None else reading.validation((x_test, y_test))
            given = x, y, held_out, sample_weight
            self._train_on(*given, trainer, retrain, arguments, begun, reading.new_folder)
        return self

    def _train_on(
        self,
        x_train: Any,
        y_train: Any,
        held_out: Any,
        sample_weight: Any,
        trainer: options.TrainerArgs,
        retrain: bool,
        arguments: Arguments,
        begun: float,
        new_folder: Callable[[], Path],
    ) -> None:
        searcher, time_limit = self._searcher(), arguments.time_limit
        before = searcher.meta("problem") or FIRST_PROBLEM
        encoding = Encoding.of(self, arguments, searcher.path)
        origin = encoding.used_by(Origin.stored(searcher))
        weights = None if sample_weight is None else check_sample_weight(sample_weight, len(x_train))
        examples = Examples.of(encoding.kind, origin, x_train, y_train, held_out, weights, name="x_train")
        problem = pose_problem(
            self, arguments, examples.input, examples.target, examples.codes, origin.objective
        )
        if self.class_weight is None:
            problem = replace(problem, class_weights=tuple(before["class_weights"]))
        ask_again(before, problem)
        data, strategy = examples.divided(problem.class_weights, new_folder), pack_strategy(self.strategy)
        best = searcher.get_best_model_id()
        with searcher.home.lock() as folder, self._progress(problem) as progress:
            self._belong_to(searcher)
            with History.open(folder.database) as history:
                if arguments.max_disk is not None:
                    models = Models.read(history.records(), folder.model_file)
                    limit = DiskLimit(folder, models, arguments.max_disk)
                    limit.make_room(models.structures[best], data.nbytes, keep=[best])
                with folder.translated_errors():
                    data.save(folder.scratch)
                (record,) = [record for record in history.records() if record.model_id == best]
                with self._pool(arguments) as pool:
                    problem = try_problem(problem, examples, pool, time_limit, strategy, progress.message)
                    plan = final_plan(
                        record,
                        hyperparameters_of(self, record, trainer, arguments, before["optimizer"]),
                        problem.input.augmentations(data.x, data.y, problem.target) if self.augment else (),
                        seed=history.get_meta("seed"),
                        seconds=None if time_limit is None else begun + time_limit - time.time(),
                        has_validation=held_out is not None,
                        retrain=retrain,
                        learning_rate_given=trainer.lr is not None,
                        max_epochs=trainer.max_iter_num,
                        most_epochs=problem.input.most_epochs(len(data.x)),
                        patience=trainer.max_no_improvement_num,
                        min_loss_decrease=trainer.min_loss_dec,
                    )
                    plan = replace(plan, policy=pool.power.policy if pool.power else None)
                    data_folder = folder.scratch
                    train_final(
                        folder, history, record, data_folder, plan, retrain, progress, pool, strategy, problem
                    )

    def fine_tune(
        self,
        x: Any,
        y: Any = None,
        time_limit: float | None = None,
        validation_data: Any = None,
        sample_weight: Any = None,
    ) -> Estimator:
        """Train the encoder and the network behind it together, after `fit` with an `encoder`.

        The best model's network is trained anew behind the frozen encoder first, on the training part alone;
        from there all weights are trained (see `kmorph.training.fine_tuning`), in this process. Where that
        has the better objective on the validation part, or the same and a lower loss, the result is what
        predicts and is exported from now on, until the next `fit` or `final_fit`; else the model stays as it
        was. The models of `history` keep the frozen encoder. A second call begins with the frozen encoder
        again, and replaces what the first one made only by something better. Ctrl-C ends it; the best weights
        that were measured so far are kept, and `KeyboardInterrupt` is raised.

        Parameters
        ----------
        x, y : array-like, or a loader or a pair (x, y) as `x`
            As in `fit`.
        time_limit : float, optional
            Seconds for this call. None: that of the constructor; if that is None too, three epochs.
        validation_data : tuple (x, y) or (x, y, weights), or loader, optional
            What decides. By default the search's own part of the examples.
        sample_weight : array-like of shape (n,), optional
            As in `fit`.

        Returns
        -------
        self
            `fine_tuned_` has what was measured.

        Raises
        ------
        DataError
            If data or arguments cannot be used, or fewer than 50 examples would be held out.
        SearchError
            If there is no model yet, the search has no encoder, or training failed. A time limit too short
            for anything gives a warning, and the model stays as it was.
        """
        begun = time.time()
        warn_of_left_out(self)
        arguments = check_arguments(self, time_limit)
        self._searcher()
        with Reading(arguments, self.path, self.verbose) as reading:
            x, y, sample_weight = reading.examples(x, y, sample_weight)
            validation_data = reading.validation(validation_data)
            fine_tune(self, x, y, validation_data, sample_weight, arguments, begun, reading.new_folder)
        return self

    def _pool(self, arguments: Arguments) -> AbstractContextManager[Pool]:
        """Where candidates are trained, for one call."""
        return pool_for(self.executor, arguments.workers, pack_strategy(self.strategy))

    def _progress(self, problem: Problem) -> Audience:
        return Audience(self.verbose, problem.objective.objective, self.callbacks)
