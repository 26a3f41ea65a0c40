"""An answer that is relayed in Anthropic's Messages, and gone on with by a model that answers in chat."""

from __future__ import annotations

import json
from typing import Any

import pytest
from splicing import PREFILLS, REPEATS, asking, begun, call, chunk, relayed_asking, streamed

from pointsman.core.events import Frames, Usage
from pointsman.core.request import ChatRequest
from pointsman.pipeline.execute.splice import Splice

TEXT = "I look at both files, one after the other."
ARGUMENTS = [{"path": "a.py", "text": 'x = "{"\n'}, {"path": "b.py"}]


def event(kind: str, **fields: Any) -> Frames:
    raw = b"event: %s\ndata: %s\n\n" % (kind.encode(), json.dumps({"type": kind, **fields}).encode())
    return Frames(raw, dialect="messages")


def block(index: int, start: dict[str, Any], *deltas: dict[str, Any]) -> list[Frames]:
    return [
        event("content_block_start", index=index, content_block=start),
        *(event("content_block_delta", index=index, delta=delta) for delta in deltas),
        event("content_block_stop", index=index),
    ]


def text(index: int, said: str) -> list[Frames]:
    deltas = [{"type": "text_delta", "text": said[at : at + 5]} for at in range(0, len(said), 5)]
    return block(index, {"type": "text", "text": ""}, *deltas)


def tool(index: int, identifier: str, arguments: dict[str, Any]) -> list[Frames]:
    written = json.dumps(arguments)
    deltas = [{"type": "input_json_delta", "partial_json": written[at : at + 4]} for at in range(0, len(written), 4)]
    return block(index, {"type": "tool_use", "id": identifier, "name": "read", "input": {}}, *deltas)


def thinking(index: int, thought: str, signature: str | None = "sig") -> list[Frames]:
    deltas: list[dict[str, Any]] = [{"type": "thinking_delta", "thinking": thought}]
    if signature:
        deltas.append({"type": "signature_delta", "signature": signature})
    return block(index, {"type": "thinking", "thinking": "", "signature": ""}, *deltas)


def answer(*blocks: list[Frames], stop: str = "end_turn") -> list[Frames]:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": [],
               "stop_reason": None, "usage": {"input_tokens": 31, "output_tokens": 1}}  # fmt: skip
    end = event("message_delta", delta={"stop_reason": stop, "stop_sequence": None}, usage={"output_tokens": 9})
    begin = event("message_start", message=message)
    return [begin, event("ping"), *(each for one in blocks for each in one), end, event("message_stop")]


class Told:
    """What a client of Anthropic's puts together, and that the events are in order."""

    def __init__(self) -> None:
        self.blocks: list[dict[str, Any]] = []
        self.open: int | None = None
        self.ids: list[str] = []
        self.stop: str | None = None
        self.usage: dict[str, Any] = {}
        self.done = False

    def see(self, passed: Any) -> None:
        if passed is None:
            return
        assert passed.dialect == "messages"
        for frame in passed.raw.decode().split("\n\n"):
            if frame:
                name, data = frame.split("\n")
                told = json.loads(data.removeprefix("data: "))
                assert name == f"event: {told['type']}"
                assert not self.done
                self.take(told)

    def take(self, told: dict[str, Any]) -> None:
        match told["type"]:
            case "message_start":
                self.ids.append(told["message"]["id"])
            case "content_block_start":
                assert self.open is None
                assert told["index"] == len(self.blocks)
                self.open = told["index"]
                self.blocks.append({**told["content_block"], "said": ""})
            case "content_block_delta":
                assert self.open == told["index"]
                piece = told["delta"]
                said = piece.get("text") or piece.get("partial_json") or piece.get("thinking") or ""
                self.blocks[-1]["said"] += said
            case "content_block_stop":
                assert self.open == told["index"]
                self.open = None
            case "message_delta":
                assert self.open is None
                self.stop, self.usage = told["delta"]["stop_reason"], told["usage"]
            case "message_stop":
                self.done = True

    def said(self, kind: str) -> list[str]:
        return [each["said"] for each in self.blocks if each["type"] == kind]


def carried_out(first: list[Frames], reply: Any, stop: int, card: Any = PREFILLS) -> Told:
    request = relayed_asking("messages")
    splice = Splice(request)
    told = Told()
    assert splice.asks(REPEATS, request) is request
    for each in first[:stop]:
        told.see(splice.passes(each))
    if (rest := splice.whole(Usage(31, 55))) is not None:
        told.see(rest)
    else:
        assert splice.can_go_on(card)
        asked = splice.asks(card, request)
        assert asked.dialect == "chat" or not splice.begun
        for each in reply(asked):
            told.see(splice.passes(each))
        told.see(splice.end())
    assert told.ids == ["msg_1"]
    assert told.done
    return told


def prefilled(asked: ChatRequest) -> list[Frames]:
    said = begun(asked) if asked.message(-1).role == "assistant" else ""
    return streamed(TEXT[len(said) :], model="second")


def test_text_goes_on_in_the_same_block_wherever_it_broke():
    first = answer(text(0, TEXT))
    for stop in range(2, len(first) + 1):
        told = carried_out(first, prefilled, stop)
        assert "".join(told.said("text")) == TEXT, stop
        assert told.stop == "end_turn"
        block_ended = stop >= len(first) - 2
        assert len(told.blocks) == 1 or block_ended
        if stop < len(first) - 2:
            assert told.usage["input_tokens"] == 7  # of the last answer, as it counted


def test_thinking_is_ended_and_followed_by_the_next_models_own():
    first = answer(thinking(0, "Let me see", None), text(1, TEXT))

    def reply(asked: ChatRequest) -> list[Frames]:
        rest = prefilled(asked)
        signed = {"type": "thinking", "thinking": "Hm.", "signature": "sig"}
        thought = [chunk({"reasoning_content": "Hm."}), chunk({"thinking_blocks": [signed]})]
        return [rest[0], *thought, *rest[1:]]

    for stop in (4, 5, 6, 7, 9, len(first) - 5):
        told = carried_out(first, reply, stop)
        assert "".join(told.said("text")) == TEXT, stop
        assert told.said("thinking") == (["Let me see", "Hm."] if stop < 7 else ["Let me see"]), stop


def test_calls_are_told_whole_and_once():
    first = answer(text(0, TEXT), tool(1, "toolu_a", ARGUMENTS[0]), tool(2, "toolu_b", ARGUMENTS[1]), stop="tool_use")

    def reply(asked: ChatRequest) -> list[Frames]:
        calls = [
            *call(0, "call_a", "read", json.dumps(ARGUMENTS[0])),
            *call(1, "call_b", "read", json.dumps(ARGUMENTS[1])),
        ]
        return [*prefilled(asked)[:-2], *calls, chunk({}, finish="tool_calls")]

    for stop in range(2, len(first) + 1):
        told = carried_out(first, reply, stop)
        assert "".join(told.said("text")) == TEXT, stop
        calls = [json.loads(said) for said in told.said("tool_use")]
        assert calls in (ARGUMENTS, ARGUMENTS[:1]), stop
        assert told.stop == "tool_use"
        if calls == ARGUMENTS[:1]:
            assert (told.usage["input_tokens"], told.usage["output_tokens"]) == (31, 55)
        assert all(each["id"] and each["name"] == "read" for each in told.blocks if each["type"] == "tool_use")


def test_a_call_goes_out_when_its_block_has_ended():
    splice = Splice(relayed_asking("messages"))
    splice.asks(REPEATS, relayed_asking("messages"))
    frames = tool(0, "toolu_a", ARGUMENTS[0])
    assert [splice.passes(each) for each in frames[:-1]] == [None] * (len(frames) - 1)
    told = splice.passes(frames[-1])
    assert told is not None
    assert told.raw == b"".join(each.raw for each in frames)
    end = event("message_delta", delta={"stop_reason": "tool_use"}, usage={"output_tokens": 1})
    assert splice.passes(end) is end


def test_a_break_in_the_first_call_leaves_nothing_of_it():
    first = answer(tool(0, "toolu_a", ARGUMENTS[0]), stop="tool_use")
    told = carried_out(first, lambda asked: streamed(TEXT, model="second"), 5)
    assert told.said("tool_use") == []
    assert told.said("text") == [TEXT]


def test_a_message_may_break_several_times():
    request = relayed_asking("messages")
    splice, told = Splice(request), Told()
    replies = [lambda asked: answer(text(0, TEXT)), prefilled, prefilled]
    for number, reply in enumerate(replies):
        asked = splice.asks(PREFILLS, request)
        for each in reply(asked)[: 5 if number < 2 else None]:
            told.see(splice.passes(each))
    told.see(splice.end())
    assert told.said("text") == [TEXT]
    assert told.done


@pytest.mark.parametrize("kind", ["server_tool_use", "web_search_tool_result", "mcp_tool_use"])
def test_what_a_providers_own_tool_did_is_not_gone_on_with(kind):
    splice = Splice(relayed_asking("messages"))
    splice.asks(REPEATS, relayed_asking("messages"))
    for each in answer(block(0, {"type": kind, "id": "srvtoolu_1", "name": "web_search"}), text(1, TEXT))[:6]:
        splice.passes(each)
    assert not splice.can_go_on(REPEATS)
    assert splice.whole() is None


def test_other_dialects_callers_are_told_chat_and_go_on_in_it():
    request = asking()
    splice = Splice(request)
    splice.asks(REPEATS, request)
    for each in streamed(TEXT)[:4]:
        splice.passes(each)
    assert splice.asks(PREFILLS, relayed_asking("messages")).dialect == "chat"
