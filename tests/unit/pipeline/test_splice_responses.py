"""An answer that is relayed in OpenAI's Responses, and gone on with by a model that answers in chat."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from splicing import PREFILLS, REPEATS, begun, call, chunk, relayed_asking, streamed

from pointsman.core.errors import UpstreamError
from pointsman.core.events import Frames, Usage, payloads
from pointsman.core.request import ChatRequest
from pointsman.pipeline.execute.splice import Splice
from pointsman.testing.answers import Answer, ToolUse
from pointsman.testing.responses_answer import frames as scripted

TEXT = "I look at both files, one after the other."
ARGUMENTS = [{"path": "a.py", "text": 'x = "{"\n'}, {"path": "b.py"}]
TOOLS = [ToolUse("read", ARGUMENTS[0], "call_a"), ToolUse("read", ARGUMENTS[1], "call_b")]


def answer(finish: str = "stop", **said: Any) -> list[Frames]:
    told = scripted(Answer(**{"text": TEXT, "pieces": 8, **said}), {"input": [], "model": "gpt"}, finish)
    return [Frames(raw, dialect="responses") for raw in told]


class Told:
    """What a client of Responses puts together from the events, and that they are in order."""

    def __init__(self) -> None:
        self.number = -1
        self.items: list[dict[str, Any]] = []
        self.open: set[int] = set()
        self.last: dict[str, Any] | None = None

    def see(self, passed: Any) -> None:
        if passed is None:
            return
        assert passed.dialect == "responses"
        for frame in passed.raw.decode().split("\n\n"):
            if frame and not frame.startswith(":"):
                name, data = frame.split("\n")
                told = json.loads(data.removeprefix("data: "))
                assert name == f"event: {told['type']}"
                assert told["sequence_number"] == self.number + 1
                assert self.last is None
                self.number += 1
                self.take(told)

    def take(self, told: dict[str, Any]) -> None:
        kind, index = told["type"], told.get("output_index")
        if kind == "response.output_item.added":
            assert index == len(self.items)
            self.items.append({**told["item"], "said": "", "thought": ""})
            self.open.add(index)
        elif kind == "response.output_item.done":
            assert told["item"]["id"] == self.items[index]["id"]
            self.open.remove(index)
            self.items[index]["done"] = told["item"]
        elif kind.endswith(".delta"):
            assert index in self.open
            assert told["item_id"] == self.items[index]["id"]
            self.items[index]["thought" if "reasoning" in kind else "said"] += told["delta"]
        elif kind == "response.output_text.done":
            assert told["text"] == self.items[index]["said"]
        elif kind in ("response.completed", "response.incomplete"):
            assert not self.open
            self.last = told["response"]

    def said(self, kind: str) -> list[str]:
        return [item["said"] for item in self.items if item["type"] == kind]


def carried_out(first: list[Frames], reply: Any, stop: int) -> Told:
    request = relayed_asking("responses")
    splice, told = Splice(request), Told()
    assert splice.asks(REPEATS, request) is request
    for each in first[:stop]:
        told.see(splice.passes(each))
    if (rest := splice.whole(Usage(31, 55))) is not None:
        told.see(rest)
    else:
        assert splice.can_go_on(PREFILLS)
        asked = splice.asks(PREFILLS, request)
        assert asked.dialect == "chat"
        for each in reply(asked):
            told.see(splice.passes(each))
        told.see(splice.end())
    last = told.last
    assert last is not None
    assert last["id"].startswith("resp_upstream")
    assert last["output"] == [item["done"] for item in told.items]
    return told


def prefilled(asked: ChatRequest) -> list[Frames]:
    said = begun(asked) if asked.message(-1).role == "assistant" else ""
    return streamed(TEXT[len(said) :], model="second")


def test_text_goes_on_in_the_same_item_wherever_it_broke():
    first = answer()
    for stop in range(1, len(first) + 1):
        told = carried_out(first, prefilled, stop)
        assert "".join(told.said("message")) == TEXT, stop
        assert told.last["status"] == "completed"
        if stop < len(first) - 3:
            assert len(told.items) == 1, stop
            assert told.last["output"][0]["content"][0]["text"] == TEXT
        if stop < len(first):
            assert told.last["usage"]["input_tokens"] == 7


def test_reasoning_is_ended_and_followed_by_the_next_models_own():
    first = answer(reasoning="Let me see what there is")

    def reply(asked: ChatRequest) -> list[Frames]:
        rest = prefilled(asked)
        return [rest[0], chunk({"reasoning_content": "Hm."}), *rest[1:]]

    for stop in range(2, len(first) - 5):
        told = carried_out(first, reply, stop)
        assert "".join(told.said("message")) == TEXT, stop
        thoughts = [item["thought"] for item in told.items if item["type"] == "reasoning"]
        answered = any(b"output_text.delta" in each.raw for each in first[:stop])
        assert thoughts[-1] == ("Hm." if not answered else "Let me see what there is"), stop
        for item in told.items:
            if item["type"] == "reasoning":
                parts = [*item["done"]["summary"], *item["done"].get("content", ())]
                assert "".join(part["text"] for part in parts) == item["thought"], stop


def test_calls_are_told_whole_and_once():
    first = answer("tool_calls", tool_calls=TOOLS)

    def reply(asked: ChatRequest) -> list[Frames]:
        calls = [each for n in (0, 1) for each in call(n, f"call_{n}", "read", json.dumps(ARGUMENTS[n]))]
        return [*prefilled(asked)[:-2], *calls, chunk({}, finish="tool_calls")]

    for stop in range(1, len(first) + 1):
        told = carried_out(first, reply, stop)
        assert "".join(told.said("message")) == TEXT, stop
        calls = [json.loads(said) for said in told.said("function_call")]
        assert calls in (ARGUMENTS, ARGUMENTS[:1]), stop
        assert told.last["status"] == "completed"
        if calls == ARGUMENTS[:1]:
            assert (told.last["usage"]["output_tokens"], told.last["usage"]["total_tokens"]) == (55, 86)


def test_a_response_may_break_several_times_and_reach_its_bound():
    request = relayed_asking("responses", max_tokens=8)
    splice, told = Splice(request), Told()
    replies = [lambda asked: answer(), prefilled]
    for reply in replies:
        asked = splice.asks(PREFILLS, request)
        for each in reply(asked)[:6]:
            told.see(splice.passes(each))
    rest = splice.whole()
    assert rest is not None
    told.see(rest)
    assert told.last["status"] == "incomplete"
    assert told.last["incomplete_details"] == {"reason": "max_output_tokens"}
    assert TEXT.startswith(told.said("message")[0])


@pytest.mark.parametrize("kind", ["web_search_call", "mcp_call", "image_generation_call"])
def test_what_a_providers_own_tool_did_is_not_gone_on_with(kind):
    splice = Splice(relayed_asking("responses"))
    splice.asks(REPEATS, relayed_asking("responses"))
    first = answer(hosted=[{"type": kind, "id": "ws_1", "status": "completed"}])
    for each in first[:8]:
        splice.passes(each)
    assert not splice.can_go_on(REPEATS)
    assert splice.whole() is None


def spoilt(first: list[Frames], kind: str, change: Callable[[dict[str, Any]], Any]) -> list[Frames]:
    """An answer of which every event of one kind is told in another way."""
    told = []
    for each in first:
        events = [json.loads(payload) for payload in payloads(each.raw)]
        for event in events:
            if event["type"] == kind:
                change(event)
        raw = b"".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events)
        told.append(Frames(raw, dialect="responses"))
    return told


PART, ITEM = "response.content_part.added", "response.output_item.added"


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (PART, lambda event: event["part"].pop("logprobs")),
        (PART, lambda event: event["part"].update(logprobs=None, annotations=None)),
        (PART, lambda event: event.update(part={"type": "output_text"})),
        (ITEM, lambda event: event["item"].pop("id")),
        (ITEM, lambda event: event["item"].update(id="assistant-1", content=None)),
    ],
    ids=["no logprobs", "null", "type alone", "no id", "another id"],
)
def test_what_other_servers_leave_out_is_no_hindrance(kind, change):
    first = spoilt(answer(), kind, change)
    begins = next(at for at, each in enumerate(first) if b'"response.output_text.delta"' in each.raw)
    for stop in range(begins + 1, len(first) - 4):
        for most, status in ((500, "completed"), (1, "incomplete")):
            events = gone_on_with(first[:stop], most)
            said = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
            assert said == TEXT if most == 500 else TEXT.startswith(said), stop
            last = events[-1]["response"]
            assert last["status"] == status, stop
            [item] = last["output"]
            assert item["id"], stop
            assert item["content"] == [{"type": "output_text", "text": said, "annotations": [], "logprobs": []}], stop


def gone_on_with(first: list[Frames], most: int) -> list[dict[str, Any]]:
    """The events of an answer that broke off, and of what was told then."""
    request = relayed_asking("responses", max_tokens=most)
    splice = Splice(request)
    splice.asks(REPEATS, request)
    passed = [splice.passes(each) for each in first]
    if (rest := splice.whole(Usage(1, 2))) is not None:
        passed.append(rest)
    elif splice.can_go_on(PREFILLS):
        passed += [splice.passes(each) for each in prefilled(splice.asks(PREFILLS, request))]
        passed.append(splice.end())
    return [json.loads(payload) for each in passed if each is not None for payload in payloads(each.raw)]


def test_an_answer_that_cannot_be_read_to_its_end_is_left_as_it_stands():
    first = spoilt(answer(), PART, lambda event: event["part"].update(logprobs=[{"token": "I", "top_logprobs": 5}]))
    request = relayed_asking("responses", max_tokens=1)
    splice = Splice(request)
    splice.asks(REPEATS, request)
    for each in first[:-6]:
        splice.passes(each)
    assert splice.whole(Usage(1, 2)) is None
    assert not splice.can_go_on(PREFILLS)


def paths(value: Any) -> list[tuple[str, ...]]:
    if not isinstance(value, dict):
        return []
    return [(name, *rest) for name, each in value.items() for rest in [(), *paths(each)]]


@pytest.mark.parametrize("odd", [None, 5, "odd", [5], {"odd": 5}, ...])
def test_whatever_an_event_lacks_a_break_is_no_fault_of_ours(odd):
    """An answer that broke off is gone on with or ended, or ends with an error of its upstream."""
    first = answer(reasoning="Hm.")
    kinds = {json.loads(payload)["type"]: json.loads(payload) for each in first for payload in payloads(each.raw)}
    for kind, sample in kinds.items():
        for path in paths({name: value for name, value in sample.items() if name not in ("type", "response")}):

            def change(event: dict[str, Any], path: tuple[str, ...] = path) -> None:
                for name in path[:-1]:
                    event = event.get(name) or {}
                if odd is ...:
                    event.pop(path[-1], None)
                else:
                    event[path[-1]] = odd

            changed = spoilt(first, kind, change)
            for most, stop in ((500, len(first) // 2), (3, len(first) // 2), (500, len(first) - 2)):
                with contextlib.suppress(UpstreamError):
                    gone_on_with(changed[:stop], most)
