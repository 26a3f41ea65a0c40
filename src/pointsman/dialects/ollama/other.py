"""Completions and embeddings as Ollama's native API wants them: `/api/generate` and `/api/embed`."""

from __future__ import annotations

from typing import Any

import msgspec

from pointsman.core.catalog import ModelCard
from pointsman.core.errors import InvalidRequest, UpstreamProtocolError
from pointsman.core.events import MOST_TOKENS, Body
from pointsman.core.request import ChatRequest
from pointsman.dialects.checks import finite
from pointsman.dialects.openai.completions import around, harmless, suffix_of, texts_of
from pointsman.dialects.openai.embeddings import made_body
from pointsman.dialects.openai.errors import stated_error

from .request import Prompt, options_of


class _Embedded(msgspec.Struct):
    embeddings: list[list[float]] | None = None
    prompt_eval_count: Any = 0
    error: Any = None


def to_generate(request: ChatRequest, card: ModelCard) -> Prompt:
    """A completion: the text as it is, or with Ollama's own template or the model's tokens around a gap.

    Raises:
        InvalidRequest: several prompts or answers, which Ollama does not give.
    """
    texts, suffix = texts_of(request), suffix_of(request)
    if len(texts) > 1 or (request.params.n or 1) > 1:
        param = "prompt" if len(texts) > 1 else "n"
        raise InvalidRequest(f"{card.id} gives one completion for one prompt in a request.", param=param)
    options = options_of(request)
    fields: dict[str, Any] = {"options": options, "raw": True}
    prompt = texts[0]
    if suffix is not None and card.takes_suffix:
        # The template puts the model's tokens around these; there must be none inside.
        tokens = card.fim
        prompt = harmless(prompt, tokens) if tokens is not None else prompt
        suffix = harmless(suffix, tokens) if tokens is not None else suffix
        fields = {"options": options, "suffix": suffix}
    elif suffix is not None and card.fim is not None:
        prompt = around(prompt, suffix, card.fim)
        options["stop"] = list(dict.fromkeys([*(options.get("stop") or []), *card.fim.end]))
        suffix = None
    fields["prompt"] = prompt
    for name in ("keep_alive", "logprobs", "top_logprobs"):
        if name in request.fields:
            fields[name] = request.fields[name]
    return Prompt(fields=fields, texts=[prompt, suffix or ""], images=0, messages=1)


def to_embed(request: ChatRequest, name: str, keep_alive: str | float | None) -> bytes:
    """The body for `/api/embed`. A text that is too long is refused, unless the caller asks to have it cut."""
    fields: dict[str, Any] = {"model": name, "input": texts_of(request), "truncate": False}
    if keep_alive is not None:
        fields["keep_alive"] = keep_alive
    for known in ("truncate", "dimensions", "keep_alive"):
        if known in request.fields:
            fields[known] = request.fields[known]
    if "options" in request.fields:
        fields["options"] = request.fields["options"]
    return msgspec.json.encode(fields)


_embedded_decoder = msgspec.json.Decoder(_Embedded)


def read_embedded(raw: bytes, *, model: str, count: int) -> Body:
    """The vectors as OpenAI's list.

    Raises:
        UpstreamError: it states an error.
        UpstreamProtocolError: it is no list of so many vectors.
    """
    try:
        found = _embedded_decoder.decode(raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        if (mended := finite(raw)) is not None:
            return read_embedded(mended, model=model, count=count)
        raise UpstreamProtocolError(f"The model's provider sent embeddings that cannot be read: {error}.") from None
    if found.error:
        raise stated_error(found.error)
    if found.embeddings is None or len(found.embeddings) != count:
        told = "no list" if found.embeddings is None else f"{len(found.embeddings)} of them"
        raise UpstreamProtocolError(f"The model's provider was asked for {count} embeddings and gave {told}.")
    read = found.prompt_eval_count
    counted = type(read) is int and 0 <= read <= MOST_TOKENS
    return made_body(found.embeddings, model=model, prompt_tokens=read if counted else 0)
