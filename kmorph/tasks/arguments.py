"""The arguments that estimators share, checked before anything is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kmorph.errors import DataError
from kmorph.tasks import options
from kmorph.training.backend import require_backend
from kmorph.training.distribute import pack_strategy

if TYPE_CHECKING:
    from kmorph.tasks.estimator import Estimator


def check_arguments(estimator: Estimator, time_limit: float | None) -> options.SearcherArgs:
    """Refuse arguments of an estimator that cannot be used, before anything else is done.

    Parameters
    ----------
    estimator : Estimator
    time_limit : float or None
        Seconds, as `fit` was given it.

    Returns
    -------
    SearcherArgs

    Raises
    ------
    DataError
        Telling what was given and what is expected.
    """
    options.check_number("time_limit", time_limit, above=True)
    options.check_count("seed", estimator.seed, least=0)
    for name in ("max_models", "max_parameters", "max_flops", "max_disk"):
        options.check_count(name, getattr(estimator, name))
    options.check_count("workers", estimator.workers)
    if estimator.workers is None:
        raise DataError("workers must be a whole number from 1, got None")
    if estimator.augment not in (True, False, "auto"):
        raise DataError(f'augment must be True, False or "auto", got {estimator.augment!r}')
    if estimator.ensemble not in (True, False, "auto"):
        raise DataError(f'ensemble must be True, False or "auto", got {estimator.ensemble!r}')
    if estimator.objective not in ("accuracy", "loss"):
        raise DataError(f'objective must be "accuracy" or "loss", got {estimator.objective!r}')
    options.refuse_unsupported(
        loss=(estimator.loss, lambda v: v is None, "another loss than cross-entropy is not supported yet"),
        optimizer=(
            estimator.optimizer,
            lambda v: v is None,
            "another optimizer is not supported yet; hyperparameters={'learning_rate': …} sets its step",
        ),
    )
    if not isinstance(estimator.callbacks, list | tuple) or not all(map(callable, estimator.callbacks)):
        raise DataError(
            f"callbacks must be a list of functions that take a record, a dict as in `history`; got "
            f"{estimator.callbacks!r}. Callbacks of Keras are not called: many models are trained, in other "
            "processes"
        )
    if estimator.executor is not None and not hasattr(estimator.executor, "submit"):
        raise DataError(f"executor must be a concurrent.futures.Executor, got {estimator.executor!r}")
    pack_strategy(estimator.strategy)
    if estimator.executor is None:
        require_backend()
    options.choose_morphs(estimator.morphs)
    options.choose_hyperparameters(estimator.hyperparameters, options.TrainerArgs())
    return options.SearcherArgs.of(estimator.searcher_args)
