"""AutoKeras' `ImageClassifier` until a given second, in an environment of its own (`autokeras.txt`).

Everything is left as AutoKeras has it; it has no limit in seconds, so it may try any number of models and an
alarm ends it. Its last step, training the best model again with the validation images, is left out: it would
take as long as the search did for that model.
"""

from __future__ import annotations

import autokeras
import numpy as np
import recorder


def search(
    x: np.ndarray, y: np.ndarray, *, seed: int, seconds: float, folder: str, callback: recorder.BestSoFar
) -> None:
    clf = autokeras.ImageClassifier(
        num_classes=10, max_trials=10_000, seed=seed, directory=folder, overwrite=True
    )
    clf.fit(x, y, callbacks=[callback], verbose=2)


if __name__ == "__main__":
    recorder.main(search, __doc__, ("autokeras", "keras-tuner", "keras", "tensorflow", "numpy"))
