"""Candidates too large for the worker's memory are recorded as such, and what comes next is smaller."""

import contextlib
import logging
import sys
from dataclasses import replace

import numpy as np
import psutil
import pytest
from search_runs import digits

from kmorph import ImageClassifier
from kmorph.graph import Dense
from kmorph.morphs import Limits, Widen
from kmorph.morphs.base import activations
from kmorph.search.candidate import Result
from kmorph.search.strategy.bounds import SHRINK, Bounds
from kmorph.search.strategy.propose import SurrogateProposer
from kmorph.search.workers.pool import InlineExecutor
from kmorph.search.workers.processes import WorkerProcesses
from kmorph.starts import mlp

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="address spaces are limited on Linux")
ROOM = 1_000_000_000  # bytes that the worker may take beside what it has after its first model


class Growing:
    """Proposes the same network with a hidden layer as wide as asked for, then what the surrogate does."""

    def __init__(self, *widths):
        self.widths, self.limits, self.propose = list(widths), [], SurrogateProposer()

    def __call__(self, situation, rng):
        self.limits.append(situation.limits)
        if not self.widths or not situation.observations:
            return self.propose(situation, rng)
        parent = min(situation.observations, key=lambda o: o.loss)
        layer = next(i for i, some in enumerate(parent.graph.layers) if isinstance(some, Dense))
        morph = Widen(layer, self.widths.pop(0))
        return replace(
            self.propose(replace(situation, expected=None), rng), parent_id=parent.model_id,
            morphs=((morph, 0),), graph=morph.apply(parent.graph), change=morph.describe(),
        )  # fmt: skip


@linux
@pytest.mark.timeout(600)
def test_a_child_too_large_for_the_worker_lowers_the_bound(tmp_path, monkeypatch, caplog):
    """The worker's address space is limited once it has trained a model; a child of 3 GB comes next."""
    workers = WorkerProcesses()

    def limit(record):
        if record["model_id"] == 0:
            (pid,) = workers._pool._processes  # other tests' workers may be there, too
            worker = psutil.Process(pid)
            most = worker.memory_info().vms + ROOM
            worker.rlimit(psutil.RLIMIT_AS, (most, most))

    growing = Growing(2**20 - 1)
    monkeypatch.setattr("kmorph.tasks.estimator.pool_for", lambda *some: contextlib.nullcontext(workers))
    monkeypatch.setattr("kmorph.tasks.estimator.Search", _with_proposer(growing))
    clf = ImageClassifier(
        path=tmp_path / "run", verbose=False, seed=0, max_models=4, callbacks=[limit],
        starts=[("mlp", {"width": 64, "depth": 3})], ensemble=False,
        searcher_args={"trainer_args": {"max_iter_num": 1}},
    )  # fmt: skip
    x, y = digits()
    with caplog.at_level(logging.WARNING, "kmorph"):
        clf.fit(x, y)
    workers.kill()
    (failure,) = clf.failures
    assert "memory" in failure["reason"] and failure["n_parameters"] > 100_000_000
    assert len(clf.history) == 4 and clf.evaluate(x, y) > 0.5
    assert any("memory ran out" in record.getMessage() for record in caplog.records)
    bound = growing.limits[-1].max_parameters
    assert bound is not None and bound <= SHRINK * failure["n_parameters"]


def _with_proposer(proposer):
    from kmorph.search.loop import Search

    return lambda *arguments: Search(*arguments, proposer)


def test_bounds_are_lowered_by_what_failed_and_not_below_what_was_trained():
    small, large, larger = (mlp((8, 8, 1), 10, width=width) for width in (16, 256, 512))
    bounds = Bounds(Limits(max_parameters=10**9))
    bounds.note_trained(small)
    assert bounds.limits == Limits(max_parameters=10**9)
    bounds.note_failure(larger, Result(reason="out of memory", cause="memory"))
    assert bounds.limits.max_parameters == int(SHRINK * larger.n_parameters)
    assert bounds.limits.max_activations == int(SHRINK * activations(larger))
    assert bounds.limits.allow(small, large) and not bounds.limits.allow(small, larger)
    bounds.note_trained(large)
    bounds.note_failure(large, Result(reason="out of memory", cause="memory"))  # others took its memory
    assert bounds.limits.max_parameters == int(SHRINK * larger.n_parameters)


def test_one_dead_worker_says_nothing_two_do():
    small, between, large = (mlp((8, 8, 1), 10, width=width) for width in (16, 64, 256))
    bounds, died = Bounds(Limits()), Result(reason="its worker died", cause="died")
    bounds.note_trained(small)
    bounds.note_failure(large, died)
    assert bounds.limits == Limits()
    bounds.note_trained(small)
    bounds.note_failure(large, died)
    assert bounds.limits == Limits()
    bounds.note_failure(large, died)
    assert bounds.limits.max_parameters == int(SHRINK * large.n_parameters)
    bounds.note_failure(between, Result(reason="it diverged"))  # which has nothing to do with memory
    assert bounds.limits.max_parameters == int(SHRINK * large.n_parameters)


def test_out_of_memory_of_a_gpu_fails_the_candidate_alone(tmp_path, monkeypatch):
    """The error is TensorFlow's own, raised where a step would; there is no GPU here to fill."""
    import tensorflow as tf

    from kmorph.training.tensorflow_step import TensorFlowStep

    whole = TensorFlowStep.train

    def train(self, *arguments):
        if self.graph.n_parameters > 20_000:
            raise tf.errors.ResourceExhaustedError(
                None, None, "OOM when allocating tensor with shape[64,512]"
            )
        return whole(self, *arguments)

    monkeypatch.setattr(TensorFlowStep, "train", train)
    growing = Growing(512)
    monkeypatch.setattr("kmorph.tasks.estimator.Search", _with_proposer(growing))
    clf = ImageClassifier(
        path=tmp_path / "run", verbose=False, seed=0, max_models=4, executor=InlineExecutor(),
        starts=[("mlp", {"width": 16, "depth": 3})], ensemble=False,
        searcher_args={"trainer_args": {"max_iter_num": 1}},
    )  # fmt: skip
    clf.fit(*digits())
    (failure,) = clf.failures
    assert failure["reason"] == "out of memory" and failure["n_parameters"] > 20_000
    assert len(clf.history) == 4
    assert growing.limits[-1].max_parameters == int(SHRINK * failure["n_parameters"])


GROWTH = 1.08  # largest memory of workers after 300 models, as a multiple of that after 50
# What the main process may hold more then, in bytes: 17 MB of it are the surrogate's matrices for 300
# observations, the rest records and structures, 30 kB a model.
HELD = 32e6


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_three_hundred_models_leave_nothing_behind(tmp_path, monkeypatch):
    """Memory, open files and threads of both processes, noted after each model."""
    monkeypatch.setattr("kmorph.search.strategy.propose.SINGLES", 20)  # choosing well takes long
    main, noted = psutil.Process(), []

    def note(record):
        children = [p for p in main.children(recursive=True) if p.memory_info().rss > 1e8]
        noted.append(
            (
                main.memory_info().rss,
                sum(p.memory_info().rss for p in children),
                main.num_fds() + sum(p.num_fds() for p in children),
                main.num_threads() + sum(p.num_threads() for p in children),
            )
        )

    clf = ImageClassifier(
        path=tmp_path / "run", verbose=False, seed=0, max_models=300, callbacks=[note], max_parameters=50_000,
        searcher_args={"trainer_args": {"max_iter_num": 1}},
    )  # fmt: skip
    x, y = digits()
    clf.fit(x[:500], y[:500])
    # What a process holds goes up and down by the size of a model: the means of 20.
    early, late = (np.mean(noted[part], axis=0) for part in (slice(40, 60), slice(-20, None)))
    print(f"main, workers, files, threads: {early} after 50, {late} after 300, growth {late / early - 1}")
    assert late[0] < early[0] + HELD and late[1] < GROWTH * early[1]
    assert (late[2:] < early[2:] + 3).all()
