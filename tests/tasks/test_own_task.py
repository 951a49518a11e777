"""A new kind of task in one file outside of the package."""

import subprocess
import sys
from pathlib import Path

import pytest
from own_task import LevelReader, make_examples
from sklearn.base import clone

QUICK = {"searcher_args": {"trainer_args": {"max_iter_num": 8}}, "verbose": False, "max_models": 4}


@pytest.fixture(scope="module")
def examples():
    return make_examples(500)


@pytest.fixture(scope="module")
def fitted(examples, tmp_path_factory):
    pairs, levels = examples
    return LevelReader(path=tmp_path_factory.mktemp("run"), seed=0, **QUICK).fit(pairs[:400], levels[:400])


def test_it_learns_and_predicts(fitted, examples):
    pairs, levels = examples
    assert fitted.evaluate(pairs[400:], levels[400:]) > 0.6
    predicted = fitted.predict(pairs[400:])
    assert predicted.dtype == int and set(predicted) <= set(range(1, 6))
    assert fitted.history[0]["objective"] == "closeness"
    assert clone(fitted).get_params() == fitted.get_params()


def test_its_folder_names_what_to_import(fitted, examples):
    code = (
        "import kmorph, sys\n"
        "from kmorph.tasks import ImageRegressor\n"
        "from kmorph.errors import SearchError\n"
        "searcher = kmorph.load_searcher(sys.argv[1])\n"
        "assert searcher.load_best_model().output_shape == (1,)\n"
        "try: ImageRegressor(path=sys.argv[1], resume=True).predict([])\n"
        "except SearchError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, fitted.path_],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    assert "import the module" in done.stdout and "own_task" in done.stdout


def test_it_resumes(fitted, examples):
    pairs, levels = examples
    arguments = {**QUICK, "max_models": 5}
    again = LevelReader(path=fitted.path_, resume=True, **arguments).fit(pairs[:400], levels[:400])
    assert len(again.history) == 5
