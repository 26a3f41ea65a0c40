"""Writes the generated pages: `python docs/generate.py`. A test compares them with what stands in the folder."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import click

REFERENCE = Path(__file__).parent / "reference"


def cli_page() -> str:
    """Every command with its help."""
    from pointsman.surfaces.cli.main import cli

    parts = ["# The command line\n\nGenerated from `pointsman --help`.\n"]
    parts += [f"## `{name}`\n\n```\n{text}\n```\n" for name, text in _helps(cli, "pointsman")]
    return "\n".join(parts)


def _helps(command: click.Command, name: str, parent: click.Context | None = None) -> list[tuple[str, str]]:
    context = click.Context(command, info_name=name.rsplit(" ", 1)[-1], parent=parent, max_content_width=100)
    text = re.sub(r"[ \t]+$", "", command.get_help(context), flags=re.MULTILINE)
    found = [(name, text)]
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            inner = command.get_command(context, child)
            if inner is not None and not inner.hidden:
                found += _helps(inner, f"{name} {child}", context)
    return found


def settings_page() -> str:
    from pointsman.surfaces.cli.example import example

    return example()


def clients_page() -> str:
    return runpy.run_path(str(Path(__file__).with_name("clients.py")))["page"]()


PAGES = {"cli.md": cli_page, "pointsman.example.yaml": settings_page, "clients.md": clients_page}


if __name__ == "__main__":
    for name, page in PAGES.items():
        (REFERENCE / name).write_text(page(), encoding="utf-8")
        sys.stdout.write(f"{REFERENCE / name}\n")
