"""Models whose weights were dropped get those of their nearest ancestor, grown anew."""

import numpy as np
import pytest
from search_samples import graph, make_search, record

from kmorph import load_searcher, morphs
from kmorph.errors import SearchError
from kmorph.search.store.folder import RunFolder
from kmorph.search.store.rebuild import has_weights

STEPS = [(morphs.Widen(layer=0, to=8), 5), (morphs.Widen(layer=3, to=8), 6)]


@pytest.fixture
def lineage(tmp_path):
    """Three models, each widened from the one before; the two children without weights."""
    records = [record(0)] + [
        record(number, morphs=(morphs.to_json(*step),)) for number, step in enumerate(STEPS, 1)
    ]
    path = make_search(tmp_path / "run", records=records)
    grown = graph()
    for number, step in enumerate(STEPS, 1):
        grown = morphs.chain(grown, [step])
        grown.without_weights().save(RunFolder.model_path(path, number))
    return path


def test_whether_a_file_has_weights(lineage):
    assert [has_weights(lineage, number) for number in range(4)] == [True, False, False, False]


def test_rebuilt_model_computes_what_its_ancestor_does(lineage):
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    before = graph().to_keras()(x)
    for model_id in (1, 2):
        with pytest.warns(UserWarning, match=f"weights of model {model_id} were dropped.*model 0") as caught:
            rebuilt = load_searcher(lineage).load_model_by_id(model_id)
        assert caught[0].filename == __file__
        assert [layer.units for layer in rebuilt.layers if hasattr(layer, "units")][:model_id] == [
            8
        ] * model_id
        assert np.allclose(rebuilt.to_keras()(x), before, atol=1e-5)


def test_nothing_to_rebuild_from(lineage):
    graph().without_weights().save(RunFolder.model_path(lineage, 0))
    for model_id in (0, 1, 2):
        with pytest.raises(SearchError, match=f"weights of model {model_id} were dropped.*cannot be rebuilt"):
            load_searcher(lineage).load_model_by_id(model_id)


def test_morphs_that_lead_elsewhere(lineage):
    graph().without_weights().save(RunFolder.model_path(lineage, 2))
    with pytest.raises(SearchError, match="cannot be rebuilt"):
        load_searcher(lineage).load_model_by_id(2)
