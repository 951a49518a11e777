"""PyTorch: a class as source with its weights, and the same model by ``torch.export``."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from kmorph._version import __version__
from kmorph.errors import ExportError
from kmorph.export.compare import check_equal, outputs_of, samples
from kmorph.export.numbers_only import NumbersOnly
from kmorph.export.text_core import TEXT_FILES, write_text_core
from kmorph.export.torch_source import TorchModel, torch_model
from kmorph.export.views import Views
from kmorph.export.wrap import checked_target
from kmorph.files import UserPath, user_path
from kmorph.graph import Graph
from kmorph.graph.torch_bridge import module_of, require_torch
from kmorph.problem import Input, Target

FILES = ("model.py", "model.safetensors", "model.pt2", "model.json")
PRODUCER = "kmorph "
TRACED = 2  # a batch of 1 would be taken for a constant


def write_torch(
    graph: Graph,
    classes: Sequence[str] | Target,
    target: UserPath,
    views: Views | None = None,
    input: Input | None = None,
) -> Path:
    """Write a network as a folder that PyTorch opens where neither kmorph nor Keras is installed.

    - ``model.py``: readable classes of standard layers, and ``load()``, which gives the model with weights;
    - ``model.safetensors``: weights and constants;
    - ``model.pt2``: the same model by ``torch.export``, for any number of examples, float32;
    - ``model.json``: shapes, and the labels in the order of the scores, which ``model.labels`` has too.

    The model takes what the estimator takes, raw and channels last, ``(n, *input_shape)``, bytes or floats;
    images with channels first need ``images.permute(0, 2, 3, 1)``. Normalisation is inside, and so is the
    mean over views. It returns scores, or numbers in the user's units. ``model.network`` gives the logits, to
    train on with.

    PyTorch has no texts. For these the model takes numbers of entries, and two more files make them:
    ``vocabulary.json``, and ``encode_texts.py``, which needs NumPy alone.

    The folder is written beside its place, opened there by PyTorch as users open it, compared with the Keras
    model on random examples, and then moved. An earlier export in its place is replaced; a folder with other
    files in it is left alone.

    Parameters
    ----------
    graph : Graph
        With weights; its output node is logits, or standardised numbers.
    classes : sequence of str, or Target
        Name of each class, in the order of the logits; or what turns outputs into scores.
    target : path
        Folder to write; the folder above is made if need be.
    views : Views, optional
        Over which outputs are averaged.
    input : Input, optional
        Reads examples as users have them, where these are no arrays.

    Returns
    -------
    Path
        The folder written.

    Raises
    ------
    ExportError
        If PyTorch is not installed, has no counterpart for a layer (which is named), the target is a file or
        holds something else or cannot be written, the graph cannot be exported, or PyTorch computes
        something else.
    """
    folder = user_path(target, ExportError)
    try:
        _check_place(folder)
    except OSError as error:
        raise _unwritable(folder, error) from error
    predicted = checked_target(graph, classes)
    whole = NumbersOnly.of(graph, input)
    examples = samples(graph, input)
    expected, _ = outputs_of(graph, predicted, views, input, examples)
    torch = require_torch()
    _check_triton()
    with torch.device("cpu"):
        model = torch_model(whole.graph, predicted, views, input)
        contents = _contents(model, whole.graph, predicted)
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as place:
                written = Path(place) / "new"
                written.mkdir()
                for name, content in contents.items():
                    (written / name).write_bytes(content)
                if whole.texts is not None:
                    write_text_core(written, whole.texts)
                _compare(written, whole.arrays(examples), expected)
                _replace(written, folder)
        except OSError as error:
            raise _unwritable(folder, error) from error
    return folder


def _check_triton() -> None:
    """Refuse where PyTorch's export would end the process, because TensorFlow came before Triton.

    kmorph imports them the other way round (`kmorph.training.backend`); a user's program may not.
    """
    if "tensorflow" not in sys.modules or "triton" in sys.modules or find_spec("triton") is None:
        return
    tried = subprocess.run([sys.executable, "-c", "import tensorflow, triton"], capture_output=True)
    if tried.returncode:
        raise ExportError(
            "PyTorch's export imports Triton, which ends this process because TensorFlow was imported before "
            "it: write `import triton` in front of `import tensorflow` in your program"
        )


def _unwritable(folder: Path, error: OSError) -> ExportError:
    return ExportError(f"cannot write to {folder}: {error.strerror or error}; choose another place")


def _check_place(folder: Path) -> None:
    """Refuse files, and folders that are neither empty nor an earlier export."""
    if folder.is_dir():
        found = {child.name for child in folder.iterdir()}
        others = sorted(found - {*FILES, *TEXT_FILES, "__pycache__"} if _is_export(folder) else found)
        if others:
            raise ExportError(
                f"cannot write to {folder}: it holds other files, such as {others[0]!r}; name a new folder"
            )
    elif folder.exists():
        raise ExportError(f"cannot write to {folder}: it is a file; name a folder")


def _is_export(folder: Path) -> bool:
    try:
        return str(json.loads((folder / "model.json").read_bytes())["producer"]).startswith(PRODUCER)
    except (OSError, ValueError, LookupError, TypeError):
        return False


def _contents(model: TorchModel, graph: Graph, target: Target) -> dict[str, bytes]:
    """The files by their names."""
    import torch
    from safetensors.torch import save

    module = module_of(model.source, "Model", model.state).eval()
    about: dict[str, Any] = {
        "producer": f"{PRODUCER}{__version__}",
        "input": {"shape": ["n", *graph.input_shape], "channels": "last", "dtype_of_pt2": "float32"},
        "output": {"name": "values" if target.is_numeric else "scores", "shape": ["n", len(target.names)]},
    }
    if not target.is_numeric:
        about["labels"] = target.names
    description = json.dumps(about, indent=1)
    traced = torch.export.export(
        module, (torch.zeros(TRACED, *graph.input_shape),), dynamic_shapes=({0: torch.export.Dim("n")},)
    )
    buffer = io.BytesIO()  # PyTorch reports a full disk as no OSError
    torch.export.save(traced, buffer, extra_files={"model.json": description})
    return {
        "model.py": model.file.encode(),
        "model.safetensors": save(module.state_dict(), metadata={"format": "pt"}),
        "model.pt2": buffer.getvalue(),
        "model.json": description.encode(),
    }


def _compare(folder: Path, x: np.ndarray, expected: np.ndarray) -> None:
    """Open the files as users do, and compare what they compute.

    Raises
    ------
    ExportError
        If it is something else than `expected`.
    """
    import torch

    file = folder / "model.py"
    names: dict[str, Any] = {"__name__": "model", "__file__": str(file)}
    exec(compile(file.read_text("utf-8"), str(file), "exec"), names)
    models = {"model.py": names["load"](), "model.pt2": torch.export.load(folder / "model.pt2").module()}
    for name, model in models.items():
        with torch.no_grad():
            check_equal(expected, model(torch.from_numpy(x)).numpy(), f"{name}, run by PyTorch,")


def _replace(new: Path, folder: Path) -> None:
    """Move a folder to its place; what is there goes into the temporary folder, to be removed with it."""
    if not folder.exists():
        os.rename(new, folder)
        return
    earlier = new.with_name("earlier")
    os.rename(folder, earlier)
    try:
        os.rename(new, folder)
    except OSError:
        os.rename(earlier, folder)
        raise
