"""Steps, their metrics, their examples, and how what was learned is kept."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from pointsman.core.errors import InvalidRequest
from pointsman.core.program import Program, ProgramError
from pointsman.core.reward import RewardWeights
from pointsman.learn.programs.examples import LEAST, Example, example_of, read_examples, split
from pointsman.learn.programs.kept import current, keep
from pointsman.learn.programs.logged import last_message
from pointsman.learn.programs.metrics import METRICS, overlap
from pointsman.learn.programs.routing import routing_examples
from pointsman.learn.programs.steps import STEPS
from pointsman.surfaces.cli.train_program import PROGRAMS

INTENT = STEPS["intent"].program


def test_the_command_knows_every_step():
    assert set(PROGRAMS) == {*STEPS, "router"}


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_every_step_is_a_program_that_can_be_written_read_and_asked(step):
    assert Program.read(msgspec.json.encode(step.program)) == step.program
    chat = step.program.messages({field.name: f"<{field.name}>" for field in step.program.inputs})
    assert [message["role"] for message in chat] == ["system", "user"]
    assert step.program.instructions in chat[0]["content"]
    wanted = {field.name: field.choices[0] if field.choices else "one\ntwo" for field in step.program.outputs}
    metric, names = METRICS[step.metric], list(wanted)
    assert metric(names, wanted, wanted).score == 1.0
    assert metric(names, wanted, dict.fromkeys(names, "something else")).score == 0.0


@pytest.mark.parametrize(
    ("metric", "wanted", "said", "score"),
    [
        ("label", "math", " Math ", 1.0),
        ("label", "math", "", 0.0),
        ("text", "the cat sat", "the cat slept", 2 / 3),
        ("text", "a a b", "a b b", 2 / 3),
        ("lines", "likes tea\nlives in Rome", "- Lives in Rome.\n- likes tea", 1.0),
        ("lines", "likes tea\nlives in Rome", "likes tea", 2 / 3),
        ("lines", "likes tea", "likes tea\nlikes tea", 2 / 3),
        ("lines", "none", "None.", 1.0),
        ("lines", "none", "likes tea", 0.0),
        ("lines", "likes tea", "none", 0.0),
    ],
)
def test_metrics(metric, wanted, said, score):
    found = METRICS[metric](["out"], {"out": wanted}, {"out": said})
    assert found.score == pytest.approx(score)
    assert found.feedback


def test_overlap_is_symmetric_and_whole_for_nothing():
    assert overlap("a b", "b c") == overlap("b c", "a b") == 0.5
    assert overlap("", "...") == 1.0


def examples(count: int) -> list[Example]:
    return [example_of(INTENT, {"message": f"Add {number} and 2.", "intent": "math"}) for number in range(count)]


def test_a_split_is_the_same_whatever_is_added_and_in_whatever_order():
    few, many = split(examples(40)), split(list(reversed(examples(400))))
    for side in ("held_out", "train"):
        assert {example.group for example in getattr(few, side)} <= {example.group for example in getattr(many, side)}
    assert 0.2 < len(many.held_out) / 400 < 0.4


def test_a_group_stays_on_one_side():
    grouped = [
        example_of(INTENT, {"message": f"Add {number}.", "intent": "math", "group": str(number % 9)})
        for number in range(90)
    ]
    sides = split(grouped)
    assert {example.group for example in sides.train}.isdisjoint(example.group for example in sides.held_out)


def test_neither_side_is_ever_empty():
    for count in range(LEAST, 30):
        sides = split(examples(count))
        assert min(len(sides.train), len(sides.held_out)) >= 2
        assert len(sides.train) + len(sides.held_out) == count
    with pytest.raises(InvalidRequest, match="at least 6"):
        split(examples(5))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"message": "hi"}', "line 2: 'intent' must be a text"),
        ('{"message": "hi", "intent": "greeting"}', "line 2: 'intent' is 'greeting', none of"),
        ('{"message": 7, "intent": "math"}', "line 2: 'message' must be a text"),
        ('["hi"]', "line 2"),
        ("{", "line 2"),
        ('{"message": "\\ud800"', "line 2"),
    ],
)
def test_a_line_that_is_no_example_is_named(tmp_path: Path, line: str, reason: str):
    path = tmp_path / "data.jsonl"
    path.write_text('{"message": "1+1?", "intent": "MATH", "more": 1}\n' + line)
    with pytest.raises(InvalidRequest, match=reason):
        read_examples(path, INTENT)
    path.write_text('{"message": "1+1?", "intent": "MATH", "more": 1}\n\n')
    [example] = read_examples(path, INTENT)
    assert example.values == {"message": "1+1?", "intent": "math"}


def test_what_is_kept_is_read_and_the_one_before_stays(tmp_path: Path):
    assert current(tmp_path, "intent", INTENT) == INTENT
    first = msgspec.structs.replace(INTENT, instructions="First.", score=0.5)
    second = msgspec.structs.replace(INTENT, instructions="Second.", trained={"calls": 4})
    keep(tmp_path, "intent", first)
    path = keep(tmp_path, "intent", second, {"demos": []})
    assert current(tmp_path, "intent", INTENT) == second
    assert Program.read(path.with_name("intent.json.1").read_bytes()) == first
    assert sorted(file.name for file in path.parent.iterdir()) == ["intent.dspy.json", "intent.json", "intent.json.1"]
    path.write_bytes(msgspec.json.encode(STEPS["verify"].program))
    with pytest.raises(ProgramError, match="inputs"):
        current(tmp_path, "intent", INTENT)


def test_the_last_words_of_the_user_are_read():
    parts = [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": "data:"}}]
    assert last_message([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]) == "a"
    assert last_message([{"role": "user", "content": "a"}, {"role": "user", "content": parts}]) == "see\n"
    assert last_message([{"role": "system", "content": "a"}]) == ""


def test_a_table_becomes_rewards_and_cards(tmp_path: Path):
    path = tmp_path / "table.jsonl"
    rows = []
    for number in range(4):
        outcomes = {"gpt-4o": {"score": 1.0, "cost_usd": 0.01}, "house-model": {"score": 0.5, "cost_usd": 0.001}}
        if number == 3:
            del outcomes["gpt-4o"]
        rows.append({"dataset": "d", "prompt_id": str(number), "split_key": f"g{number}", "prompt": f"Add {number}.",
                     "category": "c", "outcomes": outcomes})  # fmt: skip
    path.write_text("\n".join(map(json.dumps, rows)))
    found, (known, house) = routing_examples(path, RewardWeights(cost_factor=10.0))
    assert [example.group for example in found] == ["g0", "g1", "g2"]
    worth = json.loads(found[0].values["rewards"])
    assert worth == pytest.approx({known.id: 0.9, house.id: 0.49})
    assert known.price_output is not None
    assert known.quality > 0.5
    assert house.quality == 0.5
    assert house.cost_micro_usd(100, 256) == 1000
