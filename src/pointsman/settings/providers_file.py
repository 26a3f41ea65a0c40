"""`providers.yaml`: providers in a file of their own, which a gateway reads again whenever it changes.

    providers:
      - name: lab
        type: openai-compatible
        base_url: https://lab.example/v1
        api_key_env: LAB_API_KEY
        models:
          - {name: coder, deployment: coder-32b-prod, capabilities: [chat, tools], context_window: 32768}

A provider that stands here is as it is written here: nothing of one with its name in `pointsman.yaml` is mixed in, so
that no key goes to another's address.
"""

from __future__ import annotations

import copy
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from pointsman.core.errors import SettingsError

NAME = "providers.yaml"
MOST_BYTES = 1024 * 1024
"""Some ten thousand models; reading takes seconds from there on."""

KEY = "providers_file"


class ProvidersFile(msgspec.Struct, frozen=True, kw_only=True):
    """What was read."""

    path: Path
    entries: Mapping[str, Any]
    """Provider name → its settings, not checked yet."""
    lines: Mapping[str, int]
    """Dotted setting, such as `providers.lab.base_url` → the line on which it stands, from 1 on."""

    def located(self, error: SettingsError) -> SettingsError:
        """The error, with file and line where it is about something in this file."""
        at = re.sub(r"\[(\d+)\]", r".\1", error.key)
        name = at.split(".")[1] if at.startswith("providers.") else None
        if name not in self.entries:
            return error
        while at not in self.lines and "." in at:
            at = at.rpartition(".")[0]
        where = f"{self.path}, line {self.lines[at]}" if at in self.lines else str(self.path)
        return SettingsError(error.key, error.value, f"{error.mend} ({where})")


def read(path: Path) -> ProvidersFile:
    """Read the file; what its settings mean is checked with all others.

    Raises:
        SettingsError: it cannot be read, is no YAML, or is not of the form above.
    """
    text = _text(path)
    import yaml

    from .strict_yaml import StrictLoader

    try:
        loader = StrictLoader(text)
        node = loader.get_single_node()
        tree = loader.construct_document(node) if node is not None else None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
        raise _unusable(path, f"cannot be read: {where}{_unquoted(error.problem or error.context or '')}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise _unusable(path, f"cannot be read: {_unquoted(' '.join(str(error).split()))}") from None
    if not isinstance(tree, dict) or tree.get("providers") is None or node is None:
        raise _unusable(path, "must begin with `providers:` and name some; to have none, write `providers: []`")
    for name in tree:
        if name != "providers":
            raise _unusable(path, f"has a key beside `providers` at its top: {str(name)[:40]!r}")
    return _entries(path, tree["providers"], next(value for key, value in node.value if key.value == "providers"))


def _text(path: Path) -> str:
    try:
        # A pipe in its place would keep the reader waiting for ever.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise _unusable(path, "is no file")
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise _unusable(path, f"cannot be read: {error.strerror or type(error).__name__}") from None
    if len(data) > MOST_BYTES:
        raise _unusable(path, f"is larger than {MOST_BYTES // 1024} KiB")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _unusable(path, f"cannot be read: byte {error.start} is not UTF-8") from None


def _entries(path: Path, listed: Any, node: Any) -> ProvidersFile:
    lines: dict[str, int] = {}
    entries: dict[str, Any] = {}
    if isinstance(listed, dict):
        nodes = {key.value: value for key, value in node.value}
        pairs = [(name, value, nodes.get(name, node)) for name, value in listed.items()]
    elif isinstance(listed, list):
        pairs = []
        for value, below in zip(listed, node.value, strict=True):
            value = dict(value) if isinstance(value, dict) else value  # an anchor may stand for it elsewhere
            name = value.pop("name", None) if isinstance(value, dict) else None
            if name is None:
                line = below.start_mark.line + 1
                raise _unusable(path, f"line {line}: a provider is a mapping with a `name`")
            pairs.append((name, value, below))
    else:
        raise _unusable(path, "`providers` must be a list of providers, each with a name")
    for name, value, below in pairs:
        line = below.start_mark.line + 1
        if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name):
            raise _unusable(path, f"line {line}: a provider's name is made of small letters, digits, - and _")
        if name in entries:
            raise _unusable(path, f"line {line}: the provider {name!r} stands twice")
        if not isinstance(value, dict):
            raise _unusable(path, f"line {line}: the provider {name!r} is no mapping of settings")
        entries[name] = copy.deepcopy(value)  # anchors share what they stand for, and the environment changes some
        _note_lines(below, f"providers.{name}", lines, depth=0)
    return ProvidersFile(path=path, entries=entries, lines=lines)


def _note_lines(node: Any, at: str, lines: dict[str, int], *, depth: int) -> None:
    lines.setdefault(at, node.start_mark.line + 1)
    if depth > 4 or isinstance(node.value, str):
        return
    for index, below in enumerate(node.value):
        if isinstance(below, tuple):
            key, value = below
            lines[f"{at}.{key.value}"] = key.start_mark.line + 1
            _note_lines(value, f"{at}.{key.value}", lines, depth=depth + 1)
        else:
            _note_lines(below, f"{at}.{index}", lines, depth=depth + 1)


def _unusable(path: Path, reason: str) -> SettingsError:
    return SettingsError(KEY, str(path), reason)


def _unquoted(problem: str) -> str:
    """What YAML's reader says, without what it quotes: that may be a part of a key."""
    if problem.endswith("stands twice"):
        return problem
    return re.sub(r"'[^']{2,}'|\"[^\"]{2,}\"", "…", problem)
