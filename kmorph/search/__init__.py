"""The search: propose, train, record, until the time is spent; and reading what it left on disk."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kmorph.search.loop import Search, Settings
    from kmorph.search.record import Record
    from kmorph.search.searcher import Searcher, load_searcher

__all__ = ["Record", "Search", "Searcher", "Settings", "load_searcher"]

_HOMES = {
    "Record": "kmorph.search.record",
    "Search": "kmorph.search.loop",
    "Searcher": "kmorph.search.searcher",
    "Settings": "kmorph.search.loop",
    "load_searcher": "kmorph.search.searcher",
}


def __getattr__(name: str) -> Any:
    # The worker imports this room as well, and needs neither scikit-learn nor the loop.
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'kmorph.search' has no attribute {name!r}")
