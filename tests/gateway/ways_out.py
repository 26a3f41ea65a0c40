"""The registry of the wall test: every way into the gateway by which private content may come, and every disguise.

A stage, surface or dialect that is added later adds a line to `WAYS` or `other_ways`; one that can talk to the outside
adds an upstream to `ELSEWHERE`, and what points at it to the settings in test_every_way_out.py.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from itertools import cycle
from typing import Any
from urllib.parse import quote

from pointsman.testing.answers import Answer, HangUp, Page, Raw, Reset, SeenRequest, Stall, Status, Step, ToolUse, Wire

from .running import Gateway, Reply

CANARIES = {
    "token": "ghp_Zk3vQ8sT1xW5yB7nM2cR4dF6gH9jL0pEaUi2",
    "own key": "pm_k3qz7wmb_Zk3vQ8sT1xW5yB7nM2cR4dF6gH9jL0pEaUi2Xo5vNq1",
    "cloud key": "AKIAQ3EGRT5YUIO7PLKJ",
    "card": "4539 5787 6362 1486",
    "iban": "DE89 3704 0044 0532 0130 00",
    "ssn": "536-90-4399",
    "address with a password": "postgres://canary:Tr4in-s3cr3t@db.acme.io:5432/main",
    "private key": (
        "-----BEGIN EC PRIVATE KEY-----\n"
        "MHcCAQEEIQk3vQ8sT1xW5yB7nM2cR4dF6gH9jL0pEaUi2Xo5v\n"
        "-----END EC PRIVATE KEY-----"
    ),
}

ELSEWHERE = ("cloud", "anthropic", "ollama", "litellm", "farm", "farm too", "proxy", "hook")
"""What is not local: a cloud, an Ollama, a LiteLLM and a pool of two Ollamas on loopback that nobody declared local, a
proxy that the environment names, and the address for alerts."""

Body = dict[str, Any]


def _said(content: Any, **fields: Any) -> Body:
    return {"messages": [{"role": "user", "content": content}], **fields}


def _escaped(text: str) -> str:
    return "".join(f"\\u{ord(letter):04x}" for letter in text)


def _calls(arguments: str) -> list[Body]:
    call = {"id": "c1", "type": "function", "function": {"name": "read", "arguments": arguments}}
    return [{"role": "assistant", "content": None, "tool_calls": [call]}, _result("ok")]


def _result(content: str) -> Body:
    return {"role": "tool", "tool_call_id": "c1", "content": content}


def disguises(canary: str) -> dict[str, Body]:
    """Bodies in which a canary stands, each in another place or writing."""
    half, encoded = len(canary) // 2, quote(canary, safe="")
    svg = base64.b64encode(f"<svg><!-- {canary} --></svg>".encode()).decode()
    part = {"type": "text", "text": f"see {canary}"}
    tool = {"type": "function", "function": {"name": "f", "description": canary, "parameters": {"default": canary}}}
    user = {"role": "user", "content": "go on"}
    schema = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"enum": [canary]}}}
    return {
        "text": _said(f"Look at {canary} please"),
        "twice": _said(f"{canary} and {canary}"),
        "system": {"messages": [{"role": "system", "content": f"Use {canary}"}, user]},
        "assistant": {"messages": [user, {"role": "assistant", "content": f"I saw {canary} ."}, user]},
        "parts": _said([part, {"type": "text", "text": "?"}]),
        "cut over parts": _said([{"type": "text", "text": canary[:half]}, {"type": "text", "text": canary[half:]}]),
        "arguments": {"messages": [user, *_calls(json.dumps({"path": "a", "text": canary}))]},
        "arguments escaped": {"messages": [user, *_calls(f'{{"text": "{_escaped(canary)}"}}')]},
        "tool result": {"messages": [user, *_calls("{}")[:1], _result(f"$ cat\n{canary}\n")]},
        "json in a result": {"messages": [user, *_calls("{}")[:1], _result(json.dumps({"out": canary}))]},
        "tool definition": {"messages": [user], "tools": [tool]},
        "schema": {"messages": [user], "response_format": schema},
        "name": {"messages": [{**user, "name": canary}]},
        "unknown field": {"messages": [user], "x_extra": {"deep": [[{"note": f"a {canary} b"}]]}},
        "metadata key": {"messages": [user], "metadata": {canary: "x"}},
        "user": {"messages": [user], "user": canary},
        "prediction": {"messages": [user], "prediction": {"type": "content", "content": canary}},
        "stop": {"messages": [user], "stop": [canary]},
        "zero-width": _said(f"Look at {canary[:half]}\u200b{canary[half:]} please"),
        "escaped twice": _said(f'{{"a": "{_escaped(canary)}"}}'),
        "drawing": _said([{"type": "image_url", "image_url": {"url": f"data:image/svg+xml;base64,{svg}"}}]),
        "picture's address": _said([{"type": "image_url", "image_url": {"url": f"https://pics.io/a.png?t={encoded}"}}]),
    }  # fmt: skip


def spellings(canary: str) -> set[bytes]:
    """What would betray a canary in a block of bytes."""
    half = len(canary) // 2
    written = {canary, json.dumps(canary)[1:-1], quote(canary, safe=""), _escaped(canary)}
    written |= {canary.replace(" ", ""), canary.replace(" ", "-"), canary[:half] + "\u200b" + canary[half:]}
    written |= {line for line in canary.splitlines() if len(line) > 12 and "-----" not in line}
    if "://" in canary:
        written.add("Tr4in-s3cr3t")
    if len(canary) > 30 and "\n" not in canary and "://" not in canary:
        written |= {canary[:half], canary[half:]}
    encoded = base64.b64encode(f"<svg><!-- {canary} --></svg>".encode())[12:-12]
    return {form.encode() for form in written} | {json.dumps(form)[1:-1].encode() for form in written} | {encoded}


Way = Callable[[Gateway, Body], Reply]


def _chat(model: str = "auto", *, stream: bool = False, headers: dict[str, str] | None = None) -> Way:
    def send(gateway: Gateway, body: Body) -> Reply:
        return gateway.ask("POST", "/v1/chat/completions", {"model": model, "stream": stream, **body}, headers=headers)

    return send


def _preview(gateway: Gateway, body: Body) -> Reply:
    return gateway.ask("POST", "/api/v1/route", {"model": "auto", **body})


def _native(path: str, model: str = "auto", **wishes: Any) -> Way:
    def send(gateway: Gateway, body: Body) -> Reply:
        return gateway.ask("POST", f"/api/v1/chat/{path}", {"model": model, **wishes, **body})

    return send


def _as_messages(body: Body) -> Body:
    """A chat body in Anthropic's words; what has none keeps its place, to be refused."""
    system: list[Body] = []
    turns: list[Body] = []
    for message in body["messages"]:
        said = {name: value for name, value in message.items() if name not in ("role", "content")}
        content = message["content"]
        if message["role"] == "system":
            system.append({"type": "text", "text": content})
            continue
        if message["role"] == "tool":
            content = [{"type": "tool_result", "tool_use_id": said.pop("tool_call_id"), "content": content}]
        elif calls := said.pop("tool_calls", None):
            content = [
                {"type": "tool_use", "id": call["id"], "name": name, "input": json.loads(call["function"]["arguments"])}
                for call in calls
                for name in (call["function"]["name"],)
            ]
        elif isinstance(content, list):
            content = [_as_block(part) for part in content]
        turns.append({"role": "assistant" if message["role"] == "assistant" else "user", "content": content, **said})
    fields = {name: value for name, value in body.items() if name != "messages"}
    if "tools" in fields:
        fields["tools"] = [
            {"name": f["name"], "description": f["description"], "input_schema": f["parameters"]}
            for f in (tool["function"] for tool in fields["tools"])
        ]
    if form := fields.pop("response_format", None):
        fields["output_config"] = {"format": {"type": "json_schema", "schema": form["json_schema"]["schema"]}}
    if stop := fields.pop("stop", None):
        fields["stop_sequences"] = stop
    return {"max_tokens": 100, "messages": turns, **({"system": system} if system else {}), **fields}


def _as_block(part: Body) -> Body:
    if part["type"] != "image_url":
        return part
    url = part["image_url"]["url"]
    media, _, data = url.removeprefix("data:").partition(";base64,")
    if url.startswith("data:"):
        return {"type": "image", "source": {"type": "base64", "media_type": media, "data": data}}
    return {"type": "image", "source": {"type": "url", "url": url}}


def _messages(model: str = "auto", *, stream: bool = False) -> Way:
    def send(gateway: Gateway, body: Body) -> Reply:
        return gateway.ask("POST", "/v1/messages", {"model": model, "stream": stream, **_as_messages(body)})

    return send


def _as_items(body: Body) -> Body:
    """A chat body in the words of OpenAI's Responses; what has none keeps its place."""
    items: list[Body] = []
    for message in body["messages"]:
        content = message["content"]
        if isinstance(content, list):
            content = [_as_part(part) for part in content]
        if message["role"] == "tool":
            items.append({"type": "function_call_output", "call_id": message["tool_call_id"], "output": content})
            continue
        calls = message.get("tool_calls") or ()
        items += [{"type": "function_call", "call_id": call["id"], **call["function"]} for call in calls]
        if content is not None:
            items.append({**message, "content": content})
    fields = {name: value for name, value in body.items() if name != "messages"}
    if "tools" in fields:
        fields["tools"] = [{"type": "function", **tool["function"]} for tool in fields["tools"]]
    if form := fields.pop("response_format", None):
        fields["text"] = {"format": {"type": "json_schema", **form["json_schema"]}}
    return {"input": items, **fields}


def _as_part(part: Body) -> Body:
    if part["type"] == "image_url":
        return {"type": "input_image", "image_url": part["image_url"]["url"]}
    return {**part, "type": "input_text"}


def _responses(model: str = "auto", *, stream: bool = False) -> Way:
    def send(gateway: Gateway, body: Body) -> Reply:
        return gateway.ask("POST", "/v1/responses", {"model": model, "stream": stream, **_as_items(body)})

    return send


def _ollama(model: str = "auto", *, stream: bool = True) -> Way:
    """The Ollama dialect: what OpenAI writes otherwise than Ollama is rewritten, every other field goes as it is."""

    def send(gateway: Gateway, body: Body) -> Reply:
        fields = {name: value for name, value in body.items() if name not in ("response_format", "stop")}
        fields["messages"] = [_ollama_message(message) for message in body["messages"]]
        if "response_format" in body:
            fields["format"] = body["response_format"]["json_schema"]["schema"]
        if "stop" in body:
            fields["options"] = {"stop": body["stop"]}
        return gateway.ask("POST", "/api/chat", {"model": model, "stream": stream, **fields})

    return send


def _ollama_message(message: Body) -> Body:
    written = dict(message)
    if isinstance(message.get("content"), list):
        texts = [part["text"] for part in message["content"] if part["type"] == "text"]
        urls = [part["image_url"]["url"] for part in message["content"] if part["type"] == "image_url"]
        pictures = [url.partition(",")[2] for url in urls if url.startswith("data:")]
        others = [url for url in urls if not url.startswith("data:")]
        written |= {"content": "".join([*texts, *others]), "images": pictures}
    if "tool_calls" in message:
        written["tool_calls"] = [
            {"function": {**call["function"], "arguments": json.loads(call["function"]["arguments"])}}
            for call in message["tool_calls"]
        ]
    return written


def _ollama_generate(gateway: Gateway, body: Body) -> Reply:
    """The whole conversation as one prompt, and as a gap's sides."""
    texts: list[str] = []
    pictures: list[str] = []
    for message in map(_ollama_message, body["messages"]):
        calls = json.dumps(message.get("tool_calls", ""), ensure_ascii=False)
        texts += [message.get("content") or "", calls, message.get("name", "")]
        pictures += message.get("images", ())
    text = "\n".join(texts)
    others = {name: value for name, value in body.items() if name not in ("messages", "stop", "response_format")}
    kept = {"options": {"note": body.get("stop"), "other": body.get("response_format")}}
    asked = {"model": "ollama:llama3:8b", "prompt": text, "suffix": text, **others, **kept}
    gateway.ask("POST", "/api/embed", {"model": "ollama:llama3:8b", "input": text})
    gateway.ask("POST", "/api/generate", asked)
    return gateway.ask(
        "POST", "/api/generate", {**asked, "model": "auto", "suffix": "", "system": text, "images": pictures}
    )


WAYS: dict[str, Way] = {
    "chat": _chat(),
    "chat, streamed": _chat(stream=True),
    "chat with a remote model": _chat("openai:gpt-4o"),
    "chat with a remote model, streamed": _chat("openai:gpt-4o", stream=True),
    "chat with an alias of a remote model": _chat("mine", stream=True),
    "chat with an Ollama that nobody declared local": _chat("ollama:llama3:8b"),
    "chat with a LiteLLM on loopback": _chat("litellm:claude", stream=True),
    "chat with a pool of Ollamas that nobody declared local": _chat("farm:llama3:8b"),
    "Ollama's chat with a pool of Ollamas": _ollama("farm:llama3:8b"),
    "chat with a model of Anthropic's": _chat("anthropic:claude-opus-5-5"),
    "chat with a model of Anthropic's, streamed": _chat("anthropic:claude-opus-5-5", stream=True),
    "messages to Anthropic": _messages("anthropic:claude-opus-5-5"),
    "messages to Anthropic, streamed": _messages("anthropic:claude-opus-5-5", stream=True),
    "chat at level high": _chat(headers={"x-pointsman-privacy": "high"}),
    "messages": _messages(),
    "messages with a remote model, streamed": _messages("openai:gpt-4o", stream=True),
    "responses": _responses(),
    "responses with a remote model, streamed": _responses("openai:gpt-4o", stream=True),
    "responses to an upstream that speaks them": _responses("speaks:gpt-5.5"),
    "responses to an upstream that speaks them, streamed": _responses("speaks:gpt-5.5", stream=True),
    "chat with a model that is served in Responses alone": _chat("speaks:gpt-5-codex"),
    "messages to a model that is served in Responses alone": _messages("speaks:gpt-5-codex", stream=True),
    "Ollama's chat": _ollama(),
    "Ollama's chat with a remote model": _ollama("openai:gpt-4o", stream=False),
    "Ollama's chat with an Ollama that nobody declared local": _ollama("ollama:llama3:8b"),
    "Ollama's generate": _ollama_generate,
    "preview": _preview,
    "native chat": _native("completions", "openai:gpt-4o", options={"prioritize_speed": True, "x": 1}),
    "native chat, streamed": _native("streaming"),
    "native chat, hybrid": _native("hybrid", routing_preferences={"force_provider": "openai"}),
}
"""Each takes the body of a chat request."""


def other_ways(gateway: Gateway, canary: str, decision: str) -> Iterator[Reply]:
    """Requests whose canary is no part of a chat body: names, headers, paths, queries, comments, broken bodies."""
    hi = {"messages": [{"role": "user", "content": "hi"}]}
    line = canary.replace("\n", " ")
    encoded = quote(canary, safe="")
    chat = "/v1/chat/completions"
    yield gateway.ask("POST", chat, {**hi, "model": canary})
    yield gateway.ask("POST", chat, {**hi, "model": f"openai:{canary}"})
    yield gateway.ask("POST", chat, {**hi, "model": "auto"}, headers={"x-note": line, "user-agent": line})
    yield gateway.ask("POST", chat, {**hi, "model": "auto"}, headers={"x-pointsman-privacy": line})
    yield gateway.ask("POST", chat, {**hi, "model": "auto"}, headers={"x-request-id": line, "traceparent": line})
    yield gateway.ask("POST", f"{chat}?key={encoded}", {**hi, "model": "auto"})
    yield gateway.ask("POST", chat, json.dumps(hi).encode()[:-1] + f', "note": "{line}"'.encode())
    yield gateway.ask("POST", chat, {"messages": [{"role": canary, "content": "hi"}], "model": "auto"})
    yield gateway.ask("POST", chat, {**hi, "temperature": canary})
    for own in ({"mode": canary}, {"routing_preferences": {"force_provider": canary}}, {"options": {canary: canary}}):
        yield gateway.ask("POST", "/api/v1/chat/completions", {**hi, "model": "auto", **own})
    message = {"max_tokens": 9, **hi}
    for name in ("anthropic-beta", "anthropic-version"):
        yield gateway.ask("POST", "/v1/messages?beta=true", {"model": "auto", **message}, headers={name: line})
    yield gateway.ask("POST", "/v1/messages", {**message, "model": canary})
    yield gateway.ask("POST", "/v1/messages", {**message, "system": [{"type": canary, "text": canary}]})
    yield gateway.ask("POST", "/v1/messages", {**message, "tools": [{"type": canary, "name": canary}]})
    yield gateway.ask("POST", "/v1/messages/count_tokens", {"messages": [{"role": "user", "content": canary}]})
    said = {"model": "auto", "input": "hi", "store": False}
    yield gateway.ask("POST", "/v1/responses", {**said, "previous_response_id": canary})
    yield gateway.ask("POST", "/v1/responses", {**said, "input": [{"type": canary}]})
    yield gateway.ask("POST", "/v1/responses", {**said, "input": [{"type": "item_reference", "id": canary}]})
    yield gateway.ask("POST", "/v1/responses", {**said, "tools": [{"type": canary}], "stream_options": {canary: 1}})
    yield gateway.ask("POST", "/v1/responses", {**said, "client_metadata": {"note": canary}})
    said["model"] = "speaks:gpt-5.5"
    for beside in (
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": canary}], "encrypted_content": "x"},
        {"type": "reasoning", "summary": [], "encrypted_content": f"x {canary} y"},
        {"type": "web_search_call", "action": {"type": "search", "query": canary}},
        {"type": "custom_tool_call", "call_id": "c1", "name": "patch", "input": canary},
        {"type": "message", "role": "assistant", "phase": canary, "content": "a"},
    ):
        user = {"role": "user", "content": "hi"}
        yield gateway.ask("POST", "/v1/responses", {**said, "input": [user, beside, user]})
    for more in (
        {"tools": [{"type": "file_search", "vector_store_ids": [canary]}]},
        {"tools": [{"type": "mcp", "server_label": "a", "server_url": f"https://a.example/?{line}"}]},
        {"tools": [{"type": "custom", "name": "patch", "format": {"type": "grammar", "definition": canary}}]},
        {"reasoning": {"summary": canary}},
        {"metadata": {"note": canary}},
        {"unknown": {"note": canary}},
    ):
        yield gateway.ask("POST", "/v1/responses", {**said, **more})
    yield gateway.ask("GET", f"/v1/responses/{encoded}")
    yield gateway.ask("GET", f"/v1/models/{encoded}")
    yield gateway.ask("GET", f"/api/v1/decisions/{encoded}")
    yield gateway.ask("GET", f"/api/v1/decisions?limit={encoded}")
    yield gateway.ask("GET", f"/{encoded}")
    yield gateway.ask("POST", "/v1/feedback", {"id": decision, "thumb": "up", "comment": f"it had {canary} in it"})
    yield gateway.ask("POST", "/v1/feedback", {"id": canary, "thumb": "up"})
    yield gateway.ask("POST", "/api/v1/route", {**hi, "model": canary})
    remote, instruct, embedder = "openai:gpt-4o", "openai:gpt-3.5-turbo-instruct", "openai:text-embedding-3-small"
    yield gateway.ask("POST", "/v1/completions", {"model": remote, "prompt": f"see {canary} there"})
    yield gateway.ask("POST", "/v1/completions", {"model": instruct, "prompt": ["a", canary], "stream": True})
    yield gateway.ask("POST", "/v1/completions", {"model": instruct, "prompt": "a", "suffix": f"\n{canary}\n"})
    yield gateway.ask("POST", "/v1/completions", {"model": instruct, "prompt": "a", "stop": [canary], "user": canary})
    yield gateway.ask("POST", "/v1/embeddings", {"model": embedder, "input": ["fine", f"see {canary} there"]})
    yield gateway.ask("POST", "/v1/embeddings", {"model": embedder, "input": "a", "user": canary, "x": {"y": canary}})
    yield gateway.ask("POST", "/api/v1/config", {"routing": {"force_provider": canary, canary: 1}})
    yield gateway.ask("DELETE", f"/api/v1/config?field={encoded}")
    yield gateway.ask("GET", f"/api/v1/keys/{encoded}")
    yield gateway.ask("GET", f"/api/v1/usage?key={encoded}")
    yield gateway.ask("GET", f"/api/v1/budgets?key={encoded}&user={encoded}")
    yield gateway.ask("POST", f"/api/v1/budgets/unsettled/{encoded}/release", {})
    yield gateway.ask("POST", "/api/v1/auth/sign-in", {"name": canary, "password": canary})
    yield gateway.ask("GET", f"/oauth/authorize?client_id={encoded}&redirect_uri={encoded}")
    form = {"content-type": "application/x-www-form-urlencoded"}
    yield gateway.ask("POST", "/oauth/token", f"grant_type=x&code={encoded}".encode(), headers=form)


class InTurn:
    """A step that plays others in turn, for ever."""

    def __init__(self, *steps: Step) -> None:
        self._steps = cycle(steps)

    async def play(self, request: SeenRequest, wire: Wire) -> None:
        await next(self._steps).play(request, wire)


GOES_ON = b"Your answer was cut off"
"""Stands in a request to go on with what another model has told."""


class QuotesAndBreaks:
    """Says back what it was sent, and breaks off behind it: what was told goes out to whoever goes on."""

    async def play(self, request: SeenRequest, wire: Wire) -> None:
        said = request.body.decode(errors="replace")
        await Answer(text=f"You said: {said} And now", pieces=6).play(request, _Frames(wire, 6))
        wire.hang_up()


class _Frames:
    """Passes so many pieces of a body on, and then no more."""

    def __init__(self, wire: Wire, most: int) -> None:
        self._wire, self._left = wire, most

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wire, name)

    async def body(self, data: bytes) -> None:
        self._left -= 1
        if self._left >= 0:
            await self._wire.body(data)

    async def end(self) -> None:
        pass


def faults(elsewhere: str) -> InTurn:
    """What upstreams do between good answers."""
    away = {"Location": f"{elsewhere}/chat/completions"}
    return InTurn(
        Answer(),
        Status(500),
        Answer(tool_calls=[ToolUse(name="read", arguments='{"a": 1}')]),
        Page(b"{}", "application/json", 307, away),
        QuotesAndBreaks(),
        Reset(),
        Answer(),
        Status(429, retry_after=0),
        HangUp(after_bytes=60),
        QuotesAndBreaks(),
        Raw(b"SSH-2.0-garbage\r\n"),
        Page(b"<html>captive</html>"),
        Answer(),
        Stall(),
        QuotesAndBreaks(),
        Page(b"{}", "application/json", 302, away),
        Status(401),
    )
