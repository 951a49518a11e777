"""Candidates on their way to workers: the jobs made of them, and room on the disk."""

from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest

from kmorph.graph import Graph
from kmorph.search.candidate import Candidate
from kmorph.search.events import CandidateStarted
from kmorph.search.settings import Settings
from kmorph.search.store.folder import RunFolder
from kmorph.search.store.models import Models
from kmorph.search.store.record import ModelRecord
from kmorph.search.workers.dispatch import Dispatcher
from kmorph.search.workers.jobs import Jobs
from kmorph.search.workers.pool import ExecutorPool
from kmorph.starts import mlp
from kmorph.training.plan import Plan


class Executor:
    """Keeps jobs, and does none."""

    def __init__(self):
        self.sent = []

    def submit(self, fn, job):
        self.sent.append(job)
        return Future()


@pytest.fixture
def graph():
    return mlp((4, 4, 1), 3, width=8)


@pytest.fixture
def folder(tmp_path):
    with RunFolder.open(tmp_path / "run") as folder:
        yield folder


@pytest.fixture
def executor():
    return Executor()


@pytest.fixture
def heard():
    return []


@pytest.fixture
def dispatcher(folder, graph, executor, heard):
    settings = Settings(starts=(("mlp", graph),), n_train=100, n_val=10, strategy="mirrored")
    models = Models.read([], folder.model_file)
    jobs = Jobs(ExecutorPool(executor), heard.append)
    return Dispatcher(folder, folder.scratch, settings, heard.append, jobs, models)


def start(graph):
    return Candidate(None, (), graph, "start: mlp", "stable", Plan(seconds=3.0), 1)


def test_a_start_is_sent_as_a_file(dispatcher, executor, heard, folder, graph):
    dispatcher.send(start(graph), [])
    (job,) = executor.sent
    assert Graph.load(Path(job.graph_file)).fingerprint == graph.fingerprint
    assert Path(job.output_file).parent == folder.scratch and job.plan.images_before == 0
    assert job.strategy == "mirrored" and job.stop_file == str(folder.stop_file) and job.sender
    assert heard == [CandidateStarted("start: mlp", None, graph.n_parameters, "stable", 3.0)]
    assert len(dispatcher.jobs) == 1


def test_every_job_has_names_of_its_own(dispatcher, executor, graph):
    for _ in range(3):
        dispatcher.send(start(graph), [])
    names = {name for job in executor.sent for name in (job.output_file, job.events_file)}
    assert len(names) == 6


def test_a_child_is_sent_as_its_parents_file_and_its_morphs(dispatcher, executor, folder, graph):
    parent = ModelRecord(model_id=4, state="done", lineage_examples=700, hyperparameters={"batch_size": 64})
    morphs = ({"kind": "widen", "layer": 1, "width": 12, "seed": 0},)
    np.save(folder.outputs_file(4), np.zeros((10, 3)))
    child = Candidate(parent, morphs, graph, "wider", "stable", Plan(), 1)
    dispatcher.send(child, [])
    (job,) = executor.sent
    assert job.graph_file == str(folder.model_file(4)) and job.morphs == morphs
    assert job.plan.images_before == 700 and job.plan.rival == str(folder.outputs_file(4))


def test_nothing_that_is_only_trained_on_has_a_rival(dispatcher, executor, folder, graph):
    plan = Plan()
    parent = ModelRecord(model_id=4, state="done", hyperparameters=plan.hyperparameters.to_dict())
    np.save(folder.outputs_file(4), np.zeros((10, 3)))
    dispatcher.send(Candidate(parent, (), graph, "on", "stable", plan, 1), [])
    dispatcher.send(Candidate(parent, ({"kind": "x"},), graph, "settle", "decay", Plan(phase="decay"), 1), [])
    assert [job.plan.rival for job in executor.sent] == [None, None]
