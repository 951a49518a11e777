"""Kinds of inputs and targets by name, so that what a folder holds can be read again.

Subclasses register themselves: a kind from outside the package is known as soon as its module is imported.
Nothing is ever imported by a name from a file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, TypeVar

from kmorph.errors import DataError

LONGEST_NAME = 100

K = TypeVar("K", bound="Registered")


class Registered(ABC):
    """A family of classes, each with a `kind` of its own, whose instances are stored as JSON."""

    kind: ClassVar[str] = ""
    _kinds: ClassVar[dict[str, type[Any]]]

    def __init_subclass__(cls, family: bool = False, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if family:
            cls._kinds = {}
        elif "kind" in cls.__dict__ and cls.kind:
            known = cls._kinds.get(cls.kind)
            if known is not None and (known.__module__, known.__qualname__) != (
                cls.__module__,
                cls.__qualname__,
            ):
                raise DataError(
                    f"two classes have the kind {cls.kind!r}: {known.__module__}.{known.__qualname__} and "
                    f"{cls.__module__}.{cls.__qualname__}; choose another name for one of them"
                )
            cls._kinds[cls.kind] = cls

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Settings and what was learned, as plain JSON types; large arrays do not belong here."""

    @classmethod
    @abstractmethod
    def from_json(cls: type[K], values: dict[str, Any]) -> K:
        """Rebuild from what `to_json` gave; raises KeyError, TypeError or ValueError for anything else."""

    def stored(self) -> dict[str, Any]:
        """The JSON object from which `restored` rebuilds this one: kind, module, and what `to_json` gives."""
        return {"kind": self.kind, "module": type(self).__module__, "values": self.to_json()}

    @classmethod
    def restored(cls: type[K], stored: Any) -> K:
        """Rebuild what `stored` gave.

        Raises
        ------
        DataError
            If the kind is not known in this process: the message names the module to import. If `stored` is
            damaged.
        """
        try:
            kind, module, values = (stored[name] for name in ("kind", "module", "values"))
        except (KeyError, TypeError) as error:
            raise DataError(f"a stored {cls.__name__.lower()} is damaged: {error!r}") from error
        found = cls._kinds.get(kind) if isinstance(kind, str) else None
        if found is None:
            raise DataError(
                f"this was made with a {cls.__name__.lower()} of the kind {_short(kind)}, which is not known "
                f"here: import the module that defines it ({_short(module)}) first"
            )
        try:
            return found.from_json(values)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise DataError(f"a stored {cls.__name__.lower()} is damaged: {error!r}") from error


def _short(text: Any) -> str:
    return repr(text if len(repr(text)) <= LONGEST_NAME else repr(text)[:LONGEST_NAME])
