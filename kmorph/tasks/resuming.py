"""Going on with a search: its history, and what has changed since it was made."""

from __future__ import annotations

import warnings
from typing import Any

from kmorph.data.checks import fingerprint
from kmorph.errors import SearchError
from kmorph.problem import Objective, Problem
from kmorph.problem.losses import OwnLoss
from kmorph.search.remeasure import Change
from kmorph.search.store.folder import RunFolder
from kmorph.search.store.history import History
from kmorph.tasks.audience import Audience
from kmorph.tasks.fitting import Examples, Origin

FIRST_PROBLEM: dict[str, Any] = {
    "loss": "cross_entropy",
    "loss_mark": "",
    "objective_mark": "",
    "optimizer": None,
    "class_weights": [],
    "weighting": "",
}
"""The problem of folders of the first version."""
LOSS_KEYS = ("loss", "loss_mark", "class_weights", "weighting")


def open_history(
    folder: RunFolder, examples: Examples, origin: Origin, task: str, problem: Problem
) -> tuple[History, Change | None]:
    """The history of a folder for writing: a new one that describes the task, or the one to go on with.

    Parameters
    ----------
    folder : RunFolder
    examples : Examples
    origin : Origin
    task : str
        The kind of task.
    problem : Problem

    Returns
    -------
    (history, change) : History, Change or None
        What has changed if the models in it were measured by another loss, objective or weights: they are to
        be measured again.

    Raises
    ------
    SearchError
        If the search in the folder is of another task, or for data of another form.
    """
    decides = {**problem.to_json(), "weighting": examples.weighting}
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
        return History.create(folder.database, meta), None
    history = History.open(folder.database)
    try:
        if history.get_meta("task") != task:
            raise SearchError(
                f"the search in {folder.path} is of another task ({history.get_meta('task')!r}, now {task!r})"
                ": use another path, or resume=False"
            )
        if history.get_meta("data") != meta["data"]:
            warnings.warn(
                f"the data differs from what the search in {folder.path} began with: its models may have "
                "been trained on examples that now validate them, and earlier metrics may not be comparable. "
                "A model that was trained longer on the earlier data may stay the best",
                stacklevel=4,
            )
        before = history.get_meta("problem") or FIRST_PROBLEM
        ask_again(before, problem)
        keeps_losses = all(before.get(name) == decides[name] for name in LOSS_KEYS)
        objective = Objective.from_json(history.get_meta("objective"))
        marks = before.get("objective_mark"), decides["objective_mark"]
        same = objective == problem.objective.objective and marks[0] == marks[1]
        new = {key: meta[key] for key in ("objective", "input", "target", "problem")}
        if history.records() and not (same and keeps_losses):
            return history, Change(new, keeps_losses)
        history.update_all([], new)
    except BaseException:
        history.close()
        raise
    return history, None


def ask_again(before: dict[str, Any], problem: Problem) -> None:
    """Refuse to go on without what the user gave before: losses and optimisers are not stored.

    Parameters
    ----------
    before : dict
        What `Problem.to_json` gave for the search so far.
    problem : Problem

    Raises
    ------
    SearchError
        If one of them is missing now.
    """
    for name, given in (("loss", isinstance(problem.loss, OwnLoss)), ("optimizer", problem.optimizer)):
        stored = before.get(name)
        default = problem.target.loss.name if name == "loss" else None
        if stored != default and not given:
            raise SearchError(
                f"this search was made with {name}={stored}, which is not stored: give it again, as "
                f"`{name}=`, or begin a new search"
            )


def announce(folder: RunFolder, progress: Audience) -> None:
    """Show where the search is, if that is not simply the folder that was asked for."""
    if folder.moved_aside is not None:
        progress.message(f"The earlier search was moved to {folder.moved_aside}")
    if folder.instead_of is not None:
        progress.message(f"Another search is at work in {folder.instead_of}: this one is in {folder.path}")
