"""The steps of `fit` and `final_fit` that need no estimator: checked data, its split, its history."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from kmorph.data.checks import check_sample_weight
from kmorph.data.labels import LabelCodec
from kmorph.data.spool import is_mapped, rows_of
from kmorph.errors import DataError, KmorphError, SearchError
from kmorph.files import UserPath, absolute_path
from kmorph.graph import Graph
from kmorph.problem import Classes, EncodedInput, ImageInput, Input, Objective, Problem, Target
from kmorph.problem.inputs.base import InputKind
from kmorph.problem.losses import OwnLoss
from kmorph.problem.packing import pack_problem
from kmorph.problem.split import holdout, validation_fraction
from kmorph.search.store.folder import RunFolder
from kmorph.search.store.history import History
from kmorph.search.store.reader import Searcher
from kmorph.search.workers.measure import probe
from kmorph.search.workers.pool import Pool, ask
from kmorph.training.examples import Data

KEPT_CHANGES = "kept_changes"
"""Key under which a search stores the random changes of its training examples that keep their labels."""

logger = logging.getLogger("kmorph.search")

PROBE_PATIENCE = 120.0  # most seconds to wait until a worker has loaded Keras and tried a user's loss …
PATIENCE_SHARE, LEAST_PATIENCE = 0.5, 20.0  # … but no more than this part of the time limit, or so many
LEARNED_BYTES = 256 << 20  # of examples in a file, from which an input learns
PROBED = 5000  # labels that it is tried on, beside one of each class


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
    objective : Objective, optional
        Of the search to go on with.
    """

    seed: int
    fraction: float
    target: Target
    input: Input | None = None
    learns_from_all: bool = False
    objective: Objective | None = None

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
                known, old = cls.stored(searcher), searcher.meta("input") is None
                return replace(known, input=None if old else known.input, learns_from_all=old)
        chosen = seed if seed is not None else int(np.random.default_rng().integers(2**31))
        return cls(chosen, validation_fraction(n), target)

    @classmethod
    def stored(cls, searcher: Searcher) -> Origin:
        """The origin of a search; raises as `stored_target` does."""
        split = searcher.meta("split") or {"fraction": searcher.meta("split_fraction")}
        return cls(
            searcher.meta("seed"),
            split["fraction"],
            stored_target(searcher),
            stored_input(searcher),
            objective=Objective.from_json(searcher.meta("objective")),
        )


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
        kind: InputKind,
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
        kind : InputKind
            A class of inputs, or what stands for one. Learns from the training examples, unless the search
            has an input already.
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
        if isinstance(input, EncodedInput):
            x = input.check(x, name)
            target.encode(y, n=len(x))  # refused before anything is encoded, which may take long
        encoded = None if input is None else input.encode(x, name)
        n = len(x if encoded is None else encoded)
        codes = target.encode(y, n=n)
        train, held = np.arange(n), np.arange(0)
        if validation_data is None:
            train, held = holdout(target.strata(codes), n, origin.fraction, origin.seed)
        if input is None or encoded is None:
            input = kind.learn(x if origin.learns_from_all else _some(x, train))
            encoded = input.encode(x, name)
        held_out = check_validation(validation_data, input, target)
        return cls(input, target, encoded, codes, train, held, weights, held_out)

    @property
    def nbytes(self) -> int:
        """Size of all arrays."""
        arrays = (self.x, self.codes, self.weights, *(self.held_out or ()))
        return sum(array.nbytes for array in arrays if array is not None)

    @property
    def weighting(self) -> str:
        """A digest of the examples' weights; empty if all count alike."""
        arrays = (self.weights, None if self.held_out is None else self.held_out[2])
        if all(array is None for array in arrays):
            return ""
        parts = (b"" if array is None else array.tobytes() for array in arrays)
        return hashlib.sha256(b"|".join(parts)).hexdigest()[:16]

    def adapted(self, graph: Graph, name: str) -> Graph:
        """Convert the graph of a Keras model to what the loss accepts; see `Target.adapted`."""
        return self.target.adapted(graph, name, self.x, self.codes)

    def divided(self, class_weights: Sequence[float], new_folder: Callable[[], Path]) -> Data:
        """Training and validation data.

        Parameters
        ----------
        class_weights : sequence of float
            Weight of each class; empty: all alike.
        new_folder : callable
            Gives a folder for each of them where the examples lie in a file.

        Raises
        ------
        DataError
            If all examples in one of them have weight 0.
        """
        train, held, weights = self.train, self.held, self.weights
        if self.held_out is not None:
            data = Data(self.x, self.codes, *self.held_out[:2], weights, self.held_out[2])
        else:
            shares = [None if weights is None else weights[index] for index in (train, held)]
            x, x_val = (rows_of(self.x, index, new_folder) for index in (train, held))
            data = Data(x, self.codes[train], x_val, self.codes[held], *shares)
        for codes, weights, what in (
            (data.y, data.weights, "are trained on"),
            (data.y_val, data.weights_val, "models are compared on"),
        ):
            weighed = np.ones(len(codes)) if weights is None else weights
            if not np.any(weighed * np.asarray(class_weights)[codes] if class_weights else weighed):
                raise DataError(
                    f"all examples that {what} have weight 0: give some of them weights above 0, or "
                    "validation_data of your own"
                )
        return data


def _some(x: Any, index: np.ndarray) -> Any:
    """The examples at some places; of those in a file as many as the memory can be expected to hold."""
    if is_mapped(x):
        most = max(1, LEARNED_BYTES // max(1, x[:1].nbytes))
        index = index[:: -(-len(index) // most)]
    return x[index]


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
    problem: Problem,
    examples: Examples,
    pool: Pool,
    time_limit: float | None,
    strategy: str | bytes | None,
    progress: Callable[[str], None],
) -> Problem:
    """Let a worker try a loss and an objective of the user's, before anything is trained.

    Parameters
    ----------
    problem : Problem
    examples : Examples
    pool : Pool
    time_limit : float or None
        Seconds of the fit.
    strategy : str or bytes or None
        How several devices train, as `kmorph.training.distribute.pack_strategy` gave it.
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
    known = (*problem.target.metrics.values(), "loss")
    if own_loss is None and (problem.objective in known or problem.objective.name in known):
        return problem
    patience = PROBE_PATIENCE if time_limit is None else max(LEAST_PATIENCE, PATIENCE_SHARE * time_limit)
    try:
        codes = _some_of_each(examples.codes, problem.target)
        held = examples.codes[examples.held] if examples.held_out is None else examples.held_out[1]
        arguments = (pack_problem(problem), codes, held, strategy)
        found = ask(pool, min(patience, PROBE_PATIENCE), probe, *arguments)
    except KmorphError:
        raise
    except Exception as error:  # the first candidate will meet the same fault, and its failure has the reason
        logger.warning("loss and objective could not be tried in a worker: %r", error)
        if own_loss is not None and problem.target.is_numeric:  # its size is needed for the learning rate
            raise SearchError(
                f"loss={own_loss.name} could not be tried in a worker ({type(error).__name__}: {error}): "
                "give more time"
            ) from error
        # Nothing is known of the loss: it is taken for one that gives no value for each example.
        return problem if own_loss is None else replace(problem, loss=replace(own_loss, is_per_example=False))
    if "error" in found:
        raise DataError(found["error"])
    if own_loss is None:
        return problem
    if not found["is_per_example"]:
        if examples.weighting or problem.class_weights:
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


def _some_of_each(codes: np.ndarray, target: Target) -> np.ndarray:
    """Random examples, with one at least of each of the target's groups: users' data is often sorted."""
    chosen = np.random.default_rng(0).permutation(len(codes))[:PROBED]
    strata = target.strata(codes)
    if strata is not None:
        first = np.unique(strata, return_index=True)[1]
        chosen = np.concatenate([np.setdiff1d(first, chosen), chosen])
    return codes[chosen]
