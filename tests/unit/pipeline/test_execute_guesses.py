"""What an answer took that ended before its usage was told is estimated, priced and said to be an estimate."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import msgspec
import pytest
from test_execute_and_record import CATALOG, CHEAP, Log, Script, decision

from pointsman.core.budget import charges, worst_case_micro_usd
from pointsman.core.errors import (
    UpstreamBroken,
    UpstreamClosed,
    UpstreamConnectError,
    UpstreamError,
    UpstreamStatus,
    UpstreamTimeout,
)
from pointsman.core.events import Body, Frames, PromptDetails, Usage, encode_frame, payloads
from pointsman.core.outcome import Outcome
from pointsman.core.ports import SystemClock, Timeouts
from pointsman.core.request import ChatRequest
from pointsman.core.signals import Needs
from pointsman.core.tokens import estimate
from pointsman.core.trail import Trail
from pointsman.pipeline.execute import Execute, ExecutionRules
from pointsman.pipeline.execute.heard import MOST, written, written_whole
from pointsman.pipeline.record import Record
from pointsman.pipeline.record.meter import NOTHING_UNDERSTOOD

TEXT = "Words that were told. " * 20
NEEDS = Needs(prompt_tokens=100, prompt_tokens_high=200, prompt_tokens_most=400, max_output=5_000)
SIGNALS = msgspec.structs.replace(NOTHING_UNDERSTOOD, needs=NEEDS)
OUTPUT = estimate(len(TEXT))
PRICED = 100 + 2 * OUTPUT
"""Of `CHEAP`, which takes a micro-dollar for a token of the prompt and two for one of the answer."""


def frame(body: dict[str, Any], **beside: Any) -> Frames:
    return Frames(encode_frame(msgspec.json.encode(body)), **beside)


def said(text: str, **more: Any) -> Frames:
    return frame({"id": "x", "choices": [{"index": 0, "delta": {"content": text}}]}, **more)


def pieces(text: str = TEXT, size: int = 20) -> list[Frames]:
    return [said(text[at : at + size]) for at in range(0, len(text), size)]


async def play(
    plan: dict[str, Script],
    *,
    leave_after: int | None = None,
    splice: bool = True,
    told: list[dict[str, Any]] | None = None,
    **fields: Any,
) -> tuple[Outcome, Trail]:
    """How it was written down; `told` gets the chunks that went out."""
    fields = {"stream": True, "max_tokens": 5_000, **fields}
    if "prompt" not in fields:
        fields["messages"] = [{"role": "user", "content": "hi"}]
    request = ChatRequest.build(fields)
    rules = ExecutionRules(splice=splice)
    execute = Execute(provider_for=lambda card: plan[card.id], timeouts=Timeouts(), clock=SystemClock(), rules=rules)
    log, trail, chosen = Log(), Trail(SystemClock()), decision(*plan, signals=SIGNALS)
    watched = Record(log=log, clock=SystemClock()).watch(
        chosen, request, trail, execute(chosen, request, catalog=CATALOG, trail=trail)
    )
    count = 0
    try:
        async with aclosing(watched) as events:
            async for event in events:
                count += 1
                if told is not None:
                    told += [msgspec.json.decode(payload) for payload in payloads(event.raw)]
                if count == leave_after:
                    break
    except UpstreamError:
        pass
    return log.outcomes[0][1], trail


@pytest.mark.parametrize("fields", [{}, {"logprobs": True}, {"n": 2}])
@pytest.mark.parametrize("splice", [True, False])
@pytest.mark.parametrize("leaves", [True, False])
async def test_of_a_stream_that_ended_early_what_came_is_priced(fields, splice, leaves):
    after = pieces()
    broken = Script(*after, UpstreamBroken())
    outcome, trail = await play(
        {"a:cheap": broken}, leave_after=len(after) if leaves else None, splice=splice, **fields
    )
    [attempt] = outcome.attempts
    assert outcome.status == attempt.status == ("cancelled" if leaves else "error")
    assert (outcome.prompt_tokens, outcome.completion_tokens, outcome.cost_micro_usd) == (100, OUTPUT, PRICED)
    assert (attempt.estimated, attempt.cost_micro_usd) == (True, PRICED)
    worst = worst_case_micro_usd(CHEAP, NEEDS)
    assert [(charge.micro_usd, charge.certain) for charge in charges(trail, NEEDS)] == [(worst, False)]


async def test_both_who_told_of_an_answer_are_paid_for():
    usage = Usage(prompt_tokens=300, completion_tokens=7)
    goes_on = Script(said(TEXT[-30:] + " The end."), said("", finish_reason="stop", usage=usage))
    outcome, _ = await play({"a:cheap": Script(*pieces(), UpstreamBroken()), "b:strong": goes_on})
    assert [(attempt.status, attempt.estimated) for attempt in outcome.attempts] == [("error", True), ("ok", False)]
    assert (outcome.status, outcome.prompt_tokens, outcome.completion_tokens) == ("ok", 300, 7)
    assert outcome.cost_micro_usd == PRICED + 300 * 10 + 7 * 20


async def test_whoever_goes_on_and_breaks_off_too_was_shown_what_had_been_told():
    again = Script(*pieces(TEXT[-100:] + TEXT), UpstreamBroken())
    outcome, _ = await play({"a:cheap": Script(*pieces(), UpstreamBroken()), "b:strong": again})
    first, second = outcome.attempts
    assert first.completion_tokens == OUTPUT
    assert second.prompt_tokens == 100 + OUTPUT
    assert second.completion_tokens == estimate(100 + len(TEXT))  # the end of what was told is written again
    assert outcome.cost_micro_usd == first.cost_micro_usd + second.cost_micro_usd


@pytest.mark.parametrize("more", ["", " And more."])
async def test_what_whoever_goes_on_repeats_was_written_though_nobody_is_told_it(more):
    items = "".join(f"item {n} of many, " for n in range(30))
    again = Script(*pieces(items + more), UpstreamBroken())
    told: list[dict[str, Any]] = []
    outcome, _ = await play({"a:cheap": Script(*pieces(items), UpstreamBroken()), "b:strong": again}, told=told)
    text = "".join(choice["delta"].get("content", "") for chunk in told for choice in chunk["choices"])
    assert text.split() == (items + more).split()
    second = outcome.attempts[1]
    assert (second.completion_tokens, second.estimated) == (estimate(len(items + more)), True)


def finish(reason: str) -> Frames:
    choice = {"index": 0, "delta": {}, "finish_reason": reason}
    return frame({"id": "x", "choices": [choice]}, finish_reason=reason)


def call(arguments: str) -> Frames:
    function = {"name": "read", "arguments": arguments}
    choice = {"index": 0, "delta": {"tool_calls": [{"index": 0, "id": "call", "function": function}]}}
    return frame({"id": "x", "choices": [choice]})


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize(
    ("ends", "reason", "more"),
    [
        ([finish("stop")], "stop", {}),
        ([call("{}"), said(" ")], "tool_calls", {}),
        ([], "length", {"max_tokens": OUTPUT}),
    ],
    ids=["finished", "called", "bounded"],
)
async def test_whoever_asked_for_usage_is_told_an_estimate_where_the_answer_was_whole(ends, reason, more, wanted):
    """Clients tell from it how full their context is."""
    other = {"index": 1, "id": "other", "function": {"name": "read", "arguments": "{}"}}
    begun = frame({"id": "x", "choices": [{"index": 0, "delta": {"tool_calls": [other]}}]})
    told: list[dict[str, Any]] = []
    options = {"stream_options": {"include_usage": True}} if wanted else {}
    broken = Script(*pieces(), *ends, *[begun][: reason == "tool_calls"], UpstreamBroken())
    plan = {"a:cheap": broken, "b:strong": Script(UpstreamConnectError())}
    outcome, _ = await play(plan, told=told, **options, **more)
    usages = [chunk["usage"] for chunk in told if chunk.get("usage")]
    tokens = (outcome.prompt_tokens, outcome.completion_tokens)
    assert outcome.status == "ok"
    assert [one["finish_reason"] for chunk in told for one in chunk["choices"] if one.get("finish_reason")] == [reason]
    assert [(one["prompt_tokens"], one["completion_tokens"]) for one in usages] == ([tokens] if wanted else [])
    if wanted:
        assert (told[-1]["id"], told[-1]["choices"]) == ("x", [])
        assert usages[0]["total_tokens"] == sum(tokens) > 100


async def test_usage_that_was_told_is_not_told_again():
    told: list[dict[str, Any]] = []
    tokens = {"prompt_tokens": 60, "completion_tokens": 9, "total_tokens": 69}
    last = frame({"id": "x", "choices": [], "usage": tokens}, usage=Usage(60, 9))
    script = Script(*pieces(), finish("stop"), last, UpstreamBroken())
    await play({"a:cheap": script}, told=told, stream_options={"include_usage": True})
    assert [chunk["usage"] for chunk in told if chunk.get("usage")] == [tokens]


async def test_a_break_between_the_end_and_its_usage_is_not_free():
    outcome, _ = await play({"a:cheap": Script(*pieces(), finish("stop"), UpstreamBroken())})
    assert (outcome.status, outcome.attempts[0].estimated, outcome.cost_micro_usd) == ("ok", True, PRICED)


async def test_of_a_usage_that_was_told_at_the_beginning_the_prompt_holds():
    """As Anthropic tells it; what was read from a cache has a price of its own, and what was written to it too."""
    details = PromptDetails(cached_tokens=40, cache_write_tokens=10)
    begins = frame({"id": "x"}, usage=Usage(prompt_tokens=60, completion_tokens=1, prompt_tokens_details=details))
    outcome, trail = await play({"a:cheap": Script(begins, *pieces(), UpstreamBroken())})
    [attempt] = outcome.attempts
    told = CHEAP.cost_micro_usd(60, 1, 40, (10, 0))
    assert (attempt.prompt_tokens, attempt.cached_tokens, attempt.completion_tokens) == (60, 40, OUTPUT)
    assert (attempt.estimated, outcome.cost_micro_usd) == (True, told + 2 * (OUTPUT - 1))
    assert not charges(trail, NEEDS)[0].certain


async def test_usage_that_tells_of_all_that_came_is_kept():
    usage = Usage(prompt_tokens=60, completion_tokens=9)
    outcome, _ = await play({"a:cheap": Script(*pieces(), said("", usage=usage), UpstreamBroken())})
    assert (outcome.attempts[0].estimated, outcome.completion_tokens, outcome.cost_micro_usd) == (False, 9, 78)


CALL = {"name": "Gr", "arguments": "üße"}


@pytest.mark.parametrize("splice", [True, False])
async def test_what_a_whole_stream_took_is_estimated_when_nobody_tells_it(splice):
    outcome, trail = await play({"a:cheap": Script(*pieces(), finish("stop"))}, splice=splice)
    assert (outcome.status, outcome.attempts[0].estimated) == ("ok", True)
    assert (outcome.prompt_tokens, outcome.completion_tokens, outcome.cost_micro_usd) == (100, OUTPUT, PRICED)
    assert charges(trail, NEEDS)[0] == ("a:cheap", worst_case_micro_usd(CHEAP, NEEDS), False)


@pytest.mark.parametrize(
    ("failure", "guessed"),
    [
        (UpstreamTimeout("first_byte", 3.0), True),
        (UpstreamTimeout("total", 3.0), True),
        (UpstreamBroken(), True),
        (UpstreamClosed(), True),
        (UpstreamTimeout("connect", 3.0), False),
        (UpstreamConnectError(), False),
        (UpstreamStatus(502, b""), False),
    ],
)
async def test_of_an_unstreamed_answer_that_never_came_the_prompt_is_estimated_where_it_was_being_read(
    failure, guessed
):
    outcome, _ = await play({"a:cheap": Script(failure)}, stream=False)
    [attempt] = outcome.attempts
    assert (attempt.status, attempt.estimated, outcome.cost_micro_usd) == ("error", guessed, 100 if guessed else 0)


async def test_of_vectors_the_prompt_alone_is_estimated():
    body = Body(msgspec.json.encode({"data": [{"embedding": [0.25] * 500, "index": 0}]}))
    request = ChatRequest.build({"model": "a:cheap", "messages": ["text"]}, kind="embeddings")
    trail = Trail(SystemClock())
    chosen = decision("a:cheap", signals=SIGNALS)
    embeds = Script(body)
    embeds.embed = embeds.chat  # type: ignore[attr-defined]
    execute = Execute(provider_for=lambda card: embeds, timeouts=Timeouts(), clock=SystemClock())
    async for _ in execute(chosen, request, catalog=CATALOG, trail=trail):
        pass
    [step] = trail.steps
    assert (step.attempt.prompt_tokens, step.attempt.completion_tokens, step.attempt.estimated) == (100, 0, True)


@pytest.mark.parametrize(
    "body",
    [
        {"choices": [{"message": {"role": "assistant", "content": "Grüße"}}, {"text": "Grüße"}]},
        {"choices": [{"message": {"content": [{"type": "text", "text": "Grüße"}], "reasoning_content": "Grüße"}}]},
        {"choices": [{"message": {"content": "Grüße", "reasoning": "Grüße", "reasoning_content": "Grüße"}}]},
        {"choices": [{"message": {"content": "Grüße", "tool_calls": [{"id": "call", "function": CALL}]}}]},
        {"content": [{"type": "thinking", "thinking": "Grüße", "signature": "xyz"}, {"type": "text", "text": "Grüße"}]},
        {"content": [{"type": "tool_use", "id": "x", "name": "Grüße", "input": "Grüße"}]},
        {
            "output": [
                {"type": "reasoning", "summary": [{"text": "Grüße"}]},
                {"type": "message", "content": [{"type": "output_text", "text": "Grüße", "annotations": []}]},
            ]
        },
        {"output": [{"type": "function_call", "call_id": "x", "name": "Gr", "arguments": "üßeGrüße"}]},
    ],
)
def test_what_a_model_wrote_is_found_in_whole_answers_of_every_dialect(body):
    assert written_whole(msgspec.json.encode(body)) == 2 * 7


def test_of_a_whole_answer_what_a_tool_is_called_with_is_counted_and_what_cannot_be_read_is_not():
    block = {"type": "tool_use", "id": "x", "name": "read", "input": {"path": "x"}}
    assert written_whole(msgspec.json.encode({"content": [block]})) == len('read{"path":"x"}')
    for raw in (b"{broken", b"[]", b'{"choices": [5, {"message": 7}]}', b'{"choices": 5, "content": 5}', b"{}"):
        assert written_whole(raw) == 0
    long = msgspec.json.encode({"choices": [{"text": "x" * MOST}]})
    assert written_whole(long) == len(long)


async def test_before_an_answer_has_begun_nothing_is_guessed():
    outcome, _ = await play({"a:cheap": Script(UpstreamConnectError())})
    assert (outcome.prompt_tokens, outcome.cost_micro_usd, outcome.attempts[0].estimated) == (None, 0, False)


async def test_what_a_model_without_a_price_has_told_leaves_the_cost_unknown():
    outcome, _ = await play({"c:unpriced": Script(*pieces(), UpstreamBroken())})
    assert (outcome.completion_tokens, outcome.cost_micro_usd) == (OUTPUT, None)


@pytest.mark.parametrize("splice", [True, False])
async def test_of_a_very_long_answer_the_rest_is_told_from_its_beginning(splice):
    text = "x" * (3 * MOST)
    outcome, _ = await play({"a:cheap": Script(*pieces(text, 4_000), UpstreamBroken())}, splice=splice)
    assert outcome.completion_tokens == pytest.approx(estimate(len(text)), rel=0.01)


async def test_a_call_that_was_held_back_was_written_all_the_same():
    head = {"index": 0, "id": "call", "type": "function", "function": {"name": "read", "arguments": ""}}
    rest = {"index": 0, "function": {"arguments": '{"path": "' + "x" * 380}}
    calls = [frame({"id": "x", "choices": [{"index": 0, "delta": {"tool_calls": [one]}}]}) for one in (head, rest)]
    other = Script(UpstreamConnectError())
    outcome, _ = await play({"a:cheap": Script(said(" "), *calls, UpstreamBroken()), "b:strong": other})
    assert outcome.attempts[0].completion_tokens == estimate(395)


@pytest.mark.parametrize(
    "body",
    [
        {"choices": [{"delta": {"content": "Grüße"}}]},
        {"choices": [{"delta": {"reasoning_content": "Grüße", "reasoning": "Grüße"}}]},
        {"choices": [{"delta": {"reasoning": "Grüße", "reasoning_details": [{"text": "Grüße"}]}}]},
        {"choices": [{"text": "Grüße"}]},
        {"choices": [{"delta": {"tool_calls": [{"function": {"name": "Gr", "arguments": "üße"}}]}}]},
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "Grüße"}},
        {"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": "Grüße"}},
        {"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": "Grüße"}},
        {"type": "response.output_text.delta", "delta": "Grüße"},
    ],
)
def test_what_a_model_wrote_is_found_in_every_dialect(body):
    raw = encode_frame(msgspec.json.encode(body))
    assert written(raw + b": ping\n\ndata: {broken\n\ndata: [DONE]\n\n" + raw) == 2 * 7


@pytest.mark.parametrize(
    "body",
    [
        {"type": "response.output_text.done", "text": "Grüße"},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
        {"choices": [{"delta": {"content": None, "tool_calls": ["odd", {"function": None}]}}, "odd"]},
        {"choices": "odd", "delta": 5},
    ],
)
def test_what_says_nothing_more_is_nothing(body):
    assert written(encode_frame(msgspec.json.encode(body))) == 0
