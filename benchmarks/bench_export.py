"""What an exported model costs where it runs: size, loading, and latency at batches of 1 and 32, by format.

The network of a digits search of ``--search`` seconds, as the demo makes one, and a cnn of the width that a
search of a quarter of an hour on Fashion-MNIST arrives at (with initial weights, on which speed does not
depend); or saved graphs, ``--graph FILE``. Latency is from NumPy to NumPy, in one process, the formats taking
turns; medians. The baseline is a call of a ``tf.function`` of the Keras model. Loading is timed as a whole
process that loads the model and gives one answer, from start to end. All runtimes have one thread.

    taskset -c 1 python benchmarks/bench_export.py [--rounds 200] [--search 30] [--graph FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import runpy
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from _report import about_this_run

RESULTS = Path(__file__).parent / "results" / "export.json"
BATCHES = (1, 32)
WARM = 5
LOADS = 3
MEASURED = 200  # examples of which int8 measures ranges
Run = Callable[[np.ndarray], np.ndarray]


def run_keras(path: Path) -> Run:
    import keras
    import tensorflow as tf

    _one_thread(tf)
    model = keras.models.load_model(path)
    call = tf.function(lambda x: model(x, training=False))
    return lambda x: call(tf.constant(x)).numpy()


def run_saved_model(path: Path) -> Run:
    import tensorflow as tf

    _one_thread(tf)
    loaded = tf.saved_model.load(str(path))
    serve = loaded.signatures["serving_default"]
    (name,) = serve.structured_input_signature[1]
    # Without `loaded` its variables are gone.
    return lambda x, loaded=loaded: serve(**{name: tf.constant(x)})["scores"].numpy()


def run_onnx(path: Path) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: session.run(["scores"], {name: x})[0]


def run_litert(path: Path) -> Run:
    from ai_edge_litert.interpreter import Interpreter

    signature = Interpreter(model_path=str(path), num_threads=1).get_signature_runner("serving_default")
    (name,) = signature.get_input_details()
    return lambda x: signature(**{name: x})["scores"]


def run_model_py(path: Path) -> Run:
    import torch

    torch.set_num_threads(1)
    return _torch_run(runpy.run_path(str(path / "model.py"))["load"]())


def run_pt2(path: Path) -> Run:
    import torch

    torch.set_num_threads(1)
    return _torch_run(torch.export.load(path / "model.pt2").module())


def _torch_run(model) -> Run:
    import torch

    def run(x: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return model(torch.from_numpy(x)).numpy()

    return run


def _one_thread(tf) -> None:
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


FORMATS: dict[str, tuple[str, str, Callable[[Path], Run]]] = {
    "keras, compiled": ("keras", "model.keras", run_keras),
    "saved_model": ("saved_model", "saved", run_saved_model),
    "onnx": ("onnx", "model.onnx", run_onnx),
    "litert": ("litert", "model.tflite", run_litert),
    "litert, int8 weights": ("litert", "weights.tflite", run_litert),
    "litert, int8 arithmetic": ("litert", "bytes.tflite", run_litert),
    "torch, model.py": ("torch", "torch", run_model_py),
    "torch, model.pt2": ("torch", "torch", run_pt2),
}
"""Format, file and runtime, by the name in the table."""
BASELINE = "keras, compiled"


def exported(graph, examples: np.ndarray, folder: Path) -> dict[str, Path]:
    """All formats in a folder, by their names in the table."""
    from kmorph.export import export

    names = [str(i) for i in range(graph.output_shape[0])]
    options = {
        "litert, int8 weights": {"int8": True},
        "litert, int8 arithmetic": {"int8": True, "examples": examples},
    }
    paths: dict[str, Path] = {}
    for name, (format, file, _) in FORMATS.items():
        same = [paths[other] for other in paths if FORMATS[other][1] == file]
        paths[name] = (
            same[0] if same else export(graph, names, folder / file, format, **options.get(name, {}))
        )
    return paths


def size_of(name: str, path: Path) -> int:
    """Bytes of what is needed to run it."""
    if name == "torch, model.py":
        return sum((path / file).stat().st_size for file in ("model.py", "model.safetensors"))
    if name == "torch, model.pt2":
        return (path / "model.pt2").stat().st_size
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def seconds_of_one_answer(name: str, path: Path, shape: tuple[int, ...]) -> float:
    """Median over fresh processes; the first one, which fills the disk's cache, does not count."""
    command = [sys.executable, __file__, "--load", name, str(path), json.dumps(shape)]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    found = []
    for _ in range(LOADS + 1):
        begun = time.perf_counter()
        subprocess.run(command, capture_output=True, check=True, env=environment)
        found.append(time.perf_counter() - begun)
    return float(np.median(found[1:]))


def load(name: str, path: str, shape: str) -> None:
    FORMATS[name][2](Path(path))(np.zeros((1, *json.loads(shape)), np.float32))


def latencies(paths: dict[str, Path], x: np.ndarray, rounds: int) -> dict[str, float]:
    """Median seconds of a call, the formats taking turns."""
    runs = {name: FORMATS[name][2](path) for name, path in paths.items()}
    expected = runs[BASELINE](x)
    for name, run in runs.items():
        for _ in range(WARM):
            found = run(x)
        if "int8" not in name:
            np.testing.assert_allclose(found, expected, atol=1e-4)
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            begun = time.perf_counter()
            run(x)
            taken[name].append(time.perf_counter() - begun)
    return {name: float(np.median(seconds)) for name, seconds in taken.items()}


def measure(graph, rounds: int, folder: Path) -> dict:
    shape = graph.input_shape
    x = np.random.default_rng(0).integers(0, 17 if shape[0] == 8 else 256, (MEASURED, *shape))
    x = x.astype(np.float32)
    paths = exported(graph, x, folder)
    calls = {batch: latencies(paths, x[:batch], rounds) for batch in BATCHES}
    rows = {}
    for name, path in paths.items():
        rows[name] = {"bytes": size_of(name, path), "process": seconds_of_one_answer(name, path, shape)}
        for batch in BATCHES:
            rows[name][f"batch {batch}"] = calls[batch][name]
            rows[name][f"batch {batch}, ratio"] = calls[batch][name] / calls[batch][BASELINE]
    return {"parameters": graph.n_parameters, "layers": len(graph.layers), "formats": rows}


def networks(options: argparse.Namespace, folder: Path) -> dict:
    """Graphs by name."""
    from kmorph import Graph, ImageClassifier, starts
    from kmorph.graph import Normalize

    if options.graph:
        return {file: Graph.load(file) for file in options.graph}
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    digits = ImageClassifier(path=folder / "digits", seed=0, verbose=False)
    digits.fit(x.reshape(-1, 8, 8, 1), y, time_limit=options.search)
    front = [Normalize((72.9,), (8086.0,))]
    wide = starts.cnn((28, 28, 1), 10, width=144, preprocessing=front)
    return {"digits": digits.best_graph, "Fashion-MNIST": wide.initialize(0)}


def print_table(name: str, found: dict) -> None:
    print(f"\n{name}: {found['layers']} layers, {found['parameters']:,} weights\n")
    print(
        "| format | size | process with one answer | batch 1 | | batch 32 | |\n|---|---|---|---|---|---|---|"
    )
    for format, row in found["formats"].items():
        calls = " | ".join(
            f"{1000 * row[f'batch {batch}']:.3g} ms | {row[f'batch {batch}, ratio']:.2f}" for batch in BATCHES
        )
        print(f"| {format} | {row['bytes'] / 1e6:.2f} MB | {row['process']:.2f} s | {calls} |")
    best = min(found["formats"], key=lambda format: found["formats"][format]["batch 1"])
    ratio = found["formats"][best]["batch 1, ratio"]
    print(f"\nBest at batch 1: {best}, {ratio:.2f} of the compiled call (target: at most 0.5)")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--search", type=float, default=30.0, help="seconds of the search on digits")
    parser.add_argument("--graph", nargs="+", help="saved graphs of classifiers, instead of the two networks")
    parser.add_argument("--load", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.load:
        return load(*options.load)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    _one_thread(tf)  # before anything runs
    found = {}
    with tempfile.TemporaryDirectory() as place:
        for number, (name, graph) in enumerate(networks(options, Path(place)).items()):
            found[name] = measure(graph, options.rounds, Path(place) / str(number))
            print_table(name, found[name])
    RESULTS.write_text(json.dumps({**about_this_run(), "rounds": options.rounds, **found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
