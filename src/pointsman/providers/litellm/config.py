"""What LiteLLM's proxy offers: the shipped `config.yaml` as far as its variables are set, or a file of the owner."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from pointsman.core.errors import SettingsError

SHIPPED = Path(__file__).with_name("config.yaml")
_NAMED = re.compile(r"os\.environ/([A-Za-z_][A-Za-z0-9_]*)")

Lookup = Callable[[str], str | None]
"""The value of an environment variable, None where it is not set."""


class Offer(NamedTuple):
    """A configuration ready to be written, and the secrets that go with it."""

    text: str
    variables: dict[str, str]
    names: tuple[str, ...]
    """What it offers, for people."""


def offered(lookup: Lookup, own: Path | None = None) -> Offer:
    """The shipped configuration less the entries whose variables are not set; or `own`, as it is.

    Raises:
        SettingsError: nothing would be offered, or the file of the owner cannot be read.
    """
    known = _read(SHIPPED)["model_list"]
    if own is not None:
        return _of_owner(own, lookup, [name for entry in known for name in _named_by(entry)])
    found = [entry for entry in known if any(all(map(lookup, names)) for names in entry["model_info"]["needs"])]
    if not found:
        one_each = ", ".join(" with ".join(entry["model_info"]["needs"][0]) for entry in known[:5])
        raise SettingsError(
            "litellm.config",
            None,
            f"is not set, and no provider's variables are: set those of one ({one_each}, …), or name a LiteLLM"
            " configuration of your own with --config FILE",
        )
    import yaml

    variables = _values([name for entry in found for name in _named_by(entry)], lookup)
    tree = {
        **_read(SHIPPED),
        "model_list": [{key: value for key, value in entry.items() if key != "model_info"} for entry in found],
    }
    return Offer(yaml.safe_dump(tree, sort_keys=False), variables, tuple(entry["model_name"] for entry in found))


def _of_owner(path: Path, lookup: Lookup, known: list[str]) -> Offer:
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        entries = yaml.safe_load(text)["model_list"]
        names = tuple(str(entry["model_name"]) for entry in entries)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError("litellm.config", str(path), f"cannot be read: {error}") from None
    except (yaml.YAMLError, KeyError, TypeError):
        raise SettingsError(
            "litellm.config", str(path), "is no configuration of LiteLLM: it must be YAML with a `model_list`"
        ) from None
    return Offer(text, _values([*_NAMED.findall(text), *known], lookup), names)


def _named_by(entry: dict[str, Any]) -> list[str]:
    info = entry["model_info"]
    return [*(name for names in info["needs"] for name in names), *info.get("also", ())]


def _values(names: list[str], lookup: Lookup) -> dict[str, str]:
    return {name: value for name in names if (value := lookup(name))}


def _read(path: Path) -> Any:
    import yaml

    return yaml.safe_load(path.read_text(encoding="utf-8"))
