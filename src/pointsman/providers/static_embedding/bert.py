"""A small BERT encoder in NumPy: as much of it as distilling a table takes. Loaded by nothing that serves."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


class Bert:
    """A sentence encoder of BERT's shape with mean pooling, such as all-MiniLM-L6-v2.

    Args:
        folder: holds `model.safetensors`, `config.json` and `vocab.txt`.
    """

    def __init__(self, folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        self._heads = int(config["num_attention_heads"])
        self._layers = int(config["num_hidden_layers"])
        self._epsilon = float(config["layer_norm_eps"])
        self.vocabulary = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")[: int(config["vocab_size"])]
        self._weights = _read(folder / "model.safetensors")
        self._first, self._last = self.vocabulary.index("[CLS]"), self.vocabulary.index("[SEP]")
        self.width = int(config["hidden_size"])

    def __call__(self, pieces: Sequence[Sequence[int]]) -> Array:
        """The mean of the last layer over each text's positions; texts must have equally many pieces.

        Returns:
            float32, (texts, hidden size), not normalised.
        """
        ids = np.array([[self._first, *found, self._last] for found in pieces])
        hidden = (
            self._weights["embeddings.word_embeddings.weight"][ids]
            + self._weights["embeddings.position_embeddings.weight"][: ids.shape[1]]
            + self._weights["embeddings.token_type_embeddings.weight"][0]
        )
        hidden = self._norm(hidden, "embeddings.LayerNorm")
        for layer in range(self._layers):
            hidden = self._layer(hidden, f"encoder.layer.{layer}")
        mean: Array = hidden.mean(axis=1)
        return mean

    def _layer(self, hidden: Array, at: str) -> Array:
        texts, positions, width = hidden.shape
        shape = (texts, positions, self._heads, width // self._heads)
        query, key, value = (
            self._dense(hidden, f"{at}.attention.self.{name}").reshape(shape).transpose(0, 2, 1, 3)
            for name in ("query", "key", "value")
        )
        scores = query @ key.transpose(0, 1, 3, 2) / np.float32(math.sqrt(width // self._heads))
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        scores /= scores.sum(axis=-1, keepdims=True)
        mixed = (scores @ value).transpose(0, 2, 1, 3).reshape(texts, positions, width)
        hidden = self._norm(
            hidden + self._dense(mixed, f"{at}.attention.output.dense"), f"{at}.attention.output.LayerNorm"
        )
        inner = self._dense(hidden, f"{at}.intermediate.dense")
        inner = inner * np.float32(0.5) * (1 + _erf(inner / np.float32(math.sqrt(2))))
        return self._norm(hidden + self._dense(inner, f"{at}.output.dense"), f"{at}.output.LayerNorm")

    def _dense(self, hidden: Array, at: str) -> Array:
        # one product of two matrices: over three axes NumPy makes one for each text
        flat = hidden.reshape(-1, hidden.shape[-1]) @ self._weights[f"{at}.weight"].T + self._weights[f"{at}.bias"]
        made: Array = flat.reshape(*hidden.shape[:-1], -1)
        return made

    def _norm(self, hidden: Array, at: str) -> Array:
        centred = hidden - hidden.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + np.float32(self._epsilon))
        made: Array = scaled * self._weights[f"{at}.weight"] + self._weights[f"{at}.bias"]
        return made


def _erf(x: Array) -> Array:
    """The error function to 1.5e-7: Abramowitz and Stegun, formula 7.1.26."""
    t = 1 / (1 + np.float32(0.3275911) * np.abs(x))
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    made: Array = (np.sign(x) * (1 - series * np.exp(-(x**2)))).astype(np.float32)
    return made


def _read(path: Path) -> dict[str, Array]:
    """The float32 tensors of a safetensors file: 8 bytes of length, a JSON header, the values."""
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    tensors = {}
    for name, told in json.loads(raw[8 : 8 + size]).items():
        if name != "__metadata__" and told["dtype"] == "F32":
            start, end = (8 + size + offset for offset in told["data_offsets"])
            tensors[name.removeprefix("bert.")] = np.frombuffer(raw[start:end], dtype="<f4").reshape(told["shape"])
    return tensors
