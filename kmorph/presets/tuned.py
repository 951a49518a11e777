"""Fine-tuned encoders on disk: their weights and the head behind them, in one safetensors file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kmorph.errors import KmorphError, PresetError
from kmorph.files import replace_file
from kmorph.graph import Graph

HEADER_KEY = "kmorph.fine_tuned"


@dataclass(frozen=True)
class Tuned:
    """What fine-tuning made of an encoder and the head behind it.

    Parameters
    ----------
    digest : str
        Of the encoder's preset, whose weights these replace.
    encoder : list of ndarray
        Weights of `Encoder.core`, in Keras' order.
    head : Graph
        With its weights.
    """

    digest: str
    encoder: list[np.ndarray]
    head: Graph

    def save(self, file: Path) -> Path:
        """Write the file, whole or not at all.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        from safetensors.numpy import save

        arrays = {f"encoder/{i}": np.ascontiguousarray(array) for i, array in enumerate(self.encoder)}
        for (layer, name), array in self.head.weights.items():
            arrays[f"head/{layer}/{name}"] = np.ascontiguousarray(array)
        about = {"encoder": self.digest, "head": self.head.to_json()}
        # Not by `save_file`, whose errors do not say that a disk is full.
        content = save(arrays, {HEADER_KEY: json.dumps(about)})
        return replace_file(file, lambda temporary: temporary.write_bytes(content))

    @classmethod
    def load(cls, file: Path) -> Tuned:
        """Read a file that `save` wrote.

        Raises
        ------
        PresetError
            If it is missing or damaged.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(file, framework="numpy") as opened:
                about = json.loads((opened.metadata() or {})[HEADER_KEY])
                arrays = {key: opened.get_tensor(key) for key in opened.keys()}
            count = sum(key.startswith("encoder/") for key in arrays)
            encoder = [arrays.pop(f"encoder/{i}") for i in range(count)]
            head = Graph.from_json(about["head"])
            weights = {}
            for key, array in arrays.items():
                _, layer, name = key.split("/")
                weights[int(layer), name] = array
            return cls(str(about["encoder"]), encoder, head.with_weights(weights))
        except (
            SafetensorError,
            KmorphError,
            OSError,
            ValueError,
            TypeError,
            KeyError,
            RecursionError,
        ) as error:
            raise PresetError(
                f"the fine-tuned encoder in {file} cannot be read ({error}): call fine_tune again, or "
                "remove the file to predict with the frozen encoder"
            ) from error
