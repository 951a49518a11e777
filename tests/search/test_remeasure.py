"""Models of an earlier search under another objective or loss, measured by a worker that is this process."""

import dataclasses
import shutil
from math import isnan
from pathlib import Path

import numpy as np
import pytest
from problems import classes_of_images

from kmorph.errors import SearchError
from kmorph.problem.metrics import CLASS_METRICS
from kmorph.search.remeasure import Change, measure_again
from kmorph.search.store.folder import RunFolder
from kmorph.search.store.history import History
from kmorph.search.store.models import Models
from kmorph.search.workers.pool import ExecutorPool, InlineExecutor
from kmorph.training.examples import Data

OLD = Path(__file__).parents[1] / "folders" / "v1"
META = {"objective": {"name": "auc"}, "problem": {"loss": "another"}}


class Broken(InlineExecutor):
    def submit(self, fn, /, *args):
        raise ConnectionError("no worker")


@pytest.fixture
def search(tmp_path):
    """The history of three models on digits, the first of which are measured models; and its folder."""
    shutil.copytree(OLD, tmp_path / "run")
    with RunFolder.open(tmp_path / "run", resume=True) as folder, History.open(folder.database) as history:
        x = np.random.default_rng(0).integers(0, 17, (40, 8, 8, 1)).astype(np.uint8)
        y = np.arange(40) % 10
        Data(x, y, x, y).save(folder.scratch)
        yield folder, history


def again(search, executor=None, time_limit=None, keeps_losses=True, **problem):
    folder, history = search
    problem = classes_of_images(objective=CLASS_METRICS["auc"], **problem)
    pool = ExecutorPool(executor or InlineExecutor())
    change = Change(META, keeps_losses)
    return measure_again(folder, history, problem, change, pool, time_limit), history.records()


def test_all_are_measured_where_there_is_time(search):
    _, history = search
    before = history.records()
    (measured, left), records = again(search, keeps_losses=False)
    known = [record for record in before if not record.is_unmeasured]
    assert (measured, left) == (len(known), len(before) - len(known)) and measured >= 2
    for old, new in zip(before, records, strict=True):
        if old.is_unmeasured:
            assert new.loss is None and new.metric_value is None
        else:
            assert new.loss != old.loss and new.metric_value == new.metrics["auc"] > 0
        assert new.objective == "auc"
    assert history.get_meta("problem") == META["problem"]


def test_those_left_over_keep_their_losses_under_another_objective(search):
    _, history = search
    before = history.records()
    (measured, left), records = again(search, time_limit=1e-6)
    assert measured == 1 and left == len(before) - 1
    for old, new in zip(before, records, strict=True):
        if "auc" not in new.metrics:
            assert (new.loss, new.metrics, new.metric_value) == (old.loss, old.metrics, None)


def test_those_left_over_are_not_compared_by_another_loss(search):
    folder, history = search
    _, records = again(search, time_limit=1e-6, keeps_losses=False)
    unknown = {record.model_id for record in records if record.loss is not None and isnan(record.loss)}
    models = Models.read(history.records(), folder.model_file)
    assert unknown and not unknown & {record.model_id for record in models.growable()}
    assert models.best_stable().model_id not in unknown


def test_a_worker_that_fails_costs_no_measurement(search):
    _, history = search
    before, problem = history.records(), history.get_meta("problem")
    with pytest.raises(SearchError, match="nothing was changed"):
        again(search, Broken(), keeps_losses=False)
    assert history.records() == before and history.get_meta("problem") == problem
    (measured, _), records = again(search, Broken())
    assert measured == 0 and [record.loss for record in records] == [record.loss for record in before]


def test_a_damaged_model_is_left_over(search):
    folder, history = search
    first = next(record for record in history.records() if not record.is_unmeasured)
    file = folder.model_file(first.model_id)
    file.write_bytes(file.read_bytes()[:-100])
    (measured, _), records = again(search, keeps_losses=False)
    assert measured >= 1 and isnan(records[first.model_id].loss)


def test_what_fails_half_way_leaves_everything_as_it_was(search, monkeypatch):
    """Records and description are one transaction."""
    _, history = search
    before = history.records()
    with pytest.raises(SearchError):
        history.update_all([dataclasses.replace(before[0], loss=9.0)], {"problem": object()})
    with pytest.raises(SearchError, match="no model 99"):
        history.update_all([dataclasses.replace(before[0], loss=9.0, model_id=i) for i in (0, 99)])
    with pytest.raises(SearchError, match="reserved|belongs"):
        history.update_all([], {"epoch": 7})
    assert history.records() == before
