"""The header of a GGUF file: the few facts that the engine's settings hang on.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Every length in the file is checked against the
file's size before it is used, so that a damaged file gives an error and never a huge allocation.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path

from pointsman.core.errors import WeightsError

_SCALARS = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d",
}  # fmt: skip
_STRING, _ARRAY = 8, 9
_MAX_PAIRS = 4096
_MAX_KEPT = 1024
"""Elements beyond which an array is walked over, not kept."""

Value = int | float | bool | str | list[int | float | bool | str] | None
"""None stands for an array that was walked over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufFacts:
    """What a model file says of itself."""

    name: str
    architecture: str
    context_length: int
    """Tokens that the model was trained for; 0 when the file does not say."""
    layers: int
    heads: int
    kv_heads: tuple[int, ...]
    """Key-value heads of each layer."""
    key_length: int
    value_length: int
    """Elements of one head's key and value."""
    embedding_length: int
    tokenizer: str | None
    chat_template: bool
    file_size: int

    @property
    def cache_bytes_per_token(self) -> int:
        """Bytes of the key-value cache for one token of context, with 16-bit elements."""
        return 2 * sum(self.kv_heads) * (self.key_length + self.value_length)


def read_facts(path: Path) -> GgufFacts:
    """Read the header of a GGUF file, in milliseconds.

    Raises:
        WeightsError: there is no such file, or it is not a whole GGUF header.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            if size < 24:
                raise _damaged(path, "it is shorter than a header")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _facts(_read(data, path), size, path)
    except OSError as error:
        raise WeightsError(
            f"The model file {path} cannot be read: {error.strerror or error}.", code="weights_unreadable"
        ) from None


def _damaged(path: Path, why: str) -> WeightsError:
    return WeightsError(
        f"{path} is not a usable GGUF model: {why}. Delete it; it will be fetched again.", code="weights_corrupt"
    )


def _read(data: mmap.mmap, path: Path) -> dict[str, Value]:
    if data[:4] != b"GGUF":
        raise _damaged(path, "it does not begin with `GGUF`")
    version, tensors, pairs = struct.unpack_from("<IQQ", data, 4)
    if version not in (2, 3):
        raise _damaged(path, f"its format version {version} is unknown")
    if pairs > _MAX_PAIRS or tensors > len(data):
        raise _damaged(path, f"it claims {pairs} metadata entries and {tensors} tensors")
    reader = _Reader(data)
    values: dict[str, Value] = {}
    try:
        for _ in range(pairs):
            key = reader.string()
            values[key] = reader.value(reader.number("<I"))
    except struct.error:
        raise _damaged(path, "its header breaks off") from None
    except ValueError as error:
        raise _damaged(path, str(error)) from None
    return values


class _Reader:
    """Walks over a header. Raises struct.error or ValueError where it is damaged."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._at = 24

    def number(self, form: str) -> int:
        (value,) = struct.unpack_from(form, self._data, self._at)
        self._at += struct.calcsize(form)
        return int(value)

    def string(self) -> str:
        start = self._at + 8
        self._skip_string()
        try:
            return self._data[start : self._at].decode("utf-8")
        except UnicodeDecodeError:
            raise ValueError("a text in its header is not UTF-8") from None

    def value(self, kind: int) -> Value:
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            return self._array()
        form = _SCALARS.get(kind)
        if form is None:
            raise ValueError(f"its header holds a value of the unknown type {kind}")
        scalar: int | float | bool = struct.unpack_from(form, self._data, self._at)[0]
        self._at += struct.calcsize(form)
        return scalar

    def _array(self) -> Value:
        kind, count = self.number("<I"), self.number("<Q")
        if kind == _ARRAY:
            raise ValueError("its header nests arrays")
        least = 8 if kind == _STRING else struct.calcsize(_SCALARS.get(kind, "<B"))
        if count * least > len(self._data) - self._at:
            raise ValueError(f"its header claims an array of {count} elements, more than the file can hold")
        if count <= _MAX_KEPT:
            return [item for item in (self.value(kind) for _ in range(count)) if not isinstance(item, list | None)]
        if kind == _STRING:
            self._skip_strings(count)
        elif kind in _SCALARS:
            self._at += count * least
        else:
            raise ValueError(f"its header holds an array of the unknown type {kind}")
        return None

    def _skip_string(self) -> None:
        (length,) = struct.unpack_from("<Q", self._data, self._at)
        end = self._at + 8 + length
        if end > len(self._data):
            raise ValueError(f"its header claims a text of {length} bytes, more than the file can hold")
        self._at = end

    def _skip_strings(self, count: int) -> None:
        data, at, size = self._data, self._at, len(self._data)
        unpack = struct.Struct("<Q").unpack_from
        for _ in range(count):
            at += 8 + unpack(data, at)[0]
            if at > size:
                raise ValueError("its header claims a text longer than the file")
        self._at = at


def _facts(values: dict[str, Value], size: int, path: Path) -> GgufFacts:
    architecture = _text(values, "general.architecture")
    if architecture is None:
        raise _damaged(path, "it does not name its architecture")

    def count(key: str) -> int:
        value = values.get(f"{architecture}.{key}")
        return value if isinstance(value, int) and value > 0 else 0

    layers, heads, width = count("block_count"), count("attention.head_count"), count("embedding_length")
    if not layers or not width:
        raise _damaged(path, "it does not say how many layers it has and how wide they are")
    head = width // heads if heads else width
    per_layer = values.get(f"{architecture}.attention.head_count_kv")
    if isinstance(per_layer, list):
        kv_heads = tuple(item for item in per_layer if isinstance(item, int))
    else:
        kv_heads = (count("attention.head_count_kv") or heads or 1,) * layers
    return GgufFacts(
        name=_text(values, "general.name") or path.stem,
        architecture=architecture,
        context_length=count("context_length"),
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        key_length=count("attention.key_length") or head,
        value_length=count("attention.value_length") or head,
        embedding_length=width,
        tokenizer=_text(values, "tokenizer.ggml.model"),
        chat_template=_text(values, "tokenizer.chat_template") is not None,
        file_size=size,
    )


def _text(values: dict[str, Value], key: str) -> str | None:
    value = values.get(key)
    return value if isinstance(value, str) else None
