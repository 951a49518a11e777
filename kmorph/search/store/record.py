"""Records of candidates in the history: a model that was trained, or a failure.

The two are types of their own: a model has an id and a failure has none, so no id is ever missing where
one is needed. As dicts, in the estimators' ``history`` and ``failures``, both have the same keys.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import time
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from kmorph.errors import SearchError
from kmorph.search.store import values

FORMAT_VERSION = 2
"""Version of the JSON of a record."""

RENAMED = {
    "images_seen": "examples_seen",
    "lineage_images": "lineage_examples",
    "images_per_second": "examples_per_second",
}
"""Keys of the first version, and what they are called now."""

MODEL_STATES = ("done", "stopped", "untrained")
FAILED = "failed"
PHASES = ("stable", "decay", "final", "ensemble")

_REALS = ("epochs", "seconds", "lineage_seconds", "examples_per_second", "created")
_OPTIONAL_REALS = ("metric_value", "loss")

R = TypeVar("R", bound="Record")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """Fields that models and failures share.

    Values are checked and made plain when a record is constructed (numpy scalars become Python numbers,
    tuples inside JSON become lists), so that a record equals what is read back from its JSON.

    Parameters
    ----------
    parent_id : int or None, default=None
        Model that the candidate was grown from. None for a start.
    change : str, default=""
        The change in words.
    morphs : sequence of dict, default=()
        The morphs that lead from the parent to the candidate, as JSON objects.
    hyperparameters : dict, default={}
        JSON object. Infinite numbers and NaN in it, and in `morphs`, become None.
    n_parameters, flops : int, default=0
        Size; multiply-adds for one example.
    seconds : float, default=0.0
        Wall time this candidate took.
    phase : {"stable", "decay", "final", "ensemble"}, default="stable"
        Part of the schedule that it was trained in; an ensemble is made of models, not trained.
    fingerprint : str, default=""
        Identifies the architecture.
    seed : int, default=0
        Seed of its new weights, shuffling, augmentation and dropout.
    created : float, default=now
        Seconds since 1970 (UTC).

    Raises
    ------
    SearchError
        A value of the wrong type or outside its range.
    """

    parent_id: int | None = None
    change: str = ""
    morphs: tuple[dict[str, Any], ...] = ()
    hyperparameters: dict[str, Any] = dataclasses.field(default_factory=dict)
    n_parameters: int = 0
    flops: int = 0
    seconds: float = 0.0
    phase: str = "stable"
    fingerprint: str = ""
    seed: int = 0
    created: float = dataclasses.field(default_factory=time.time)

    _integers: ClassVar[tuple[str, ...]] = ("n_parameters", "flops", "seed")
    _reals: ClassVar[tuple[str, ...]] = ("seconds", "created")
    _texts: ClassVar[tuple[str, ...]] = ("change", "fingerprint")

    def __post_init__(self) -> None:
        if self.parent_id is not None:
            self._set("parent_id", values.integer("parent_id", self.parent_id, values.MAX_ID))
        for name in self._integers:
            self._set(name, values.integer(name, getattr(self, name)))
        for name in self._reals:
            self._set(name, values.real(name, getattr(self, name)))
        for name in self._texts:
            self._set(name, values.text(name, getattr(self, name)))
        if self.phase not in PHASES:
            raise SearchError(
                f"a record's phase is one of {', '.join(PHASES)}, not {values.short(self.phase)}"
            )
        hyperparameters = values.plain_json(self.hyperparameters)
        if not isinstance(hyperparameters, dict):
            raise SearchError(f"hyperparameters are a dict, not {type(self.hyperparameters).__name__}")
        self._set("hyperparameters", hyperparameters)
        morphs = values.plain_json(self.morphs)
        if not isinstance(morphs, list) or not all(isinstance(morph, dict) for morph in morphs):
            raise SearchError("a record's morphs are a sequence of JSON objects")
        self._set("morphs", tuple(morphs))

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)  # the dataclass is frozen; only __post_init__ gets here

    def to_dict(self) -> dict[str, Any]:
        """The record as users see it in ``history`` and ``failures``: a new dict, the same keys for both.

        ``morphs`` is a list. Numbers are as measured, so NaN is possible; see `to_json` for standard JSON.
        """
        own = {field.name: copy.deepcopy(getattr(self, field.name)) for field in dataclasses.fields(self)}
        own["morphs"] = list(own["morphs"])
        return {**copy.deepcopy(_DEFAULTS), **own}

    def to_json(self) -> str:
        """One line of standard JSON with a format version; NaN and infinity are written as strings."""
        plain = self.to_dict()
        for name in (*_REALS, *_OPTIONAL_REALS):
            plain[name] = values.finite_or_name(plain[name])
        plain["metrics"] = {name: values.finite_or_name(value) for name, value in plain["metrics"].items()}
        return json.dumps({"format": FORMAT_VERSION, **plain}, allow_nan=False)

    @classmethod
    def from_json(cls: type[R], text: str) -> R:
        """Read what `to_json` of the same class wrote.

        Keys that are not known are ignored if the format version is this one: they are additions by a later
        kmorph that an earlier one can do without.

        Raises
        ------
        SearchError
            Not the JSON of a record, another kind of record, a newer format version, a missing or wrong
            value.
        """
        known = _read(text)
        if (known["state"] == FAILED) != (known["model_id"] is None):
            raise SearchError(
                f"a failed candidate has no model_id and every other has one; got state "
                f"{values.short(known['state'])} with model_id {values.short(known['model_id'])}"
            )
        if (known["state"] == FAILED) != (cls is FailureRecord):
            raise SearchError(f"expected the record of {cls._kind}, got state {values.short(known['state'])}")
        return cls(**{field.name: known[field.name] for field in dataclasses.fields(cls)})

    _kind: ClassVar[str] = "a candidate"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelRecord(Record):
    """A candidate that became a model.

    Parameters
    ----------
    model_id : int
        Number of the model in its search, from 0.
    metric_value : float or None, default=None
        The metric searched for, on validation data. None if it was not measured.
    objective : str, default="accuracy"
        Name of that metric.
    loss : float or None, default=None
        Loss on validation data.
    metrics : dict of str to float, default={}
        Every metric that was measured.
    replicas : int, default=1
        Devices that trained it together: a batch was so many times ``batch_size``, and the learning rate so
        many times ``learning_rate``.
    epochs : float, default=0.0
        Passes over the training data by this candidate, its parents' not counted.
    examples_seen : int, default=0
        Examples that this candidate was trained on.
    state : {"done", "stopped", "untrained"}
        How its training ended.
    reason : str or None, default=None
        Why training was stopped early.
    lineage_examples : int, default=0
        Examples seen since the start of the lineage, this candidate included.
    lineage_seconds : float, default=0.0
        Wall time since the start of the lineage, this candidate included.
    examples_per_second : float, default=0.0
        Speed of training.

    See Also
    --------
    Record : the other fields, and errors raised.
    """

    model_id: int
    metric_value: float | None = None
    objective: str = "accuracy"
    loss: float | None = None
    metrics: dict[str, float] = dataclasses.field(default_factory=dict)
    replicas: int = 1
    epochs: float = 0.0
    examples_seen: int = 0
    state: str
    reason: str | None = None
    lineage_examples: int = 0
    lineage_seconds: float = 0.0
    examples_per_second: float = 0.0

    _integers = (*Record._integers, "replicas", "examples_seen", "lineage_examples")
    _reals = (*Record._reals, "epochs", "lineage_seconds", "examples_per_second")
    _kind = "a model"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set("model_id", values.integer("model_id", self.model_id, values.MAX_ID))
        if self.parent_id is not None and self.parent_id >= self.model_id:
            raise SearchError(
                f"a model's parent was there before it: parent_id must be below model_id, got "
                f"{self.parent_id} and {self.model_id}"
            )
        for name in _OPTIONAL_REALS:
            if getattr(self, name) is not None:
                self._set(name, values.real(name, getattr(self, name)))
        if self.reason is not None:
            self._set("reason", values.text("reason", self.reason))
        self._set("objective", values.text("objective", self.objective))
        if self.state not in MODEL_STATES:
            raise SearchError(
                f"a model's state is one of {', '.join(MODEL_STATES)}, not {values.short(self.state)}"
            )
        if not isinstance(self.metrics, Mapping):
            raise SearchError(f"a record's metrics are a dict of floats, not {type(self.metrics).__name__}")
        metrics = {
            values.text("metric", name): values.real(f"metric {name!r}", value)
            for name, value in self.metrics.items()
        }
        self._set("metrics", metrics)

    @property
    def is_unmeasured(self) -> bool:
        """True for a model trained to its end on the validation examples too, which has no metric then."""
        return self.state == "done" and self.phase != "stable" and self.loss is None


@dataclasses.dataclass(frozen=True, kw_only=True)
class FailureRecord(Record):
    """A candidate that could not be trained.

    Parameters
    ----------
    reason : str
        Why it failed; not empty.

    See Also
    --------
    Record : the other fields, and errors raised.
    """

    reason: str

    _texts = (*Record._texts, "reason")
    _kind = "a failure"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.reason:
            raise SearchError("a failed candidate's record needs its reason")


def _read(text: str) -> dict[str, Any]:
    """The known values in a record's JSON."""
    try:
        plain = json.loads(text, parse_constant=values.refuse_constant)
    except (ValueError, RecursionError, TypeError) as error:
        raise SearchError(f"a record of the history is not readable JSON ({values.short(error)})") from error
    if not isinstance(plain, dict):
        raise SearchError(f"a record of the history is a JSON object, not {type(plain).__name__}")
    version = plain.get("format")
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise SearchError(
            f"a record of the history has no valid format version (got {values.short(version)})"
        )
    if version > FORMAT_VERSION:
        raise SearchError(
            f"a record has format version {values.short(version)}, this kmorph reads up to {FORMAT_VERSION}: "
            "install a newer kmorph to read this search"
        )
    if version == 1:
        _update_first_version(plain)
    missing = [name for name in _DEFAULTS if name not in plain]
    if missing:
        raise SearchError(f"a record of the history lacks {', '.join(missing)}")
    for name in (*_REALS, *_OPTIONAL_REALS):
        plain[name] = values.from_name(plain[name])
    if isinstance(plain["metrics"], dict):
        plain["metrics"] = {name: values.from_name(value) for name, value in plain["metrics"].items()}
    return plain


def _update_first_version(plain: dict[str, Any]) -> None:
    """Add what records of the first version lack, and rename what is called otherwise now."""
    plain.setdefault("replicas", 1)  # missing in records written before there were strategies
    for old, new in RENAMED.items():
        if old in plain:
            plain[new] = plain.pop(old)
    by_loss = plain.get("metric_value") is not None and plain.get("metric_value") == plain.get("loss")
    plain["objective"] = "loss" if by_loss else "accuracy"


# Every key of a record's dict, in the order that users see, with the value that stands for "does not apply".
_DEFAULTS: dict[str, Any] = {
    "model_id": None,
    "parent_id": None,
    "change": "",
    "morphs": [],
    "metric_value": None,
    "objective": "accuracy",
    "loss": None,
    "metrics": {},
    "hyperparameters": {},
    "replicas": 1,
    "n_parameters": 0,
    "flops": 0,
    "epochs": 0.0,
    "examples_seen": 0,
    "seconds": 0.0,
    "state": FAILED,
    "reason": None,
    "phase": "stable",
    "lineage_examples": 0,
    "lineage_seconds": 0.0,
    "examples_per_second": 0.0,
    "fingerprint": "",
    "seed": 0,
    "created": 0.0,
}
