"""Every way in that gives a text: how it is asked, and who reads its answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from . import readers as read
from .readers import Body, Malformed, Told, need

TOOL_SCHEMA = {
    "type": "object",
    "properties": {"request": {"type": "integer"}, "words": {"type": "string"}},
    "required": ["request", "words"],
}


@dataclass(frozen=True, slots=True)
class Dialect:
    """One way in.

    Attributes:
        name: as the report calls it.
        ask: the smallest request for a model and a prompt.
        refusal: the message of an error answer.
        whole: reads an answer that is not streamed.
        streamed: reads a stream.
        tools: whether it knows tools.
    """

    name: str
    path: str
    ask: Callable[[str, str], Body]
    refusal: Callable[[Body], str]
    whole: Callable[[Body], Told]
    streamed: Callable[[bytes], Told]
    offer: Callable[[], list[Body]] | None = None

    @property
    def tools(self) -> bool:
        return self.offer is not None

    def asked(self, model: str, prompt: str, *, stream: bool, tools: bool) -> Body:
        body = {**self.ask(model, prompt), "stream": stream}
        return {**body, "tools": self.offer()} if tools and self.offer is not None else body

    def read(self, status: int, content_type: str, body: bytes) -> Told:
        """
        Raises:
            Malformed: it is not in the dialect's shape, or ends without an end.
        """
        kind = content_type.partition(";")[0]
        try:
            if status != 200:
                need(kind == "application/json", f"an error answer of type {kind}")
                return Told(error=read.message_of(self.refusal(read.object_of(body))))
            if kind == "application/json":
                return self.whole(read.object_of(body))
            need(kind in ("text/event-stream", "application/x-ndjson"), f"an answer of type {kind}")
            return self.streamed(body)
        except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
            raise Malformed(f"{type(error).__name__}: {error}") from None


def _messages(model: str, prompt: str) -> Body:
    return {"model": model, "messages": [{"role": "user", "content": prompt}]}


def _prompt(model: str, prompt: str) -> Body:
    return {"model": model, "prompt": prompt}


def _openai_tools() -> list[Body]:
    return [{"type": "function", "function": {"name": "note", "parameters": TOOL_SCHEMA}}]


def _response_tools() -> list[Body]:
    return [{"type": "function", "name": "note", "parameters": TOOL_SCHEMA, "strict": False}]


def _claude_tools() -> list[Body]:
    return [{"name": "note", "input_schema": TOOL_SCHEMA}]


def _dialects() -> Sequence[Dialect]:
    openai, native = read.chunked(read.openai_refusal), read.chunked(read.native_refusal)
    return (
        Dialect("chat", "/v1/chat/completions", _messages, read.openai_refusal, read.chat_whole, openai, _openai_tools),
        Dialect(
            "completions", "/v1/completions", lambda model, prompt: {**_prompt(model, prompt), "max_tokens": 4000},
            read.openai_refusal, read.text_whole, openai,
        ),
        Dialect(
            "responses", "/v1/responses", lambda model, prompt: {"model": model, "input": prompt},
            read.openai_refusal, read.response, read.response_stream, _response_tools,
        ),
        Dialect(
            "messages", "/v1/messages", lambda model, prompt: {**_messages(model, prompt), "max_tokens": 4000},
            read.claude_refusal, read.claude_whole, read.claude_stream, _claude_tools,
        ),
        Dialect(
            "ollama chat", "/api/chat", _messages,
            read.ollama_refusal, read.ollama_whole, read.ollama_stream, _openai_tools,
        ),
        Dialect(
            "ollama generate", "/api/generate", _prompt,
            read.ollama_refusal, read.ollama_whole, read.ollama_stream,
        ),
        Dialect(
            "native", "/api/v1/chat/completions", _messages,
            read.native_refusal, read.chat_whole, native, _openai_tools,
        ),
    )  # fmt: skip


DIALECTS = {dialect.name: dialect for dialect in _dialects()}
"""Every way in that gives a text."""
