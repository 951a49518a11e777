"""A limit on disk space: what fits, and which weights go first."""

import shutil

import pytest
from search_samples import graph, make_search, record

from kmorph import Graph, starts
from kmorph.errors import DataError, SearchError
from kmorph.search.store.disk import BYTES, COPIES, HEADER, MODELS, RESERVE, DiskLimit, fit_disk
from kmorph.search.store.folder import RunFolder
from kmorph.search.store.models import Models

SMALL, LARGE = starts.mlp((4,), 3, width=4), starts.mlp((4,), 3, width=256)


def limit_for(parameters, data=0):
    return data + RESERVE + MODELS * (BYTES * parameters + HEADER)


def test_starts_that_fit():
    pair = (("small", SMALL), ("large", LARGE))
    enough, little = limit_for(LARGE.n_parameters, 1000), limit_for(LARGE.n_parameters - 1, 1000)
    assert fit_disk(pair, None, enough, 1000) == (pair, LARGE.n_parameters)
    assert fit_disk(pair, None, little, 1000) == (pair[:1], LARGE.n_parameters - 1)
    assert fit_disk(pair, 100, enough, 1000)[1] == 100


def test_too_little_for_any_start_says_how_much_is_needed():
    least = limit_for(SMALL.n_parameters, 1000)
    with pytest.raises(DataError, match=f"give at least {least:,}"):
        fit_disk((("small", SMALL),), None, least - MODELS, 1000)
    assert fit_disk((("small", SMALL),), None, least, 1000)[0]


@pytest.fixture
def folder(tmp_path):
    losses = {0: 0.9, 1: 0.8, 2: 0.3, 3: 0.5}
    path = make_search(tmp_path / "run", records=[record(i, loss=loss) for i, loss in losses.items()])
    with RunFolder.open(path, resume=True) as folder:
        for number in losses:
            LARGE.initialize(number).save(folder.model_file(number))
            folder.outputs_file(number).write_bytes(bytes(1000))
        yield folder


def dropped(folder, room, keep=()):
    """Ids of models without weights, after room was made for a candidate and so many bytes."""
    records = [record(0, loss=0.9), record(1, loss=0.8), record(2, loss=0.3), record(3, loss=0.5)]
    models = Models.read(records, folder.model_file)
    needed = COPIES * (BYTES * SMALL.n_parameters + HEADER)
    DiskLimit(folder, models, folder.size() + needed).make_room(SMALL, room, keep)
    for number in range(4):
        has_weights = Graph.load(folder.model_file(number)).has_weights
        assert has_weights == folder.outputs_file(number).exists() == (number not in models.weightless)
    return models.weightless


def test_the_poorest_go_first_and_starts_last(folder):
    weights = BYTES * LARGE.n_parameters
    assert dropped(folder, 0) == set()
    assert dropped(folder, 1) == {1}
    assert dropped(folder, weights) == {1, 3}
    assert dropped(folder, weights) == {1, 3, 2}
    assert dropped(folder, weights) == {0, 1, 2, 3}
    with pytest.raises(SearchError, match="only models that must stay are left"):
        dropped(folder, weights)


def test_those_that_are_needed_stay(folder):
    assert dropped(folder, 1, keep=[1]) == {3}
    with pytest.raises(SearchError, match="too little to go on"):
        dropped(folder, 1, keep=[0, 1, 2])


def test_a_folder_that_is_gone_is_an_error_of_the_search(folder):
    shutil.rmtree(folder.models)
    with pytest.raises(SearchError, match="cannot be used for a search"):
        DiskLimit(folder, Models(), 2**40).make_room(SMALL, 0, ())


def test_no_limit(folder):
    models = Models()
    DiskLimit(folder, models, None).make_room(graph(), 2**60, ())
