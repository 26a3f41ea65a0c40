"""An upstream that keeps its stream open without saying anything is given up as one that sends nothing."""

from __future__ import annotations

import pytest

from pointsman.core.errors import UpstreamTimeout
from pointsman.core.ports import Timeouts
from pointsman.providers import silence
from pointsman.providers.silence import Silence

TIMEOUTS = Timeouts(first_byte=30.0, between_bytes=10.0)
SAID = b'data: {"choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": null}]}\n\n'
SILENT = [
    b": keep-alive\n\n",
    b":\n\n",
    b"\n",
    b'event: ping\ndata: {"type": "ping"}\n\n',
    b": OPENROUTER PROCESSING\r\n\r\n",
    b'data: {"choices": []}\n\n',
    b'data: {"choices":[],"usage":{"total_tokens":1}}\n\n',
    b'data: {"choices":[{"index":0,"delta":{"content":""},"finish_reason":null}]}\n\n',
    b'data: {"choices":[{"index":0,"delta":{"content":null,"tool_calls":[]},"logprobs":null}],"usage":null}\r\n\r\n',
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":""}]}\n\n' * 2,
    b': ping\n\ndata: {"choices":[{"index":0,"delta":{"role":"assistant"}}]}\n\n',
    b'data: {"choices":[{"index":0,"text":""}]}\n\n',
]
SPOKEN = [
    SAID,
    b": keep-alive\n\n" + SAID,
    b'event: ping\ndata: {"type": "ping"}\n\nevent: content_block_delta\ndata: {}\n\n',
    b'the middle of a long line"}\n\n',
    b'event: message_start\ndata: {"type": "message_start"}\n\n',
    b'data: {"choices":[{"index":0,"delta":{"content":"","reasoning_content":"hm"}}]}\n\n',
    b'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":""}}]}}]}\n\n',
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
    b'data: {"choices":[{"index":0,"delta":{"content":""}}]}\n\ndata: {"choices":[{"index":0,"delta":{"con',
    b'data: {"choices":[{"index":0,"text":"x"}]}\n\n',
]


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(silence.time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize("block", SILENT)
@pytest.mark.parametrize(("said", "phase", "seconds"), [(False, "first_byte", 30.0), (True, "between_bytes", 10.0)])
def test_before_and_after_the_first_word_its_own_time_holds(clock, block, said, phase, seconds):
    stream = Silence(TIMEOUTS)
    if said:
        stream.heard(SAID)
    clock[0] += seconds - 1
    stream.heard(block)
    clock[0] += 2
    with pytest.raises(UpstreamTimeout) as caught:
        stream.heard(block)
    assert (caught.value.phase, caught.value.seconds) == (phase, seconds)


@pytest.mark.parametrize("block", SPOKEN)
def test_what_is_said_counts_from_anew(clock, block):
    stream = Silence(TIMEOUTS)
    for _ in range(5):
        stream.heard(block)
        clock[0] += 9
        stream.heard(b": keep-alive\n\n")


def test_words_between_what_says_nothing_count_whenever_they_come(clock):
    stream = Silence(TIMEOUTS)
    for gap in (0.1, 0.5, 0.9, 1.1, 5.0, 9.0):
        for _ in range(30):
            stream.heard(SAID)
            clock[0] += gap
            stream.heard(SILENT[-2])


def test_what_says_nothing_behind_words_counts_as_silence_after_a_second_at_most(clock):
    stream = Silence(TIMEOUTS)
    stream.heard(SAID)
    for _ in range(50):
        clock[0] += 0.2
        stream.heard(SILENT[-2])
    clock[0] += 1.2
    with pytest.raises(UpstreamTimeout):
        stream.heard(SILENT[-2])
