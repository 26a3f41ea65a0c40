"""From evidence to the shipped model and the published figures, on the stored evidence of real answers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import pointsman.pipeline.execute.confidence as serving
from pointsman.core.errors import InvalidRequest, UpstreamError
from pointsman.learn.confidence.answers import Kept, Token, ask, missing, read_answers, write_answers
from pointsman.learn.confidence.collect import collect, execute_kept, sample
from pointsman.learn.confidence.figures import auc, ece
from pointsman.learn.confidence.fitting import (
    CONDITIONS,
    chances,
    fit,
    folds,
    held_out,
    inputs,
    seen_as,
    shares,
    shifts,
    train,
)
from pointsman.learn.confidence.measured import Row, measure, read_rows, write_rows
from pointsman.learn.confidence.tasks import tasks
from pointsman.pipeline.execute.confidence.model import Model, built_in_model

EVIDENCE = Path(__file__).parents[2] / "data" / "confidence.jsonl.gz"
SEED = 7


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return read_rows(EVIDENCE)


def test_the_shipped_model_is_what_the_stored_evidence_makes(rows):
    made = msgspec.json.format(msgspec.json.encode(train(rows, seed=SEED)), indent=1) + b"\n"
    kept = (Path(serving.__file__).parent / "model.json").read_bytes()
    theirs, ours = json.loads(kept), json.loads(made)
    assert _numbers(ours) == pytest.approx(_numbers(theirs), abs=2e-3)  # the last digits depend on the machine
    assert ours["trained_on"] == theirs["trained_on"]
    assert ours["seen"] == theirs["seen"]


def _numbers(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [number for name in sorted(value) for number in _numbers(value[name])]
    if isinstance(value, list):
        return [number for one in value for number in _numbers(one)]
    return [float(value)]


def test_serving_says_what_the_fit_says(rows):
    model, expected = built_in_model(), shares([row for row in rows if row.whole])
    for whole in (True, False):
        part = [row for row in rows if row.whole is whole][::17]
        learned = (model.artefact.whole if whole else model.artefact.begun).model
        for condition in CONDITIONS:
            data = inputs(part, expected, (condition,))
            fitted = chances(data.prior, shifts(learned, data.x))
            served = [
                model(seen_as(row.evidence, condition), whole=whole, prior=expected[row.model]).probability
                for row in part
            ]
            assert served == pytest.approx(fitted.tolist(), abs=1e-9)


def test_a_family_is_never_judged_by_what_learned_from_it(rows):
    """Other verdicts of a family change what is said of the others, and not what is said of it."""
    whole = [row for row in rows if row.whole]
    family = whole[0].family
    turned = [msgspec.structs.replace(row, right=row.right ^ (row.family == family)) for row in whole]
    inside = np.array([row.family == family for row in whole])
    before, after = held_out(whole, "all", seed=SEED)[1], held_out(turned, "all", seed=SEED)[1]
    assert (before[inside] == after[inside]).all()
    assert (before[~inside] != after[~inside]).mean() > 0.5


def test_a_sign_that_was_never_seen_keeps_its_stipulation(rows):
    plain = [row for row in rows if row.whole and not row.evidence.refusal]
    assert fit(inputs(plain, shares(plain))).weights["refusal"] == pytest.approx(-3.0)


def test_what_tells_apart_gets_weight():
    rng = np.random.default_rng(0)
    (row,) = (Row(model="m", family="f", task="t", right=True, evidence=_evidence(-0.1)),)
    made = []
    for number in range(400):
        logprob = float(-rng.random())
        right = bool(rng.random() < 1 / (1 + np.exp(-8 * (logprob + 0.5))))
        made.append(msgspec.structs.replace(row, family=f"f{number}", right=right, evidence=_evidence(logprob)))
    said, right = chances(*held_out(made, "all", seed=0)), np.array([row.right for row in made])
    assert auc(said, right) > 0.85
    assert ece(said, right) < 0.08
    assert auc(chances(*held_out(made, "no log-probabilities", seed=0)), right, folds(made, 0)) == 0.5


def _evidence(logprob: float) -> Any:
    from pointsman.pipeline.execute.confidence.evidence import Evidence

    return Evidence(tokens=50, mean_logprob=logprob, worst_short=logprob, worst_long=logprob, doubtful=0.1)


def test_area_and_calibration():
    right = np.array([True, False, True, False])
    assert auc(np.array([0.9, 0.1, 0.8, 0.2]), right) == 1.0
    assert auc(np.array([0.1, 0.9, 0.2, 0.8]), right) == 0.0
    assert auc(np.array([0.5, 0.5, 0.5, 0.5]), right) == 0.5
    assert auc(np.array([0.9, 0.5, 0.5, 0.1]), right) == 0.875
    assert np.isnan(auc(np.array([0.5]), np.array([True])))
    assert auc(np.array([0.9, 0.8, 0.2, 0.1]), right, np.array([0, 0, 1, 1])) == 1.0
    assert auc(np.array([0.2, 0.1, 0.9, 0.8]), right, np.array([0, 0, 1, 1])) == 1.0
    assert ece(np.array([1.0, 0.0, 1.0, 0.0]), right) == 0.0
    assert ece(np.array([0.0, 1.0, 0.0, 1.0]), right) == 1.0


def test_rows_are_kept_as_they_are(rows, tmp_path):
    for name in ("rows.jsonl", "rows.jsonl.gz"):
        write_rows(tmp_path / name, rows[:50])
        assert read_rows(tmp_path / name) == rows[:50]
    write_rows(tmp_path / "again.gz", rows[:50])
    assert (tmp_path / "again.gz").read_bytes() == (tmp_path / "rows.jsonl.gz").read_bytes()
    (tmp_path / "other.gz").write_bytes(b"nothing of the kind")
    with pytest.raises(InvalidRequest, match="evidence"):
        read_rows(tmp_path / "other.gz")


def test_an_artefact_of_ones_own(rows):
    """Fitted to one model alone, it serves as the shipped one does."""
    one = [row for row in rows if row.model == rows[0].model]
    model = Model(train(one, seed=1))
    assert set(model.artefact.trained_on) == {rows[0].model}
    assert 0.0 <= model.threshold_for(share=0.5) <= 1.0


def kept(task: str, **more: Any) -> Kept:
    fields = {"model": "m", "task": task, "temperature": 0.0, "text": "x", "finish": "stop", "tokens": (), **more}
    return Kept(**fields)


class Said:
    """A gateway's stream: says each task's solution, and counts."""

    def __init__(self, *, fails_at: int | None = None) -> None:
        self.asked: list[str] = []
        self._fails_at = fails_at

    async def __call__(self, path: str, fields: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
        assert path == "/v1/chat/completions"
        assert fields["logprobs"] is True
        prompt = fields["messages"][0]["content"]
        task = next(one for one in tasks() if one.prompt == prompt)
        if len(self.asked) == self._fails_at:
            raise UpstreamError("The model is away.")
        self.asked.append(task.name)
        yield {"choices": [{"delta": {"role": "assistant", "content": None}}]}
        for line in f"```python\n{task.solution}```".splitlines(keepends=True):
            told = {"token": line, "logprob": -0.25, "top_logprobs": [{"logprob": -0.25}, {"logprob": -2.0}]}
            yield {"choices": [{"delta": {"content": line}, "logprobs": {"content": [told]}}]}
        yield {"choices": [{"delta": {}, "finish_reason": "stop"}]}
        yield {"choices": [], "usage": {"completion_tokens": 3}}


async def test_an_answer_is_kept_with_its_tokens():
    task = tasks()[0]
    answer = await ask(Said(), "m", task, temperature=0.0, seed=1)
    assert answer.text == f"```python\n{task.solution}```"
    assert answer.finish == "stop"
    assert answer.tokens[0] == Token("```python\n", -0.25, (-0.25, -2.0))


async def test_collecting_goes_on_where_it_broke_off(tmp_path):
    path, asked = tmp_path / "answers.jsonl", sample(3, seed=SEED)
    told: list[tuple[str, int, int]] = []

    async def go(events: Said) -> None:
        await collect(
            path, events, ["m"], asked,
            temperature=0.0, seed=1, jobs=1, progress=lambda *what: told.append(what),
        )  # fmt: skip

    with pytest.raises(UpstreamError):
        await go(Said(fails_at=2))
    assert [answer.right for answer in read_answers(path)] == [True, True]
    with path.open("ab") as file:
        file.write(b'{"model":"m","task":"br')  # the machine went down
    second = Said()
    await go(second)
    assert len(second.asked) == 1
    assert [answer.right for answer in read_answers(path)] == [True] * 3
    assert told[-1] == ("m", 3, 3)
    third = Said()
    await go(third)
    assert third.asked == []


async def test_what_was_not_executed_is_executed_once(tmp_path):
    path, task = tmp_path / "answers.jsonl", tasks()[0]
    write_answers(path, [kept(task.name, text=task.solution), kept(task.name, text="no"), kept("gone", right=True)])
    assert [answer.right for answer in await execute_kept(path)] == [True, False, True]
    write_answers(path, [kept(task.name, text="no", right=True)])
    assert (await execute_kept(path))[0].right is True
    assert (await execute_kept(path, again=True))[0].right is False


def test_what_is_missing():
    asked = tasks()[:2]
    answers = [kept(asked[0].name), kept(asked[1].name, temperature=1.0)]
    assert list(missing(answers, ["m", "n"], asked, 0.0)) == [("m", asked[1]), ("n", asked[0]), ("n", asked[1])]


def test_a_file_of_something_else(tmp_path):
    path = tmp_path / "answers.jsonl"
    assert read_answers(path) == []
    path.write_text('{"a": 1}\n{"b": 2}\n')
    with pytest.raises(InvalidRequest, match="line 1"):
        read_answers(path)


def test_beginnings_are_measured_as_a_stream_gives_them():
    task = tasks()[0]
    tokens = tuple(Token("word ", -0.5 if place < 20 else -2.0, (-0.5, -1.5)) for place in range(40))
    answer = kept(task.name, tokens=tokens, text="word " * 40, right=False, finish="length")
    found = {row.begun: row for row in measure([answer], {task.name: task})}
    assert set(found) == {16, 32, 0}
    assert found[16].evidence.mean_logprob == -0.5
    assert found[32].evidence.mean_logprob == pytest.approx(-(20 * 0.5 + 12 * 2) / 32)
    assert (found[0].evidence.tokens, found[0].evidence.cut, found[32].evidence.cut) == (40, True, False)
    assert list(measure([kept(task.name)], {task.name: task})) == []  # not executed
