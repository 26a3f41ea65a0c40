"""The `pointsman` command: global options, the table of commands, and how errors are told.

Exit codes: 0 fine, 1 failure, 2 wrong usage, 130 interrupted. Errors go to standard error as `error: …`, with what
to do about them.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import click

from pointsman import __version__
from pointsman.core.errors import PointsmanError
from pointsman.environ import set_for_libraries

from .invocation import Invocation
from .lazy import Entry, LazyGroup
from .text import safe

HERE = "pointsman.surfaces.cli"

COMMANDS = {
    "serve": Entry(f"{HERE}.serve:serve", "Run the gateway."),
    "chat": Entry(f"{HERE}.chat:chat", "Talk with the models in the terminal."),
    "complete": Entry(f"{HERE}.complete:complete", "Answer one prompt; reads pipes, writes plain text."),
    "models": Entry(f"{HERE}.models:models", "List, fetch and describe models."),
    "litellm": Entry(f"{HERE}.litellm:litellm", "Run LiteLLM beside the gateway, for many more providers."),
    "why": Entry(f"{HERE}.why:why", "Explain a decision: who was considered, and why this one."),
    "feedback": Entry(f"{HERE}.feedback:feedback", "Say how good an answer was: routing learns from it."),
    "keys": Entry(f"{HERE}.keys:keys", "Make, list, change, rotate and revoke API keys."),
    "limits": Entry(f"{HERE}.limits:limits", "Show what a key may ask, and what is left of it."),
    "budgets": Entry(f"{HERE}.budgets:budgets", "Show what may be spent, what was, and what is unsettled."),
    "users": Entry(f"{HERE}.users:users", "Say who may sign in, and as what."),
    "clients": Entry(f"{HERE}.clients:clients", "Register applications that users sign in to."),
    "credentials": Entry(f"{HERE}.credentials:credentials", "Store providers' keys, encrypted; list and check them."),
    "policies": Entry(f"{HERE}.policy:policies", "List, compare, promote and roll back routing policies."),
    "policy": Entry(f"{HERE}.policy:policies", "The same.", hidden=True),
    "db": Entry(f"{HERE}.db:db", "Look at the database's schema, and upgrade it."),
    "secret": Entry(f"{HERE}.secret:secret", "Rotate the secret that stored keys are encrypted under."),
    "doctor": Entry(f"{HERE}.doctor:doctor", "Check every part and say how to mend what is broken."),
    "train": Entry(f"{HERE}.train:train", "Learn from the log and from examples; keep what does better."),
    "replay": Entry(f"{HERE}.replay:replay", "Tell what another policy would have cost on the log."),
    "savings": Entry(f"{HERE}.savings:savings", "Tell what routing saved, and what it cost in quality."),
    "eval": Entry(f"{HERE}.evaluate:evaluate", "Judge the gateway's own judgement on labelled sets."),
    "bench": Entry(f"{HERE}.bench:bench", "Measure what the gateway costs, and whether budgets hold."),
    "config": Entry(f"{HERE}.config:config", "Show the settings, where they come from, and an example file."),
    "completion": Entry(f"{HERE}.completion:completion", "Print a shell's completion script."),
}

MENDS = {
    "invalid_api_key": "Pass --api-key KEY, or set POINTSMAN_API_KEY; `pointsman keys create NAME` makes a key.",
    "model_not_found": "`pointsman models` lists what there is.",
    "no_capable_model": "`pointsman models` shows what each model can do.",
    "gateway_unreachable": "Start it with `pointsman serve`, or name another with --url.",
    "store_error": "`pointsman doctor` says more.",
    "store_unavailable": "`pointsman doctor` says more.",
}
"""Error code → what to do about it at a command line; other messages hold their own mend."""


@click.group(cls=LazyGroup, table=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The settings file [default: ./pointsman.yaml, then the user's].",
)
@click.option("--url", metavar="URL", help="The gateway to talk to [default: host and port of the settings].")
@click.option("--api-key", metavar="KEY", help="The gateway's API key [default: that of the settings].")
@click.option(
    "--ca-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Certificates in PEM to trust beside the public ones, for a gateway that speaks TLS with its own.",
)
@click.version_option(__version__, "-V", "--version", message="pointsman %(version)s")
@click.pass_context
def cli(ctx: click.Context, config: Path | None, url: str | None, api_key: str | None, ca_file: Path | None) -> None:
    """One OpenAI-compatible endpoint in front of local and cloud models.

    Each request goes to the cheapest model that will do the job; private data stays on this machine.
    """
    ctx.obj = Invocation(config=config, url=url, api_key=api_key, ca_file=ca_file)


def main() -> None:
    """The console script."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a narrow locale must not end an answer
    # Our matrices are small: NumPy's threads would wait for one another longer than they compute.
    set_for_libraries({"OPENBLAS_NUM_THREADS": "1"})
    sys.exit(_run())


def _run() -> int:
    try:
        code = cli.main(prog_name="pointsman", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else "", err=True)
        return 2
    except click.NoSuchOption as error:
        of_all = {name for option in cli.params for name in option.opts}
        if error.option_name in of_all and error.ctx is not None:
            return _fail(f"{error.option_name} stands before the command: `pointsman {error.option_name} …"
                         f"{error.ctx.command_path.removeprefix('pointsman')}`.", code=2)  # fmt: skip
        return _fail(error.format_message(), f"See `{error.ctx.command_path} --help`." if error.ctx else "", code=2)
    except click.UsageError as error:
        hint = f"See `{error.ctx.command_path} --help`." if error.ctx else ""
        message = " ".join(error.format_message().split())  # click puts choices on lines of their own
        return _fail(message if message.endswith((".", "?", "!")) else f"{message}.", hint, code=2)
    except click.ClickException as error:
        return _fail(error.format_message())
    except (click.Abort, KeyboardInterrupt):
        return 130
    except PointsmanError as error:
        return _fail(error.message, MENDS.get(error.code or "", ""))
    except BrokenPipeError:
        return _reader_left()
    except UnicodeEncodeError as error:
        if not any("\udc80" <= sign <= "\udcff" for sign in str(error.object)):
            raise
        return _fail("A word of the command is not UTF-8 text. Convert it first, for example with iconv.", code=2)
    except OSError as error:
        if error.errno == errno.EPIPE:
            return _reader_left()
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}")


def _fail(message: str, mend: str = "", code: int = 1) -> int:
    if mend and mend in message:
        mend = ""
    message = message.replace(" GET /v1/models lists what there is.", "")  # at a command line the mend says it
    from pointsman.masking import masked

    from .output import folded

    message = safe(masked(message)).rstrip()
    if mend and not message.endswith((".", "?", "!")):
        message += "."
    told = f"error: {message}{' ' if mend else ''}{mend}"
    click.echo(folded(told, sys.stderr), err=True)
    return code


def _reader_left() -> int:
    """The program that read our output has gone: end without a word."""
    # The interpreter flushes standard output once more at exit; that must not complain either.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


if __name__ == "__main__":
    main()
