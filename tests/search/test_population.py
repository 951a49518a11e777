"""What the surrogate is told of the models of a search: enough, and no more than memory and time allow."""

import tracemalloc

from kmorph import starts
from kmorph.search.population import MOST_OBSERVED, Population
from kmorph.search.record import Record
from kmorph.surrogate.kernels import LineageKernel

LONG = 300


def lineage(n):
    """Models that each grew from the one before."""
    models, graph = Population(), starts.mlp((4,), 3)
    for model_id in range(n):
        record = Record(
            model_id=model_id, parent_id=model_id - 1 if model_id else None, state="done",
            loss=1.0 + abs(model_id - 20), lineage_images=1000 * (model_id + 1),
        )  # fmt: skip
        models.add(record, graph)
    return models


def test_paths_lead_from_the_start_to_the_model_itself():
    observations = lineage(4).observations()
    assert [o.path for o in observations[:2]] == [((0, 1000.0),), ((0, 1000.0), (1, 2000.0))]
    covariance = LineageKernel()([o.as_candidate() for o in observations])
    assert (covariance[0] == covariance[0, 0]).all() and (covariance.diagonal()[1:] > covariance[0, 1:]).all()


def test_paths_of_a_long_lineage_are_shared():
    """They are as many as models and as long as lineages: each step must not be an object of its own."""
    models = lineage(LONG)
    tracemalloc.start()
    candidates = [observation.as_candidate() for observation in models.observations()]
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken < 1.5 * 8 * LONG**2 / 2  # a pointer for each step
    first, last = candidates[0], candidates[-1]
    assert len(last.path) == LONG and last.path[0] is first.path[0]


def test_of_very_many_models_the_best_and_the_latest_are_told_of():
    models = lineage(MOST_OBSERVED + 1000)
    told = [observation.model_id for observation in models.observations()]
    assert len(told) == MOST_OBSERVED and told == sorted(set(told))
    assert {20, 21, 19, MOST_OBSERVED + 999, MOST_OBSERVED + 998} < set(told)
    assert max(b - a for a, b in zip(told, told[1:], strict=False)) < 20  # nothing is left out altogether
