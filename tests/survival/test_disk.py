"""A limit on disk space is kept; a full disk and damaged files cost as little as they must."""

import contextlib
import os
import re
import shutil
import subprocess
import threading
import time
import warnings
from functools import partial

import numpy as np
import psutil
import pytest
from search_runs import QUICK, Run, check, digits, gone

from kmorph import Graph, ImageClassifier, TextClassifier, load_searcher
from kmorph.errors import DataError, SearchError
from kmorph.search.store.folder import RunFolder
from kmorph.search.store.history import History
from kmorph.search.store.models import Models

CNN, MLP = ("cnn", {"width": 64}), ("mlp", {"width": 256})


class Watch(threading.Thread):
    """Notes the largest size of a search's folder, looking all the time."""

    def __init__(self, folder):
        super().__init__(daemon=True)
        self.folder, self.largest, self.over = folder, 0, False

    def run(self):
        while not self.over:
            size = 0
            for place, _, names in os.walk(self.folder):
                for name in names:
                    with contextlib.suppress(OSError):
                        size += os.lstat(os.path.join(place, name)).st_size
            self.largest = max(self.largest, size)
            time.sleep(0.01)


def some_digits():
    x, y = digits()
    return x[:600], y[:600]


MODELS, MORE = 24, 27


def limited_search(path, limit, models, resume=False):
    return ImageClassifier(
        path=path, resume=resume, verbose=False, seed=0, max_disk=limit, max_models=models, starts=[MLP],
        ensemble=False, morphs=["ReplaceActivation", "InsertDropout"],
        searcher_args={"trainer_args": {"max_iter_num": 1}},
    )  # fmt: skip


@pytest.fixture(scope="module")
def limited(tmp_path_factory):
    """A search with room for two thirds of its models: a little more than the least."""
    path = tmp_path_factory.mktemp("limited") / "run"
    with pytest.raises(DataError, match="max_disk=1,000 bytes is too little") as caught:
        limited_search(path, 1000, 1).fit(*some_digits())
    assert not path.exists()
    least = int(re.search("at least ([0-9,]+)", str(caught.value))[1].replace(",", ""))
    clf, limit = limited_search(path, int(1.02 * least), MODELS), int(1.02 * least)
    watch = Watch(path)
    watch.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kmorph.search.strategy.propose.SINGLES", 20)  # choosing well takes long
        clf.fit(*some_digits())
    watch.over = True
    watch.join()
    return clf, limit, watch.largest


def weightless(clf):
    models = {
        record["model_id"]: RunFolder.model_path(clf.path_, record["model_id"]) for record in clf.history
    }
    return [model_id for model_id, file in models.items() if not Graph.load(file).has_weights]


def test_the_limit_is_kept_all_the_time(limited):
    clf, limit, largest = limited
    assert 0.5 * limit < largest <= limit
    assert len(clf.history) == MODELS and len(weightless(clf)) >= 5


def test_the_best_keep_their_weights(limited):
    clf, _, _ = limited
    dropped = weightless(clf)
    assert clf.get_best_model_id() not in dropped
    losses = {record["model_id"]: record["loss"] for record in clf.history}
    kept = [losses[i] for i in losses if i not in dropped]
    assert np.median(kept) < np.median([losses[i] for i in dropped])
    assert clf.evaluate(*some_digits()) > 0.7


def test_final_fit_makes_room_too(limited, tmp_path):
    clf, limit, _ = limited
    shutil.copytree(clf.path_, tmp_path / "run")
    other = limited_search(tmp_path / "run", limit, MODELS, resume=True)
    before, watch = weightless(clf), Watch(tmp_path / "run")
    watch.start()
    other.final_fit(*digits(), trainer_args={"max_iter_num": 1})  # three times the data of the search
    watch.over = True
    watch.join()
    assert watch.largest <= limit
    dropped = weightless(other)
    assert set(before) < set(dropped) and other.get_best_model_id() not in dropped


def test_dropped_models_are_rebuilt_from_their_lineage_with_a_warning(limited):
    clf, _, _ = limited
    searcher, rebuilt = clf.load_searcher(), 0
    fingerprints = {record["model_id"]: record["fingerprint"] for record in clf.history}
    for model_id in weightless(clf):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                graph = searcher.load_model_by_id(model_id)
            except SearchError as error:
                assert "cannot be rebuilt" in str(error) and "initialize" in str(error)
                continue
        assert f"weights of model {model_id} were dropped" in str(caught[-1].message)
        assert graph.has_weights and graph.fingerprint == fingerprints[model_id]
        rebuilt += 1
    assert rebuilt


def test_a_rebuilt_model_computes_what_its_ancestor_does(limited):
    clf, _, _ = limited
    dropped = weightless(clf)
    pairs = [
        (record["model_id"], record["parent_id"])
        for record in clf.history
        if record["model_id"] in dropped
        and record["parent_id"] is not None
        and record["parent_id"] not in dropped
        and not {"prune", "remove_block"} & {morph["kind"] for morph in record["morphs"]}
    ]
    assert pairs
    x = digits()[0][:50].reshape(-1, 8, 8, 1).astype("float32")
    for child, parent in pairs[:3]:
        with pytest.warns(UserWarning):
            graph = clf.load_searcher().load_model_by_id(child)
        expected = clf.load_searcher().load_model_by_id(parent).to_keras().predict(x, verbose=0)
        np.testing.assert_allclose(graph.to_keras().predict(x, verbose=0), expected, rtol=1e-3, atol=1e-3)


def test_resuming_goes_on_within_the_limit(limited, tmp_path):
    clf, limit, _ = limited
    shutil.copytree(clf.path_, tmp_path / "run")
    again = limited_search(tmp_path / "run", limit, MORE, resume=True)
    watch = Watch(tmp_path / "run")
    watch.start()
    again.fit(*some_digits())
    watch.over = True
    watch.join()
    assert len(again.history) == MORE and watch.largest <= limit
    assert len(weightless(again)) > len(weightless(clf))


@pytest.mark.slow
def test_encodings_count_for_the_limit(tmp_path):
    """There are so many of them that no reserve for other things has room for them."""
    pytest.importorskip("keras_hub")
    from preset_samples import tiny_bert

    texts = [f"{'good' if i % 2 else 'bad'} film {i}" for i in range(60_000)]
    labels = [i % 2 for i in range(60_000)]

    def fit(limit):
        clf = TextClassifier(
            path=tmp_path / "run", encoder=preset, verbose=False, seed=0, max_disk=limit, max_models=4,
            ensemble=False, searcher_args={"trainer_args": {"max_iter_num": 1}},
        )  # fmt: skip
        return clf.fit(texts, labels)

    preset = tiny_bert(tmp_path / "bert")
    with pytest.raises(DataError, match="max_disk=1,000 bytes is too little") as caught:
        fit(1000)
    limit = int(re.search("at least ([0-9,]+)", str(caught.value))[1].replace(",", ""))
    watch = Watch(tmp_path / "run")
    watch.start()
    clf = fit(limit)
    watch.over = True
    watch.join()
    assert len(clf.history) == 4 and not clf.failures
    encodings = sum(file.stat().st_size for file in (tmp_path / "run" / "encodings").rglob("*.safetensors"))
    assert encodings > 60_000 * 4 * 8 and encodings < watch.largest <= limit


@pytest.fixture
def small_disk(tmp_path):
    """A file system of a few megabytes."""
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True
    ).returncode:
        pytest.skip("file systems cannot be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk_ends_it_and_leaves_what_was_found(small_disk):
    options = {**QUICK, "starts": [CNN]}
    run = Run(small_disk / "run", {**options, "max_models": 200}, log=small_disk.parent / "run.log")
    assert run.wait(500) == 1
    last = run.errors.strip().splitlines()[-1]
    assert last.startswith("kmorph.errors.SearchError") and "space" in last
    found = check(small_disk / "run")
    assert found == [event["model_id"] for event in run.events("recorded")] and len(found) >= 3
    # With more room it goes on.
    subprocess.run(["mount", "-o", "remount,size=50m", small_disk], check=True)
    options["max_models"] = len(found) + 2
    more = Run(small_disk / "run", options, log=small_disk.parent / "more.log")
    assert more.wait(250) == 0, more.errors
    assert len(check(small_disk / "run")) == len(found) + 2


def test_a_worker_that_cannot_write_ends_the_search_with_the_reason(tmp_path):
    if not hasattr(psutil, "RLIMIT_FSIZE"):
        pytest.skip("file sizes cannot be limited on this system")
    run = Run(tmp_path / "run", {**QUICK, "starts": [CNN]})
    run.wait_for_models(2)
    (worker,) = [process for process in run.workers() if process.memory_info().rss > 2e8]
    worker.rlimit(psutil.RLIMIT_FSIZE, (20_000, 20_000))
    assert run.wait(250) == 1
    last = run.errors.strip().splitlines()[-1]
    assert "SearchError" in last and "cannot go on" in last and "resume=True" in last
    assert len(check(tmp_path / "run")) >= 2
    gone([worker], 60)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    path = tmp_path_factory.mktemp("finished") / "run"
    clf = ImageClassifier(path=path, verbose=False, seed=0, max_models=5, ensemble=False, **QUICK)
    return clf.fit(*digits())


DAMAGES = {
    "truncated": lambda file, content: file.write_bytes(content[: len(content) // 2]),
    "edited": lambda file, content: file.write_bytes(content.replace(b'\\"conv\\"', b'\\"kong\\"')),
    "empty": lambda file, content: file.write_bytes(b""),
    "removed": lambda file, content: file.unlink(),
    "pickle": lambda file, content: file.write_bytes(b"\x80\x04\x95" + bytes(100)),
    "newer": lambda file, content: file.write_bytes(content.replace(b'\\"format\\":1', b'\\"format\\":9')),
}


def damaged(finished, folder, damage):
    """A copy of a search whose best model's file is damaged; returns the id of that model."""
    shutil.copytree(finished.path_, folder)
    best = load_searcher(folder).get_best_model_id()
    file = RunFolder.model_path(folder, best)
    content = file.read_bytes()
    DAMAGES[damage](file, content)
    assert not file.exists() or file.read_bytes() != content
    return best


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_model_is_told(finished, tmp_path, damage):
    best = damaged(finished, tmp_path / "run", damage)
    searcher = load_searcher(tmp_path / "run")
    with pytest.raises(SearchError, match=f"model {best} of the search.*cannot be read"):
        searcher.load_model_by_id(best)
    with pytest.warns(UserWarning, match=f"instead of {best} the best one is now"):
        assert searcher.get_best_model_id() != best
    with History.open(tmp_path / "run" / RunFolder.DATABASE, readonly=True) as history:
        models = Models.read(history.records(), partial(RunFolder.model_path, tmp_path / "run"))
    assert models.weightless == {best} and best not in models.structures


@pytest.mark.parametrize("damage", ["edited", "removed"])
def test_a_damaged_model_is_not_built_on(finished, tmp_path, damage):
    best = damaged(finished, tmp_path / "run", damage)
    again = ImageClassifier(path=tmp_path / "run", resume=True, verbose=False, seed=0, max_models=7, **QUICK)
    again.fit(*digits())
    assert len(again.history) == 7
    assert all(record["parent_id"] != best for record in again.history[5:])
    assert again.evaluate(*digits()) > 0.8


def test_with_all_models_damaged_it_begins_anew(finished, tmp_path):
    shutil.copytree(finished.path_, tmp_path / "run")
    for record in finished.history:
        RunFolder.model_path(tmp_path / "run", record["model_id"]).write_bytes(b"nothing")
    with pytest.raises(SearchError, match="no readable model"):
        load_searcher(tmp_path / "run").get_best_model_id()
    again = ImageClassifier(path=tmp_path / "run", resume=True, verbose=False, seed=0, max_models=8, **QUICK)
    again.fit(*digits())
    assert [record["parent_id"] for record in again.history][5] is None
    assert again.evaluate(*digits()) > 0.8
