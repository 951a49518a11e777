"""What the peers' searches share: the clock, the best model so far, the JSON. Needs Keras, but not kmorph."""

from __future__ import annotations

import argparse
import json
import platform
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import numpy as np


class TimeIsUp(BaseException):
    """Raised at the limit. Not an `Exception`: tuners count those as failed trials and go on."""


class BestSoFar(keras.callbacks.Callback):
    """Keeps the weights of the epoch with the highest validation accuracy, of all trials; ends the search.

    Parameters
    ----------
    begun, limit : float
        `time.time()` from which seconds are counted, and at which `TimeIsUp` is raised.
    """

    def __init__(self, begun: float, limit: float) -> None:
        super().__init__()
        self.begun, self.limit = begun, limit
        self.trials = self.epochs = 0
        self.validation: list[tuple[float, float]] = []  # after each epoch: seconds, best accuracy so far
        self._best: tuple[float, Any, list[np.ndarray]] | None = None  # accuracy, model, weights

    def __deepcopy__(self, memo: dict) -> BestSoFar:
        # Tuners copy callbacks for every trial; this one watches all of them.
        return self

    def on_train_begin(self, logs: dict | None = None) -> None:
        self.trials += 1

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        if time.time() >= self.limit:
            raise TimeIsUp

    def on_test_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        self.on_train_batch_begin(batch)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self.epochs += 1
        accuracy = float((logs or {})["val_accuracy"])
        if self._best is None or accuracy > self._best[0]:
            self._best = accuracy, self.model, self.model.get_weights()
        self.validation.append((round(time.time() - self.begun, 2), self._best[0]))

    def model_found(self) -> tuple[Any, str | None]:
        """The best model, or None; and what is to be said about it."""
        if self._best is not None:
            _, model, weights = self._best
            model.set_weights(weights)
            return model, None
        model = self.model
        if model is not None and model.built and int(model.optimizer.iterations.numpy()):
            return model, "the limit came within the first epoch; its weights were judged"
        return None, "no training step before the limit"


def main(search: Callable[..., None], description: str | None, packages: Sequence[str]) -> None:
    """Search until the limit, judge the best model found once on the test images, write the JSON.

    Parameters
    ----------
    search : callable (x, y, *, seed, seconds, folder, callback)
        A search that takes its validation images from ``x`` and need not end by itself.
    packages : sequence of str
        Whose versions are noted.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", type=Path, required=True, help=".npz with x, y, x_test, y_test")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--begun", type=float, help="time.time() from which seconds count; now by default")
    parser.add_argument("--out", type=Path, required=True, help="the JSON to write")
    arguments = parser.parse_args()
    begun = time.time() if arguments.begun is None else arguments.begun

    keras.utils.set_random_seed(arguments.seed)
    with np.load(arguments.data) as data:
        x, y, x_test, y_test = (data[name] for name in ("x", "y", "x_test", "y_test"))
    limit = begun + arguments.seconds
    best = BestSoFar(begun, limit)
    with tempfile.TemporaryDirectory() as folder:
        options = {"seed": arguments.seed, "seconds": arguments.seconds, "folder": folder}
        why = until(limit, lambda: search(x, y, callback=best, **options))
        ended = time.time() - begun
    model, remark = best.model_found()
    accuracy = None
    if model is not None:
        found = model.predict(x_test.astype("float32"), batch_size=500, verbose=0)
        accuracy = float(np.mean(found.argmax(axis=1) == y_test))
    result = {
        "test_accuracy": accuracy,
        "seconds": ended,
        "remarks": [text for text in (why, remark) if text],
        "trials": best.trials,
        "epochs": best.epochs,
        "n_parameters": model.count_params() if model is not None else None,
        "validation": best.validation,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
    }
    arguments.out.write_text(json.dumps(result) + "\n")


def until(limit: float, search: Callable[[], None]) -> str | None:
    """Run a search until `BestSoFar` or an alarm says that it is time; say why it ended, if it was not that.

    The alarm is for what is not between batches: building, adapting, saving.
    """

    def ring(*_: object) -> None:
        raise TimeIsUp

    signal.signal(signal.SIGALRM, ring)
    # Repeated, for an exception is lost where none can pass, as in `__del__`.
    signal.setitimer(signal.ITIMER_REAL, max(limit - time.time(), 0.0) + 0.5, 2.0)
    try:
        try:
            search()
            return "the search ended before the limit"
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except TimeIsUp:
        signal.setitimer(signal.ITIMER_REAL, 0)  # it may have rung in the line above
        return None
    except Exception as error:  # what was found until then still counts
        return f"the search failed: {type(error).__name__}: {str(error)[:500]}"
