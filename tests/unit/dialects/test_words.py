"""Blocks that are relayed after one look."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from pointsman.core.events import Frames
from pointsman.dialects.openai.chat import ChatStream
from pointsman.dialects.openai.words import words_alone

BEGIN = b'data: {"id":"a","choices":[{"index":0,"delta":{"role":"assistant","content":"Hi"},"finish_reason":null}]}\n\n'
WORDS = (
    b'data: {"id":"a","choices":[{"index":0,"delta":{"content":" there"},"finish_reason":null}],"usage":null}\n\n',
    b'data: {"choices":[{"index":0,"delta":{"content":"\\"usage\\":{"},"logprobs":null,"finish_reason":""}]}\n\n',
    'data: {"choices":[{"delta":{"content":"Grüße","tool_calls":[],"function_call":null}}]}\n\n'.encode(),
    b'data: {"choices":[{"index":0,"text":"so","finish_reason":null}]}\n\n',
    b'data: {"choices":[{"delta":{"reasoning_content":"finish_reason: stop"}}]}\n\n',
    b'data: {"choices":[]}\n\n',
)
OTHERS = (
    b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n',
    b'data: {"choices":[{"delta":{}}],"finish_reason":"stop"}\n\n',
    b'data: {"choices":[{"delta":{"tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":""}}]}}]}\n\n',
    b'data: {"choices":[{"delta":{"function_call":{"name":"f"}}}]}\n\n',
    b'data: {"choices":[{"message":{"tool_calls":[{"id":"c"}]}}]}\n\n',
    b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n',
    b'data: {"choices":[{"delta":{"content":"a"}}],"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n',
    b'data: {"choices":[{"delta":{"content":"a"}}],"error":{"message":"m"}}\n\n',
    b'data: {"object":"error","message":"m","choices":[{"delta":{"content":"a"}}]}\n\n',
    b'data: {"usage":{"prompt_tokens":1},"choices":[{"delta":{"content":"a"}}],"usage":null}\n\n',
    b'data: {"choices":[{"delta":{"content":"a"}},"b"]}\n\n',
    b'data: {"choices":[{"delta":{"content":"a"}}]\ndata: }\n\n',
    b'data: {"choices":[{"delta":{"content":"a"}}],\n"more":1}\n\n',
    b'data: {"choices":[{"delta":{"content":"a"}}]}\n\ndata: {"choices":[]}\n\n',
    b'data: {"choices":[{"delta":{"content":"\xff"}}]}\n\n',
    b'data: {"choices":[{"delta":{"content":"a"}}]}\r\n\r\n',
    b'data: {"choices":[{"delta":{"content":"a"}}]}\n',
    b'data: {"id":"a"}\n\n',
    b"data: [DONE]\n\n",
    b": still there\n\n",
    b"data: {\n\n",
    b"",
)


@pytest.mark.parametrize("block", WORDS)
def test_words_need_no_closer_look(block: bytes) -> None:
    assert words_alone(block)
    fed = ChatStream(wants_usage=True)
    assert fed.feed(BEGIN) is not None
    assert fed.feed(block) == Frames(block)


@pytest.mark.parametrize("block", OTHERS)
def test_whatever_a_relay_must_act_on_is_looked_at(block: bytes) -> None:
    assert not words_alone(block)


@pytest.mark.parametrize("block", [*WORDS, *OTHERS[:7]])
def test_it_is_the_same_however_the_stream_is_cut(block: bytes) -> None:
    whole = [BEGIN, WORDS[0], block, WORDS[2]]
    stream = b"".join(whole)
    apart = [stream[at : at + 7] for at in range(0, len(stream), 7)]
    halves = [*whole[:2], block[:9], block[9:], WORDS[2]]
    assert _told(whole) == _told([stream]) == _told(apart) == _told(halves)


def _told(blocks: Iterable[bytes]) -> tuple[bytes, object, object]:
    stream = ChatStream(wants_usage=True)
    events = [event for block in blocks if (event := stream.feed(block)) is not None]
    usage = next((event.usage for event in events if event.usage is not None), None)
    return (
        b"".join(event.raw for event in events),
        usage,
        [event.finish_reason for event in events if event.finish_reason],
    )
