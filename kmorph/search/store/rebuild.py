"""Models whose weights are gone, approximated: the nearest ancestor that has some, grown anew."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

from kmorph import morphs
from kmorph.errors import GraphError, KmorphError, SearchError, UnknownLayerError
from kmorph.graph import Graph
from kmorph.graph.file import load_structure
from kmorph.search.store.folder import RunFolder
from kmorph.search.store.record import ModelRecord


def has_weights(path: Path, model_id: int) -> bool:
    """Return whether a model's file has a valid header and holds weights.

    Raises
    ------
    SearchError
        If it has a kind of layer that this program has not registered; whether it is valid is not known then.
    """
    try:
        return load_structure(RunFolder.model_path(path, model_id))[1]
    except UnknownLayerError as error:
        raise _unknown(path, error) from error
    except GraphError:
        return False


def load_or_rebuild(path: Path, records: Mapping[int, ModelRecord], model_id: int) -> Graph:
    """A model's graph with weights; if they were dropped, with those that its lineage left.

    Morphs preserve what a network computes. Applied again, with the seeds they had, to the nearest ancestor
    that still has weights they give the model's architecture, which computes what that ancestor does: what
    was learned in between is missing. A warning says so.

    Raises
    ------
    SearchError
        If the file cannot be read, no ancestor has weights, or a kind of layer must be registered first.
    """
    file = RunFolder.model_path(path, model_id)
    try:
        graph = Graph.load(file)
    except UnknownLayerError as error:
        raise _unknown(path, error) from error
    except GraphError as error:
        raise SearchError(
            f"model {model_id} of the search in {path} cannot be read: {error}. Load another one, by its id "
            "in `history`; or go on with fit and resume=True, which then builds on the others"
        ) from error
    if graph.has_weights:
        return graph
    line = [records[model_id]]
    while line[-1].parent_id is not None and not has_weights(path, line[-1].model_id):
        line.append(records[line[-1].parent_id])
    source = line.pop().model_id
    try:
        rebuilt = Graph.load(RunFolder.model_path(path, source))
        for record in reversed(line):
            rebuilt = morphs.chain(rebuilt, [morphs.from_json(values) for values in record.morphs])
    except UnknownLayerError as error:
        raise _unknown(path, error) from error
    except KmorphError as error:
        raise _gone(model_id, file) from error
    if not rebuilt.has_weights or rebuilt != graph:
        raise _gone(model_id, file)
    warnings.warn(
        f"the weights of model {model_id} were dropped to keep max_disk; those it gets instead come from "
        f"model {source}, and compute what that does: train it on before it is used",
        stacklevel=5,
    )
    return rebuilt


def _unknown(path: Path, error: UnknownLayerError) -> SearchError:
    return SearchError(f"the search in {path} cannot be read here: {error}")


def _gone(model_id: int, file: Path) -> SearchError:
    return SearchError(
        f"the weights of model {model_id} were dropped to keep max_disk, and it cannot be rebuilt: no "
        f"ancestor has weights. Its architecture is there, Graph.load({str(file)!r}).initialize() gives it "
        "new ones"
    )
