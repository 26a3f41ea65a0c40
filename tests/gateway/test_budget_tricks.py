"""Ways to spend more than was reserved, tried through a real gateway: odd bodies, and upstreams that tell half."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest

from pointsman.core.tokens import estimate
from pointsman.testing import Answer, Page, ScriptedUpstream, Stream, Tokens
from waiting import until

from .running import Gateway, running
from .test_budgets import report, tree, used

PAID = "openai:paid"
BOUND = 100
"""Tokens that the settings allow an answer whose caller names no bound."""
FOOT = {"role": "assistant", "content": "words, words"}
WORDS = estimate(len("words, words"))
"""Tokens."""


@pytest.fixture(scope="module")
def data_plane() -> str:
    return "native"


@pytest.fixture(scope="module")
def capped(cloud_server: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    settings = tree(cloud_server, monthly=100)
    settings["providers"]["openai"]["prices"]["paid"] = {"input": 10, "output": 10, "cached_input": 1}
    settings["routing"] = {"default_max_tokens": BOUND}
    with running(tmp_path_factory.mktemp("capped"), settings) as gateway:
        yield gateway


def cost(gateway: Gateway, cloud: ScriptedUpstream, step: object, **fields: object) -> int:
    """What a request is charged."""
    before = used(gateway)
    cloud.script(step)  # type: ignore[arg-type]
    reply = gateway.chat(**{"content": "hello", "model": PAID, **fields})  # type: ignore[arg-type]
    assert reply.status == 200, reply.body
    until(lambda: not any(row["reserved_micro_usd"] for row in report(gateway)["budgets"]))
    return used(gateway) - before


def last_row(gateway: Gateway) -> tuple[int, int]:
    """Reserved and settled."""
    with sqlite3.connect(gateway.folder / "data" / "pointsman.sqlite3") as database:
        return database.execute("SELECT reserved, settled FROM ledger ORDER BY at DESC LIMIT 1").fetchone()


def last_outcome(gateway: Gateway) -> dict[str, Any]:
    latest = gateway.ask("GET", "/api/v1/decisions?limit=1").json["data"][0]["id"]
    outcome: dict[str, Any] = gateway.record(latest)["outcome"]
    return outcome


def whole(usage: object) -> Page:
    answer = {
        "id": "a",
        "object": "chat.completion",
        "choices": [{"index": 0, "message": FOOT, "finish_reason": "stop"}],
    }
    return Page(json.dumps({**answer, "usage": usage}).encode(), "application/json")


@pytest.mark.parametrize(
    "usage",
    [
        None, {}, {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, {"total_tokens": 60},
        {"input_tokens": 50, "output_tokens": 10}, {"prompt_tokens": -5, "completion_tokens": 10},
        {"prompt_tokens": 5.5, "completion_tokens": 10}, {"prompt_tokens": 10**30, "completion_tokens": 1},
        {"prompt_tokens": "5", "completion_tokens": "1"}, {"prompt_tokens": 5}, {"completion_tokens": 5},
        {"prompt_tokens": 5, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 1000}},
    ],
)  # fmt: skip
def test_usage_that_is_no_bill_is_charged_at_the_worst_case(capped, cloud, usage):
    charged = cost(capped, cloud, whole(usage))
    assert charged == last_row(capped)[0] > 10 * BOUND
    outcome = last_outcome(capped)  # what it took, as far as anybody can say
    told = usage if isinstance(usage, dict) else {}
    output = 60 if told == {"total_tokens": 60} else 5 if told.get("completion_tokens") == 5 else WORDS
    assert outcome["attempts"][0]["estimated"]
    assert 0 < outcome["cost_micro_usd"] < charged
    assert (outcome["prompt_tokens"] > 0, outcome["completion_tokens"]) == (True, output)


@pytest.mark.parametrize(
    ("usage", "charged"),
    [
        ({"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 86}, 810 + 50),
        ({"prompt_tokens": 5, "completion_tokens": 1, "completion_tokens_details": {"reasoning_tokens": 80}}, 810 + 50),
        ({"prompt_tokens": 5, "completion_tokens": 81, "completion_tokens_details": {"reasoning_tokens": 9}}, 810 + 50),
        ({"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 46,
          "prompt_tokens_details": {"cached_tokens": 40}}, 10 + 50 + 40),
        ({"prompt_tokens": 50, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 40}}, 10 + 100 + 40),
    ],
)  # fmt: skip
def test_hidden_reasoning_and_cached_tokens_told_apart_are_paid_for(capped, cloud, usage, charged):
    assert cost(capped, cloud, whole(usage)) == charged


def chunk(content: str, finish: str | None = None, usage: object = None) -> bytes:
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": finish}
    body = {"id": "a", "object": "chat.completion.chunk", "choices": [choice]}
    return b"data: " + json.dumps({**body, "usage": usage} if usage else body).encode() + b"\n\n"


@pytest.mark.parametrize("delay", [0.0, 0.05])
def test_usage_that_came_before_the_answer_had_ended_is_no_bill(capped, cloud, delay):
    early, done = {"prompt_tokens": 5, "completion_tokens": 1}, b"data: [DONE]\n\n"
    blocks = [chunk("a", usage=early), chunk("b"), chunk("c", "stop"), done]
    assert cost(capped, cloud, Stream(blocks, delay=delay), stream=True) == last_row(capped)[0]
    going = [
        chunk("a", usage=early),
        chunk("b", usage=early),
        chunk("c", "stop", {**early, "completion_tokens": 3}),
        done,
    ]
    assert cost(capped, cloud, Stream(going, delay=delay), stream=True) == 80


@pytest.mark.parametrize("fields", [{}, {"max_tokens": None}, {"max_completion_tokens": None, "max_tokens": None}])
def test_the_default_bound_is_sent_to_whoever_leaves_it_out_or_empty(capped, cloud, fields):
    cost(capped, cloud, Answer(usage=Tokens(5, 5)), **fields)
    assert cloud.chats[-1].json["max_tokens"] == BOUND


@pytest.mark.parametrize(
    "fields",
    [
        {"Max_Tokens": 10**6}, {"N": 100}, {"MAX_COMPLETION_TOKENS": 10**6}, {"n": 0}, {"n": 129}, {"max_tokens": 0},
        {"max_tokens": -1}, {"max_completion_tokens": 0}, {"max_tokens": 10**400}, {"models": ["dear"]},
        {"fallbacks": [{"model": "dear"}]},
    ],
)  # fmt: skip
def test_what_would_cost_more_than_was_reserved_is_refused(capped, cloud, fields):
    reply = capped.chat("hello", model=PAID, **fields)
    assert (reply.status, cloud.chats) == (400, [])


@pytest.mark.parametrize(
    ("tier", "status"), [("priority", 429), ("pri\\u006frity", 429), ("default", 200), (None, 200)]
)
def test_service_whose_price_is_not_known_is_refused(capped, cloud, tier, status):
    said = "null" if tier is None else f'"{tier}"'
    body = f'{{"model": "{PAID}", "messages": [{{"role": "user", "content": "hi"}}], "service_tier": {said}}}'
    reply = capped.ask("POST", "/v1/chat/completions", body.encode())
    assert (reply.status, len(cloud.chats)) == (status, int(status == 200)), reply.body
    assert status == 200 or "service_tier" in reply.json["error"]["message"]


PIXELS = "data:image/png;base64,iVBORw0KGgo" + "AbCd" * 10_000


def text(content: str) -> dict:
    return {"type": "text", "text": content}


def picture(url: str) -> dict:
    return {"type": "image_url", "image_url": {"url": url}}


@pytest.mark.parametrize(
    ("content", "least"),
    [
        (PIXELS, 40_000),
        ([text(PIXELS)], 40_000),
        ([text(PIXELS), picture(PIXELS)], 80_000),
        ([picture(PIXELS)], 48_000),
        ([picture("https://example.org/a.png")] * 3, 3 * 48_000),
        ("\U0001f9ff" * 5_000, 20_000),
        ("\u0001" * 5_000, 5_000),
    ],
)  # fmt: skip
def test_the_prompt_is_reserved_for_by_what_an_upstream_may_read(capped, cloud, content, least):
    cost(capped, cloud, Answer(usage=Tokens(5, 5)), messages=[{"role": "user", "content": content}])
    reserved = last_row(capped)[0]
    assert 10 * least <= reserved - 10 * BOUND <= 13 * least + 2_000
    cost(capped, cloud, Answer(usage=Tokens(5, 5)), tools=[
        {"type": "function", "function": {"name": "f", "description": PIXELS, "parameters": {}}}
    ])  # fmt: skip
    assert last_row(capped)[0] >= 400_000


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": [{"role": "user", "content": [picture("data:application/pdf;base64,JVBERi0xLjQK")]}]},
        {"messages": [{"role": "user", "content": [picture("data:video/mp4;base64,AAAAIGZ0eXBpc29t")]}]},
        {"messages": [{"role": "user", "content": [picture("gs://bucket/film.mp4")]}]},
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]},
        {"messages": [{"role": "assistant", "audio": {"id": "audio_1"}}, {"role": "user", "content": "and?"}]},
        {"tools": [{"type": "web_search"}]},
        {"web_search_options": {}},
    ],
)  # fmt: skip
def test_what_cannot_be_measured_needs_a_known_window(capped, cloud, fields):
    """This model's window is not known, so nothing bounds what such a prompt costs."""
    reply = capped.chat(**{"content": "hello", "model": PAID, **fields})
    assert (reply.status, cloud.chats) == (429, []), reply.body


def test_previews_reserve_nothing(capped, cloud):
    before = used(capped)
    body = {"model": PAID, "messages": [{"role": "user", "content": "hello"}]}
    for _ in range(5):
        assert capped.ask("POST", "/api/v1/route", body).status == 200
    assert (used(capped), cloud.chats) == (before, [])
