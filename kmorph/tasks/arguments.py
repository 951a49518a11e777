"""The arguments that estimators share, checked before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from kmorph.errors import DataError, SearchError
from kmorph.problem import Classes, Input, Objective, Problem, Target
from kmorph.problem.losses import OwnLoss
from kmorph.problem.metrics import Metric
from kmorph.problem.optimizers import OwnOptimizer
from kmorph.problem.own_metrics import find_metric
from kmorph.tasks import options
from kmorph.tasks.loss_names import check_loss_name
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
    time_limit: Any
    class_weight: Any
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
    views: Any
    starts: Any


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
    loss : OwnLoss or None
    optimizer : OwnOptimizer or None
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
    loss: OwnLoss | None
    optimizer: OwnOptimizer | None


def check_arguments(given: Given, time_limit: Any) -> Arguments:
    """Check the arguments of an estimator before anything else is done.

    Parameters
    ----------
    given : Estimator
    time_limit : float or None
        Seconds, as `fit` was given it; None: the estimator's own.

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
    check_loss_name(given.loss)
    own_limit = options.check_number("time_limit", given.time_limit, above=True)
    limit = options.check_number("time_limit", time_limit, above=True)
    checked = Arguments(
        time_limit=own_limit if limit is None else limit,
        seed=options.check_count("seed", given.seed, least=0),
        workers=options.check_count("workers", given.workers) or 1,
        augment=options.check_flag("augment", given.augment),
        ensemble=options.check_flag("ensemble", given.ensemble),
        searcher_args=options.SearcherArgs.of(given.searcher_args),
        loss=None if given.loss is None else OwnLoss.of(given.loss),
        optimizer=None if given.optimizer is None else OwnOptimizer.of(given.optimizer),
        **counts,
    )
    if not isinstance(given.callbacks, list | tuple) or not all(map(callable, given.callbacks)):
        raise DataError(
            f"callbacks must be a list of functions that take a record, a dict as in `history`; got "
            f"{given.callbacks!r}. Callbacks of Keras are not called: many models are trained, in other "
            "processes"
        )
    if given.executor is not None and (
        isinstance(given.executor, type) or not hasattr(given.executor, "submit")
    ):
        raise DataError(
            "executor must be an object such as a concurrent.futures.ProcessPoolExecutor(), got "
            f"{given.executor!r}"
        )
    options.check_flag("views", given.views, auto=False)
    pack_strategy(given.strategy)
    if given.executor is None:
        require_backend()
    options.choose_morphs(given.morphs)
    options.choose_hyperparameters(given.hyperparameters, options.TrainerArgs(), optimizer=checked.optimizer)
    return checked


def check_class_weight(given: Given, target: Target) -> None:
    """Check the weights of classes by themselves; raises `DataError` as `pose_problem` does."""
    _class_weights(given.class_weight, target, np.zeros(0, np.int64))


def pose_problem(
    given: Given,
    arguments: Arguments,
    input: Input,
    target: Target,
    codes: np.ndarray,
    stored: Objective | None = None,
) -> Problem:
    """Build the problem from the arguments and the labels: loss, objective, optimiser and weights.

    Parameters
    ----------
    given : Estimator
    arguments : Arguments
    input : Input
    target : Target
    codes : ndarray
        Of the training examples.
    stored : Objective, optional
        Of the search to go on with; it stays unless the user gives another.

    Raises
    ------
    DataError
        If one of them does not fit the labels.
    SearchError
        If the search was made with an objective of the user's own, which is not stored.
    """
    if given.objective is None and stored is not None:
        metric = _stored_metric(stored, target)
    else:
        metric = find_metric(given.objective, target)
    weights = _class_weights(given.class_weight, target, codes)
    loss = target.loss if arguments.loss is None else arguments.loss
    problem = Problem(input, target, loss, metric, arguments.optimizer, weights)
    if "label_smoothing" in (given.hyperparameters or {}) and not problem.loss.smooths:
        raise DataError(
            "hyperparameters['label_smoothing'] belongs to the cross-entropy of classes"
            + (": give it to your loss, if that knows it" if arguments.loss is not None else "")
        )
    return problem


def _stored_metric(stored: Objective, target: Target) -> Metric:
    try:
        metric = find_metric(stored.name, target)
        if metric.greater_is_better == stored.greater_is_better:
            return metric
    except DataError:
        pass
    raise SearchError(
        f"this search was made with objective={stored.name}, which is not stored: give it again, as "
        f"`objective=`, or another one, such as {next(iter(target.metrics))!r}"
    )


def _class_weights(given: Any, target: Target, codes: np.ndarray) -> tuple[float, ...]:
    """A weight for each class from `class_weight`; empty for None."""
    if given is None:
        return ()
    if not isinstance(target, Classes):
        raise DataError(
            "class_weight needs one class for each example; give sample_weight in fit, one for each example"
        )
    counts = np.bincount(codes, minlength=target.width)
    if isinstance(given, str) and given == "balanced":
        return tuple((len(codes) / (target.width * np.maximum(counts, 1))).tolist())
    if not isinstance(given, Mapping):
        raise DataError(
            f'class_weight must be None, "balanced" or a dict from class to weight, got {given!r}'
        )
    labels = target.codec.classes_array.tolist()
    unknown = [label for label in given if label not in labels]
    if unknown:
        raise DataError(
            f"class_weight names the class {unknown[0]!r}, which is not in y; its classes are "
            + ", ".join(map(repr, labels[:10]))
            + (f" and {len(labels) - 10} more" if len(labels) > 10 else "")
        )
    by_label = {
        label: options.check_number(f"class_weight[{label!r}]", weight) for label, weight in given.items()
    }
    weights = [by_label.get(label, 1.0) for label in labels]
    if None in weights or not any(weights):
        raise DataError(f"class_weight must be numbers, one of them above 0, got {given!r}")
    return tuple(float(weight or 0.0) for weight in weights)
