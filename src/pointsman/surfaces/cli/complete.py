"""`pointsman complete`: one prompt, one answer; made for pipes."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from .completion import model_names
from .invocation import Invocation, run, with_invocation
from .numbers import Finite
from .output import note, print_json
from .text import safe

if TYPE_CHECKING:
    from .client import ChatAnswer


@click.command()
@click.argument("prompt", required=False)
@click.option("-m", "--model", default="auto", shell_complete=model_names, help="auto, provider:model, or an alias.")
@click.option("-s", "--system", metavar="TEXT", help="System prompt.")
@click.option("-t", "--temperature", type=Finite(0, 2), metavar="0…2", help="Sampling temperature.")
@click.option("--max-tokens", type=click.IntRange(1), metavar="N", help="Bound on the answer's tokens.")
@click.option("--no-stream", is_flag=True, help="Print the answer when it is whole.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer, its usage and the decision as JSON.")
@click.option("--no-start", is_flag=True, help="Fail when no gateway answers, instead of starting one.")
@with_invocation
def complete(
    invocation: Invocation,
    prompt: str | None,
    model: str,
    system: str | None,
    temperature: float | None,
    max_tokens: int | None,
    no_stream: bool,
    as_json: bool,
    no_start: bool,
) -> None:
    """Answer PROMPT. With `-`, or without one, the prompt is standard input; with both, PROMPT comes first.

    \b
    git diff | pointsman complete "Write a commit message for this change:"

    Control characters in the answer are left out; --json has the text as it came.
    """
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": _read_prompt(prompt)})
    fields: dict[str, Any] = {"model": model, "messages": messages, "stream": not (no_stream or as_json)}
    if fields["stream"]:
        fields["stream_options"] = {"include_usage": True}
    if temperature is not None:
        fields["temperature"] = temperature
    if max_tokens is not None:
        fields["max_tokens"] = max_tokens
    run(_complete(invocation, fields, as_json=as_json, start=not no_start))


def _read_prompt(prompt: str | None) -> str:
    """The argument, standard input, or the one and then the other."""
    if prompt not in (None, "-") and sys.stdin.isatty():
        return str(prompt)
    if sys.stdin.isatty() and prompt is None:
        raise click.UsageError("A PROMPT is needed, or text on standard input.", click.get_current_context())
    try:
        piped = sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError:
        raise click.ClickException(
            "Standard input is not UTF-8 text; convert it first, for example with iconv."
        ) from None
    text = piped if prompt in (None, "-") else f"{prompt}\n\n{piped}" if piped.strip() else str(prompt)
    if not text.strip():
        raise click.UsageError("The prompt is empty.", click.get_current_context())
    return text


async def _complete(invocation: Invocation, fields: Mapping[str, Any], *, as_json: bool, start: bool) -> None:
    from .launch import gateway

    async with gateway(invocation, start=start) as client:
        began = time.monotonic()
        answer = await client.chat(fields)
        result = await _receive(answer, shown=not as_json)
        seconds = time.monotonic() - began
    if as_json:
        cost = answer.facts.estimated_cost_usd
        print_json(
            {
                "id": answer.id,
                **result,
                "model": answer.facts.model,
                "provider": answer.facts.provider,
                "intent": answer.facts.intent,
                "reason": answer.facts.reason,
                "decision_id": answer.facts.decision,
                "estimated_cost_usd": None if cost is None else float(cost),
                "seconds": round(seconds, 3),
            }
        )
    if result["finish_reason"] == "length":
        note("note: the answer was cut at --max-tokens or the model's limit.")


async def _receive(answer: ChatAnswer, *, shown: bool) -> dict[str, Any]:
    """Text, usage and finish reason; the text is printed as it comes when `shown`."""
    from contextlib import aclosing

    from pointsman.core.events import Finish, Text, Usage

    text, usage, finish, last = [], None, None, "\n"
    try:
        async with aclosing(answer.deltas()) as deltas:
            async for delta in deltas:
                match delta:
                    case Text(piece):
                        text.append(piece)
                        if shown and (piece := safe(piece)):
                            sys.stdout.write(piece)
                            sys.stdout.flush()
                            last = piece[-1]
                    case Finish(reason):
                        finish = reason
                    case Usage():
                        usage = delta
    finally:
        if last != "\n":
            sys.stdout.write("\n")
    return {"text": "".join(text), "finish_reason": finish, "usage": usage}
