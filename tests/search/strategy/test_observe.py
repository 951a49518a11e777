"""Models as the surrogate sees them: enough of them, and no more than memory and time allow."""

import tracemalloc

from kmorph import starts
from kmorph.search.settings import Settings
from kmorph.search.store.models import Models
from kmorph.search.store.record import ModelRecord
from kmorph.search.strategy.observe import MOST_OBSERVED, Observer
from kmorph.search.strategy.planning import Planner
from kmorph.search.strategy.schedule import Schedule
from kmorph.surrogate.kernels import LineageKernel

LONG = 300


def lineage(n):
    """An observer of models that each grew from the one before."""
    models, graph = Models(), starts.mlp((4,), 3)
    for model_id in range(n):
        record = ModelRecord(
            model_id=model_id, parent_id=model_id - 1 if model_id else None, state="done",
            loss=1.0 + abs(model_id - 20), lineage_examples=1000 * (model_id + 1),
        )  # fmt: skip
        models.add(record, graph)
    settings = Settings(starts=(("mlp", graph),), n_train=1000)
    return Observer(models, Planner(settings, Schedule(), models.records, power=1e9))


def test_paths_lead_from_the_start_to_the_model_itself():
    observations = lineage(4).observations()
    assert [o.path for o in observations[:2]] == [((0, 1000.0),), ((0, 1000.0), (1, 2000.0))]
    covariance = LineageKernel()([o.as_point() for o in observations])
    assert (covariance[0] == covariance[0, 0]).all() and (covariance.diagonal()[1:] > covariance[0, 1:]).all()


def test_paths_of_a_long_lineage_are_shared():
    """They are as many as models and as long as lineages: each step must not be an object of its own."""
    observer = lineage(LONG)
    tracemalloc.start()
    candidates = [observation.as_point() for observation in observer.observations()]
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken < 1.5 * 8 * LONG**2 / 2  # a pointer for each step
    first, last = candidates[0], candidates[-1]
    assert len(last.path) == LONG and last.path[0] is first.path[0]


def test_of_very_many_models_the_best_and_the_latest_are_observed():
    observer = lineage(MOST_OBSERVED + 1000)
    seen = [observation.model_id for observation in observer.observations()]
    assert len(seen) == MOST_OBSERVED and seen == sorted(set(seen))
    assert {20, 21, 19, MOST_OBSERVED + 999, MOST_OBSERVED + 998} < set(seen)
    assert max(b - a for a, b in zip(seen, seen[1:], strict=False)) < 20  # nothing is left out altogether
