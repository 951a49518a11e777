"""The steps of `fit` and `final_fit` that need no estimator: checked data, its split, its history."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kmorph.data.checks import check_sample_weight, fingerprint
from kmorph.data.labels import LabelCodec
from kmorph.errors import DataError, KmorphError, SearchError
from kmorph.files import UserPath, absolute_path
from kmorph.problem import Classes, ImageInput, Input, Objective, Problem, Target
from kmorph.problem.losses import OwnLoss
from kmorph.problem.packing import pack_problem
from kmorph.problem.split import holdout, validation_fraction
from kmorph.search.store.folder import RunFolder
from kmorph.search.store.history import History
from kmorph.search.store.reader import Searcher
from kmorph.search.workers.measure import probe
from kmorph.search.workers.pool import Pool
from kmorph.tasks.audience import Audience
from kmorph.training.examples import Data

logger = logging.getLogger("kmorph.search")

PROBE_PATIENCE = 120.0  # seconds to wait until a worker has loaded Keras and tried a user's loss
PROBED = 5000  # labels that it is tried on


@dataclass(frozen=True)
class Origin:
    """Seed, split, target and input of a search: read from its folder if it goes on, else chosen now.

    Parameters
    ----------
    seed : int
    fraction : float
        Share of the examples that is held back to compare models.
    target : Target
    input : Input or None
        None: to be learned from the training examples.
    learns_from_all : bool, default=False
        Whether the input learns from all examples, as the first version did.
    """

    seed: int
    fraction: float
    target: Target
    input: Input | None = None
    learns_from_all: bool = False

    @classmethod
    def of(cls, path: UserPath | None, resume: bool, seed: int | None, target: Target, n: int) -> Origin:
        """Look whether there is a search to go on with.

        Parameters
        ----------
        path, resume, seed
            As the estimator has them.
        target : Target
            Learned from the labels at hand.
        n : int
            Number of examples.

        Raises
        ------
        SearchError
            If the search in the folder is for labels of another kind.
        """
        if resume and path is not None:
            folder = absolute_path(path, SearchError)
            if History.exists(folder / RunFolder.DATABASE):
                searcher = Searcher(folder)
                stored = stored_target(searcher)
                if not stored.is_like(target):
                    raise SearchError(
                        f"the search in {folder} was made for other data (its labels are "
                        f"{stored.describe()}, now {target.describe()}): use another path, or resume=False"
                    )
                split = searcher.meta("split") or {"fraction": searcher.meta("split_fraction")}
                known = stored_input(searcher)
                old = searcher.meta("input") is None
                return cls(
                    searcher.meta("seed"),
                    split["fraction"],
                    stored,
                    None if old else known,
                    learns_from_all=old,
                )
        chosen = seed if seed is not None else int(np.random.default_rng().integers(2**31))
        return cls(chosen, validation_fraction(n), target)


def stored_target(searcher: Searcher) -> Target:
    """The target that a search was made for.

    Raises
    ------
    SearchError
        If its kind is not known in this process, or what is stored is damaged.
    """
    stored = searcher.meta("target")
    try:
        if stored is None:  # a folder of the first version
            return Classes(LabelCodec.from_json(searcher.meta("labels")))
        return Target.restored(stored)
    except DataError as error:
        raise SearchError(f"the search in {searcher.path} cannot be used: {error}") from error


def stored_input(searcher: Searcher) -> Input:
    """The input that a search was made for; raises as `stored_target` does."""
    stored = searcher.meta("input")
    try:
        if stored is None:
            height, width, channels = searcher.meta("input_shape")
            return ImageInput((height, width, channels))
        return Input.restored(stored)
    except DataError as error:
        raise SearchError(f"the search in {searcher.path} cannot be used: {error}") from error


@dataclass(frozen=True)
class Examples:
    """Checked training data as numbers, and its division.

    Parameters
    ----------
    input, target
        What turned examples and labels into numbers.
    x : ndarray of shape (n, *input.shape)
    codes : ndarray of shape (n,) or (n, width)
        Encoded labels.
    train, held : ndarray of int
        Positions that are trained on, and that models are compared on; all and none if there is `held_out`.
    weights : ndarray of shape (n,), optional
        How much each example counts.
    held_out : tuple (x, codes, weights or None), optional
        Validation data that the user gave.
    """

    input: Input
    target: Target
    x: np.ndarray
    codes: np.ndarray
    train: np.ndarray
    held: np.ndarray
    weights: np.ndarray | None = None
    held_out: tuple[np.ndarray, np.ndarray, np.ndarray | None] | None = None

    @classmethod
    def of(
        cls,
        kind: type[Input],
        origin: Origin,
        x: Any,
        y: Any,
        validation_data: Any = None,
        weights: np.ndarray | None = None,
        name: str = "x",
    ) -> Examples:
        """Encode what `fit` was given.

        Parameters
        ----------
        kind : type of Input
            Learns from the training examples, unless the search has an input already.
        origin : Origin
        x : object
            Examples; checked ones, as `kind.check` returns them, if there is no input yet.
        y : array-like
        validation_data : tuple (x, y) or (x, y, weights), optional
        weights : ndarray, optional
        name : str, default="x"
            What messages call the examples.

        Raises
        ------
        DataError
            If something cannot be used.
        """
        input, target = origin.input, origin.target
        encoded = None if input is None else input.encode(x, name)
        n = len(x if encoded is None else encoded)
        codes = target.encode(y, n=n)
        train, held = np.arange(n), np.arange(0)
        if validation_data is None:
            train, held = holdout(target.strata(codes), n, origin.fraction, origin.seed)
        if input is None or encoded is None:
            input = kind.learn(x if origin.learns_from_all else x[train])
            encoded = input.encode(x, name)
        held_out = check_validation(validation_data, input, target)
        return cls(input, target, encoded, codes, train, held, weights, held_out)

    @property
    def nbytes(self) -> int:
        """Size of all arrays."""
        arrays = (self.x, self.codes, self.weights, *(self.held_out or ()))
        return sum(array.nbytes for array in arrays if array is not None)

    @property
    def is_weighted(self) -> bool:
        """True if some examples count more than others."""
        return self.weights is not None or (self.held_out is not None and self.held_out[2] is not None)

    def divided(self) -> Data:
        """Training and validation data."""
        train, held, weights = self.train, self.held, self.weights
        if self.held_out is not None:
            x_val, y_val, weights_val = self.held_out
            return Data(self.x, self.codes, x_val, y_val, weights, weights_val)
        shares = [None if weights is None else weights[index] for index in (train, held)]
        return Data(self.x[train], self.codes[train], self.x[held], self.codes[held], *shares)


def check_validation(
    data: Any, input: Input, target: Target
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None] | None:
    """Check and encode validation data; None stays None.

    Raises
    ------
    DataError
        If it is no pair or triple, or does not go with the training data.
    """
    if data is None:
        return None
    if not isinstance(data, tuple | list) or len(data) not in (2, 3):
        raise DataError("validation_data must be a pair (x, y), or (x, y, weights)")
    x = input.encode(data[0], "validation x")
    weights = check_sample_weight(data[2] if len(data) == 3 else None, len(x))
    return x, target.encode(data[1], n=len(x)), weights


def try_problem(
    problem: Problem, codes: np.ndarray, weighted: bool, pool: Pool, progress: Callable[[str], None]
) -> Problem:
    """Let a worker try a loss and an objective of the user's, before anything is trained.

    Parameters
    ----------
    problem : Problem
    codes : ndarray
        Of the training examples.
    weighted : bool
        Whether examples have weights.
    pool : Pool
    progress : callable
        Shows a text.

    Returns
    -------
    Problem
        With what was learned of the loss.

    Raises
    ------
    DataError
        If they fail.
    """
    own_loss = problem.loss if isinstance(problem.loss, OwnLoss) else None
    if own_loss is None and problem.objective.name in (*problem.target.metrics, "loss"):
        return problem
    try:
        handle = pool.submit(probe, pack_problem(problem), codes[:PROBED])
        pool.wait([handle], PROBE_PATIENCE)
        if not handle.done():
            handle.cancel()
            raise TimeoutError("no answer")
        found = handle.result()
    except KmorphError:
        raise
    except Exception as error:  # the first candidate will meet the same fault, and its failure has the reason
        logger.warning("loss and objective could not be tried in a worker: %r", error)
        return problem
    if "error" in found:
        raise DataError(found["error"])
    if own_loss is None:
        return problem
    if not found["is_per_example"]:
        if weighted or problem.class_weights:
            raise DataError(
                f"loss={own_loss.name} gives one value a batch, in which weights of examples have no part: "
                "let it give one for each example, or leave out sample_weight and class_weight"
            )
        progress(
            f"The loss {own_loss.name} gives one value a batch: children are not compared with their parents "
            "while they train, and no mean of models is made"
        )
    constant = found["constant"]
    divisor = constant if np.isfinite(constant) and constant > 0 else 1.0
    return replace(problem, loss=replace(own_loss, is_per_example=found["is_per_example"], divisor=divisor))


def open_history(
    folder: RunFolder, examples: Examples, origin: Origin, task: str, problem: Problem, progress: Audience
) -> tuple[History, bool]:
    """The history of a folder for writing: a new one that describes the task, or the one to go on with.

    Parameters
    ----------
    folder : RunFolder
    examples : Examples
    origin : Origin
    task : str
        The kind of task.
    problem : Problem
    progress : Audience
        Shows a message if the data, or what decides, has changed.

    Returns
    -------
    (history, changed) : History, bool
        Whether the models in it were measured by another loss, objective or weights.

    Raises
    ------
    SearchError
        If the search in the folder is of another task, or for data of another form.
    """
    decides = {**problem.to_json(), "weighted": examples.is_weighted}
    meta = {
        "task": task,
        "objective": problem.objective.objective.to_json(),
        "input": examples.input.stored(),
        "target": examples.target.stored(),
        "problem": decides,
        "seed": origin.seed,
        "split": {"kind": "holdout", "fraction": origin.fraction},
        "data": fingerprint(examples.x, examples.codes),
    }
    if not folder.holds_search:
        return History.create(folder.database, meta), False
    history = History.open(folder.database)
    try:
        if history.get_meta("task") != task:
            raise SearchError(
                f"the search in {folder.path} is of another task ({history.get_meta('task')!r}, now {task!r})"
                ": use another path, or resume=False"
            )
        if history.get_meta("data") != meta["data"]:
            progress.message("The data is not what this search began with: earlier metrics may not compare")
        before = history.get_meta("problem") or _first_problem(history)
        decisive = ("loss", "objective", "class_weights", "weighted")
        changed = any(before.get(name) != decides[name] for name in decisive) and bool(history.records())
        _ask_again(before, problem)
        for key in ("objective", "input", "target", "problem"):
            history.set_meta(key, meta[key])
    except BaseException:
        history.close()
        raise
    return history, changed


def _first_problem(history: History) -> dict[str, Any]:
    """Loss, objective and weights of a folder of the first version."""
    return {
        "loss": "cross_entropy",
        "objective": Objective.from_json(history.get_meta("objective", "accuracy")).to_json(),
        "optimizer": None,
        "class_weights": [],
        "weighted": False,
    }


def _ask_again(before: dict[str, Any], problem: Problem) -> None:
    """Refuse to go on without what the user gave before: losses and optimisers are not stored."""
    for name, given in (("loss", isinstance(problem.loss, OwnLoss)), ("optimizer", problem.optimizer)):
        stored = before.get(name)
        default = problem.target.loss.name if name == "loss" else None
        if stored != default and not given:
            raise SearchError(
                f"this search was made with {name}={stored}, which is not stored: give it again, as "
                f"`{name}=`, or begin a new search"
            )
