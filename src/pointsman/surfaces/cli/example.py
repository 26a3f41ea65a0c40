"""The example settings file, written from `settings.py` itself: every setting, its default and its docstring."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any

import msgspec

from pointsman import settings as source

HEAD = """\
## The settings of Pointsman. A line with one `#` shows a default. To change it, take the `#` away, and the one
## before the name of its section. Stronger than this file: the command line, then the environment, by the names at
## the ends of the lines. `pointsman config show` tells where each value comes from, `pointsman doctor` what works.
"""

FOLDERS = {"data_dir": "~/.local/share/pointsman", "cache_dir": "~/.cache/pointsman"}
"""Defaults that differ from machine to machine are shown as on Linux."""

PROVIDERS = """\
#providers:
#  openai:
#    api_key: sk-...
#  ollama:
#    base_url: http://127.0.0.1:11434
#    local: true
#  workstation:
#    type: openai
#    base_url: http://127.0.0.1:9000/v1
#    local: true
#    models: [qwen2.5-coder-32b]
"""

WIDTH = 118


def example() -> str:
    """The text of the example file."""
    parts = [HEAD]
    defaults = source.Settings()
    for field in msgspec.structs.fields(source.Settings):
        value = getattr(defaults, field.name)
        if field.name == "providers":
            parts.append(_providers())
        elif isinstance(value, source.Section):
            about = inspect.getdoc(type(value)) or ""
            parts.append("\n".join([*_comment(about), f"#{field.name}:", *_fields(value)]) + "\n")
        else:
            parts.append("\n".join(_field(source.Settings, field.name, value, "")) + "\n")
    return "\n".join(parts)


def _fields(section: source.Section, indent: str = "  ") -> Iterator[str]:
    for field in msgspec.structs.fields(type(section)):
        value = getattr(section, field.name)
        if isinstance(value, source.Section):
            about = _docs(type(section)).get(field.name) or inspect.getdoc(type(value)) or ""
            yield from (*_comment(about, indent), f"#{indent}{field.name}:")
            yield from _fields(value, f"{indent}  ")
        else:
            yield from _field(type(section), field.name, value, indent)


def _field(owner: type, name: str, value: Any, indent: str) -> list[str]:
    text = FOLDERS.get(name) or _yaml(value)
    lines = _comment(_docs(owner).get(name, ""), indent)
    names = [env for env, path in source.ENVIRONMENT if path.rsplit(".", 1)[-1] == name and _owns(owner, path)]
    suffix = f"    # {', '.join(names)}" if names else ""
    return [*lines, f"#{indent}{name}: {text}{suffix}"]


def _owns(owner: type, path: str) -> bool:
    """Whether a dotted path names a setting of this section."""
    *parents, _ = path.split(".")
    kind: Any = source.Settings()
    for parent in parents:
        kind = getattr(kind, parent, None)
    return type(kind) is owner


def _providers() -> str:
    about = inspect.getdoc(source.ProviderSettings) or ""
    lines = [*_comment(about), PROVIDERS.rstrip("\n")]
    lines.append("#  name-of-yours:    # every setting of a provider, with its default")
    section = source.ProviderSettings()
    for field in msgspec.structs.fields(source.ProviderSettings):
        lines += _field(source.ProviderSettings, field.name, getattr(section, field.name), "    ")
    names = [env for env, path in source.ENVIRONMENT if path.startswith("providers.")]
    lines += _comment(f"From the environment: {', '.join(names)}.")
    return "\n".join(lines) + "\n"


def _comment(text: str, indent: str = "") -> list[str]:
    return [f"##{indent or ' '}{line}" for line in textwrap.wrap(text.replace("\n", " "), WIDTH - len(indent))]


def _yaml(value: Any) -> str:
    """A default in YAML, on one line."""
    import yaml

    dumped: str = yaml.safe_dump(msgspec.to_builtins(value), default_flow_style=True, width=10_000)
    return dumped.removesuffix("\n").removesuffix("\n...")


@cache
def _docs(owner: type) -> dict[str, str]:
    """The docstring below each attribute of a settings class."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(owner)))
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    return {
        before.target.id: inspect.cleandoc(after.value.value)
        for before, after in pairwise(body)
        if isinstance(before, ast.AnnAssign)
        and isinstance(before.target, ast.Name)
        and isinstance(after, ast.Expr)
        and isinstance(after.value, ast.Constant)
        and isinstance(after.value.value, str)
    }
