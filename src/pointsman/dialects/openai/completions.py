"""OpenAI's completions, the older API that goes on with a text: from its body to the inner form, and to upstreams.

The inner form holds each prompt as a user message, `suffix` (the text behind a gap) as it came, and `logprobs` as chat
writes it. Untrusted text cannot break out of a model's fill-in-the-middle tokens: what looks like one gets a zero-width
space behind its first letter, which no tokenizer takes for the token.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import Raw

from pointsman.core.catalog import FimTokens
from pointsman.core.errors import InvalidRequest
from pointsman.core.request import NOTHING, ChatRequest, decode_body

DEFAULT_MAX_TOKENS = 16
"""OpenAI's, for callers that name no bound."""
MOST_PROMPTS = 128
NO_PLACE = (
    "messages", "tools", "tool_choice", "functions", "function_call", "response_format", "top_logprobs",
    "max_completion_tokens", "modalities", "audio",
)  # fmt: skip
"""Fields of a chat that a completion has no place for."""
_SPECIAL = re.compile(r"<(?=[|｜][^<>|｜\s]{1,40}[|｜]>)")
_BREAK = "\u200b"


class _Params(msgspec.Struct):
    prompt: Raw = NOTHING
    suffix: str | None = None
    logprobs: int | None = None
    echo: bool | None = None
    best_of: int | None = None
    max_tokens: int | None = None


_params_decoder = msgspec.json.Decoder(_Params)
_prompt_decoder = msgspec.json.Decoder(str | list[Any])
_message_decoder = msgspec.json.Decoder(dict[str, Any])


def read_fields(body: bytes) -> dict[str, Any]:
    """A completion's body as the fields of the inner form.

    Raises:
        InvalidRequest: it cannot be read, or holds what no model behind here can do; names the field.
    """
    raw, params = decode_body(body, "prompt", _params_decoder)
    fields: dict[str, Any] = dict(raw)
    for name in NO_PLACE:
        if bytes(fields.pop(name, NOTHING)) not in (b"null", b"[]"):
            raise InvalidRequest(f"Invalid `{name}`: completions have none; ask /v1/chat/completions.", param=name)
    if params.echo:
        raise InvalidRequest("Invalid `echo`: the prompt is not given back; leave it out.", param="echo")
    if params.best_of is not None and params.best_of != 1:
        raise InvalidRequest("Invalid `best_of`: only 1 can be had; ask for several with `n`.", param="best_of")
    if params.logprobs is not None and not 0 <= params.logprobs <= 20:
        raise InvalidRequest("Invalid `logprobs`: between 0 and 20 expected.", param="logprobs")
    prompts = _prompts(params.prompt)
    for name in ("prompt", "echo", "best_of", "logprobs"):
        fields.pop(name, None)
    if not params.suffix:
        fields.pop("suffix", None)
    if params.logprobs is not None:
        fields |= {"logprobs": True, "top_logprobs": params.logprobs}
    if params.max_tokens is None:
        fields["max_tokens"] = DEFAULT_MAX_TOKENS
    return {**fields, "messages": [{"role": "user", "content": prompt} for prompt in prompts]}


def _prompts(raw: Raw) -> list[str]:
    try:
        given = _prompt_decoder.decode(raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        given = None
    prompts = [given] if isinstance(given, str) else given
    if not prompts:
        raise InvalidRequest("Invalid `prompt`: a text or a list of texts is needed.", param="prompt")
    if any(isinstance(prompt, int | list) for prompt in prompts):
        raise InvalidRequest(
            "Invalid `prompt`: token ids mean another text to each model; send the text itself.", param="prompt"
        )
    if not all(isinstance(prompt, str) for prompt in prompts):
        raise InvalidRequest("Invalid `prompt`: a text or a list of texts is needed.", param="prompt")
    if len(prompts) > MOST_PROMPTS:
        raise InvalidRequest(f"Invalid `prompt`: more than {MOST_PROMPTS} in one request.", param="prompt")
    return prompts


def texts_of(request: ChatRequest) -> list[str]:
    """The prompts of a completion, or the texts to embed, from the inner form."""
    return [_message_decoder.decode(raw)["content"] for raw in request.params.messages]


def suffix_of(request: ChatRequest) -> str | None:
    suffix = request.fields.get("suffix")
    return None if suffix is None else msgspec.json.decode(suffix, type=str | None)


def to_completion(request: ChatRequest, fim: FimTokens | None) -> dict[str, Any]:
    """The fields that a completion's body has in place of the inner form's messages.

    Args:
        fim: the model's tokens, where its upstream takes no `suffix`; None: it is sent as it came.
    """
    prompts = texts_of(request)
    suffix = suffix_of(request)
    fields: dict[str, Any] = {}
    if suffix is not None and fim is not None:
        prompts = [around(prompt, suffix, fim) for prompt in prompts]
        given = request.params.stop
        stops = [given] if isinstance(given, str) else given or []
        fields["stop"] = list(dict.fromkeys([*stops, *fim.end]))
    fields["prompt"] = prompts[0] if len(prompts) == 1 else prompts
    if request.params.logprobs:
        fields["logprobs"] = request.params.top_logprobs or 0
    return fields


def dropped(fim: FimTokens | None) -> tuple[str, ...]:
    """The inner form's fields that a completion's body must not have."""
    return ("messages", "top_logprobs", "logprobs", *(("suffix",) if fim is not None else ()))


def around(before: str, after: str, fim: FimTokens) -> str:
    """The prompt that has a model fill the gap between two texts."""
    before, after = harmless(before, fim), harmless(after, fim)
    if fim.suffix_first:
        return f"{fim.suffix}{after}{fim.prefix}{before}{fim.middle}"
    return f"{fim.prefix}{before}{fim.suffix}{after}{fim.middle}"


def harmless(text: str, fim: FimTokens) -> str:
    """A text in which nothing is one of the model's tokens, and nothing looks like another special one."""
    for token in (fim.prefix, fim.suffix, fim.middle, *fim.end):
        token = token.strip()
        if token:
            text = text.replace(token, token[0] + _BREAK + token[1:])
    return _SPECIAL.sub("<" + _BREAK, text)
