"""The code that runs in a worker, with simulated training."""

import errno
import json
import platform
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kmorph.graph import Graph
from kmorph.morphs import Widen, to_json
from kmorph.search.candidate import Job, outputs_beside
from kmorph.search.workers.worker import evaluate, grow
from kmorph.starts import mlp
from kmorph.training.examples import Data
from kmorph.training.plan import Hyperparameters, Plan
from kmorph.training.trainer import Outcome, Stopped


@pytest.fixture
def job(tmp_path):
    graph = mlp((4, 4, 1), 3, width=8)
    Data(np.zeros((5, 4, 4, 1), np.uint8), np.zeros(5, int), np.zeros((2, 4, 4, 1)), np.zeros(2, int)).save(
        tmp_path
    )
    return Job(
        graph_file=str(graph.save(tmp_path / "start.safetensors")),
        morphs=(),
        data_folder=str(tmp_path),
        plan=Plan(seconds_left=100.0, seed=3),
        output_file=str(tmp_path / "0001.safetensors"),
        events_file=str(tmp_path / "0001.jsonl"),
        stop_file=str(tmp_path / "stop"),
    )


@pytest.fixture
def train(monkeypatch):
    """Let tests say how training goes; no backend is loaded."""
    monkeypatch.setattr("kmorph.training.backend.load_backend", lambda *_, **__: "none")

    def go(simulated):
        monkeypatch.setattr("kmorph.training.trainer.train", simulated)

    return go


def well(graph, data, plan, report, *, stop, strategy, checkpoint, problem):
    """Training of no time; the weights are those of the start."""
    well.plan, well.stops = plan, stop()
    report({"images": 5, "loss": 1.0, "progress": 0.5})
    checkpoint(graph, 5)
    logits = np.zeros((len(data.x_val), 3), np.float32)
    return Outcome(graph, {"loss": 1.0}, 1.0, 5, 0.1, 50.0, logits, Hyperparameters(batch_size=16))


def raising(error):
    def train(*_, **__):
        raise error

    return train


def test_a_start_gets_weights_from_its_seed(job):
    graph = grow(job)
    assert graph.has_weights and not Graph.load(Path(job.graph_file)).has_weights
    again, other = grow(job), grow(replace(job, plan=Plan(seed=4)))
    same = [
        all(np.array_equal(graph.weights[k], g.weights[k]) for k in graph.weights) for g in (again, other)
    ]
    assert same == [True, False]


def test_weights_are_kept_unless_the_job_wants_fresh_ones(job, tmp_path):
    trained = grow(job)
    file = str(trained.save(tmp_path / "trained.safetensors"))
    kept, fresh = (
        grow(replace(job, graph_file=file, plan=Plan(seed=9), fresh=fresh)) for fresh in (False, True)
    )
    assert all(np.array_equal(trained.weights[key], kept.weights[key]) for key in trained.weights)
    assert any(not np.array_equal(trained.weights[key], fresh.weights[key]) for key in trained.weights)


def test_morphs_are_replayed(job):
    graph = grow(job)
    layer = next(i for i, some in enumerate(graph.layers) if some.kind == "dense")
    widened = grow(replace(job, morphs=(to_json(Widen(layer, 12), 5),)))
    assert widened.n_parameters > graph.n_parameters and widened.has_weights


def test_a_result_names_files_of_its_own(job, train):
    train(well)
    first, second = evaluate(job), evaluate(job)
    assert first.reason is None and first.file != second.file != job.output_file
    for result in (first, second):
        assert Graph.load(Path(result.file)).fingerprint == grow(job).fingerprint
        assert np.load(outputs_beside(result.file)).shape == (2, 3)
    assert first.hyperparameters["batch_size"] == 16 and (first.images, first.metrics) == (5, {"loss": 1.0})
    events = [json.loads(line) for line in Path(job.events_file).read_text().splitlines()]
    assert [event.get("checkpoint") for event in events] == [None, 5, None, 5]


def test_the_graph_is_stored_before_it_is_trained(job, train):
    train(raising(ValueError("no")))
    evaluate(job)
    assert Graph.load(Path(job.output_file)).has_weights


@pytest.mark.parametrize(
    "sender, waited", [(platform.node(), 40.0), ("elsewhere", 0.0)], ids=["this machine", "another one"]
)
def test_what_a_job_waited_is_taken_off_its_time(job, train, sender, waited):
    train(well)
    evaluate(replace(job, sent=time.time() - 40, sender=sender))
    assert 0 <= 100 - waited - well.plan.seconds_left < 20


def test_a_clock_that_was_set_back_gives_no_time(job, train):
    train(well)
    evaluate(replace(job, sent=time.time() + 1000, sender=platform.node()))
    assert 80 < well.plan.seconds_left <= 100


def test_what_waited_too_long_has_no_time_left(job, train):
    train(well)
    evaluate(replace(job, sent=time.time() - 100.5, sender=platform.node()))
    assert well.plan.seconds_left == 0


def test_what_nobody_waits_for_any_more_is_over_before_it_begins(job, train):
    train(raising(AssertionError("trained")))
    result = evaluate(replace(job, sent=time.time() - 1000, sender=platform.node()))
    assert result.cause == "late" and not Path(job.output_file).exists()


def test_a_job_without_deadline_has_none(job, train):
    train(well)
    evaluate(replace(job, plan=Plan(), sent=time.time() - 1000, sender=platform.node()))
    assert well.plan.seconds_left is None and not well.stops


def test_a_stop_file_is_seen(job, train):
    train(well)
    Path(job.stop_file).touch()
    evaluate(job)
    assert well.stops


@pytest.mark.parametrize(
    "error, cause, words",
    [
        (ValueError("no"), "", "ValueError: no"),
        (Stopped("the loss became nan"), "", "the loss became nan"),
        (MemoryError(), "memory", "out of memory"),
        (RuntimeError("CUDA error: out of memory"), "memory", "out of memory"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk", "No space left"),
        (OSError(errno.ENOENT, "No such file"), "", "No such file"),
        (ValueError("x" * 10_000), "", "x" * 1000),
    ],
    ids=lambda value: type(value).__name__,
)
def test_failures_are_results(job, train, error, cause, words):
    train(raising(error))
    result = evaluate(job)
    assert result.cause == cause and words in result.reason and len(result.reason) <= 2000


def test_a_graph_that_is_not_there_is_a_failure_too(job, train):
    train(well)
    result = evaluate(replace(job, graph_file="no such file"))
    assert "no such file" in result.reason


def test_interrupts_are_not_failures(job, train):
    train(raising(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        evaluate(job)
