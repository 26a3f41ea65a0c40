"""The stage's data files, read once."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import Any

import re2


@cache
def table(name: str) -> dict[str, Any]:
    """The table in `name`.toml beside this file."""
    return tomllib.loads(resources.files(__package__).joinpath(f"{name}.toml").read_text(encoding="utf-8"))


def words() -> dict[str, Any]:
    return table("words")


def any_of(name: str, key: str, form: str = "{}") -> Any:
    """An RE2 expression that finds any of the patterns of a list in a table.

    Args:
        form: what stands around the alternatives; `{}` is their place.
    """
    options = re2.Options()
    options.log_errors = False
    return re2.compile(form.replace("{}", "|".join(table(name)[key])), options)
