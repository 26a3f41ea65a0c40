"""From a dialect to the inner form and back into the same dialect: what is said keeps its meaning.

Messages' requests have their own file, as have Responses'; completions and embeddings theirs.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.events import Finish, Frames, Reasoning, Text, ToolCallDelta, Usage, deltas, encode_frame
from pointsman.core.request import ChatRequest
from pointsman.dialects.messages import answer as messages_answer
from pointsman.dialects.messages import stream as messages_stream
from pointsman.dialects.ollama.answer import OllamaStream
from pointsman.dialects.ollama.in_answer import OllamaAnswer
from pointsman.dialects.ollama.in_request import Asked, read_chat
from pointsman.dialects.ollama.request import to_ollama

Body = dict[str, Any]
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
ARGUMENTS = st.dictionaries(TEXTS, st.none() | st.booleans() | st.integers(-(2**50), 2**50) | TEXTS, max_size=3)
PICTURES = st.binary(min_size=1, max_size=9).map(lambda data: base64.b64encode(b"\x89PNG" + data).decode())
NAMES = st.sampled_from(["look", "read"])


@st.composite
def turns(draw: st.DrawFn) -> list[Body]:
    """Users ask, assistants answer or call tools, and every call is answered in its order."""
    told: list[Body] = [{"role": "system", "content": draw(TEXTS)}] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 3))):
        asked: Body = {"role": "user", "content": draw(TEXTS)}
        if pictures := draw(st.lists(PICTURES, max_size=2)):
            asked["images"] = pictures
        said: Body = {"role": "assistant", "content": draw(TEXTS)}
        if draw(st.booleans()):
            said["thinking"] = draw(TEXTS)
        names = draw(st.lists(NAMES, max_size=2))
        if names:
            said["tool_calls"] = [{"function": {"name": name, "arguments": draw(ARGUMENTS)}} for name in names]
        told += [asked, said, *({"role": "tool", "tool_name": name, "content": draw(TEXTS)} for name in names)]
    return [*told, {"role": "user", "content": draw(TEXTS)}]


OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.floats(0, 2),
        "top_p": st.floats(0, 1),
        "seed": st.integers(0, 2**31),
        "top_k": st.integers(1, 100),
        "num_predict": st.integers(1, 9999),
        "stop": st.lists(TEXTS, min_size=1, max_size=3),
        "presence_penalty": st.floats(-2, 2),
    },
)
TOOLS = st.lists(
    st.fixed_dictionaries({"name": NAMES, "description": TEXTS, "parameters": st.just({"type": "object"})}).map(
        lambda function: {"type": "function", "function": function}
    ),
    max_size=2,
)


@given(turns(), OPTIONS, TOOLS, st.sampled_from([None, "json", {"type": "object", "properties": {}}]))
def test_ollamas_requests(messages, options, tools, form):
    body = {"model": "m", "messages": messages, "options": options, "tools": tools, "format": form}
    asked = read_chat(json.dumps(body).encode())
    assert isinstance(asked, Asked)
    request = ChatRequest.build(asked.fields, kind=asked.kind, dialect="ollama")
    back = json.loads(to_ollama(request, can_think=True).render(name="m", num_ctx=None, stream=True))
    assert [_unnumbered(message) for message in back["messages"]] == messages
    assert {name: back["options"][name] for name in options} == options
    assert back.get("tools", []) == tools
    assert back.get("format") == form


def _unnumbered(message: Body) -> Body:
    """A message without the ids that the inner form needs."""
    told = {name: value for name, value in message.items() if name != "tool_call_id"}
    if "tool_calls" in told:
        told["tool_calls"] = [{"function": call["function"]} for call in told["tool_calls"]]
    return told


# Answers


ANSWERS = st.tuples(
    st.lists(TEXTS, max_size=3),
    st.lists(TEXTS, max_size=4),
    st.lists(st.tuples(NAMES, ARGUMENTS), max_size=2),
    st.tuples(st.integers(1, 9999), st.integers(1, 9999)),
)


def chunks_of(thoughts: list[str], texts: list[str], calls: list[tuple[str, Body]], counts: tuple[int, int]) -> Frames:
    """A chat's stream that says this."""
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    told: list[Body] = [{"role": "assistant", "content": ""}]
    told += [{"reasoning_content": thought} for thought in thoughts]
    told += [{"content": text} for text in texts]
    for index, (name, arguments) in enumerate(calls):
        function = {"name": name, "arguments": json.dumps(arguments)}
        told.append({"tool_calls": [{"index": index, "id": f"c{index}", "type": "function", "function": function}]})
    chunks: list[Body] = [{**base, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in told]
    finish = "tool_calls" if calls else "stop"
    chunks.append({**base, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    usage = {"prompt_tokens": counts[0], "completion_tokens": counts[1], "total_tokens": sum(counts)}
    chunks.append({**base, "choices": [], "usage": usage})
    return Frames(b"".join(encode_frame(json.dumps(chunk).encode()) for chunk in chunks))


def meaning(*events: Frames) -> Body:
    """What a stream of chat says, however it is cut."""
    told: Body = {"text": "", "reasoning": "", "calls": {}, "finish": None, "usage": None}
    for delta in (delta for event in events for delta in deltas(event)):
        if isinstance(delta, Text):
            told["text"] += delta.text
        elif isinstance(delta, Reasoning):
            told["reasoning"] += delta.text
        elif isinstance(delta, ToolCallDelta):
            call = told["calls"].setdefault(delta.index, ["", ""])
            call[0], call[1] = call[0] or delta.name, call[1] + delta.arguments
        elif isinstance(delta, Finish):
            told["finish"] = delta.reason
        elif isinstance(delta, Usage):
            told["usage"] = (delta.prompt_tokens, delta.completion_tokens)
    told["calls"] = [(name, json.loads(arguments)) for name, arguments in told["calls"].values()]
    return told


def expected(thoughts: list[str], texts: list[str], calls: list[tuple[str, Body]], counts: tuple[int, int]) -> Body:
    said = {"text": "".join(texts), "reasoning": "".join(thoughts), "calls": calls}
    return {**said, "finish": "tool_calls" if calls else "stop", "usage": counts}


@given(ANSWERS)
def test_messages_answers(answer):
    there = messages_answer.MessagesStream("msg_1", "m", input_tokens=1, stops=[])
    raw = there.feed(chunks_of(*answer)) + there.end()
    back = messages_stream.MessagesStream(model="m", created=1, wants_usage=True)
    frames = back.feed(raw)
    back.end()
    assert frames is not None
    assert meaning(frames) == expected(*answer)


@given(ANSWERS)
def test_ollamas_answers(answer):
    there = OllamaAnswer("chat", model="m", now=lambda: 1.0, nanoseconds=lambda: 5)
    raw = there.feed(chunks_of(*answer)) + there.end()
    back = OllamaStream(model="m", answer_id="chatcmpl-1", created=1, wants_usage=True)
    events = [event for event in (back.feed(raw), back.end()) if event is not None]
    assert meaning(*events) == expected(*answer)
