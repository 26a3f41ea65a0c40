"""From plain values to typed settings, and errors that name the key, the value and the mend."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec

from pointsman.core.errors import SettingsError

from .schema import Settings
from .section import Secret


def kind_of(path: str) -> Any:
    """The type of the setting at a dotted path."""
    kind: Any = Settings
    for name in path.split("."):
        kind = typing.get_args(kind)[1] if typing.get_origin(kind) is dict else typing.get_type_hints(kind)[name]
    return kind


def _dec_hook(kind: type, value: Any) -> Any:
    if kind is Secret and isinstance(value, str):
        return Secret(value)
    if kind is Path and isinstance(value, str):
        return Path(value).expanduser()
    raise ValueError(f"Expected `{kind.__name__.lower()}`, got `{type(value).__name__}`")


def convert(tree: dict[str, Any]) -> Settings:
    """The settings that a tree of plain values says, unchecked beyond their types. Raises SettingsError."""
    try:
        return msgspec.convert(tree, Settings, dec_hook=_dec_hook)
    except msgspec.ValidationError as error:
        text = str(error)
        found = re.search(r" - at `\$\.?(.*)`$", text)
        key = found.group(1) if found else ""
        reason = text[: found.start()] if found else text
        unknown = re.search(r"unknown field `([^`]+)`", reason)
        if unknown:
            key = f"{key}.{unknown.group(1)}" if key else unknown.group(1)
            named = next(_spelled_out(tree, key), key)
            raise SettingsError(named, _shown(tree, named, of=key), _unknown_key(named)) from None
        named = next((path for path in _spelled_out(tree, key) if not _converts(path, _at(tree, path))), key)
        choices = choices_of(key)
        if reason.startswith("Invalid enum value") and choices:
            raise SettingsError(named, _at(tree, named), f"must be one of {', '.join(choices)}") from None
        raise SettingsError(named, _shown(tree, named, of=key), _in_words(reason)) from None


def _spelled_out(tree: Any, key: str) -> Iterator[str]:
    """Paths that are in the tree and of the form of `key`, where any entry of a mapping is written `[...]`."""
    before, anywhere, after = key.partition("[...]")
    if not anywhere:
        yield key
        return
    entries = _at(tree, before)
    if isinstance(entries, dict):
        for name in entries:
            for path in _spelled_out(tree, f"{before}.{name}{after}"):
                if _at(tree, path) is not None:
                    yield path


def _shown(tree: Any, path: str, *, of: str) -> Any:
    """What an error may show of a value. An entry that the user named may be anything: of those, numbers alone."""
    value = _at(tree, path)
    return value if "[...]" not in of or isinstance(value, int | float) else "…"


def _converts(path: str, value: Any) -> bool:
    try:
        msgspec.convert(value, kind_of(path), dec_hook=_dec_hook)
    except (msgspec.ValidationError, KeyError, TypeError, IndexError):
        return False
    return True


_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "nothing",
    "path": "a path",
    "secret": "text",
}
"""The decoder's names of kinds, as somebody who writes settings would say them."""


def _in_words(reason: str) -> str:
    """What the decoder says, without its terms."""

    def kinds(found: re.Match[str]) -> str:
        words = [_KINDS.get(name, name) for name in found.group(1).split(" | ")]
        return " or ".join(dict.fromkeys(words))

    return re.sub("`([^`]*)`", kinds, reason.replace("Expected", "must be").replace(", got ", ", and is "))


def choices_of(key: str) -> list[str]:
    """The words that a setting may be, when it may only be certain words."""
    try:
        kind = kind_of(key.replace("[...]", ".any"))
    except (KeyError, TypeError, IndexError):
        return []
    kinds = typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else (kind,)
    return [str(word) for kind in kinds if typing.get_origin(kind) is Literal for word in typing.get_args(kind)]


def _unknown_key(key: str) -> str:
    import difflib

    *parents, last = key.replace("[...]", ".any").split(".")
    try:
        known = list(typing.get_type_hints(kind_of(".".join(parents)) if parents else Settings))
    except (KeyError, TypeError):
        known = []
    close = difflib.get_close_matches(last, known, n=1)
    return f"there is no such setting; did you mean {close[0]}?" if close else "there is no such setting"


def _at(tree: Any, key: str) -> Any:
    """The value at a dotted path, masked where it looks like a secret."""
    if re.search("key|secret|token|password", key.rsplit(".", 1)[-1], re.IGNORECASE):
        return "…"
    for name in filter(None, re.split(r"[.\[\]]+", key)):
        if isinstance(tree, dict):
            tree = tree.get(name)
        elif isinstance(tree, list) and name.isdigit() and int(name) < len(tree):
            tree = tree[int(name)]
        else:
            return None
    return tree
