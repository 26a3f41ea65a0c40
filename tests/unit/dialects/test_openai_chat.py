"""A streamed answer is relayed as it came, and what must be noticed in it is noticed."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.errors import UpstreamBroken, UpstreamError, UpstreamProtocolError, UpstreamStatus
from pointsman.core.events import Finish, Frames, Text, ToolCallDelta, Usage, chunks, deltas
from pointsman.dialects.openai.chat import ChatStream
from pointsman.dialects.openai.whole import frames_of, read_body
from pointsman.dialects.sse import MAX_HELD

USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10, "prompt_tokens_details": {"cached_tokens": 2}}


def frame(delta: dict | None = None, finish: str | None = None, **extra: object) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": choices, **extra}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


OPENING = frame({"role": "assistant", "content": ""})
TEXT = frame({"content": "hi"})
LAST = frame({}, "stop")
BILL = frame(usage=USAGE)
DONE = b"data: [DONE]\n\n"


def relay(*blocks: bytes, wants_usage: bool = False) -> list[Frames]:
    stream = ChatStream(wants_usage=wants_usage)
    events = []
    for block in blocks:
        event = stream.feed(block)
        if event is not None:
            events.append(event)
        if stream.failure is not None:
            raise stream.failure
    ending = stream.end()
    return events if ending is None else [*events, ending]


def raw(events: list[Frames]) -> bytes:
    return b"".join(event.raw for event in events)


def test_bytes_go_through_and_id_and_finish_are_noticed() -> None:
    text = frame({"content": "hi"})
    events = relay(OPENING, text, LAST + DONE)
    assert [event.raw for event in events] == [OPENING + text, LAST]
    assert [event.answer_id for event in events] == ["chatcmpl-1", None]
    assert [event.finish_reason for event in events] == [None, "stop"]


def test_usage_is_told_and_withheld_unless_asked_for() -> None:
    asked = relay(OPENING, LAST, BILL + DONE, wants_usage=True)
    assert raw(asked) == OPENING + LAST + BILL
    unasked = relay(OPENING, LAST, BILL + DONE)
    assert raw(unasked) == OPENING + LAST
    for events in (asked, unasked):
        assert events[-1].usage is not None
        assert (events[-1].usage.prompt_tokens, events[-1].usage.cached_tokens) == (7, 2)
    assert unasked[-1] == Frames(b"", usage=asked[-1].usage)


def test_usage_beside_text_stays_where_it_is() -> None:
    last = frame({"content": "x"}, "stop", usage=USAGE)
    events = relay(OPENING, last, DONE)
    assert raw(events) == OPENING + last
    assert events[-1].usage is not None


def test_usage_that_cannot_be_read_does_not_spoil_the_answer() -> None:
    odd = frame({"content": "x"}, "stop", usage={"prompt_tokens": None, "completion_tokens": "many"})
    assert raw(relay(OPENING, odd, DONE)) == OPENING + odd


@given(
    st.lists(st.text(max_size=12), max_size=8),
    st.lists(st.integers(0, 5000), max_size=30),
    st.booleans(),
    st.booleans(),
)
def test_any_split_tells_the_same(texts: list[str], cuts: list[int], wants_usage: bool, crlf: bool) -> None:
    stream = b": hello\n\n" + OPENING + b"".join(frame({"content": text}) for text in texts) + LAST + BILL + DONE
    if crlf:
        stream = stream.replace(b"\n", b"\r\n")
    places = sorted({cut % len(stream) for cut in cuts} | {0, len(stream)})
    events = relay(*(stream[a:b] for a, b in itertools.pairwise(places)), wants_usage=wants_usage)
    said = [delta for event in events for delta in deltas(event)]
    assert "".join(delta.text for delta in said if isinstance(delta, Text)) == "".join(texts)
    assert [delta for delta in said if isinstance(delta, Finish)] == [Finish("stop")]
    assert sum(isinstance(delta, Usage) for delta in said) == wants_usage
    assert [event.usage.completion_tokens for event in events if event.usage] == [3]
    assert [event.answer_id for event in events if event.answer_id] == ["chatcmpl-1"]
    assert [event.finish_reason for event in events if event.finish_reason] == ["stop"]


def test_comments_before_the_answer_promise_nothing() -> None:
    stream = ChatStream(wants_usage=False)
    assert stream.feed(b": PROCESSING\n\n") is None
    with pytest.raises(UpstreamStatus):
        stream.feed(b'data: {"error": {"message": "no", "code": 429}}\n\n')


def test_an_id_that_comes_late_is_found() -> None:
    nameless = [block.replace(b"chatcmpl-1", b"") for block in (OPENING, TEXT, TEXT, TEXT)]
    for late in range(6):
        frames = [*nameless[:late], TEXT, *nameless, LAST, DONE]
        found = None if late >= 4 else "chatcmpl-1"
        for blocks in (frames, [b"".join(frames)], [b"".join(frames[:2]), *frames[2:]]):
            assert next((event.answer_id for event in relay(*blocks) if event.answer_id), None) == found


@pytest.mark.parametrize(
    ("payload", "status"),
    [
        ({"error": {"message": "slow down", "code": 429}}, 429),
        ({"error": {"message": "slow down", "code": "429"}}, 429),
        ({"error": {"message": "slow down", "type": "rate_limit_exceeded"}}, 429),
        ({"object": "error", "message": "too long", "code": 400}, 400),
        ({"error": {"message": "who knows", "type": "odd"}}, None),
        ({"error": "broken"}, None),
    ],
)
def test_stated_errors_are_raised(payload: dict, status: int | None) -> None:
    block = b"data: " + json.dumps(payload).encode() + b"\n\n"
    for stream, before in ((ChatStream(wants_usage=False), b""), (ChatStream(wants_usage=False), OPENING)):
        if before:
            assert stream.feed(before) is None
        with pytest.raises(UpstreamError) as caught:
            stream.feed(block)
        assert getattr(caught.value, "upstream_status", None) == status
        assert "slow down" not in str(caught.value)


def test_frames_before_an_error_are_given_back_first() -> None:
    text = frame({"content": "hi"})
    stream = ChatStream(wants_usage=False)
    stream.feed(OPENING)
    event = stream.feed(text + b'data: {"error": {"message": "x"}}\n\n' + text)
    assert event == Frames(OPENING + text, answer_id="chatcmpl-1")
    assert isinstance(stream.failure, UpstreamError)


@pytest.mark.parametrize("silent", [OPENING, OPENING + frame({}), frame({"content": None}) * 2, frame()])
def test_an_error_behind_nothing_but_silence_is_the_answer(silent: bytes) -> None:
    whole = silent + ERROR
    for at in range(len(whole)):
        stream = ChatStream(wants_usage=False)
        assert stream.feed(whole[:at]) is None
        with pytest.raises(UpstreamError):
            stream.feed(whole[at:])


def test_silence_is_not_kept_without_an_end() -> None:
    stream = ChatStream(wants_usage=False)
    silent = OPENING * 100
    assert all(stream.feed(silent) is None for _ in range(MAX_HELD // len(silent)))
    with pytest.raises(UpstreamProtocolError, match="said nothing"):
        stream.feed(silent)


ERROR = b'data: {"error": {"message": "x", "code": "server_error"}}\n\n'
CALL = frame({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}]})
GARBLED = frame({"content": "hi"}).replace(b"hi", b"\xc3\x28")


def told(blocks: Iterable[bytes], *, translated: bool = False) -> tuple[bytes, Usage | None, str | None, str]:
    """What came of a stream: its bytes, usage, finish, and how it failed."""
    stream = ChatStream(wants_usage=False, translated=translated)
    out, usage, finish, failed = b"", None, None, ""
    try:
        for block in blocks:
            if (event := stream.feed(block)) is not None:
                out, usage, finish = out + event.raw, event.usage or usage, event.finish_reason or finish
            if stream.failure is not None:
                raise stream.failure
        if (event := stream.end()) is not None:
            out, finish = out + event.raw, event.finish_reason
    except UpstreamError as error:
        failed = f"{type(error).__name__}: {error}"
    return out, usage, finish, failed


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        ([OPENING, TEXT, TEXT, ERROR, TEXT], (OPENING + TEXT + TEXT, None, None)),
        ([OPENING, TEXT, LAST, BILL, ERROR], (OPENING + TEXT + LAST, 3, "stop")),
        ([TEXT, BILL, ERROR], (TEXT, 3, None)),
        ([TEXT, b"data: null\n\n", TEXT], (TEXT, None, None)),
        ([TEXT, GARBLED, TEXT], (TEXT, None, None)),
        ([TEXT, ERROR.replace(b"error", b"detail", 1)], (TEXT, None, None)),
        ([ERROR, TEXT], (b"", None, None)),
        ([OPENING, frame({}), ERROR, TEXT], (b"", None, None)),
        ([OPENING, BILL, ERROR, TEXT], (b"", 3, None)),
        ([frame({"role": "assistant"}, usage=USAGE), ERROR], (b"", 3, None)),
        ([OPENING, b'data: {"id": "c"}\n\n', GARBLED], (b"", None, None)),
        ([b'data: {"id": "c"}\n\n', b'data: {"object": "x"}\n\n', TEXT, LAST, DONE], (TEXT + LAST, None, "stop")),
        ([CALL, *[TEXT] * 6, DONE], (None, None, "tool_calls")),
        ([frame({"content": "hi", "tool_calls": []}), TEXT, DONE], (None, None, "stop")),
    ],
)
def test_where_a_stream_is_cut_changes_nothing(
    frames: list[bytes], expected: tuple[bytes | None, int | None, str | None]
) -> None:
    whole = b"".join(frames)
    once = told([whole])
    sent, usage, finish, failed = once
    assert (usage and usage.completion_tokens, finish) == expected[1:]
    assert expected[0] is None or sent == expected[0]
    assert bool(failed) is (DONE not in frames)
    assert told(frames) == once
    assert told(whole[at : at + 1] for at in range(len(whole))) == once
    assert all(told([whole[:at], whole[at:]]) == once for at in range(1, len(whole)))


@pytest.mark.parametrize("odd", [{"content": 5}, {"tool_calls": "x"}, {"reasoning": {}}])
def test_what_nobody_can_translate_is_an_error_only_on_its_way_to_another_dialect(odd: dict) -> None:
    whole = b"".join([OPENING, TEXT, frame(odd), TEXT, LAST, DONE])
    assert raw(relay(whole)) == whole.removesuffix(DONE)
    once = told([whole], translated=True)
    assert (once[0], once[3].partition(":")[0]) == (OPENING + TEXT, "UpstreamProtocolError")
    assert all(told([whole[:at], whole[at:]], translated=True) == once for at in range(1, len(whole)))


def test_text_that_speaks_of_errors_and_usage_is_text() -> None:
    text = frame({"content": 'say "error": {"usage": {"a": 1}} "finish_reason":"stop"'}) + frame({"content": "error"})
    events = relay(OPENING, text, LAST + DONE)
    assert raw(events) == OPENING + text + LAST
    assert events[0].finish_reason is None


@pytest.mark.parametrize(
    "block",
    [
        b"data: hello\n\n",
        b"data: [1, 2]\n\n",
        b"data: {}\n\n",
        b"data: {\n\n",
        b'data: {"id": "x", "choices": "none"}\n\n',
        b'data: {"id": "x", "choices": [], "x": "\xff"}\n\n',
        b"data: " + b"[" * 100_000 + b"\n\n",
    ],
)
def test_a_first_frame_that_is_no_chunk_is_refused(block: bytes) -> None:
    with pytest.raises(UpstreamProtocolError):
        ChatStream(wants_usage=False).feed(block)


def test_bytes_that_are_not_utf8_are_refused_at_any_place() -> None:
    stream = ChatStream(wants_usage=False)
    stream.feed(OPENING)
    with pytest.raises(UpstreamProtocolError, match="UTF-8"):
        stream.feed(frame({"content": "hi"}).replace(b"hi", b"\xc3\x28"))


@pytest.mark.parametrize(
    ("blocks", "error"),
    [
        ([], UpstreamProtocolError),
        ([DONE], UpstreamProtocolError),
        ([b": ping\n\n"], UpstreamProtocolError),
        ([OPENING], UpstreamBroken),
        ([OPENING, DONE], UpstreamBroken),
        ([OPENING, frame({}), BILL, DONE], UpstreamBroken),
        ([OPENING, TEXT, b'data: {"id": "chatcmpl-1"}\n\n', DONE], UpstreamBroken),
        ([OPENING, LAST[:-1]], UpstreamBroken),
        ([OPENING, b'data: {"cho'], UpstreamBroken),
    ],
)
def test_ends_that_come_too_early(blocks: list[bytes], error: type[Exception]) -> None:
    with pytest.raises(error):
        relay(*blocks)


def test_ends_that_are_fine() -> None:
    assert raw(relay(OPENING, LAST)) == OPENING + LAST
    assert raw(relay(OPENING, LAST + DONE + DONE + b"junk")) == OPENING + LAST


WHOLE = {
    "id": "chatcmpl-2",
    "object": "chat.completion",
    "created": 5,
    "system_fingerprint": "fp",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "a"}, "finish_reason": "stop"},
        {
            "index": 1,
            "message": {"tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}]},
            "finish_reason": "tool_calls",
        },
    ],
    "usage": USAGE,
}


def test_a_whole_answer() -> None:
    body = read_body(json.dumps(WHOLE).encode())
    assert (body.answer_id, body.finish_reason) == ("chatcmpl-2", "tool_calls")
    assert body.usage is not None
    assert body.usage.completion_tokens == 3


def test_a_whole_answer_becomes_frames() -> None:
    body = read_body(json.dumps(WHOLE).encode())
    event = frames_of(body, wants_usage=False)
    said = list(deltas(event))
    assert said == [Text("a"), Finish("stop"), ToolCallDelta(0, "c", "f", "{}", 1), Finish("tool_calls", 1)]
    assert (event.usage, event.answer_id) == (body.usage, body.answer_id)
    assert b'"fp"' in event.raw
    asked = chunks(frames_of(body, wants_usage=True))
    assert [chunk.usage is not None for chunk in asked] == [False, True]
    assert asked[-1].choices == []


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"{}", b'{"choices": []}', b'{"choices": null}', b'{"choices": [{"x": "\xff"}]}'],
)
def test_a_body_that_is_no_answer_is_refused(body: bytes) -> None:
    with pytest.raises(UpstreamProtocolError):
        read_body(body)


def test_a_body_that_states_an_error_raises_it() -> None:
    with pytest.raises(UpstreamStatus) as caught:
        read_body(b'{"choices": [], "error": {"message": "quota", "code": 402}}')
    assert caught.value.upstream_status == 402
    assert json.loads(caught.value.body)["error"]["message"] == "quota"


def test_comments_between_chunks_pass() -> None:
    blocks = [OPENING, b": OPENROUTER PROCESSING\n\n", LAST, DONE]
    assert raw(relay(*blocks)) == b"".join(blocks[:-1])


NO_CHUNKS = [
    b"retry: 3000\n\n",
    b"event: ping\n\n",
    b"data:\n\n",
    b"data: \r\n\r\n",
    b'event: ping\ndata: {"type": "ping"}\n\n',
    b'data: {"id": "chatcmpl-1"}\n\n',
    b'data: {"choices": null, "usage": null}\n\n',
    b'data: {"choices": null, "error": null}\n\n',
]


@pytest.mark.parametrize("other", NO_CHUNKS)
def test_what_is_no_chunk_is_left_out(other: bytes) -> None:
    """Clients walk through the choices of whatever has a name or data."""
    assert raw(relay(OPENING, TEXT, other, LAST, DONE)) == OPENING + TEXT + LAST
    assert raw(relay(OPENING + TEXT + other + LAST + DONE)) == OPENING + TEXT + LAST
    assert raw(relay(OPENING + other, TEXT, other + LAST + other + DONE)) == OPENING + TEXT + LAST


@pytest.mark.parametrize(
    ("failing", "error"),
    [
        (b'event: error\ndata: {"message": "boom"}\n\n', UpstreamError),
        (b'event: error\ndata: {"code": 503}\n\n', UpstreamStatus),
        (b'data: {"detail": "boom"}\n\n', UpstreamError),
        (b'data: {"message": "boom", "code": 429}\n\n', UpstreamStatus),
        (b'data: {"id": "x", "choices": [null]}\n\n', UpstreamProtocolError),
        (b'data: {"id": "x", "choices": {}}\n\n', UpstreamProtocolError),
        (b"<html>\n\ndata: [1]\n\n", UpstreamProtocolError),
    ],
)
def test_what_tells_of_a_failure_without_choices_is_one(failing: bytes, error: type[UpstreamError]) -> None:
    alone, together = ChatStream(wants_usage=False), ChatStream(wants_usage=False)
    for stream in (alone, together):
        assert stream.feed(OPENING) is None
    with pytest.raises(error):
        alone.feed(failing + LAST)
    event = together.feed(TEXT + failing + LAST)
    assert event is not None
    assert event.raw == OPENING + TEXT
    assert isinstance(together.failure, error)


def test_usage_without_choices_is_told_with_an_empty_list_of_them() -> None:
    bill = b'data: {"id": "chatcmpl-1", "choices": null, "usage": %b}\n\n' % json.dumps(USAGE).encode()
    for blocks in ([OPENING, LAST, bill, DONE], [OPENING + LAST + bill + DONE]):
        events = relay(*blocks, wants_usage=True)
        assert [chunk.choices for chunk in chunks(events[-1])][-1] == []
        assert events[-1].usage is not None
        assert raw(relay(*blocks)) == OPENING + LAST


def test_an_end_without_a_reason_is_given_one() -> None:
    call = frame({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}]})
    for said, reason in ((TEXT, "stop"), (call, "tool_calls"), (call + frame({}), "tool_calls")):
        events = relay(OPENING, said + BILL, DONE)
        assert list(deltas(events[-1])) == [Finish(reason)]
        assert events[-1].finish_reason == reason
        assert [chunk.id for chunk in chunks(events[-1])] == ["chatcmpl-1"]


def of_choice(index: int, delta: dict, finish: str | None = None) -> bytes:
    return frame(delta, finish).replace(b'"index": 0', b'"index": %d' % index, 1)


def test_of_several_choices_each_is_ended() -> None:
    call = {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}]}
    frames = [*(of_choice(index, {"role": "assistant", "content": ""}) for index in range(3)), of_choice(2, call),
              of_choice(0, {"content": "a"}), of_choice(1, {"content": "b"})]  # fmt: skip
    ends = [of_choice(0, {}, "length")]
    for last, added in ((b"", ["stop", "stop", "tool_calls"]), (ends[0], ["stop", "tool_calls"])):
        for blocks in ([*frames, last, DONE], [b"".join(frames) + last + DONE]):
            stream = ChatStream(wants_usage=False, several=True)
            for block in blocks:
                stream.feed(block)
            ending = stream.end()
            assert ending is not None
            assert list(deltas(ending)) == [Finish(reason, 3 - len(added) + at) for at, reason in enumerate(added)]
    broken = ChatStream(wants_usage=False, several=True)
    broken.feed(b"".join(frames) + ends[0])
    with pytest.raises(UpstreamBroken):
        broken.end()
    whole = ChatStream(wants_usage=False, several=True)
    whole.feed(b"".join(frames) + b"".join(of_choice(index, {}, "stop") for index in range(3)))
    assert whole.end() is None


def test_a_completion_without_a_reason_is_given_one_of_its_own_shape() -> None:
    text = b'data: {"id": "c", "object": "text_completion", "choices": [{"index": 0, "text": "hi"}]}\n\n'
    ending = relay(text, DONE)[-1]
    assert json.loads(ending.raw[6:]) == {
        "id": "c",
        "object": "text_completion",
        "choices": [{"index": 0, "text": "", "finish_reason": "stop"}],
    }


def test_data_without_a_space_passes() -> None:
    bare = [block.replace(b"data: ", b"data:", 1) for block in (OPENING, frame({"content": "hi"}), LAST)]
    assert raw(relay(*bare, DONE)) == b"".join(bare)


@pytest.mark.parametrize("start", [b"data: ", b"data:", b"event: x\ndata: ", b": ping\n\ndata: "])
@pytest.mark.parametrize("payload", [b'{"cut": ', b"7", b"[]", b"nothing"])
def test_a_later_frame_that_holds_no_object_is_an_error(start: bytes, payload: bytes) -> None:
    with pytest.raises(UpstreamProtocolError):
        relay(OPENING, start + payload + b"\n\n", LAST, DONE)
