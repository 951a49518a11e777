"""The log is quiet by default, and has the life of each candidate for programs that listen."""

import logging
import subprocess
import sys

from search_runs import QUICK, digits

from kmorph import ImageClassifier
from kmorph.search.workers.pool import InlineExecutor

PROGRAM = """
from sklearn.datasets import load_digits
from kmorph import ImageClassifier

if __name__ == "__main__":
    x, y = load_digits(return_X_y=True)
    quick = {"trainer_args": {"max_iter_num": 1}}
    small = [("mlp", {"width": 16})]
    clf = ImageClassifier(verbose=False, seed=0, max_models=2, searcher_args=quick, starts=small)
    clf.fit(x.reshape(-1, 8, 8), y)
    clf.predict(x[:5].reshape(-1, 8, 8))
"""


def test_a_search_that_is_not_verbose_prints_nothing(tmp_path):
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_candidate_can_be_followed(tmp_path, caplog):
    clf = ImageClassifier(
        path=tmp_path / "run", verbose=False, seed=0, executor=InlineExecutor(), max_models=4, **QUICK
    )
    with caplog.at_level(logging.INFO, "kmorph"):
        clf.fit(*digits())
    of_candidates = [record for record in caplog.records if hasattr(record, "candidate")]
    names = list(dict.fromkeys(record.candidate for record in of_candidates))
    assert len(names) == 4
    for name, model in zip(names, clf.history, strict=True):
        sent, recorded = [record for record in of_candidates if record.candidate == name]
        assert model["change"] in sent.getMessage() and sent.parent_id == model["parent_id"]
        assert recorded.model_id == model["model_id"] and recorded.state == "done"
        assert sent.name == recorded.name == "kmorph.search"


def test_a_failure_is_told(tmp_path, caplog):
    clf = ImageClassifier(
        path=tmp_path / "run", verbose=False, seed=0, executor=InlineExecutor(), max_models=2,
        hyperparameters={"learning_rate": 1e12}, **{**QUICK, "starts": ["mlp", "cnn"]},
    )  # fmt: skip
    with caplog.at_level(logging.INFO, "kmorph"):
        try:
            clf.fit(*digits())
        except RuntimeError:
            pass
    failed = [record for record in caplog.records if getattr(record, "state", None) == "failed"]
    assert len(failed) == len(clf.failures) == 2 and "loss" in failed[0].getMessage()
