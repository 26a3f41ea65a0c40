"""A text that broke off is gone on with: wherever it broke, the caller reads it as if it had not."""

from __future__ import annotations

import json

import pytest
from splicing import PREFILLS, REPEATS, asking, begun, carried_out, chunk, streamed

from pointsman.core.errors import UpstreamBroken, UpstreamProtocolError
from pointsman.core.events import Frames
from pointsman.pipeline.execute.splice import Splice
from pointsman.pipeline.execute.splice.seam import ANCHOR, Seam, anchor_of

PROSE = "The quick brown fox, said Anna, jumps over the lazy dog. \n\nThen it ran — très vite — home 🦊 and slept well."
CODE = "Here:\n\n```python\ndef add(a, b):\n    # sum\n    return a + b\n\n\nprint(add(1, 2))\n```\n\nIt is `add`."
LIST = "1. One\n2. Two\n3. Three\n\n- a\n- b\n- c\n\n| x | y |\n|---|---|\n| 1 | 2 |\n"
CJK = "快速的棕色狐狸跳过懒狗。然后它回家睡觉了。今天天气很好,我们去公园散步吧。"
TEXTS = {"prose": PROSE, "code": CODE, "list": LIST, "cjk": CJK}


def prefilled(text: str):
    """A model that goes on with its own last message."""

    def reply(asked):
        sent = begun(asked) if asked.message(-1).role == "assistant" else ""
        assert text.startswith(sent)
        assert sent == sent.rstrip()
        return streamed(text[len(sent) :], model="second", size=3)

    return reply


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("size", [1, 4, 7])
def test_a_model_that_takes_prefill_goes_on_exactly(text, size):
    frames = streamed(text, size=size)
    for stop in range(1, len(frames) - 2):
        told = carried_out(asking(), frames, (PREFILLS, prefilled(text)), breaks=[stop])
        assert told.text == text
        told.check()
        assert told.finishes == ["stop"]
        assert told.chunks[-1]["usage"]["completion_tokens"] <= len(text)


def repeating(text: str, how: str):
    """A model that is asked to go on, in the ways in which models do."""

    def reply(asked):
        told = begun(asked)
        assert asked.message(-1).role == "user"
        where = len(told)
        assert text[:where] == told
        anchor = anchor_of(told)
        said = {
            "as it was told": anchor + text[where:],
            "with an introduction": f"Sure, here is the rest:\n\n{anchor}{text[where:]}",
            "quoted": f'"{anchor}{text[where:]}',
            "all of it": text,
            "more words": text[max(0, where - 2 * ANCHOR) :],
            "spaces at the beginning": f"\n\n{anchor}{text[where:]}",
        }[how]
        return streamed(said, model="second", size=5)

    return reply


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize(
    "how", ["as it was told", "with an introduction", "quoted", "all of it", "more words", "spaces at the beginning"]
)
def test_what_a_model_repeats_is_told_once(text, how):
    frames = streamed(text, size=4)
    for stop in range(2, len(frames) - 2):
        if how == "with an introduction" and stop < 8:  # a word or two may stand in an introduction too
            continue
        told = carried_out(asking(), frames, (REPEATS, repeating(text, how)), breaks=[stop])
        assert told.text == text, stop
        told.check()


def test_an_answer_may_break_several_times():
    frames = streamed(PROSE)
    for first in range(1, 12, 3):
        for second in range(1, 8, 2):
            told = carried_out(
                asking(),
                frames,
                (REPEATS, repeating(PROSE, "as it was told")),
                (PREFILLS, prefilled(PROSE)),
                breaks=[first, second] if first > 1 else [first + 1, second],
            )
            assert told.text == PROSE
            told.check()


@pytest.mark.parametrize(
    ("told", "said", "joined"),
    [
        ("the quick bro", "wn fox", "the quick bro wn fox"),  # a word's rest does not tell itself from a new word
        ("the quick brown", "fox jumps", "the quick brown fox jumps"),
        ("the quick brown ", "brown fox", "the quick brown fox"),
        ("It ended.", "Next came", "It ended. Next came"),
        ("It ended.\n\n", "Next came", "It ended.\n\nNext came"),
        ("It ended.\n\n", "\n\nNext came", "It ended.\n\nNext came"),
        ("so I went to the", "went to the shop", "so I went to the shop"),
        ("```python\ndef f():\n    return", "```python\n 1\n```\nDone", "```python\ndef f():\n    return 1\n```\nDone"),
        ("one two", "Continuing from where I left off:\n\nthree", "one two three"),
        ("今天天气", "很好", "今天天气很好"),
    ],
)
def test_where_the_last_words_are_not_repeated_the_seam_is_found_all_the_same(told, said, joined):
    seam = Seam(told, prefill=False)
    assert told + seam.feed(said) + seam.end() == joined


def test_an_answer_that_begins_anew_and_goes_elsewhere_is_refused():
    text = "Paris is the capital of France, and has been for centuries, as you know"
    seam = Seam(text, prefill=False)
    assert seam.feed(text[:50]) == ""
    with pytest.raises(UpstreamProtocolError, match="began another"):
        seam.feed(" something else altogether that goes on and on" + "x" * 300)


def test_json_stays_json():
    whole = json.dumps({"name": "Ann", "tags": ["a", "b"], "text": 'a "quoted" word\n'}, indent=1)
    asked = asking(response_format={"type": "json_object"}, max_tokens=500)
    seen = []

    def fenced(request):
        seen.append(request)
        told = begun(request)
        return streamed(f"```json\n{anchor_of(told)}{whole[len(told) :]}\n```\n", model="second")

    frames = streamed(whole)
    for stop in range(2, len(frames) - 2):
        told = carried_out(asked, frames, (REPEATS, fenced), breaks=[stop])
        assert json.loads(told.text) == json.loads(whole), stop
        told.check()
    assert all("response_format" not in request.fields for request in seen)
    assert all(b"JSON" in bytes(request.params.messages[-1]) for request in seen)


def test_what_is_no_json_in_the_end_is_an_error():
    frames = streamed('{"a": [1, 2')
    with pytest.raises(UpstreamProtocolError, match="no JSON"):
        carried_out(
            asking(response_format={"type": "json_object"}),
            frames,
            (REPEATS, lambda asked: streamed("and so on", model="second")),
            breaks=[len(frames) - 2],
        )


def test_the_rest_of_the_bound_is_asked_for():
    frames = streamed(PROSE)
    seen = []

    def reply(request):
        seen.append(request)
        return prefilled(PROSE)(request)

    carried_out(asking(max_tokens=100, stop=["END"], seed=3), frames, (PREFILLS, reply), breaks=[12])
    assert 75 <= seen[0].max_output < 100
    assert seen[0].params.stop == ["END"]
    assert seen[0].params.seed == 3


def test_an_answer_at_its_bound_ends_there():
    told = carried_out(asking(max_tokens=5), streamed(PROSE), breaks=[20])
    assert told.finishes == ["length"]
    assert PROSE.startswith(told.text)
    told.check()


def test_an_answer_that_broke_behind_its_end_is_whole():
    frames = streamed(PROSE)
    told = carried_out(asking(), frames, breaks=[len(frames) - 1])
    assert told.text == PROSE
    told.check()


def test_reasoning_alone_is_followed_by_the_next_models_own():
    thought = [chunk({"reasoning_content": "Let me "}), chunk({"reasoning_content": "see"})]
    frames = streamed("Yes.", before=thought)
    seen = []

    def reply(request):
        seen.append(request)
        return streamed("No.", model="second", before=[chunk({"reasoning_content": "Hm."}, model="second")])

    told = carried_out(asking(), frames, (REPEATS, reply), breaks=[3])
    assert told.text == "No."
    assert told.reasoning == "Let me see\n\nHm."
    assert [message.role for message in seen[0].messages()] == ["user"]
    told.check()


def test_what_the_next_model_thinks_before_it_goes_on_is_not_told():
    frames = streamed(PROSE, before=[chunk({"reasoning_content": "Let me see"})])

    def reply(request):
        rest = repeating(PROSE, "as it was told")(request)
        return [rest[0], chunk({"reasoning_content": "I must go on."}, model="second"), *rest[1:]]

    told = carried_out(asking(), frames, (REPEATS, reply), breaks=[9])
    assert told.text == PROSE
    assert told.reasoning == "Let me see"
    told.check()


@pytest.mark.parametrize("fields", [{"n": 2}, {"logprobs": True}, {"audio": {"voice": "a"}}, {"stream": False}])
def test_answers_that_are_not_one_text_are_left_alone(fields):
    splice = Splice(asking(**fields))
    assert not splice.holds
    event = chunk({"content": "a"})
    assert splice.passes(event) is event
    assert not splice.can_go_on(PREFILLS)
    assert splice.whole() is None


@pytest.mark.parametrize("delta", [{"refusal": "I cannot"}, {"function_call": {"name": "f"}}, {"content": [{"a": 1}]}])
def test_what_nobody_can_go_on_with_is_not_gone_on_with(delta):
    splice = Splice(asking())
    splice.asks(REPEATS, asking())
    splice.passes(chunk(delta))
    assert not splice.can_go_on(PREFILLS)


def test_a_long_answer_is_not_kept_for_ever():
    splice = Splice(asking())
    splice.asks(REPEATS, asking())
    event = chunk({"content": "x" * 100_000})
    for _ in range(9):
        assert splice.passes(event) is event
    assert splice.can_go_on(PREFILLS)
    for _ in range(3):
        assert splice.passes(event) is event
    assert not splice.can_go_on(PREFILLS)
    assert not splice.holds


def test_nothing_is_looked_at_while_all_is_well():
    splice = Splice(asking())
    splice.asks(REPEATS, asking())
    events = [chunk({"content": "a"}), Frames(b"data: {no json, never read}\n\n"), chunk({}, finish="stop")]
    assert [splice.passes(event) for event in events] == events
    assert splice.end() is None


def test_an_end_with_an_error_is_a_break():
    splice = Splice(asking())
    splice.asks(REPEATS, asking())
    splice.passes(chunk({"content": "a"}))
    with pytest.raises(UpstreamBroken):
        splice.passes(chunk({}, finish="error"))
    assert splice.can_go_on(REPEATS)
    splice.holds = False  # nobody follows
    event = chunk({}, finish="error")
    assert splice.passes(event) is event


def test_before_anything_is_told_the_next_model_is_asked_as_the_first():
    splice = Splice(asking())
    request = asking()
    assert splice.asks(REPEATS, request) is request
    splice.passes(Frames(b": a comment\n\n"))
    assert splice.asks(PREFILLS, request) is request


def test_a_model_that_only_thinks_has_not_gone_on():
    frames = streamed(PROSE)
    with pytest.raises(UpstreamProtocolError, match="said nothing"):
        carried_out(
            asking(),
            frames,
            (PREFILLS, lambda asked: streamed("", model="second", before=[chunk({"reasoning_content": PROSE})])),
            breaks=[9],
        )
