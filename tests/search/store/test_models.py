"""The models of a search in memory."""

from search_samples import graph, record

from kmorph.problem.metrics import ACCURACY, LOSS
from kmorph.search.store.models import Models


def read(tmp_path, records, weightless=(), damaged=()):
    def file(model_id):
        return tmp_path / f"{model_id}.safetensors"

    for model in records:
        number = model.model_id
        (graph(number).without_weights() if number in weightless else graph(number)).save(file(number))
        if number in damaged:
            file(number).write_bytes(b"nothing")
    return Models.read(records, file)


def ids(records):
    return [record.model_id for record in records]


def test_all_is_read_without_weights(tmp_path):
    models = read(tmp_path, [record(0), record(1), record(2)])
    assert len(models) == 3 and set(models.structures) == {0, 1, 2} and not models.weightless
    assert not any(structure.has_weights for structure in models.structures.values())
    assert ids(models.lineage(models.records[2])) == [2, 1, 0]
    assert models.best_stable().model_id == 2 and models.best(ACCURACY).model_id == 2


def test_damaged_models_are_not_built_on(tmp_path):
    models = read(tmp_path, [record(0), record(1), record(2)], damaged=[2])
    assert ids(models.records.values()) == [0, 1, 2] and 2 not in models.structures
    assert ids(models.growable()) == [0, 1] and models.best_stable().model_id == 1
    assert models.best(ACCURACY).model_id == 1


def test_models_without_weights_are_compared_but_not_grown(tmp_path):
    models = read(tmp_path, [record(0), record(1), record(2)], weightless=[0, 2])
    assert ids(models.stable()) == [0, 1, 2] and ids(models.growable()) == [1]
    assert models.best_stable().model_id == 1


def test_settled_models_do_not_compare_with_those_that_are_not(tmp_path):
    models = read(tmp_path, [record(0), record(1, phase="decay"), record(2, loss=None, state="untrained")])
    assert ids(models.stable()) == [0]
    only_settled = read(tmp_path, [record(0, phase="decay")])
    assert ids(only_settled.stable()) == [0]


def test_discarded_seconds_count_failures(tmp_path):
    models = read(tmp_path, [record(0), record(1, parent_id=0, loss=2.0), record(2, parent_id=0)])
    models.failed_seconds = 3.0
    assert models.discarded_seconds() == 4.0


def test_no_models():
    models = Models()
    assert len(models) == 0 and models.best(LOSS) is None and models.best_stable() is None
    assert models.discarded_seconds() == 0.0
