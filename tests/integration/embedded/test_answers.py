"""Plain answers of a real embedded model."""

from __future__ import annotations

import asyncio
import json
from importlib.metadata import version

import pytest

from pointsman.core.errors import InvalidRequest, UpstreamContextTooLong, UpstreamStatus
from pointsman.core.events import Frames

from .conftest import CONTEXT, SLOTS, SMALL_CONTEXT, Bench, Heard

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="session")]

CLEAN = {"id", "object", "created", "model", "choices", "system_fingerprint"}


async def test_the_card_tells_what_the_engine_has(bench: Bench) -> None:
    card = bench.card
    assert (card.id, card.local, card.context_window) == ("embedded:qwen2.5-coder:0.5b", True, CONTEXT)
    assert card.price_input == card.price_output == 0
    assert "tools" in card.capabilities
    assert "logprobs" in card.capabilities
    assert (await bench.provider.health()).ok


async def test_a_whole_answer_has_openai_s_shape(bench: Bench) -> None:
    heard = await bench.ask("Say hello.", max_tokens=8, some_field_of_another_provider={"a": 1}, n_predict=1, user="u")
    body = heard.body
    assert set(body) == CLEAN | {"usage"}
    assert (body["object"], body["model"]) == ("chat.completion", "qwen2.5-coder:0.5b")
    assert body["id"].startswith("chatcmpl-")
    (choice,) = body["choices"]
    assert choice["message"] == {"role": "assistant", "content": heard.text}
    assert choice["finish_reason"] in ("stop", "length")
    assert heard.text.startswith("Hello")
    assert body["system_fingerprint"] == f"xllamacpp-{version('xllamacpp')}"
    usage = body["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert heard.usage is not None
    assert 1 < heard.usage.completion_tokens <= 8


async def test_a_streamed_answer_is_the_same_and_hides_the_usage_that_was_not_asked_for(bench: Bench) -> None:
    whole = await bench.ask("Count from 1 to 100.", max_tokens=12, seed=3)
    heard = await bench.ask("Count from 1 to 100.", max_tokens=12, seed=3, stream=True)
    assert heard.text == whole.text
    assert heard.finishes == whole.finishes
    first, *_, last = heard.frames
    assert first["choices"][0]["delta"]["role"] == "assistant"
    assert last["choices"][0]["finish_reason"] == "length"
    assert all(set(frame) == CLEAN for frame in heard.frames)
    assert heard.usage is not None
    assert heard.usage.completion_tokens == 12

    asked = await bench.ask("Hi", max_tokens=2, stream=True, stream_options={"include_usage": True})
    assert asked.frames[-1]["choices"] == []
    assert asked.frames[-1]["usage"]["completion_tokens"] == 2
    assert all(frame["usage"] is None for frame in asked.frames[:-1])


async def test_a_seed_makes_an_answer_repeatable_and_choices_differ(bench: Bench) -> None:
    asked = {"temperature": 1.5, "max_tokens": 8, "seed": 2**40 + 5, "n": 2}
    one = await bench.ask("Write the first line of a poem.", **asked)
    two = await bench.ask("Write the first line of a poem.", stream=True, **asked)
    assert one.texts == two.texts
    assert sorted(one.texts) == [0, 1]
    assert len(set(one.texts.values())) > 1
    assert set(one.finishes) == {0, 1}
    assert one.usage is not None
    assert one.usage.completion_tokens > 8
    assert one.usage.prompt_tokens < 60
    assert [choice["index"] for choice in one.body["choices"]] == [0, 1]


async def test_stop_and_logprobs(bench: Bench) -> None:
    heard = await bench.ask("Count from 1 to 9, digits only, separated by commas.", stop=["5"])
    assert heard.finishes == {0: "stop"}
    assert "4" in heard.text
    assert "5" not in heard.text

    whole = await bench.ask("Hi", max_tokens=3, logprobs=True, top_logprobs=2)
    tokens = whole.body["choices"][0]["logprobs"]["content"]
    assert "".join(token["token"] for token in tokens) == whole.text
    assert all(len(token["top_logprobs"]) == 2 and token["logprob"] <= 0 for token in tokens)
    streamed = await bench.ask("Hi", max_tokens=3, logprobs=True, stream=True)
    pieces = [frame["choices"][0]["logprobs"] for frame in streamed.frames]
    assert [p["content"][0]["token"] for p in pieces if p] == [token["token"] for token in tokens]
    assert all(not p["content"][0]["top_logprobs"] for p in pieces if p)


async def test_answers_keep_to_a_schema(bench: Bench) -> None:
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 12},
            "legs": {"type": "integer", "minimum": 3, "maximum": 5},
            "code": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3}$"},
            "young": {"type": "array", "items": {"$ref": "#/$defs/young"}, "minItems": 1, "maxItems": 1},
        },
        "required": ["name", "legs", "code", "young"],
        "$defs": {"young": {"type": "object", "properties": {"age": {"enum": [1, 2]}}, "required": ["age"]}},
    }
    asked = {"type": "json_schema", "json_schema": {"name": "animal", "schema": schema, "strict": True}}
    heard = await bench.ask("Describe a cat.", response_format=asked, max_tokens=80)
    animal = json.loads(heard.text)
    assert list(animal) == ["name", "legs", "code", "young"]
    assert 3 <= animal["legs"] <= 5
    assert animal["code"][2] == "-"
    assert animal["young"][0]["age"] in (1, 2)
    assert heard.finishes == {0: "stop"}

    cut = await bench.ask("Describe a cat.", response_format=asked, max_tokens=10)
    assert cut.finishes == {0: "length"}
    assert heard.text.startswith(cut.text)

    loose = await bench.ask("A cat as JSON.", response_format={"type": "json_object"}, max_tokens=64)
    assert loose.text.startswith("{")


async def test_a_prompt_beyond_the_context_is_told_with_both_numbers(small: Bench) -> None:
    for stream in (False, True):
        with pytest.raises(UpstreamContextTooLong) as caught:
            await small.ask("word " * 3000, stream=stream)
        assert caught.value.prompt_tokens > 3000
        assert caught.value.context == SMALL_CONTEXT
        assert caught.value.retryable
        assert str(SMALL_CONTEXT) in caught.value.message


async def test_an_answer_ends_where_the_context_does(small: Bench) -> None:
    heard = await small.ask("Count from one to a thousand: " + "one, two, three, " * 30, max_tokens=100_000)
    assert heard.finishes == {0: "length"}
    assert heard.usage is not None
    assert heard.usage.prompt_tokens + heard.usage.completion_tokens <= SMALL_CONTEXT


async def test_what_the_model_cannot_take_is_refused_by_name(bench: Bench) -> None:
    image = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": "data:,"}}]
    with pytest.raises(InvalidRequest) as caught:
        await bench.ask([{"role": "user", "content": image}])
    assert caught.value.param == "messages[0].content[1]"
    with pytest.raises(UpstreamStatus) as refused:
        await bench.ask("Hi", top_logprobs=2)
    assert refused.value.upstream_status == 400
    assert not refused.value.retryable


async def test_developer_messages_are_heard(bench: Bench) -> None:
    heard = await bench.ask([
        {"role": "developer", "content": "Whatever the user says, answer with the one word PINEAPPLE."},
        {"role": "user", "content": "Hello!"},
    ])  # fmt: skip
    assert "PINEAPPLE" in heard.text


async def test_more_than_there_are_slots_are_all_answered(bench: Bench) -> None:
    answers: list[Heard] = await asyncio.gather(*(bench.ask(f"Say {n}.", max_tokens=3) for n in range(8)))
    assert all(heard.text for heard in answers)


async def test_whoever_leaves_frees_a_slot_and_leaves_no_ghost(bench: Bench) -> None:
    leaving = []
    for _ in range(SLOTS):
        events = bench.provider.chat(bench.call("Tell a very long story about a river.", max_tokens=1500, stream=True))
        assert isinstance(await anext(events), Frames)
        leaving.append(events)
    for events in leaving:
        await events.aclose()
    # A story of 1,500 tokens takes a minute: an engine that still told two could not answer so soon.
    async with asyncio.timeout(15):
        assert (await bench.ask("Say hello.", max_tokens=3)).text
    whole = asyncio.create_task(bench.ask("Tell a very long story about a river.", max_tokens=1500))
    await asyncio.sleep(0.5)
    whole.cancel()
    await asyncio.gather(whole, return_exceptions=True)
