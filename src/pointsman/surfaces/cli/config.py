"""`pointsman config`: the settings that are in force, where each comes from, and an example file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .invocation import Invocation, with_invocation
from .lazy import Group
from .output import console, print_json, table

if TYPE_CHECKING:
    from pointsman.core.ports import Provider
    from pointsman.settings import Settings


@click.group(cls=Group)
def config() -> None:
    """Show the settings, where they come from, and an example file."""


@config.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@with_invocation
def show(invocation: Invocation, as_json: bool) -> None:
    """Every setting in force, with its source. Secrets are masked."""
    from pointsman import settings
    from pointsman.settings.shown import flatten

    file = settings.config_path(invocation.config)
    loaded = invocation.settings()
    unset = settings.Settings(providers={name: settings.ProviderSettings() for name in loaded.providers})
    defaults = dict(flatten(unset))
    beside = settings.providers_path(loaded, invocation.config)
    own = settings.read_providers(beside).entries if beside else {}
    tree = read_tree(file)
    if isinstance(tree.get("providers"), Mapping):
        tree["providers"] = {name: value for name, value in tree["providers"].items() if name not in own}
    filed, provided = dict(_flat_tree(tree)), dict(_flat_tree(own, "providers."))
    rows = []
    for key, value in flatten(loaded):
        source = "default"
        names = [name for name, path in settings.ENVIRONMENT if path == key]
        if key in filed and (not names or _same(filed[key], value)):
            source = "file"
        elif key in provided and (not names or _same(provided[key], value)):
            source = settings.PROVIDERS_NAME
        elif key in filed or key in provided or defaults[key] != value:
            source = f"environment ({', '.join(names)})" if names else "environment"
        rows.append({"setting": key, "value": value, "source": source})
    if as_json:
        files = {"file": str(file) if file else None, "providers_file": str(beside) if beside else None}
        print_json({**files, "settings": rows})
        return
    out = console()
    out.print(f"Settings file: {file or 'none; `pointsman config example > pointsman.yaml` makes one'}")
    out.print(f"Providers file: {beside or 'none'}\n")
    out.print(table(("Setting", "Value", "Source"), [(r["setting"], _text(r["value"]), r["source"]) for r in rows]))


@config.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@with_invocation
def check(invocation: Invocation, as_json: bool) -> None:
    """Read the settings as a start would. Fails with the first thing that is wrong, and how to mend it. Variables of
    the environment that no setting has the name of are told beside.
    """
    from pointsman import settings

    loaded = invocation.settings()
    files = [settings.config_path(invocation.config), settings.providers_path(loaded, invocation.config)]
    names = [provider.name for provider in _built(loaded)]
    unknown = settings.unknown_environment()
    if as_json:
        told = [str(file) for file in files if file is not None]
        print_json({"files": told, "providers": names, "unknown_environment": unknown})
        return
    if unknown:
        click.echo(f"No setting has the name of a variable that is set: {', '.join(unknown)}.", err=True)
    count = len(names)
    read = " and ".join(str(file) for file in files if file is not None) or "no file, defaults and environment"
    click.echo(f"Nothing is wrong ({read}; {count} provider{'' if count == 1 else 's'}).")


def _built(loaded: Settings) -> Sequence[Provider]:
    """Every upstream, built as a start would, and not asked; the addresses of the shared stores are read too. Raises
    SettingsError."""
    import importlib

    from pointsman.transport.pool import Pool

    # The composition stands above this layer; it is looked up by name, as the commands are.
    importlib.import_module("pointsman.app.stores").check_database(loaded)
    importlib.import_module("pointsman.app.state").build_state(loaded)
    found: Sequence[Provider] = importlib.import_module("pointsman.app").build_providers(loaded, Pool())
    return found


@config.command()
def example() -> None:
    """A commented pointsman.yaml with every setting and its default."""
    from .example import example as text

    click.echo(text(), nl=False)


@config.command()
@with_invocation
def path(invocation: Invocation) -> None:
    """The settings file that is read. Fails when there is none."""
    from pointsman.settings import config_path

    found = config_path(invocation.config)
    if found is None:
        raise click.ClickException("No settings file is read. `pointsman config example > pointsman.yaml` makes one.")
    click.echo(found.absolute())


def read_tree(file: Path | None) -> dict[str, Any]:
    """The settings file as plain values; it was read without error before."""
    if file is None:
        return {}
    import yaml

    tree = yaml.safe_load(file.read_text(encoding="utf-8"))
    return tree if isinstance(tree, dict) else {}


def _flat_tree(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        yield f"{prefix}{name}", value
        if isinstance(value, Mapping):
            yield from _flat_tree(value, f"{prefix}{name}.")


def _same(filed: Any, value: Any) -> bool:
    """Whether a value of the file is the one in force; a masked one cannot be told from another."""
    from pointsman.settings.checks import shown_address
    from pointsman.settings.shown import MASK

    if value == MASK or (isinstance(filed, str) and shown_address(filed) == value):
        return True
    if isinstance(value, list) and MASK in value:
        return True
    if isinstance(value, dict) and isinstance(filed, Mapping):
        return set(value) == set(filed)
    return bool(filed == value or str(Path(str(filed)).expanduser()) == str(value))


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {item}" for name, item in value.items()) or "-"
    return str(value).lower() if isinstance(value, bool) else str(value)
