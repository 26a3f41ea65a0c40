"""Numbers of options are refused where they are none, before any work is done."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest

from pointsman.surfaces.cli.main import cli
from pointsman.surfaces.cli.numbers import Finite, Seed

from .commands import run_command


def options(command: click.Command, path: str = "") -> Iterator[tuple[str, click.Parameter]]:
    """Every option of every command, with the words that lead to it."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from options(inner, f"{path} {name}".strip())
        return
    yield from ((f"{path} {parameter.opts[0]}", parameter) for parameter in command.params)


def test_every_number_of_an_option_is_finite_and_every_seed_one_that_generators_take():
    """`--share nan` is between no two bounds, and no generator begins from -1."""
    found = dict(options(cli))
    assert {"replay --clip", "bench decide --explore", "train --seed"} <= found.keys()
    loose = {
        name
        for name, one in found.items()
        if isinstance(one.type, type(click.FLOAT)) and not isinstance(one.type, Finite)
    }
    assert loose == set()
    assert [name for name, one in found.items() if name.endswith(" --seed") and not isinstance(one.type, Seed)] == []


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e999", "-1"])
def test_what_is_no_finite_number(value):
    with pytest.raises(click.BadParameter):
        Finite(0).convert(value, None, None)
    assert Finite(0).convert("1e300", None, None) == 1e300


@pytest.mark.parametrize("value", ["-1", str(2**63), "1.5", "x"])
def test_what_is_no_seed(value):
    with pytest.raises(click.BadParameter):
        Seed().convert(value, None, None)
    assert Seed().convert(str(2**63 - 1), None, None) == 2**63 - 1


@pytest.mark.parametrize(
    "asked",
    [
        ("train", "linucb", "--seed", "-1"),
        ("replay", "--clip", "nan"),
        ("bench", "decide", "--explore", "nan"),
    ],
)
async def test_commands_refuse_them(asked, env):
    ran = await run_command(*asked, env=env)
    assert ran.code == 2
    assert asked[-2] in ran.err
    assert "Traceback" not in ran.err
