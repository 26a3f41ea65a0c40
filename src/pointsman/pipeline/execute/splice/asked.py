"""What the next model is asked when it is to go on with an answer."""

from __future__ import annotations

from typing import Any

import msgspec

from pointsman.core.catalog import ModelCard
from pointsman.core.request import NOTHING, ChatRequest
from pointsman.core.tokens import estimate

from .seam import anchor_of

_decoder = msgspec.json.Decoder()

BOUNDS = ("max_tokens", "max_completion_tokens")
OF_THE_WHOLE = ("response_format", "prediction", "continue_final_message", "add_generation_prompt")
"""Fields about an answer from its beginning. A server that is held to a JSON Schema would begin the document anew."""


def left_of(request: ChatRequest, text: str) -> int | None:
    """The tokens that an answer may still take, by estimate; None where it is not bounded."""
    most = request.max_output
    return None if most is None else most - estimate(len(text.encode("utf-8", "replace")))


def wants_json(request: ChatRequest) -> bool:
    """Whether the answer is to be JSON from beginning to end."""
    wanted = request.params.response_format
    return (wanted is not None and wanted.type != "text") or "format" in _output_config(request)


def by_prefill(request: ChatRequest, card: ModelCard) -> bool:
    """Whether a model goes on with the text itself. One that is to think first, or that must call a tool, cannot; nor
    one that is taught its tools by prompt, for it answers in another form."""
    prefill = card.prefill
    if prefill is None or _thinks(request):
        return False
    if not request.params.tools:
        return True
    forced = request.params.tool_choice not in (None, "auto", "none")
    return prefill.with_tools and not forced and "tools" not in card.simulated


def goes_on(request: ChatRequest, text: str, card: ModelCard, *, prefill: bool) -> ChatRequest:
    """The request for the rest of an answer, whose own answer comes in chat.

    Args:
        request: as the model would be asked at the beginning.
        text: what was told, as this model may see it; not empty.
        prefill: whether the model goes on with it as its own last message.
    """
    fields: dict[str, Any] = {name: raw for name, raw in request.fields.items() if name not in OF_THE_WHOLE}
    messages: list[Any] = list(request.params.messages)
    begun = text.rstrip()
    last = request.message(-1)
    if last.role == "assistant" and isinstance(last.content, str) and not last.tool_calls:
        messages.pop()  # what the caller itself began belongs to the same message
        begun = last.content + begun
    messages.append({"role": "assistant", "content": begun})
    if prefill and card.prefill is not None:
        fields |= card.prefill.fields
    else:
        messages.append({"role": "user", "content": wish(text, json=wants_json(request))})
    fields["messages"] = messages
    left = left_of(request, text)
    if left is not None:
        for name in BOUNDS:
            if bytes(fields.get(name, NOTHING)) != b"null":
                fields[name] = max(1, left)
        if _budget(request) >= left:
            fields.pop("thinking", None)
    config = _output_config(request)
    if "format" in config:
        fields["output_config"] = {name: value for name, value in config.items() if name != "format"}
    return request.redacted(fields)


def again(request: ChatRequest) -> ChatRequest:
    """The request itself, whose answer comes in chat."""
    return request if request.dialect == "chat" else request.redacted(request.fields)


def wish(text: str, *, json: bool) -> str:
    """What the user is made to say where there is no prefill."""
    kind = " It is a JSON document: write only its rest, without a block of code around it." if json else ""
    return (
        "Your answer was cut off in the middle. Write the rest of it, from exactly where it stopped, in the same"
        f" language and form.{kind} Say nothing about the interruption and add no introduction. Begin with the last"
        f" words of what you wrote, letter for letter, and go on from there. The last words are:\n{anchor_of(text)}"
    )


def _thinks(request: ChatRequest) -> bool:
    effort = _decoder.decode(request.fields.get("reasoning_effort", NOTHING))
    thinking = _decoder.decode(request.fields.get("thinking", NOTHING))
    told = isinstance(thinking, dict) and thinking.get("type") != "disabled"
    return told or effort not in (None, "none")


def _budget(request: ChatRequest) -> int:
    thinking = _decoder.decode(request.fields.get("thinking", NOTHING))
    budget = thinking.get("budget_tokens") if isinstance(thinking, dict) else None
    return budget if isinstance(budget, int) else 0


def _output_config(request: ChatRequest) -> dict[str, Any]:
    config = _decoder.decode(request.fields.get("output_config", NOTHING))
    return config if isinstance(config, dict) else {}
