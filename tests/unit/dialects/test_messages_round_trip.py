"""From Messages to the inner form and back: what a caller says reaches an Anthropic upstream with its meaning."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import settings as rules
from hypothesis import strategies as st

from pointsman.core.request import ChatRequest
from pointsman.dialects.messages.request import read_messages
from pointsman.dialects.messages.upstream import to_messages

Body = dict[str, Any]


def there_and_back(body: Body) -> Body:
    request = ChatRequest.build(read_messages(json.dumps(body).encode()), dialect="messages")
    return json.loads(to_messages(request, model=body["model"]))


def meaning(body: Body) -> Body:
    """A body in one writing: texts as blocks, turns of one role as one, results first, no defaults."""
    turns: list[tuple[str, list[Body]]] = []
    for turn in body["messages"]:
        blocks = [_plain(block) for block in _blocks(turn["content"])]
        if turns and turns[-1][0] == turn["role"]:
            turns[-1][1].extend(blocks)
        else:
            turns.append((turn["role"], blocks))
    said = [
        (role, sorted(blocks, key=lambda block: block["type"] != "tool_result") if role == "user" else blocks)
        for role, blocks in turns
    ]
    rest = {name: value for name, value in body.items() if name not in ("messages", "system", "tools", "stream")}
    return {
        **rest,
        "system": [_plain(block) for block in _blocks(body.get("system", []))],
        "messages": [turn for turn in said if turn[1]],
        "tools": [{k: v for k, v in tool.items() if (k, v) != ("type", "custom")} for tool in body.get("tools", [])],
        "stream": body.get("stream", False),
    }


def _blocks(content: Any) -> list[Body]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _plain(block: Body) -> Body:
    plain = {name: value for name, value in block.items() if (name, value) != ("is_error", False)}
    if plain["type"] == "tool_result":
        plain["content"] = _blocks(plain.get("content", ""))
    return plain


TEXT = st.text(min_size=1, max_size=8)
NAMES = st.from_regex(r"[a-zA-Z0-9_-]{1,12}", fullmatch=True)
OBJECTS = st.dictionaries(TEXT, st.integers(-(2**53), 2**53) | TEXT | st.booleans() | st.none(), max_size=3)
MARK = {"cache_control": st.just({"type": "ephemeral", "ttl": "1h"})}
DATA = st.from_regex(r"[A-Za-z0-9+/]{4,12}={0,2}", fullmatch=True)


def block(kind: str, **fields: Any) -> st.SearchStrategy[Body]:
    return st.fixed_dictionaries({"type": st.just(kind), **fields}, optional=MARK)


def source(kind: str, **fields: Any) -> st.SearchStrategy[Body]:
    return st.fixed_dictionaries({"type": st.just(kind), **fields})


TEXTS = block("text", text=TEXT)
PICTURES = block(
    "image",
    source=source("base64", media_type=st.sampled_from(["image/png", "image/jpeg"]), data=DATA)
    | source("url", url=st.just("https://a.io/b.png")),
)
DOCUMENTS = block(
    "document",
    title=TEXT,
    source=source("base64", media_type=st.just("application/pdf"), data=DATA)
    | source("url", url=st.just("https://a.io/b.pdf"))
    | source("file", file_id=NAMES),
) | block(
    "document",
    citations=st.just({"enabled": True}),
    source=source("text", media_type=st.just("text/plain"), data=TEXT),
)
RESULTS = block(
    "tool_result",
    tool_use_id=NAMES,
    content=TEXT | st.lists(TEXTS | PICTURES, min_size=1, max_size=3),
    is_error=st.booleans(),
)
CALLS = block("tool_use", id=NAMES, name=NAMES, input=OBJECTS)
THOUGHTS = st.fixed_dictionaries({"type": st.just("thinking"), "thinking": TEXT, "signature": DATA}) | (
    st.fixed_dictionaries({"type": st.just("redacted_thinking"), "data": DATA})
)
SERVER = block("server_tool_use", id=NAMES, name=st.just("web_search"), input=OBJECTS)

USER = st.fixed_dictionaries(
    {
        "role": st.just("user"),
        "content": TEXT | st.lists(TEXTS | PICTURES | DOCUMENTS | RESULTS, min_size=1, max_size=5),
    }
)
ASSISTANT = st.fixed_dictionaries(
    {
        "role": st.just("assistant"),
        "content": TEXT | st.lists(TEXTS | CALLS | THOUGHTS | SERVER, min_size=1, max_size=5),
    }
)
TOOLS = st.fixed_dictionaries(
    {"name": NAMES, "input_schema": st.just({"type": "object", "properties": {"a": {"type": "integer"}}})},
    optional={
        "description": TEXT,
        "strict": st.booleans(),
        "type": st.just("custom"),
        "input_examples": st.lists(OBJECTS, max_size=2),
        "defer_loading": st.booleans(),
        **MARK,
    },
) | st.just({"type": "web_search_20250305", "name": "web_search", "max_uses": 5})


@st.composite
def bodies(draw: st.DrawFn) -> Body:
    turns = draw(st.lists(USER | ASSISTANT, max_size=5))
    body: Body = {
        "model": draw(NAMES),
        "max_tokens": draw(st.integers(1, 10_000)),
        "messages": [{"role": "user", "content": draw(TEXT)}, *turns],
    }
    optional = {
        "system": TEXT | st.lists(TEXTS, min_size=1, max_size=3),
        "tools": st.lists(TOOLS, min_size=1, max_size=3),
        "stop_sequences": st.lists(TEXT, min_size=1, max_size=2),
        "temperature": st.sampled_from([0.0, 0.5, 1.0]),
        "top_k": st.integers(1, 50),
        "stream": st.booleans(),
        "metadata": st.fixed_dictionaries({"user_id": TEXT}),
        "thinking": st.just({"type": "enabled", "budget_tokens": 2048}),
        "service_tier": st.sampled_from(["auto", "standard_only"]),
        "context_management": st.just({"edits": [{"type": "clear_tool_uses_20250919"}]}),
        "output_config": st.just({"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}}),
    }
    for name, values in optional.items():
        if draw(st.booleans()):
            body[name] = draw(values)
    if "tools" in body and draw(st.booleans()):
        choices: list[Body] = [{"type": "any"}, {"type": "none"}, {"type": "tool", "name": "f"}]
        choices.append({"type": "auto", "disable_parallel_tool_use": True})
        body["tool_choice"] = draw(st.sampled_from(choices))
    return body


@given(bodies())
@rules(deadline=None)
def test_meaning_is_kept(body):
    assert meaning(there_and_back(body)) == meaning(body)


def test_system_messages_in_the_middle_keep_their_place_and_fields():
    turns = [
        {"role": "user", "content": "hi"},
        {"role": "system", "content": "Now in French.", "clear_at": "next_user_message"},
        {"role": "system", "content": "And short."},
        {"role": "assistant", "content": "Salut."},
        {"role": "user", "content": "more"},
        {"role": "system", "output_config": {"effort": "low"}},
    ]
    there = there_and_back({"model": "m", "max_tokens": 9, "messages": turns})["messages"]
    assert there == turns
