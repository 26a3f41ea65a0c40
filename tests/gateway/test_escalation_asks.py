"""What judging an answer asks of the model beside the caller's request: it costs no answer, and no reach of splice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from pointsman.testing import Answer, ScriptedUpstream, Status
from pointsman.testing.answers import SeenRequest, Wire

from .running import Background, Gateway, running

TOKENS = 1_500
TOP = [{"token": "abcdef", "logprob": -1.2345678, "bytes": [97, 98, 99, 100, 101, 102]}] * 5
REFUSAL = b'{"error":{"message":"logprobs are not supported with this model","param":"logprobs"}}'


class WithoutLogprobs:
    """A proxy that refuses log-probabilities."""

    async def play(self, request: SeenRequest, wire: Wire) -> None:
        asked = request.json
        refused = asked.get("logprobs") or asked.get("top_logprobs")
        step = Status(400, REFUSAL) if refused else Answer(text="The capital of France is Paris.")
        await step.play(request, wire)


class Breaks:
    """Tells each token's log-probabilities as OpenAI does where they are asked for, and breaks off before the end."""

    async def play(self, request: SeenRequest, wire: Wire) -> None:
        asked = request.json
        if len(asked["messages"]) > 1 or asked["model"] != "gpt-4o-mini":  # asked to go on
            await Answer(text="THE END").play(request, wire)
            return
        await wire.head(200, {"content-type": "text/event-stream"}, length=None)
        for number in range(TOKENS):
            choice: dict[str, Any] = {"index": 0, "delta": {"content": f"word{number} "}, "finish_reason": None}
            if asked.get("logprobs"):
                told = {"token": f"word{number} ", "logprob": -0.01, "bytes": [1, 2, 3], "top_logprobs": TOP}
                choice["logprobs"] = {"content": [told], "refusal": None}
            chunk = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
            await wire.body(b"data: " + json.dumps(chunk).encode() + b"\n\n")
        wire.hang_up()


@pytest.fixture(scope="module")
def upstream(background: Background) -> Iterator[ScriptedUpstream]:
    server = ScriptedUpstream(models=("gpt-4o-mini", "gpt-5"))
    background.run(server.__aenter__())
    yield server
    background.run(server.refuse())


@pytest.fixture(scope="module", params=["refused by the provider", "named in the settings"])
def gateway(request, upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    cheap: dict[str, Any] = {"base_url": upstream.base_url, "api_key": "sk-x", "models": ["gpt-4o-mini"]}
    if request.param == "named in the settings":
        cheap["unsupported"] = ["logprobs", "top_logprobs"]
    tree = {
        "providers": {"cheap": cheap, "strong": {**cheap, "models": ["gpt-5"], "unsupported": []}},
        "execution": {"escalation": {"enabled": True, "threshold": 0.01}},
    }
    with running(tmp_path_factory.mktemp("asks"), tree) as gateway:
        yield gateway


@pytest.mark.parametrize("stream", [False, True])
def test_a_model_that_takes_no_log_probabilities_answers_without(gateway, upstream: ScriptedUpstream, stream: bool):
    upstream.reset()
    upstream.default = WithoutLogprobs()
    for _ in range(2):
        reply = gateway.chat("Say hello to my friend", stream=stream)
        assert (reply.status, b"Paris" in reply.body) == (200, True)
        last = gateway.decision(reply)["outcome"]["attempts"][-1]
        assert (last["model"], last["status"]) == ("cheap:gpt-4o-mini", "ok")
        assert last["confidence"] is not None  # by what needs none
    assert not upstream.chats[-1].json.get("logprobs")
    assert sum(bool(chat.json.get("logprobs")) for chat in upstream.chats) <= 1  # it is remembered


def test_what_judging_needs_does_not_shorten_what_can_be_gone_on_with(
    upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory
):
    upstream.reset()
    upstream.default = Breaks()
    cheap = {"base_url": upstream.base_url, "api_key": "sk-x", "models": ["gpt-4o-mini"]}
    tree = {
        "providers": {"cheap": cheap, "strong": {**cheap, "models": ["gpt-5"]}},
        "execution": {"escalation": {"enabled": True, "threshold": 0.01}},
    }
    with running(tmp_path_factory.mktemp("breaks"), tree) as gateway:
        reply = gateway.chat("Say hello to my friend", stream=True)
    assert upstream.chats[0].json["logprobs"]
    assert b"logprobs" not in reply.body
    assert f"word{TOKENS - 1} ".encode() in reply.body
    assert b"END" in reply.body
    assert reply.body.endswith(b"data: [DONE]\n\n")
