"""Originals put back into answers, however the stream is cut."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman.core.events import Body, Frames
from pointsman.core.mask import Mask, Original
from pointsman.core.request import ChatRequest

TAG = "K7Q2M9"
ONE, TWO = f"REDACTED_SECRET_1_{TAG}", f"REDACTED_IDENTITY_2_{TAG}"
SECRET, CARD = 'hun"ter\\2\nétoile', "4539 5787 6362 1486"


def mask(**options) -> Mask:
    request = ChatRequest.build({"messages": [{"role": "user", "content": "hi"}]})
    return Mask(
        request=request,
        originals={ONE: Original(SECRET, SECRET), TWO: Original(CARD, CARD)},
        tag=TAG,
        clears=lambda body: True,
        **options,
    )


def frame(choices: list, **fields) -> bytes:
    return b"data: " + json.dumps({"id": "a", "model": "m", "choices": choices, **fields}).encode() + b"\n\n"


def delta(index: int = 0, finish: str | None = None, **fields) -> dict:
    return {"index": index, "delta": fields, "finish_reason": finish}


def called(text: str, index: int = 0) -> dict:
    return {"tool_calls": [{"index": index, "function": {"arguments": text}}]}


class Heard:
    """What a client makes of a stream."""

    def __init__(self) -> None:
        self.content: dict[int, str] = {}
        self.reasoning: dict[int, str] = {}
        self.arguments: dict[tuple[int, int], str] = {}

    def read(self, raw: bytes) -> Heard:
        for one in raw.split(b"\n\n"):
            if not one:
                continue
            for choice in json.loads(one.removeprefix(b"data: "))["choices"]:
                index, told = choice["index"], choice.get("delta") or {}
                self.content[index] = self.content.get(index, "") + (told.get("content") or "")
                self.reasoning[index] = self.reasoning.get(index, "") + (told.get("reasoning_content") or "")
                for call in told.get("tool_calls") or ():
                    place = index, call["index"]
                    self.arguments[place] = self.arguments.get(place, "") + call["function"].get("arguments", "")
        return self


def relayed(frames: list[bytes], **options) -> tuple[Heard, list[bytes]]:
    restore = mask(**options).restorer()
    out = [restore(Frames(raw)).raw for raw in frames]
    last = restore.end()
    if last is not None:
        out.append(last.raw)
    return Heard().read(b"".join(out)), out


VARIANTS = [
    ONE,
    ONE.lower(),
    ONE.replace("_", " "),
    ONE.replace("_", "-"),
    ONE.replace("_", r"\_"),
    ONE.title(),
]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("around", ["{}", "`{}`", "use {}.", "<{}>", '"{}"', "x{}y"])
def test_a_placeholder_is_known_as_models_write_it(variant, around):
    assert mask().restore(around.format(variant)) == around.format(SECRET)


@pytest.mark.parametrize(
    "other",
    [
        f"REDACTED_SECRET_3_{TAG}",
        f"REDACTED_IDENTITY_1_{TAG}",
        "REDACTED_SECRET_1_AAAAAA",
        "REDACTED",
        "REDACTED_SECRET_1",
    ],
)
def test_what_is_no_placeholder_of_this_request_stays(other):
    assert mask().restore(f"a {other} b") == f"a {other} b"


def pieces(text: str, cuts: list[int]) -> list[str]:
    places = sorted({cut % (len(text) + 1) for cut in cuts})
    return [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]


TEXTS = st.lists(
    st.one_of(
        st.sampled_from([*VARIANTS, TWO, ONE[:-1], "REDACTED_", "redact", "r", "R", "\\", "`", ONE[:12] + ONE]),
        st.text(max_size=6),
    ),
    max_size=8,
).map("".join)
CUTS = st.lists(st.integers(0, 400), max_size=30)


@given(TEXTS, CUTS)
def test_any_cutting_of_a_stream_gives_the_same_text(text, cuts):
    heard, _ = relayed(
        [frame([delta(content=piece)]) for piece in pieces(text, cuts)] + [frame([delta(finish="stop")])]
    )
    assert heard.content[0] == mask().restore(text)


@given(TEXTS, TEXTS, CUTS, CUTS)
def test_choices_do_not_mix(one, two, cuts, others):
    first = [delta(0, content=piece) for piece in pieces(one, cuts)]
    second = [delta(1, content=piece) for piece in pieces(two, others)]
    mixed = [choice for pair in zip(first, second, strict=False) for choice in pair]
    rest = first[len(second) :] + second[len(first) :]
    heard, _ = relayed([frame([choice]) for choice in mixed + rest])
    assert (heard.content.get(0, ""), heard.content.get(1, "")) == (mask().restore(one), mask().restore(two))


@given(CUTS, st.sampled_from(VARIANTS[:4]), st.booleans())
def test_tool_arguments_stay_json_however_they_are_cut(cuts, variant, finished):
    text = json.dumps({"password": variant, "note": f"is {TWO}", "r": "redacted"})
    frames = [frame([delta(**called(piece))]) for piece in pieces(text, cuts)]
    heard, _ = relayed(frames + ([frame([delta(finish="tool_calls")])] if finished else []))
    assert json.loads(heard.arguments[0, 0]) == {"password": SECRET, "note": f"is {CARD}", "r": "redacted"}


@given(CUTS, CUTS)
def test_parallel_calls_and_reasoning_keep_apart(cuts, others):
    one, two = json.dumps({"a": ONE}), json.dumps({"b": f"{TWO} r"})
    calls = [frame([delta(**called(piece, 0))]) for piece in pieces(one, cuts)]
    calls[1:1] = [frame([delta(**called(piece, 1))]) for piece in pieces(two, others)]
    thoughts = [frame([delta(reasoning_content=piece)]) for piece in pieces(f"I use {ONE} or", cuts)]
    heard, _ = relayed([*thoughts, frame([delta(content=f"Here: {ONE}")]), *calls, frame([delta(finish="tool_calls")])])
    assert json.loads(heard.arguments[0, 0]) == {"a": SECRET}
    assert json.loads(heard.arguments[0, 1]) == {"b": f"{CARD} r"}
    assert heard.reasoning[0] == f"I use {SECRET} or"
    assert heard.content[0] == f"Here: {SECRET}"


def test_only_a_possible_beginning_is_held_back():
    restore = mask().restorer()
    ready = [
        Heard().read(restore(Frames(frame([delta(content=piece)]))).raw).content[0] for piece in ("for ", "older", " x")
    ]
    assert ready == ["for ", "olde", "r x"]
    assert Heard().read(restore(Frames(frame([delta(content=ONE[:-1])]))).raw).content[0] == ""
    assert Heard().read(restore(Frames(frame([delta(content="!")]))).raw).content[0] == f"{ONE[:-1]}!"


def test_what_is_held_back_comes_with_the_finish_or_at_the_end():
    heard, out = relayed([frame([delta(content="abc r")]), frame([delta(finish="stop")])])
    assert heard.content[0] == "abc r"
    assert len(out) == 2
    heard, out = relayed([frame([delta(content="abc r")])])
    assert heard.content[0] == "abc r"
    assert json.loads(out[-1][6:])["model"] == "m"


def test_frames_without_placeholders_pass_byte_for_byte():
    raw = b': hi\n\nevent: x\ndata: {"id":"a", "choices":[{"index":0,"delta":{"content":"x"}}],"usage":{"a":1e-7}}\n\n'
    restore = mask().restorer()
    assert restore(Frames(raw)).raw == raw
    broken = b"data: {nonsense\n\ndata: [DONE]\n\n"
    assert restore(Frames(broken)).raw == broken


def test_a_whole_answer():
    message = {
        "role": "assistant",
        "content": f"It is {ONE}.",
        "reasoning_content": f"{TWO}?",
        "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": json.dumps({"p": ONE})}}],
    }
    logprobs = {"content": [{"token": "REDACTED", "logprob": -0.1}]}
    body = {"id": "x", "choices": [{"message": message, "logprobs": logprobs}], "usage": {"prompt_tokens": 3}}
    got = json.loads(mask().restorer()(Body(json.dumps(body).encode())).raw)
    said = got["choices"][0]["message"]
    assert said["content"] == f"It is {SECRET}."
    assert said["reasoning_content"] == f"{CARD}?"
    assert json.loads(said["tool_calls"][0]["function"]["arguments"]) == {"p": SECRET}
    assert got["choices"][0]["logprobs"] == logprobs
    assert got["usage"] == body["usage"]


@given(CUTS)
def test_an_answer_that_must_be_json_stays_json(cuts):
    text = json.dumps({"password": ONE})
    body = {"choices": [{"message": {"content": text}}]}
    whole = json.loads(mask(json_answer=True).restorer()(Body(json.dumps(body).encode())).raw)
    assert json.loads(whole["choices"][0]["message"]["content"]) == {"password": SECRET}
    heard, _ = relayed([frame([delta(content=piece)]) for piece in pieces(text, cuts)], json_answer=True)
    assert json.loads(heard.content[0]) == {"password": SECRET}


def test_other_shapes_of_answers():
    """Every letter escaped, and whole messages in a stream."""
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in TWO)
    raw = b'{"choices": [{"message": {"role": "assistant", "content": "%b", "note": "\\u0052"}}]}' % escaped.encode()
    restored = mask().restorer()(Body(raw)).raw
    assert json.loads(restored)["choices"][0]["message"] == {"role": "assistant", "content": CARD, "note": "R"}
    assert b'"note": "\\u0052"' in restored
    chunk = frame([{"index": 0, "message": {"role": "assistant", "content": TWO}, "finish_reason": "stop"}])
    restored = mask().restorer()(Frames(chunk)).raw
    assert json.loads(restored.removeprefix(b"data: "))["choices"][0]["message"]["content"] == CARD
