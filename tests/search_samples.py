"""Search folders with small models, made without training."""

from kmorph import starts
from kmorph.search.store.folder import RunFolder
from kmorph.search.store.history import History
from kmorph.search.store.record import FailureRecord, ModelRecord


def record(model_id, **changes):
    """The record of a model that was trained, better than those before it."""
    loss = changes.pop("loss", 1.0 / (1 + model_id))
    accuracy = changes.pop("accuracy", 0.5)
    values = {
        "model_id": model_id,
        "parent_id": model_id - 1 if model_id else None,
        "state": "done",
        "loss": loss,
        "metric_value": accuracy,
        "metrics": {} if loss is None else {"accuracy": accuracy, "loss": loss},
        "seconds": 1.0,
        "hyperparameters": {"learning_rate": 0.1},
    }
    return ModelRecord(**{**values, **changes})


def graph(seed=0):
    return starts.mlp((4,), 3, width=4).initialize(seed)


def make_search(path, models=2, seed=0, records=None, failures=(), resume=False, **meta):
    """Write a search; returns its folder. The weights of model i come from `seed` + i."""
    meta = {"objective": "accuracy", "seed": seed, "labels": ["a", "b", "c"], "input_shape": [4], **meta}
    with RunFolder.open(path, resume) as folder, History.create(folder.database, meta) as history:
        for model in records or [record(model_id) for model_id in range(models)]:
            graph(seed + model.model_id).save(folder.model_file(model.model_id))
            history.add(model)
        for reason in failures:
            history.add_failure(FailureRecord(parent_id=0, reason=reason, seconds=1.0))
    return folder.path
