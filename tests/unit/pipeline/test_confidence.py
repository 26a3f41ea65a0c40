"""What an answer's own signs say of it: each sign on crafted answers, whole and begun, streamed and not."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import pytest

from pointsman.core.events import Body, Frames
from pointsman.core.request import ChatRequest
from pointsman.pipeline.execute.confidence import Confidence, Verifier, threshold_for
from pointsman.pipeline.execute.confidence.blocks import blocks_of, parses
from pointsman.pipeline.execute.confidence.evidence import Evidence
from pointsman.pipeline.execute.confidence.model import INPUTS, USELESS, Artefact, Model, built_in_model
from pointsman.pipeline.execute.confidence.surprise import Surprise, TokenLogprob, entropy

CODE = "```python\ndef double(x):\n    return 2 * x\n```"
SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "point",
        "schema": {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]},
    },
}
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


def asked(content: str = "Write a Python function.", **fields: Any) -> ChatRequest:
    return ChatRequest.build({"messages": [{"role": "user", "content": content}], **fields})


def body(text: str | None, *, finish: str = "stop", **message: Any) -> Body:
    choice = {"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": finish}
    return Body(json.dumps({"choices": [choice]}).encode())


def said(text: str | None, request: ChatRequest | None = None, *, whole: bool = True, **more: Any) -> Evidence:
    verifier = Verifier(request or asked())
    verifier.feed(body(text, **more))
    return verifier.evidence(whole=whole)


def judged(text: str | None, request: ChatRequest | None = None, **more: Any) -> Confidence:
    verifier = Verifier(request or asked())
    verifier.feed(body(text, **more))
    return verifier.confidence(whole=True)


def frames(*deltas: dict[str, Any], logprobs: list[float] | None = None) -> Frames:
    raw = b""
    for place, delta in enumerate(deltas):
        choice: dict[str, Any] = {"index": 0, "delta": delta, "finish_reason": None}
        if logprobs is not None:
            choice["logprobs"] = {"content": [{"token": delta["content"], "logprob": logprobs[place]}]}
        raw += b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"
    return Frames(raw)


class TestTokens:
    def test_worst_windows_find_the_bad_stretch(self):
        surprise = Surprise()
        for logprob in [-0.1] * 40 + [-3.0] * 8 + [-0.1] * 40:
            surprise.add(TokenLogprob(logprob))
        assert surprise.worst_short == pytest.approx(-3.0)
        assert surprise.worst_long == pytest.approx((-3.0 * 8 - 0.1 * 24) / 32)
        assert surprise.mean == pytest.approx((-3.0 * 8 - 0.1 * 80) / 88)
        assert surprise.doubtful == pytest.approx(8 / 88)
        assert surprise.entropy is None

    def test_a_short_answer_is_one_window(self):
        surprise = Surprise()
        for logprob in (-1.0, -2.0):
            surprise.add(TokenLogprob(logprob))
        assert surprise.worst_short == surprise.worst_long == surprise.mean == pytest.approx(-1.5)

    def test_what_is_no_probability_does_no_harm(self):
        surprise = Surprise()
        for logprob in (-9999.0, float("nan"), float("-inf"), 0.5):
            surprise.add(TokenLogprob(logprob))
        assert surprise.tokens == 3
        assert surprise.mean is not None
        assert math.isfinite(surprise.mean)

    def test_entropy_counts_the_rest_as_one_more(self):
        assert entropy([math.log(0.5), math.log(0.5)]) == pytest.approx(math.log(2))
        assert entropy([0.0, -9999.0]) == pytest.approx(0.0)
        assert entropy([math.log(0.25)] * 2) == pytest.approx(-(0.5 * math.log(0.25) + 0.5 * math.log(0.5)))

    def test_unlikely_tokens_lower_the_confidence(self):
        made = []
        for logprob in (-0.02, -1.2):
            verifier = Verifier(asked())
            verifier.feed(frames({"content": CODE}, *[{"content": " "}] * 39, logprobs=[logprob] * 40))
            assert verifier.tokens == 40
            made.append(verifier.confidence(whole=True))
        assert made[0].probability > made[1].probability + 0.15
        assert any("unlikely" in reason or "odds" in reason for reason in made[1].reasons)

    def test_of_code_comments_and_docstrings_are_left_out(self):
        sure = {"def f(x):", "    y = 2 * x", "    y += 0", "    return y"}
        lines = [
            "It is 2.",
            "\n",
            "```python\n",
            "def f(x):",
            "\n    ",
            '"""',
            "Doubles it.",
            '"""',
            "\n",
            "    y = 2 * x",
        ]
        lines += [
            "  ",
            "# twice",
            "\n",
            "    y += 0",
            " ",
            "# more",
            "\n",
            "    return y",
            "\n",
            "```\n",
            "It is done.",
        ]
        remarks = {"It is 2.", "```python\n", '"""', "Doubles it.", "# twice", "# more", "```\n", "It is done."}
        verifier = Verifier(asked())
        content = [{"token": text, "logprob": -0.5 if text in sure else -5.0 * (text in remarks)} for text in lines]
        message = {"content": "".join(lines)}
        choice = {"index": 0, "message": message, "logprobs": {"content": content}}
        verifier.feed(Body(json.dumps({"choices": [choice]}).encode()))
        evidence = verifier.evidence(whole=True)
        assert evidence.code_total == pytest.approx(-2.0)
        assert evidence.code_worst == pytest.approx(-1.5 / 8)
        assert evidence.total == pytest.approx(-2.0 - 9 * 5.0)

    def test_too_little_code_tells_nothing(self):
        verifier = Verifier(asked())
        verifier.feed(frames({"content": "```py\n"}, {"content": "x = 1"}, logprobs=[-0.1, -0.1]))
        assert verifier.evidence(whole=False).code_worst is None

    def test_without_log_probabilities_nothing_is_made_of_them(self):
        evidence = said(CODE)
        assert (evidence.mean_logprob, evidence.worst_short, evidence.entropy) == (None, None, None)
        assert evidence.tokens == pytest.approx(len(CODE) / 3.8, abs=1)


class TestPieces:
    def test_streamed_in_pieces_or_whole_the_evidence_is_the_same(self):
        verifier = Verifier(asked())
        for letter in CODE:
            verifier.feed(frames({"content": letter}))
        verifier.feed(Frames(b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'))
        assert verifier.evidence(whole=True) == said(CODE)

    def test_what_cannot_be_read_says_nothing(self):
        verifier = Verifier(asked())
        for raw in (
            b"data: {nonsense\n\n",
            b": comment\n\n",
            b"data: [DONE]\n\n",
            b'data: {"choices":[{"delta":3}]}\n\n',
        ):
            verifier.feed(Frames(raw))
        verifier.feed(Body(b"\xff"))
        assert verifier.tokens == 0

    def test_other_choices_and_reasoning_are_not_the_answer(self):
        verifier = Verifier(asked())
        verifier.feed(frames({"reasoning_content": "I don't know. " * 20}))
        verifier.feed(Frames(b'data: {"choices":[{"index":1,"delta":{"content":"no idea"}}]}\n\n'))
        assert verifier.tokens == 0
        assert not verifier.evidence(whole=False).doubt

    def test_usage_counts_where_nothing_better_is_told(self):
        verifier = Verifier(asked())
        verifier.feed(Body(b'{"choices":[{"message":{"content":"abc"}}],"usage":{"completion_tokens":17}}'))
        assert verifier.tokens == 17


class TestWords:
    @pytest.mark.parametrize(
        "text",
        [
            "I'm sorry, but I can't help with that.",
            "As an AI language model, I do not write code.",
            "I cannot access your files.",
            "Could you please provide more details about the file?",
            "Es tut mir leid, dabei kann ich leider nicht helfen.",
            "Je suis désolé, je ne peux pas répondre.",
            "Lo siento, no puedo ayudar con eso.",
            "Mi dispiace, non posso aiutarti.",
            "К сожалению, я не могу помочь.",
            "抱歉，我无法回答这个问题。",
            "申し訳ありませんが、お答えできません。",
            "죄송하지만 도와드릴 수 없습니다.",
        ],
    )
    def test_refusals(self, text):
        assert said(text).refusal
        assert judged(text).probability < 0.3

    @pytest.mark.parametrize(
        "text",
        [
            "I don't know.",
            "I'm not sure about this.",
            "Ich weiß es nicht.",
            "Je ne sais pas.",
            "No estoy seguro.",
            "我不知道",
        ],
    )
    def test_doubts(self, text):
        assert said(text).doubt

    @pytest.mark.parametrize(
        "text",
        [
            CODE,
            "The function raises an error when it cannot open the file.",
            "Use `try` and `except`; sorry states are then reported to the caller.",
            f"{CODE}\n\nIf the list is empty, it returns 0.",
            "```python\nprint('I cannot help with that, I am sorry')\n```",
        ],
    )
    def test_neither(self, text):
        assert not said(text).refusal
        assert not said(text).doubt

    def test_the_field_for_refusals_is_one(self):
        assert said(None, refusal="No.").refusal

    def test_loops(self):
        assert said("the same thing again and again and so on, " * 20).repetition > 0.7
        assert said(CODE).repetition == 0.0
        assert (
            judged(CODE + "\n" + "and so on and so forth for ever and ever " * 30).probability
            < judged(CODE).probability
        )


class TestCode:
    @pytest.mark.parametrize(
        ("language", "code", "sound"),
        [
            ("python", "x = 1", True),
            ("py", "    def f(self):\n        return 1", True),
            ("python", "def f(:\n  pass", False),
            ("python", "x = '\\d'", True),
            ("python", ">>> f(1)\n2", None),
            ("python", "x = " + "(" * 150 + ")" * 150, True),
            ("python", "x = " + "-\\\n" * 15_000 + "1", None),
            ("python", "x=\0", False),
            ("json", '{"a": [1, 2]}', True),
            ("json", '{"a": 1}\n{"a": 2}', True),
            ("json", '{"a": 1,}', False),
            ("json", "[" * 20_000, None),
            ("toml", "a = 1\n[b]\nc = 'd'", True),
            ("toml", "a = ", False),
            ("yaml", "a:\n  - b\n  - c: {d: e}", True),
            ("yaml", "a: [b", False),
            ("yaml", "a: {{ value }}", None),
            ("js", "const f = (a) => { return `${a}`; } // it's", True),
            ("ts", "function f() { if (x) { return [1; }", False),
            ("go", "func f() {", False),
            ("js", "const s = '(' + \"[\" + `{ ${a} `; /* ( */", True),
            ("js", "const apostrophe = /'/; f(", None),
            ("c", "/* never closed (", False),
            ("java", "char c = '\\''; f();", True),
            ("yaml", "[" * 20_000, None),
            ("toml", "a." * 20_000, None),
            ("js", "`\\\\" * 20_000, None),
            ("js", ("'it \n" + "\\' " * 500) * 20, None),
            ("rust", "fn f<'a>(x: &'a str) {", None),
            ("", "anything (", None),
            ("python", "# " + "x" * 50_000, None),
        ],
    )
    def test_parsing(self, language, code, sound):
        (block,) = blocks_of(f"Here:\n\n```{language}\n{code}\n```\nDone.")
        assert parses(block) is sound

    def test_a_warning_of_the_parser_is_not_shown(self, recwarn, capfd):
        said("```python\nsecret = '\\d \\w'\nassert (secret, 1)\n```")
        assert not recwarn.list
        assert capfd.readouterr() == ("", "")

    def test_an_open_block_is_cut_only_at_the_end(self):
        text = "```python\ndef f(x):\n    return ("
        assert (said(text).cut, said(text).broken) == (True, 0.0)
        assert (said(text, whole=False).cut, said(text, whole=False).broken) == (False, 0.0)

    def test_a_longer_fence_holds_a_shorter_one(self):
        (block,) = blocks_of("````markdown\n```python\nx = (\n```\n````\n")
        assert block.language == "markdown"
        assert block.closed

    def test_work_left_to_the_reader(self):
        assert said("```python\ndef f(x):\n    # TODO: implement\n    pass\n```").stub
        assert said("```js\nfunction f() {\n  // your code here\n}\n```").stub
        assert not said(CODE).stub

    def test_code_that_was_asked_for_is_missed_at_the_end_alone(self):
        assert said("It doubles the number.").codeless
        assert not said("It doubles the number.", whole=False).codeless
        assert not said("Paris.", asked("What is the capital of France?")).codeless

    def test_broken_code_lowers_the_confidence_and_says_so(self):
        broken = judged("```python\ndef double(x:\n    return 2 * x\n```")
        assert broken.probability < judged(CODE).probability
        assert "a code block does not parse" in broken.reasons


class TestForm:
    @pytest.mark.parametrize(
        ("text", "form", "reason"),
        [
            ('{"x": 1}', {"type": "json_object"}, None),
            ("Sure! {", {"type": "json_object"}, "not_json"),
            ('{"x": 1}', SCHEMA, None),
            ('{"x": 1, "y": 2}', SCHEMA, None),
            ('{"x": "one"}', SCHEMA, "schema"),
            ("{}", SCHEMA, "schema"),
            ("[" * 5000, SCHEMA, "not_json"),
            ("plain", {"type": "text"}, None),
            ("{}", {"type": "json_schema", "json_schema": {"name": "odd", "schema": {"type": 3}}}, None),
        ],
    )
    def test_json(self, text, form, reason):
        request = asked("Give me a point.", response_format=form)
        assert said(text, request).useless == reason
        assert said(text, request, whole=False).useless is None
        if reason is not None:
            assert judged(text, request).probability <= USELESS

    @pytest.mark.parametrize(
        ("name", "arguments", "reason"),
        [
            ("weather", '{"city": "Rome"}', None),
            ("weather", "", None),
            ("weather", '{"city": ', "bad_arguments"),
            ("weather", "[1]", "bad_arguments"),
            ("wether", "{}", "unknown_tool"),
        ],
    )
    def test_tool_calls(self, name, arguments, reason):
        calls = [{"id": "1", "type": "function", "function": {"name": name, "arguments": arguments}}]
        evidence = said(None, asked("Weather?", tools=[WEATHER]), tool_calls=calls, finish="tool_calls")
        assert evidence.useless == reason

    def test_a_call_in_pieces(self):
        verifier = Verifier(asked("Weather?", tools=[WEATHER]))
        verifier.feed(
            frames({"tool_calls": [{"index": 0, "id": "1", "function": {"name": "weather", "arguments": ""}}]})
        )
        verifier.feed(frames({"tool_calls": [{"index": 0, "function": {"arguments": '{"city":'}}]}))
        assert verifier.evidence(whole=False).useless is None
        assert verifier.evidence(whole=True).useless == "bad_arguments"
        verifier.feed(frames({"tool_calls": [{"index": 0, "function": {"arguments": '"Rome"}'}}]}))
        assert verifier.evidence(whole=True).useless is None

    def test_a_call_that_was_required(self):
        request = asked("Weather?", tools=[WEATHER], tool_choice="required")
        assert said("It is sunny.", request).useless == "no_call"
        assert said("It is sunny.", asked("Weather?", tools=[WEATHER])).useless is None

    @pytest.mark.parametrize("text", [None, "", " \n"])
    def test_nothing(self, text):
        assert judged(text) == Confidence(pytest.approx(USELESS, abs=USELESS), judged(text).reasons)
        assert judged(text).reasons[0] == "it is empty"
        assert said(text, whole=False).useless is None


class TestModel:
    def test_the_artefact_is_whole(self):
        artefact = built_in_model().artefact
        assert sum(artefact.trained_on.values()) >= 300
        for part in (artefact.whole, artefact.begun):
            assert set(part.model.weights) == set(INPUTS)
            assert list(part.shifts) == sorted(part.shifts)
            assert [point.threshold for point in part.curve] == sorted({point.threshold for point in part.curve})
            assert [point.escalated for point in part.curve] == sorted(point.escalated for point in part.curve)

    @pytest.mark.parametrize("condition", [True, False])
    def test_likelier_tokens_never_count_against_an_answer_as_a_whole(self, condition):
        model, made = built_in_model(), []
        for logprob in (-0.05, -0.5, -1.5):
            total = logprob * 60
            evidence = Evidence(
                tokens=60, total=total, mean_logprob=logprob, worst_short=2 * logprob, worst_long=1.3 * logprob,
                doubtful=min(-logprob / 2, 1.0), entropy=-logprob if condition else None, code_total=total / 2,
                code_worst=2 * logprob,
            )  # fmt: skip
            made.append(model(evidence, whole=True).probability)
        assert made == sorted(made, reverse=True)

    def test_signs_of_trouble_point_the_right_way(self):
        for part in (built_in_model().artefact.whole, built_in_model().artefact.begun):
            for name in ("refusal", "doubt", "broken", "repetition", "stub"):
                assert part.model.weights[name] < 0, name
            for name in ("total", "mean_logprob", "worst_short", "worst_long", "code_total", "code_worst"):
                assert part.model.weights[name] >= 0, name

    def test_a_share_is_of_the_worst_evidence_whatever_was_expected(self):
        made = [threshold_for(share=share) for share in (0.0, 0.1, 0.3, 0.5, 0.9, 1.0)]
        assert made == sorted(made)
        assert made[1] < made[4]
        for prior in (0.1, 0.5, 0.9):
            for text in (CODE, "```python\ndef f(:\n```", "I don't know."):
                verifier = Verifier(asked())
                verifier.feed(body(text))
                below = verifier.confidence(whole=True, prior=prior).probability < threshold_for(share=0.3, prior=prior)
                assert below == (verifier.confidence(whole=True).probability < threshold_for(share=0.3))

    def test_where_evidence_tells_nothing_only_signs_escalate(self):
        artefact = built_in_model().artefact
        blind = Model(msgspec.structs.replace(artefact, begun=msgspec.structs.replace(artefact.begun, telling=False)))
        assert blind.threshold_for(share=0.1, whole=False) == blind.threshold_for(share=0.9, whole=False)
        assert blind.threshold_for(share=0.0, whole=False) <= blind.threshold_for(share=0.9, whole=False)
        threshold = blind.threshold_for(share=0.5, whole=False)
        for text, below in ((CODE, False), ("Here it comes:", False), ("I'm sorry, I cannot help with that.", True)):
            verifier = Verifier(asked(), blind)
            verifier.feed(body(text))
            assert (verifier.confidence(whole=False).probability < threshold) is below, text

    def test_evidence_moves_what_is_expected(self):
        verifier = Verifier(asked())
        verifier.feed(body(CODE))
        made = [verifier.confidence(whole=True, prior=prior).probability for prior in (0.0, 0.2, 0.5, 0.8, 1.0)]
        assert made == sorted(made)
        assert 0.0 < made[0] < made[1] - 0.05
        assert made[4] < 1.0
        base = built_in_model().artefact.prior
        assert verifier.confidence(whole=True, prior=base) == verifier.confidence(whole=True)

    def test_a_quality_is_reached_by_what_is_kept(self):
        curve = built_in_model().artefact.whole.curve
        reached = threshold_for(quality=0.6)
        assert all(point.quality < 0.6 for point in curve if point.threshold < reached)
        assert threshold_for(quality=0.0) == curve[0].threshold
        assert threshold_for(quality=1.0) <= 1.0

    @pytest.mark.parametrize("target", [{}, {"share": 0.1, "quality": 0.5}, {"share": 1.5}, {"quality": -0.1}])
    def test_a_target_that_is_none(self, target):
        with pytest.raises(ValueError, match="share or a quality"):
            threshold_for(**target)

    def test_an_artefact_for_other_inputs_is_refused(self):
        artefact = built_in_model().artefact
        with pytest.raises(ValueError, match="version"):
            Model(msgspec.structs.replace(artefact, version=0))
        fewer = msgspec.structs.replace(artefact.whole.model, weights={"mean_logprob": 1.0})
        with pytest.raises(ValueError, match="inputs"):
            Model(msgspec.structs.replace(artefact, whole=msgspec.structs.replace(artefact.whole, model=fewer)))
        endless = msgspec.structs.replace(artefact.begun.model, bias=math.inf)
        with pytest.raises(ValueError, match="finite"):
            Model(msgspec.structs.replace(artefact, begun=msgspec.structs.replace(artefact.begun, model=endless)))
        raw = msgspec.json.encode(artefact)
        assert msgspec.json.decode(raw, type=Artefact) == artefact

    def test_reasons_hold_no_word_of_the_answer(self):
        known = judged("sesame ```python\nsesame(\n``` I don't know the word sesame")
        assert known.reasons
        assert "sesame" not in " ".join(known.reasons)
