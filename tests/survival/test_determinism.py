"""The same seed, data and budget in models give the same search twice."""

import pytest
from search_runs import digits

from kmorph import ImageClassifier, ImageClassifier1D, TextClassifier
from kmorph.search.workers.pool import InlineExecutor

TIMES = ("seconds", "lineage_seconds", "examples_per_second", "created")


def history(
    path, seed, models=6, kind=ImageClassifier, starts=(("cnn", {"width": 8}), "mlp"), form=lambda x: x
):
    clf = kind(
        path=path, verbose=False, seed=seed, executor=InlineExecutor(), max_models=models,
        searcher_args={"trainer_args": {"max_iter_num": 2}}, starts=list(starts),
        hyperparameters={"learning_rate": (1e-2, 3e-1, "log"), "label_smoothing": (0.0, 0.2)},
    )  # fmt: skip
    x, y = digits()
    clf.fit(form(x[:500]), y[:500])
    return [{name: value for name, value in record.items() if name not in TIMES} for record in clf.history]


def test_the_same_seed_gives_the_same_history(tmp_path):
    first, second = (history(tmp_path / name, 3) for name in ("first", "second"))
    assert first == second
    assert len(first) == 6 and any(record["morphs"] for record in first)
    assert history(tmp_path / "other", 4, models=1) != first[:1]


def as_texts(x):
    return [" ".join(f"p{i}v{int(v) // 4}" for i, v in enumerate(image.ravel())) for image in x]


def as_signals(x):
    return [image.ravel()[: 64 - 8 * (i % 3)] for i, image in enumerate(x)]


@pytest.mark.parametrize(
    ("kind", "start", "form"),
    [
        pytest.param(TextClassifier, "bag", as_texts, id="texts"),
        pytest.param(ImageClassifier1D, "fcn", as_signals, id="signals", marks=pytest.mark.slow),
    ],
)
def test_so_do_other_examples(tmp_path, kind, start, form):
    both = [history(tmp_path / name, 3, 3, kind, [(start, {"width": 8})], form) for name in ("one", "two")]
    assert both[0] == both[1] and len(both[0]) == 3
