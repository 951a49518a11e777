"""One line of a search's history: a candidate that was evaluated, or that failed."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import time
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from kmorph.errors import SearchError

FORMAT_VERSION = 1
"""Version of the JSON of a record, and of the database that holds it."""

STATES = ("done", "stopped", "untrained", "failed")
PHASES = ("stable", "decay", "final", "ensemble")

_INTEGERS = ("replicas", "n_parameters", "flops", "images_seen", "lineage_images", "seed")
_REALS = ("epochs", "seconds", "lineage_seconds", "images_per_second", "created")
_OPTIONAL_REALS = ("metric_value", "loss")
_MAX_ID = 2**63 - 1  # what SQLite holds
_MAX_INTEGER = 2**128 - 1  # entropy of a numpy SeedSequence
_MAX_DEPTH = 64  # of JSON inside morphs and hyperparameters; far below Python's recursion limit
_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """One candidate of a search, as the history keeps it.

    Values are checked and made plain when a record is constructed (numpy scalars become Python numbers,
    tuples inside JSON become lists), so that a record equals what is read back from its JSON.

    Parameters
    ----------
    model_id : int or None
        Number of the model in its search, from 0. None for a failure, and only then.
    parent_id : int or None, default=None
        Model that the candidate was grown from. None for a start.
    change : str, default=""
        What was changed, in words.
    morphs : sequence of dict, default=()
        The morphs that lead from the parent to the candidate, as JSON objects.
    metric_value : float or None, default=None
        The metric searched for, on validation data. None if it was not measured.
    loss : float or None, default=None
        Loss on validation data.
    metrics : dict of str to float, default={}
        Every metric that was measured.
    hyperparameters : dict, default={}
        JSON object. Infinite numbers and NaN in it, and in `morphs`, become None.
    replicas : int, default=1
        Devices that trained it together: a batch was so many times ``batch_size``, and the learning rate so
        many times ``learning_rate``.
    n_parameters, flops : int, default=0
        Size; multiply-adds for one example.
    epochs : float, default=0.0
        Passes over the training data by this candidate, its parents' not counted.
    images_seen : int, default=0
        Examples that this candidate was trained on.
    seconds : float, default=0.0
        Wall time this candidate took.
    state : {"done", "stopped", "untrained", "failed"}
        How it ended.
    reason : str or None, default=None
        Why it ended so. Required for a failure.
    phase : {"stable", "decay", "final", "ensemble"}, default="stable"
        Part of the schedule that it was trained in; an ensemble is made of models, not trained.
    lineage_images : int, default=0
        Examples seen since the start of the lineage, this candidate included.
    lineage_seconds : float, default=0.0
        Wall time since the start of the lineage, this candidate included.
    images_per_second : float, default=0.0
        Speed of training.
    fingerprint : str, default=""
        Identifies the architecture.
    seed : int, default=0
        What its randomness came from.
    created : float, default=now
        Seconds since 1970 (UTC).

    Raises
    ------
    SearchError
        A value of the wrong type or outside its range.
    """

    model_id: int | None
    parent_id: int | None = None
    change: str = ""
    morphs: tuple[dict[str, Any], ...] = ()
    metric_value: float | None = None
    loss: float | None = None
    metrics: dict[str, float] = dataclasses.field(default_factory=dict)
    hyperparameters: dict[str, Any] = dataclasses.field(default_factory=dict)
    replicas: int = 1
    n_parameters: int = 0
    flops: int = 0
    epochs: float = 0.0
    images_seen: int = 0
    seconds: float = 0.0
    state: str
    reason: str | None = None
    phase: str = "stable"
    lineage_images: int = 0
    lineage_seconds: float = 0.0
    images_per_second: float = 0.0
    fingerprint: str = ""
    seed: int = 0
    created: float = dataclasses.field(default_factory=time.time)

    def __post_init__(self) -> None:
        for name in ("model_id", "parent_id"):
            if getattr(self, name) is not None:
                self._set(name, _integer(name, getattr(self, name), _MAX_ID))
        for name in _INTEGERS:
            self._set(name, _integer(name, getattr(self, name)))
        for name in _REALS:
            self._set(name, _real(name, getattr(self, name)))
        for name in _OPTIONAL_REALS:
            if getattr(self, name) is not None:
                self._set(name, _real(name, getattr(self, name)))
        for name in ("change", "fingerprint"):
            self._set(name, _text(name, getattr(self, name)))
        if self.reason is not None:
            self._set("reason", _text("reason", self.reason))
        if self.state not in STATES:
            raise SearchError(f"a record's state is one of {', '.join(STATES)}, not {_short(self.state)}")
        if self.phase not in PHASES:
            raise SearchError(f"a record's phase is one of {', '.join(PHASES)}, not {_short(self.phase)}")
        if (self.state == "failed") != (self.model_id is None):
            raise SearchError(
                f"a failed candidate has no model_id and every other has one; got state {self.state!r} with "
                f"model_id {self.model_id!r}"
            )
        if self.state == "failed" and not self.reason:
            raise SearchError("a failed candidate's record needs its reason")
        if not isinstance(self.metrics, Mapping):
            raise SearchError(f"a record's metrics are a dict of floats, not {type(self.metrics).__name__}")
        self._set("metrics", {_text("metric", k): _real(f"metric {k!r}", v) for k, v in self.metrics.items()})
        hyperparameters = _plain(self.hyperparameters)
        if not isinstance(hyperparameters, dict):
            raise SearchError(f"hyperparameters are a dict, not {type(self.hyperparameters).__name__}")
        self._set("hyperparameters", hyperparameters)
        morphs = _plain(self.morphs)
        if not isinstance(morphs, list) or not all(isinstance(morph, dict) for morph in morphs):
            raise SearchError("a record's morphs are a sequence of JSON objects")
        self._set("morphs", tuple(morphs))

    @property
    def is_unmeasured(self) -> bool:
        """Whether the model was trained to its end on the validation examples too: it has no metric then."""
        return self.state == "done" and self.phase != "stable" and self.loss is None

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)  # the dataclass is frozen; only __post_init__ gets here

    def to_dict(self) -> dict[str, Any]:
        """The record as users see it in ``history`` and ``failures``: a new dict with one key a field.

        ``morphs`` is a list. Numbers are as measured, so NaN is possible; see `to_json` for standard JSON.
        """
        values = {field.name: copy.deepcopy(getattr(self, field.name)) for field in dataclasses.fields(self)}
        values["morphs"] = list(values["morphs"])
        return values

    def to_json(self) -> str:
        """One line of standard JSON with a format version; NaN and infinity are written as strings."""
        values = self.to_dict()
        for name in (*_REALS, *_OPTIONAL_REALS):
            values[name] = _finite_or_name(values[name])
        values["metrics"] = {name: _finite_or_name(value) for name, value in values["metrics"].items()}
        return json.dumps({"format": FORMAT_VERSION, **values}, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Record:
        """Read what `to_json` wrote.

        Keys that are not known are ignored if the format version is this one: they are additions by a later
        kmorph that an earlier one can do without.

        Raises
        ------
        SearchError
            Not the JSON of a record, a newer format version, a missing or wrong value.
        """
        try:
            values = json.loads(text, parse_constant=_refuse_constant)
        except (ValueError, RecursionError, TypeError) as error:
            raise SearchError(f"a record of the history is not readable JSON ({_short(error)})") from error
        if not isinstance(values, dict):
            raise SearchError(f"a record of the history is a JSON object, not {type(values).__name__}")
        version = values.get("format")
        if isinstance(version, bool) or not isinstance(version, int) or version < 1:
            raise SearchError(f"a record of the history has no valid format version (got {_short(version)})")
        if version > FORMAT_VERSION:
            raise SearchError(
                f"a record has format version {_short(version)}, this kmorph reads up to {FORMAT_VERSION}: "
                f"install a newer kmorph to read this search"
            )
        values.setdefault("replicas", 1)  # not told of before there were strategies
        names = [field.name for field in dataclasses.fields(cls)]
        missing = [name for name in names if name not in values]
        if missing:
            raise SearchError(f"a record of the history lacks {', '.join(missing)}")
        known = {name: values[name] for name in names}
        for name in (*_REALS, *_OPTIONAL_REALS):
            known[name] = _from_name(known[name])
        if isinstance(known["metrics"], dict):
            known["metrics"] = {name: _from_name(value) for name, value in known["metrics"].items()}
        return cls(**known)


def _integer(name: str, value: object, largest: int = _MAX_INTEGER) -> int:
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        raise SearchError(f"a record's {name} is an integer, not {_short(value)}")
    if not 0 <= int(value) <= largest:
        raise SearchError(f"a record's {name} is between 0 and {largest}, not {_short(value)}")
    return int(value)


def _real(name: str, value: object) -> float:
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        raise SearchError(f"a record's {name} is a number, not {_short(value)}")
    try:
        return float(value)
    except OverflowError as error:
        raise SearchError(f"a record's {name} is too large: {_short(value)}") from error


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise SearchError(f"a record's {name} is a str, not {_short(value)}")
    # What came from a worker may hold bytes that were no text (lone surrogates); neither UTF-8 nor SQLite
    # take them.
    return value.encode("utf-8", "backslashreplace").decode("utf-8")


def _plain(value: object, depth: int = 0) -> Any:
    """`value` as JSON has it, copied: dicts with str keys, lists, str, bool, int, finite float, None."""
    if depth > _MAX_DEPTH:
        raise SearchError(f"morphs and hyperparameters are nested at most {_MAX_DEPTH} deep")
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        if abs(value) > _MAX_INTEGER:
            raise SearchError(f"an integer in morphs or hyperparameters is too large: {_short(value)}")
        return value
    if isinstance(value, str):
        return _text("text", value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list | tuple):
        return [_plain(item, depth + 1) for item in value]
    if isinstance(value, Mapping):
        return {_text("key", key): _plain(item, depth + 1) for key, item in value.items()}
    raise SearchError(f"morphs and hyperparameters hold JSON values only, not {type(value).__name__}")


def _finite_or_name(value: float | None) -> float | str | None:
    if value is None or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


def _from_name(value: object) -> Any:
    return _NON_FINITE.get(value, value) if isinstance(value, str) else value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not standard JSON")


def _short(value: object) -> str:
    """`value` in at most 80 characters, for a message; never fails on hostile values."""
    try:
        text = str(value) if isinstance(value, Exception) else repr(value)
    except ValueError:  # Python refuses to print integers of thousands of digits
        text = f"a huge {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."


def best_record(records: Iterable[Record], metric: str = "accuracy") -> Record | None:
    """The record of the best model; of those never measured the first, if there is no other.

    Parameters
    ----------
    records : iterable of Record
    metric : {"accuracy", "loss"}, default="accuracy"
        ``"accuracy"``: the highest, and of equal ones that with the lowest loss. But a model whose
        learning rate fell to zero stands before all others that do not beat it in accuracy and loss both:
        on a few hundred examples one more right says less than how a model was trained. One that was trained
        on the validation examples as well cannot be compared by a metric: it stands before all others if no
        settled model's lineage was trained longer.
        ``"loss"``: the lowest validation loss.
    """
    records = list(records)
    measured = [record for record in records if record.loss is not None and math.isfinite(record.loss)]
    settled = [record for record in measured if record.phase != "stable"]
    unmeasured = [record for record in records if record.is_unmeasured]
    if metric == "accuracy" and unmeasured:
        longest = max([*unmeasured, *settled], key=lambda record: record.lineage_seconds)
        if longest.is_unmeasured:
            return longest
    if not measured:
        return records[0] if records else None

    def merit(record: Record) -> tuple[float, float]:
        accuracy = record.metrics.get("accuracy", 0.0) if metric == "accuracy" else 0.0
        return accuracy, -(record.loss or 0.0)

    best = max(measured, key=merit)
    if metric == "accuracy" and settled:
        candidate = max(settled, key=merit)
        accuracy, loss = merit(candidate)
        if not any(other[0] > accuracy and other[1] > loss for other in map(merit, measured)):
            return candidate
    return best


def discarded_seconds(records: Iterable[Record], best: Record | None) -> float:
    """Time that went into candidates which a model does not build on, failures among them.

    Parameters
    ----------
    records : iterable of Record
        Models and failures.
    best : Record or None
        The model. One that is the mean of several builds on all that were trained to their end.
    """
    records = list(records)
    by_id = {record.model_id: record for record in records if record.model_id is not None}
    waiting = [] if best is None else [best]
    if best is not None and best.phase == "ensemble":
        waiting += [record for record in records if record.phase == "decay" and record.model_id is not None]
    kept: set[int | None] = set()
    while waiting:
        record = waiting.pop()
        kept.add(record.model_id)
        if record.parent_id in by_id and record.parent_id not in kept:
            waiting.append(by_id[record.parent_id])
    return sum(record.seconds for record in records if record.model_id is None or record.model_id not in kept)
