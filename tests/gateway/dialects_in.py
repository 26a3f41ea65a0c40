"""The registry of dialects in: how each is asked, how a finished answer looks in it, and how an error does.

Everything is read with the types of the official clients where there is one. A dialect that is added later adds a line
to `DIALECTS`, and every test of trouble takes it in.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import anthropic.types as claude
import ollama
from openai.types import Completion, CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from .running import Reply

Body = dict[str, Any]
RESPONSE_EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
CLAUDE_EVENT: TypeAdapter[Any] = TypeAdapter(claude.RawMessageStreamEvent)
CLAUDE_ERRORS = {
    *("invalid_request_error", "authentication_error", "billing_error", "permission_error", "not_found_error"),
    *("request_too_large", "rate_limit_error", "timeout_error", "overloaded_error", "api_error", "conflict_error"),
}
NATIVE_CODES = {"rate_limit_exceeded", "validation_error", "auth_error", "provider_error", "system_error"}
PICTURE = "data:image/png;base64,"


@dataclass(frozen=True)
class Dialect:
    """One way in.

    Attributes:
        kind: what a model must be able to do.
        body: the smallest request for a model that says a text.
        streams: whether it can be asked for a stream, and for none.
        error: the message of an error's body, which is checked to be of the dialect's own shape.
        stream_error: the message of the error that ended a stream, or None where it ended well.
        whole: checks an answer that is not streamed; returns its text.
        streamed: checks a stream that ended well; returns its text.
    """

    path: str
    body: Callable[[str, str], Body]
    error: Callable[[Body], str]
    whole: Callable[[bytes], str]
    stream_error: Callable[[bytes], str | None] = lambda raw: None
    streamed: Callable[[bytes], str] = lambda raw: ""
    kind: str = "chat"
    streams: tuple[bool, ...] = (False, True)
    logged: bool = True
    """Whether a request leaves a decision in the log."""

    def asked(self, model: str, text: str, *, stream: bool, **fields: Any) -> Body:
        said = self.body(model, text)
        return {**said, **({"stream": stream} if len(self.streams) == 2 else {}), **fields}


def _strict(model: type[BaseModel], raw: bytes | Body) -> Any:
    return model.model_validate_json(raw) if isinstance(raw, bytes) else model.model_validate(raw)


def frames(raw: bytes) -> Iterator[tuple[str | None, bytes]]:
    """Name and data of every server-sent event; nothing may stand between them."""
    assert raw.endswith(b"\n\n") or not raw, raw[-200:]
    for block in raw.split(b"\n\n")[:-1]:
        lines = [line.partition(b": ") for line in block.split(b"\n")]
        if all(name == b"" for name, _, _ in lines):
            continue  # a comment
        assert {name for name, _, _ in lines} <= {b"event", b"data"}, block
        named = next((value.decode() for name, _, value in lines if name == b"event"), None)
        yield named, b"\n".join(value for name, _, value in lines if name == b"data")


# OpenAI


def openai_error(body: Body) -> str:
    error = body["error"]
    assert set(error) == {"message", "type", "param", "code"}, body
    assert isinstance(error["message"], str)
    assert error["message"]
    assert isinstance(error["type"], str)
    return str(error["message"])


def _data(raw: bytes) -> list[Body]:
    """The objects of a stream of OpenAI's, which ends with `[DONE]` or with an error."""
    told = [data for _, data in frames(raw)]
    ended = told[-1] == b"[DONE]"
    objects = [json.loads(data) for data in (told[:-1] if ended else told)]
    assert ended != ("error" in (objects[-1] if objects else {})), raw[-300:]
    return objects


def openai_stream_error(raw: bytes) -> str | None:
    told = _data(raw)
    return openai_error(told[-1]) if told and "error" in told[-1] else None


def chat_whole(raw: bytes) -> str:
    answer = _strict(ChatCompletion, raw)
    assert answer.choices[0].finish_reason
    return answer.choices[0].message.content or ""


def chat_streamed(raw: bytes) -> str:
    chunks = [_strict(ChatCompletionChunk, chunk) for chunk in _data(raw)]
    choices = [choice for chunk in chunks for choice in chunk.choices]
    assert [choice.finish_reason for choice in choices if choice.finish_reason] == ["stop"]
    return "".join(choice.delta.content or "" for choice in choices)


def completion_whole(raw: bytes) -> str:
    answer = _strict(Completion, raw)
    assert answer.choices[0].finish_reason
    return str(answer.choices[0].text)


def completion_streamed(raw: bytes) -> str:
    chunks = [_strict(Completion, chunk) for chunk in _loose_completions(_data(raw))]
    return "".join(choice.text for chunk in chunks for choice in chunk.choices)


def _loose_completions(chunks: list[Body]) -> Iterator[Body]:
    """The client's type demands a finish reason in every chunk, which OpenAI itself leaves null."""
    assert [c["finish_reason"] for chunk in chunks for c in chunk["choices"] if c["finish_reason"]] == ["stop"]
    for chunk in chunks:
        choices = [{**choice, "finish_reason": choice["finish_reason"] or "stop"} for choice in chunk["choices"]]
        yield {**chunk, "choices": choices}


def embeddings_whole(raw: bytes) -> str:
    answer = _strict(CreateEmbeddingResponse, raw)
    return "vector" if answer.data[0].embedding else ""


def responses_whole(raw: bytes) -> str:
    answer = _strict(Response, raw)
    assert answer.status == "completed"
    return str(answer.output_text)


def _response_events(raw: bytes) -> list[Any]:
    told = []
    for name, data in frames(raw):
        told.append(RESPONSE_EVENT.validate_json(data))
        assert told[-1].type == name
    assert [event.sequence_number for event in told] == list(range(len(told)))
    assert told[-1].type in ("response.completed", "response.failed", "response.incomplete", "error")
    return told


def responses_stream_error(raw: bytes) -> str | None:
    last = _response_events(raw)[-1]
    if last.type != "response.failed":
        return None
    assert last.response.status == "failed"
    assert last.response.error.code
    return str(last.response.error.message)


def responses_streamed(raw: bytes) -> str:
    told = _response_events(raw)
    assert told[-1].type == "response.completed"
    return "".join(event.delta for event in told if event.type == "response.output_text.delta")


# Anthropic


def claude_error(body: Body) -> str:
    assert body["type"] == "error"
    assert body["request_id"]
    assert body["error"]["type"] in CLAUDE_ERRORS, body
    if body["error"]["type"] not in ("request_too_large", "conflict_error"):  # documented, but not in the client's type
        _strict(claude.ErrorResponse, body)
    assert body["error"]["message"]
    return str(body["error"]["message"])


def claude_stream_error(raw: bytes) -> str | None:
    name, data = list(frames(raw))[-1]
    assert name in ("error", "message_stop"), name
    return claude_error(json.loads(data)) if name == "error" else None


def claude_whole(raw: bytes) -> str:
    answer = _strict(claude.Message, raw)
    assert answer.stop_reason
    return "".join(block.text for block in answer.content if block.type == "text")


def claude_streamed(raw: bytes) -> str:
    text = ""
    told = list(frames(raw))
    for name, data in told:
        if name == "ping":
            continue
        event = CLAUDE_EVENT.validate_json(data)
        assert event.type == name
        if event.type == "content_block_delta" and event.delta.type == "text_delta":
            text += event.delta.text
    assert [name for name, _ in told].count("message_start") == 1
    assert told[-1][0] == "message_stop"
    return text


def counted(raw: bytes) -> str:
    assert _strict(claude.MessageTokensCount, raw).input_tokens > 0
    return "counted"


# Ollama


def ollama_error(body: Body) -> str:
    assert set(body) == {"error"}, body
    assert isinstance(body["error"], str)
    assert body["error"]
    return str(body["error"])


def _lines(raw: bytes) -> list[Body]:
    assert raw.endswith(b"\n"), raw[-200:]
    return [json.loads(line) for line in raw.splitlines()]


def ollama_stream_error(raw: bytes) -> str | None:
    *before, last = _lines(raw)
    assert not any("error" in line or line["done"] for line in before)
    if "error" in last:
        return ollama_error(last)
    assert last["done"] is True
    return None


def ollama_chat_whole(raw: bytes) -> str:
    answer = _strict(ollama.ChatResponse, raw)
    assert answer.done
    assert answer.done_reason
    return answer.message.content or ""


def ollama_chat_streamed(raw: bytes) -> str:
    return "".join(_strict(ollama.ChatResponse, line).message.content or "" for line in _lines(raw))


def ollama_generate_whole(raw: bytes) -> str:
    answer = _strict(ollama.GenerateResponse, raw)
    assert answer.done
    return str(answer.response)


def ollama_generate_streamed(raw: bytes) -> str:
    return "".join(_strict(ollama.GenerateResponse, line).response for line in _lines(raw))


def ollama_embed_whole(raw: bytes) -> str:
    return "vector" if any(_strict(ollama.EmbedResponse, raw).embeddings) else ""


def ollama_old_embed_whole(raw: bytes) -> str:
    return "vector" if _strict(ollama.EmbeddingsResponse, raw).embedding else ""


# Our own


def native_error(body: Body) -> str:
    error = body["error"]
    assert set(error) == {"code", "message", "details", "remediation"}, body
    assert error["code"] in NATIVE_CODES
    assert error["message"]
    return str(error["message"])


def native_stream_error(raw: bytes) -> str | None:
    told = _data(raw)
    return native_error(told[-1]) if told and "error" in told[-1] else None


def _said(model: str, text: str) -> Body:
    return {"model": model, "messages": [{"role": "user", "content": text}]}


def _chat(path: str, **others: Any) -> Dialect:
    native = path.startswith("/api/v1")
    return Dialect(
        path,
        _said,
        native_error if native else openai_error,
        chat_whole,
        native_stream_error if native else openai_stream_error,
        chat_streamed,
        **others,
    )


DIALECTS: dict[str, Dialect] = {
    "chat": _chat("/v1/chat/completions"),
    "completions": Dialect(
        "/v1/completions",
        lambda model, text: {"model": model, "prompt": text},
        openai_error,
        completion_whole,
        openai_stream_error,
        completion_streamed,
        kind="completion",
    ),
    "embeddings": Dialect(
        "/v1/embeddings",
        lambda model, text: {"model": model, "input": text},
        openai_error,
        embeddings_whole,
        kind="embeddings",
        streams=(False,),
    ),
    "responses": Dialect(
        "/v1/responses",
        lambda model, text: {"model": model, "input": text},
        openai_error,
        responses_whole,
        responses_stream_error,
        responses_streamed,
    ),
    "messages": Dialect(
        "/v1/messages",
        lambda model, text: {**_said(model, text), "max_tokens": 100},
        claude_error,
        claude_whole,
        claude_stream_error,
        claude_streamed,
    ),
    "count tokens": Dialect(
        "/v1/messages/count_tokens",
        _said,
        claude_error,
        counted,
        kind="nothing",
        streams=(False,),
        logged=False,
    ),
    "ollama chat": Dialect(
        "/api/chat", _said, ollama_error, ollama_chat_whole, ollama_stream_error, ollama_chat_streamed
    ),
    "ollama generate": Dialect(
        "/api/generate",
        lambda model, text: {"model": model, "prompt": text},
        ollama_error,
        ollama_generate_whole,
        ollama_stream_error,
        ollama_generate_streamed,
    ),
    "ollama embed": Dialect(
        "/api/embed",
        lambda model, text: {"model": model, "input": text},
        ollama_error,
        ollama_embed_whole,
        kind="embeddings",
        streams=(False,),
    ),
    "ollama embeddings": Dialect(
        "/api/embeddings",
        lambda model, text: {"model": model, "prompt": text},
        ollama_error,
        ollama_old_embed_whole,
        kind="embeddings",
        streams=(False,),
    ),
    "native": _chat("/api/v1/chat/completions"),
    "native streaming": _chat("/api/v1/chat/streaming", streams=(True,)),
    "native hybrid": _chat("/api/v1/chat/hybrid"),
}


def trouble_of(dialect: Dialect, reply: Reply) -> str | None:
    """The message of the error that an answer is, at once or at its end; None where it is whole."""
    if reply.status != 200:
        assert reply.headers["content-type"] == "application/json", reply
        return dialect.error(reply.json)
    kind = reply.headers["content-type"].partition(";")[0]
    if kind == "application/json":
        dialect.whole(reply.body)
        return None
    assert kind in ("text/event-stream", "application/x-ndjson")
    found = dialect.stream_error(reply.body)
    if found is None:
        dialect.streamed(reply.body)
    return found


def text_of(dialect: Dialect, reply: Reply) -> str:
    """What an answer that is whole says."""
    assert reply.status == 200, reply.body
    streamed = not reply.headers["content-type"].startswith("application/json")
    return dialect.streamed(reply.body) if streamed else dialect.whole(reply.body)
