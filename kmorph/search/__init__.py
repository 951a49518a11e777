"""The search: propose, train, record, until the time is spent; and reading what it left on disk."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kmorph.search.loop import Search
    from kmorph.search.settings import Settings
    from kmorph.search.store.reader import Searcher, load_searcher
    from kmorph.search.store.record import FailureRecord, ModelRecord
    from kmorph.search.workers.pool import InlineExecutor

__all__ = [
    "FailureRecord",
    "InlineExecutor",
    "ModelRecord",
    "Search",
    "Searcher",
    "Settings",
    "load_searcher",
]

_HOMES = {
    "FailureRecord": "kmorph.search.store.record",
    "InlineExecutor": "kmorph.search.workers.pool",
    "ModelRecord": "kmorph.search.store.record",
    "Search": "kmorph.search.loop",
    "Searcher": "kmorph.search.store.reader",
    "Settings": "kmorph.search.settings",
    "load_searcher": "kmorph.search.store.reader",
}


def __getattr__(name: str) -> Any:
    # The worker imports this room as well, and needs neither scikit-learn nor the loop.
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'kmorph.search' has no attribute {name!r}")
