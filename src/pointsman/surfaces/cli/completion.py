"""`pointsman completion`: the script that a shell loads to complete commands, options and model names."""

from __future__ import annotations

import click
from click.shell_completion import BashComplete, ShellComplete, add_completion_class, get_completion_class

from .invocation import Invocation

BASH = """\
%(complete_func)s() {
    local IFS=$'\\n' word kind reply
    local -a words=()
    # Bash breaks words at colons, and model names hold colons: put them together again, and give back only what
    # follows the last colon, which is what Bash will replace.
    for word in "${COMP_WORDS[@]:0:COMP_CWORD+1}"; do
        if [[ ${#words[@]} -gt 0 && ( $word == :* || ${words[-1]} == *: ) ]]; then
            words[-1]+="$word"
        else
            words+=("$word")
        fi
    done
    local current="${words[-1]}"
    local before="${current%%"${current##*:}"}"
    COMPREPLY=()
    while IFS=, read -r kind reply; do
        case $kind in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain) COMPREPLY+=("${reply#"$before"}") ;;
        esac
    done < <(env COMP_WORDS="${words[*]}" COMP_CWORD=$((${#words[@]} - 1)) %(complete_var)s=bash_complete "$1")
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class Bash(BashComplete):
    """Bash, for words that hold colons."""

    source_template = BASH


add_completion_class(Bash)


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell.

    \b
    bash:  eval "$(pointsman completion bash)"     in ~/.bashrc
    zsh:   eval "$(pointsman completion zsh)"      in ~/.zshrc
    fish:  pointsman completion fish > ~/.config/fish/completions/pointsman.fish
    """
    from .main import cli

    kind: type[ShellComplete] | None = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(cli, {}, "pointsman", "_POINTSMAN_COMPLETE").source(), nl=False)


def model_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names for `--model` and the like: those of the running gateway, else those that the settings give."""
    from pointsman.core.errors import PointsmanError

    from .listing import known_names

    invocation = ctx.find_object(Invocation) or Invocation()
    try:
        names = known_names(invocation)
    except (PointsmanError, OSError):
        return []
    return [name for name in ["auto", *names] if name.startswith(incomplete)]


def embedded_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of the models whose weights can be fetched."""
    from pointsman.providers.llamacpp.sources import load_sources

    return [name for name in load_sources() if name.startswith(incomplete)]


def uses(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """What models can be recommended for."""
    from pointsman.pipeline.decide.recommend import USES

    return [name for name in USES if name.startswith(incomplete)]


def tiers(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """What may matter most in it."""
    from pointsman.pipeline.decide.recommend import TIERS

    return [name for name in TIERS if name.startswith(incomplete)]
