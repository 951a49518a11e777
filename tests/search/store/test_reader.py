"""Reading a search: its records, its best model, its models, without training any."""

import pickle

import numpy as np
import pytest
from search_samples import graph, make_search, record

from kmorph import load_searcher
from kmorph.errors import SearchError
from kmorph.search.store.folder import RunFolder
from kmorph.search.store.history import PINNED, History


def weights(graph):
    return np.concatenate([array.ravel() for array in graph.weights.values()])


def test_what_was_written_is_read(tmp_path):
    searcher = load_searcher(make_search(tmp_path / "run", models=3, failures=["out of memory"]))
    assert [entry["model_id"] for entry in searcher.history] == [0, 1, 2]
    assert [entry["reason"] for entry in searcher.failures] == ["out of memory"]
    assert searcher.meta("labels") == ["a", "b", "c"] and searcher.meta("nothing", 3) == 3
    assert searcher.get_best_model_id() == 2
    assert np.array_equal(weights(searcher.load_best_model()), weights(graph(2)))
    assert np.array_equal(weights(searcher.load_model_by_id(0)), weights(graph(0)))
    assert repr(searcher) == f"<Searcher {str(searcher.path)!r}: 3 models>"
    assert searcher.path == (tmp_path / "run").resolve()
    assert pickle.loads(pickle.dumps(searcher)).history == searcher.history


def test_every_look_reads_what_is_there_now(tmp_path):
    searcher = load_searcher(make_search(tmp_path / "run", models=1))
    before = searcher.best_version()
    with RunFolder.open(tmp_path / "run", resume=True) as folder, History.open(folder.database) as history:
        graph(7).save(folder.model_file(1))
        history.add(record(1, accuracy=0.9))
    assert searcher.get_best_model_id() == 1
    later = searcher.best_version()
    graph(8).save(RunFolder.model_path(searcher.path, 1))
    assert len({before, later, searcher.best_version()}) == 3
    assert np.array_equal(weights(searcher.load_best_model()), weights(graph(8)))


def test_the_best_is_the_pinned_one_else_that_of_the_objective(tmp_path):
    records = [record(0, loss=0.2, accuracy=0.5), record(1, loss=0.3, accuracy=0.9), record(2)]
    for objective, best in (("accuracy", 1), ("loss", 0)):
        path = make_search(tmp_path / objective, records=records, objective=objective)
        assert load_searcher(path).get_best_model_id() == best
        with RunFolder.open(path, resume=True) as folder, History.open(folder.database) as history:
            history.set_meta(PINNED, 2)
        assert load_searcher(path).get_best_model_id() == 2


def test_damaged_models_are_passed_over_with_a_warning(tmp_path):
    searcher = load_searcher(make_search(tmp_path / "run", models=3))
    RunFolder.model_path(searcher.path, 2).write_bytes(b"nothing")
    with pytest.warns(UserWarning, match="instead of 2 the best one is now 1") as caught:
        assert searcher.get_best_model_id() == 1
    assert caught[0].filename == __file__
    with pytest.raises(SearchError, match="model 2 of the search.*cannot be read"):
        searcher.load_model_by_id(2)
    for model_id in (0, 1):
        RunFolder.model_path(searcher.path, model_id).unlink()
    with pytest.raises(SearchError, match="no readable model: the files of 0 to 2"):
        searcher.get_best_model_id()


def test_a_search_without_models(tmp_path):
    with RunFolder.open(tmp_path / "run") as folder:
        History.create(folder.database).close()
    searcher = load_searcher(tmp_path / "run")
    assert searcher.history == [] and searcher.discarded_share == 0.0
    with pytest.raises(SearchError, match="no model yet"):
        searcher.get_best_model_id()
    with pytest.raises(SearchError, match="no model 0; the ids are none yet"):
        searcher.load_model_by_id(0)


@pytest.mark.parametrize("model_id", [3, -1, "0", None, [0], 0.5])
def test_ids_that_are_no_models(tmp_path, model_id):
    searcher = load_searcher(make_search(tmp_path / "run"))
    with pytest.raises(SearchError, match="the ids are 0 to 1"):
        searcher.load_model_by_id(model_id)


def test_folders_without_a_search(tmp_path):
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "none", tmp_path / "empty"):
        with pytest.raises(SearchError, match="holds no search"):
            load_searcher(path)


def test_share_of_time_that_went_into_what_the_best_does_not_build_on(tmp_path):
    records = [record(0), record(1, parent_id=0, loss=0.9, accuracy=0.1), record(2, parent_id=0)]
    path = make_search(tmp_path / "run", records=records, failures=["out of memory"])
    assert load_searcher(path).discarded_share == 0.5  # model 1 and the failure, of four seconds
