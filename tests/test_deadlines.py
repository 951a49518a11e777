"""Time limits, in a fresh process and in one whose worker is ready; there is always a usable model."""

import json
import subprocess
import sys

SCRIPT = """
import json, sys, time
from sklearn.datasets import load_digits
from kmorph import ImageClassifier

x, y = load_digits(return_X_y=True)
x = x.reshape(-1, 8, 8)
taken = []
for limit in map(float, sys.argv[1:]):
    clf = ImageClassifier(verbose=False)
    begun = time.time()
    clf.fit(x, y, time_limit=limit)
    taken.append((time.time() - begun, clf.get_best_model_id(), clf.history[0]["epochs"]))
begun = time.time()
clf.final_fit(x, y, time_limit=5)
taken.append((time.time() - begun, clf.get_best_model_id(), clf.history[clf.get_best_model_id()]["epochs"]))
print(json.dumps(taken))
print(clf.evaluate(x, y))
"""


def test_limits_are_kept_cold_and_warm(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, "5", "5", "0.5", "10"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    *_, times, accuracy = done.stdout.splitlines()
    (cold, *_), (warm, *_), (short, *_), (longer, *_), (final, *_) = json.loads(times)
    assert cold < 5 + 15
    assert warm < 5 + 3
    assert longer < 10 + 3
    assert final < 5 + 3
    assert short < 0.5 + 3
    assert float(accuracy) > 0.9
