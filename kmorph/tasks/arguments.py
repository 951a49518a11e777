"""The arguments that estimators share, checked before anything is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from kmorph.errors import DataError
from kmorph.tasks import options
from kmorph.training.backend import require_backend
from kmorph.training.distribute import pack_strategy


class Given(Protocol):
    """The arguments as an estimator's constructor stored them, unchecked."""

    seed: Any
    objective: Any
    max_models: Any
    max_parameters: Any
    max_flops: Any
    max_disk: Any
    augment: Any
    morphs: Any
    loss: Any
    optimizer: Any
    hyperparameters: Any
    ensemble: Any
    workers: Any
    executor: Any
    strategy: Any
    callbacks: Any
    searcher_args: Any


@dataclass(frozen=True)
class Arguments:
    """Arguments that can be used, numbers as Python's own.

    Parameters
    ----------
    time_limit : float or None
        Seconds.
    seed, max_models, max_parameters, max_flops, max_disk : int or None
    workers : int
    augment, ensemble : bool or "auto"
    searcher_args : SearcherArgs
    """

    time_limit: float | None
    seed: int | None
    max_models: int | None
    max_parameters: int | None
    max_flops: int | None
    max_disk: int | None
    workers: int
    augment: bool | str
    ensemble: bool | str
    searcher_args: options.SearcherArgs


def check_arguments(given: Given, time_limit: Any) -> Arguments:
    """Check the arguments of an estimator before anything else is done.

    Parameters
    ----------
    given : Estimator
    time_limit : float or None
        Seconds, as `fit` was given it.

    Returns
    -------
    Arguments

    Raises
    ------
    DataError
        If one of them cannot be used; the message says what was given and what is expected.
    """
    if given.workers is None:
        raise DataError("workers must be a whole number from 1, got None")
    counts = {
        name: options.check_count(name, getattr(given, name))
        for name in ("max_models", "max_parameters", "max_flops", "max_disk")
    }
    checked = Arguments(
        time_limit=options.check_number("time_limit", time_limit, above=True),
        seed=options.check_count("seed", given.seed, least=0),
        workers=options.check_count("workers", given.workers) or 1,
        augment=options.check_flag("augment", given.augment),
        ensemble=options.check_flag("ensemble", given.ensemble),
        searcher_args=options.SearcherArgs.of(given.searcher_args),
        **counts,
    )
    if given.objective not in ("accuracy", "loss"):
        raise DataError(f'objective must be "accuracy" or "loss", got {given.objective!r}')
    if given.loss is not None:
        raise DataError(f"loss={given.loss!r}: another loss than cross-entropy is not supported yet")
    if given.optimizer is not None:
        raise DataError(
            f"optimizer={given.optimizer!r}: another optimizer is not supported yet; "
            "hyperparameters={'learning_rate': …} sets its step"
        )
    if not isinstance(given.callbacks, list | tuple) or not all(map(callable, given.callbacks)):
        raise DataError(
            f"callbacks must be a list of functions that take a record, a dict as in `history`; got "
            f"{given.callbacks!r}. Callbacks of Keras are not called: many models are trained, in other "
            "processes"
        )
    if given.executor is not None and not hasattr(given.executor, "submit"):
        raise DataError(f"executor must be a concurrent.futures.Executor, got {given.executor!r}")
    pack_strategy(given.strategy)
    if given.executor is None:
        require_backend()
    options.choose_morphs(given.morphs)
    options.choose_hyperparameters(given.hyperparameters, options.TrainerArgs())
    return checked
