"""The same seed, data and budget in models give the same search twice."""

from search_runs import digits

from kmorph import ImageClassifier
from kmorph.search.workers.pool import InlineExecutor

TIMES = ("seconds", "lineage_seconds", "examples_per_second", "created")


def history(path, seed, models=6):
    clf = ImageClassifier(
        path=path, verbose=False, seed=seed, executor=InlineExecutor(), max_models=models,
        searcher_args={"trainer_args": {"max_iter_num": 2}}, starts=[("cnn", {"width": 8}), "mlp"],
        hyperparameters={"learning_rate": (1e-2, 3e-1, "log"), "label_smoothing": (0.0, 0.2)},
    )  # fmt: skip
    x, y = digits()
    clf.fit(x[:500], y[:500])
    return [{name: value for name, value in record.items() if name not in TIMES} for record in clf.history]


def test_the_same_seed_gives_the_same_history(tmp_path):
    first, second = (history(tmp_path / name, 3) for name in ("first", "second"))
    assert first == second
    assert len(first) == 6 and any(record["morphs"] for record in first)
    assert history(tmp_path / "other", 4, models=1) != first[:1]
