"""`pointsman eval programs`: a judge is asked in both orders, by the real command through a real gateway."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from pointsman.evals.programs.measure import shipped
from pointsman.learn.programs.steps import STEPS
from pointsman.testing.answers import Answer, Status

MODEL = "lan:llama3.1:8b"
PAIRS = [example.values for example in shipped(STEPS["judge"])]


class Judging:
    """Answers by what it reads of the pair."""

    def __init__(self, better: Callable[[dict[str, str]], str]) -> None:
        self._better = better

    async def play(self, request: Any, wire: Any) -> None:
        asked = request.json["messages"][-1]["content"]
        values = {}
        for name in ("question", "answer_a", "answer_b"):
            values[name] = asked.split(f"[[ ## {name} ## ]]\n")[1].split("\n\n")[0]
        text = f"[[ ## better ## ]]\n{self._better(values)}\n\n[[ ## completed ## ]]"
        await Answer(text=text).play(request, wire)


def knows(values: dict[str, str]) -> str:
    for pair in PAIRS:
        if pair["question"] == values["question"]:
            if (pair["answer_a"], pair["answer_b"]) == (values["answer_a"], values["answer_b"]):
                return pair["better"]
            if (pair["answer_b"], pair["answer_a"]) == (values["answer_a"], values["answer_b"]):
                return {"a": "b", "b": "a", "tie": "tie"}[pair["better"]]
    raise AssertionError(values)


@pytest.fixture(scope="module")
def data_plane() -> str:
    return "native"


@pytest.fixture
def judge(gateway, lan):
    def judge(step: Any, *options: str) -> subprocess.CompletedProcess[str]:
        lan.default = step
        command = [sys.executable, "-m", "pointsman", "--config", str(gateway.folder / "pointsman.yaml")]
        return subprocess.run(
            [*command, "eval", "programs", "--model", MODEL, "--json", *options],
            capture_output=True, text=True, timeout=60,
            env={"PATH": os.environ["PATH"], "HOME": str(gateway.folder), "LANG": "C.UTF-8"},
        )  # fmt: skip

    yield judge
    lan.default = Answer()


def test_a_judge_that_knows_agrees_with_every_label(judge):
    told = json.loads(judge(Judging(knows)).stdout)
    assert (told["score"], told["consistent"], told["failed"], told["unreadable"]) == (1.0, 1.0, 0, 0)
    assert told["calls"] == 2 * told["examples"] == 2 * len(PAIRS)
    assert told["first_shown"] == pytest.approx(0.5)
    assert told["low"] < 1.0 == told["high"]


def test_a_judge_that_names_the_first_says_nothing(judge):
    told = json.loads(judge(Judging(lambda values: "a")).stdout)
    assert (told["consistent"], told["first_shown"]) == (0.0, 1.0)
    ties = sum(pair["better"] == "tie" for pair in PAIRS)
    assert told["score"] == pytest.approx(ties / len(PAIRS)), "what turns with the order is a tie"


def test_answers_that_are_none_are_counted(judge):
    told = json.loads(judge(Answer(text="Both are lovely."), "--limit", "3").stdout)
    assert (told["examples"], told["unreadable"], told["score"]) == (3, 6, 0.0)
    told = json.loads(judge(Status(400), "--limit", "3").stdout)
    assert (told["failed"], told["score"]) == (6, 0.0)


def test_a_step_without_shipped_examples_takes_a_file(judge, tmp_path):
    done = judge(Answer(text="It is cold."), "--program", "summarise")
    assert done.returncode == 1
    assert "--data FILE" in done.stderr
    data = tmp_path / "summaries.jsonl"
    data.write_text('{"text": "It is very cold today.", "summary": "It is cold."}\n')
    told = json.loads(judge(Answer(text="It is cold."), "--program", "summarise", "--data", str(data)).stdout)
    assert (told["score"], told["consistent"]) == (1.0, None)


def test_the_shipped_pairs_favour_no_side():
    labels = [pair["better"] for pair in PAIRS]
    assert labels.count("a") == labels.count("b")
