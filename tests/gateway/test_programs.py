"""Programs are optimised with the real DSPy, by the command, through a gateway in front of a model that is scripted to
get better when it is shown examples, or told more."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pointsman.core.catalog import ModelCard
from pointsman.core.program import Program
from pointsman.learn.programs.environment import TRAINER
from pointsman.learn.programs.examples import Example, split, values_of
from pointsman.learn.programs.job import Answer as Told
from pointsman.learn.programs.job import Ask, Job, Routing
from pointsman.learn.programs.steps import STEPS
from pointsman.learn.programs.training import train as train_job
from pointsman.learn.reading import PromptReader
from pointsman.learn.trainers.tables import signals_of
from pointsman.testing.answers import Answer, Status
from waiting import until

from .running import Gateway, running
from .trainer import installed

pytestmark = [pytest.mark.client, pytest.mark.timeout(300)]

MODEL = "lan:llama3.1:8b"
WORDS = {"math": "Add the numbers {}.", "tests": "Write unit tests for module {}.", "creative": "A poem on {} roses."}


@dataclass
class Learner:
    """Says the intent only when the chat holds an example, or its instructions hold a word that it was taught."""

    taught: str = "no such word"
    seconds: float = 0.0
    asked: list[dict[str, Any]] = field(default_factory=list)

    async def play(self, request: Any, wire: Any) -> None:
        self.asked.append(request.json)
        await asyncio.sleep(self.seconds)
        await Answer(text=self.answer(request.json["messages"])).play(request, wire)

    def answer(self, messages: list[dict[str, str]]) -> str:
        last = messages[-1]["content"]
        if "[[ ## message ## ]]" not in last:  # an optimiser asks for better instructions
            told = f"Name the intent. {self.taught}"
            return (
                json.dumps({"new_instruction": told}) if "JSON" in last else f"[[ ## proposed_instruction ## ]]\n{told}"
            )
        knows = len(messages) > 2 or self.taught in messages[0]["content"]
        intent = next(intent for intent, text in WORDS.items() if text.split("{")[0] in last)
        return f"[[ ## intent ## ]]\n{intent if knows else 'general'}\n\n[[ ## completed ## ]]"


@pytest.fixture(scope="module")
def data_plane() -> str:
    return "native"


@pytest.fixture(scope="module")
def gateway(settings, tmp_path_factory):
    with running(tmp_path_factory.mktemp("programs"), {**settings, "cache_dir": str(installed())}) as gateway:
        yield gateway


@pytest.fixture
def learner(lan) -> Learner:
    lan.default = learner = Learner()
    yield learner
    lan.default = Answer()


@pytest.fixture
def programs(gateway: Gateway) -> Path:
    folder = gateway.folder / "data" / "programs"
    for path in folder.glob("*"):
        path.unlink()
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "examples.jsonl"
    rows = [{"message": text.format(number), "intent": intent} for intent, text in WORDS.items() for number in range(9)]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


Train = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def train(gateway: Gateway, data: Path) -> Train:
    def train(*options: str, model: str = MODEL) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            _command(gateway, "--program", "intent", "--model", model, "--data", str(data), "--json", *options),
            capture_output=True, text=True, timeout=120, env=_environment(gateway),
        )  # fmt: skip

    return train


def _command(gateway: Gateway, *options: str) -> list[str]:
    return [sys.executable, "-m", "pointsman", "--config", str(gateway.folder / "pointsman.yaml"), "train", *options]


def _environment(gateway: Gateway) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(gateway.folder), "LANG": "C.UTF-8"}


@pytest.mark.parametrize(
    ("optimizer", "calls", "taught"),
    [("bootstrap", 30, "no such word"), ("mipro", 60, "Be exact."), ("gepa", 60, "Be exact.")],
)
def test_an_optimised_program_is_kept_where_it_does_better(gateway, learner, programs, train, optimizer, calls, taught):
    learner.taught = taught
    done = train("--optimizer", optimizer, "--calls", str(calls))
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["kept"], told["baseline"], told["optimised"], told["worse"]) == ("optimised", 0.0, 1.0, 0)
    assert told["calls"] == len(learner.asked) <= calls
    assert {asked["model"] for asked in learner.asked} == {"llama3.1:8b"}
    program = Program.read((programs / "intent.json").read_bytes())
    program.check_fits(STEPS["intent"].program)
    assert program.score == 1.0
    assert (program.trained["optimizer"], program.trained["model"]) == (optimizer, MODEL)
    if optimizer == "bootstrap":
        assert program.demos
    else:
        assert taught in program.instructions or program.demos
    # Serving asks as the optimiser asked: the chat of the last call, rendered without DSPy.
    chats = [asked["messages"] for asked in learner.asked]
    message = re.search(r"\[\[ ## message ## \]\]\n(.*)\n\nRespond", chats[-1][-1]["content"])[1]
    assert program.messages({"message": message}) == chats[-1]
    assert (programs / "intent.json").stat().st_mode & 0o777 == 0o600
    assert json.loads((programs / "intent.dspy.json").read_text())["signature"]["instructions"] == program.instructions


def test_what_serves_stays_where_nothing_does_better_and_the_one_before_is_kept(learner, programs, train):
    learner.answer = lambda messages: "I do not know."
    first = json.loads(train("--calls", "20").stdout)
    assert (first["kept"], first["score"]) == ("baseline", 0.0)
    kept = Program.read((programs / "intent.json").read_bytes())
    assert kept.instructions == STEPS["intent"].program.instructions
    assert not (programs / "intent.dspy.json").exists()
    del learner.answer
    assert json.loads(train("--calls", "20").stdout)["kept"] == "optimised"
    assert Program.read((programs / "intent.json.1").read_bytes()) == kept
    again = json.loads(train("--calls", "20").stdout)
    assert (again["kept"], again["baseline"]) == ("baseline", 1.0), "it goes on from what serves"


def test_held_out_examples_are_not_learned_from(learner, programs, train):
    told = json.loads(train("--calls", "40").stdout)
    program = Program.read((programs / "intent.json").read_bytes())
    asked = [chat["messages"][-1]["content"] for chat in learner.asked]
    held = {text.split("## ]]\n")[1].split("\n\n")[0] for text in asked[: told["held_out"]]}
    assert len(held) == told["held_out"]
    assert held.isdisjoint(demo["message"] for demo in program.demos)


def test_private_examples_are_left_out(learner, programs, train, data):
    with data.open("a") as lines:
        for number in range(3):
            text = f"Add the numbers {number}; my token is ghp_Zk3vQ8sT1xW5yB7nM2cR4dF6gH9jL0pEaUi{number}"
            lines.write("\n" + json.dumps({"message": text, "intent": "math"}))
    done = train("--calls", "20")
    assert done.returncode == 0, done.stderr
    assert "3 of 30 examples hold private content" in done.stderr
    assert "ghp_" not in str(learner.asked)


def test_a_model_that_fails_is_said_and_nothing_is_kept(lan, programs, train):
    lan.default = Status(400)
    try:
        done = train("--calls", "20")
    finally:
        lan.default = Answer()
    assert done.returncode == 1
    assert f"No call of {MODEL} succeeds" in done.stderr
    assert not programs.exists() or not list(programs.iterdir())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--optimizer", "grpo"], "Arbor"),
        (["--optimizer", "gepa", "--calls", "12"], "more --calls"),
        (["--optimizer", "mipro", "--calls", "20"], "more --calls"),
    ],
)
def test_an_optimiser_that_cannot_run_says_so_before_any_call(learner, train, options, said):
    done = train(*options)
    assert done.returncode == 1
    assert said in done.stderr
    assert learner.asked == []


def test_there_is_no_such_model(learner, train):
    done = train(model="lan:nothing")
    assert done.returncode == 1
    assert "lan:nothing" in done.stderr


def test_an_interrupt_ends_it_and_leaves_nothing(gateway, lan, learner, programs, data):
    learner.seconds = 0.05
    process = subprocess.Popen(
        _command(gateway, "--program", "intent", "--model", MODEL, "--data", str(data), "--calls", "1000"),
        env=_environment(gateway), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    until(lambda: learner.asked, every=0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert not programs.exists() or not list(programs.iterdir())
    time.sleep(0.3)
    after = len(learner.asked)
    time.sleep(0.5)
    assert len(learner.asked) == after, "no worker goes on"


def test_the_log_teaches_the_intent_where_it_keeps_prompts(settings, learner, lan, tmp_path):
    """Prompts whose answers were found good, under the intent that they were understood to have."""
    tree = {**settings, "cache_dir": str(installed()), "privacy": {"store_prompts": "public"}}
    with running(tmp_path, tree) as gateway:
        none = subprocess.run(
            _command(gateway, "--program", "intent", "--model", MODEL),
            capture_output=True, text=True, timeout=60, env=_environment(gateway),
        )  # fmt: skip
        assert none.returncode == 1
        assert "holds no prompt with good feedback" in none.stderr
        lan.default = Answer(text="Done.")
        for number in range(9):
            for text in ("Write unit tests for module {}, please.", "Write a short poem about {} red roses."):
                reply = gateway.chat(text.format(number), model=MODEL)
                gateway.decision(reply)
                said = gateway.ask("POST", "/v1/feedback", {"id": reply.headers["x-pointsman-decision"], "thumb": "up"})
                assert said.status == 200, said.body
        lan.default = learner
        learner.answer = lambda messages: (
            f"[[ ## intent ## ]]\n{'tests' if 'unit tests' in messages[-1]['content'] else 'creative'}"
            if len(messages) > 2
            else "?"
        )
        done = subprocess.run(
            _command(gateway, "--program", "intent", "--model", MODEL, "--calls", "20", "--json"),
            capture_output=True, text=True, timeout=60, env=_environment(gateway),
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["kept"], told["optimised"]) == ("optimised", 1.0)


@pytest.mark.parametrize("optimizer", ["bootstrap", "gepa"])
def test_a_router_is_judged_by_what_its_choices_are_worth(optimizer):
    """A model says the intent, the rules choose by it: the right intents lead to the models that were worth most."""
    cards = (
        ModelCard(id="a:poet", provider="a", name="poet", quality=0.1, qualities={"creative": 0.9}, price_input=0,
                  price_output=0),
        ModelCard(id="a:coder", provider="a", name="coder", quality=0.1, qualities={"tests": 0.9}, price_input=0,
                  price_output=0),
    )  # fmt: skip
    examples = []
    for intent, best in (("creative", "a:poet"), ("tests", "a:coder")):
        for number in range(12):
            message = WORDS[intent].format(number)
            worth = {card.id: float(card.id == best) for card in cards}
            signals = signals_of(message, PromptReader()(message))
            values = {
                "message": message,
                "signals": msgspec.json.encode(signals).decode(),
                "rewards": json.dumps(worth),
            }
            examples.append(Example(values=values, group=message))
    sides = split(examples)
    calls = 0

    async def ask(call: Ask) -> Told:
        nonlocal calls
        calls += 1
        last = call.messages[-1]["content"]
        if "[[ ## message ## ]]" not in last:
            return Told(text=json.dumps({"new_instruction": "Name the intent. Be exact."}))
        knows = len(call.messages) > 2 or "Be exact" in call.messages[0]["content"] or (calls % 3 == 0)
        intent = "creative" if "A poem on" in last.split("## message ## ]]")[1] else "tests"
        return Told(text=intent if knows else "creative")

    job = Job(
        program=STEPS["intent"].program, metric="label", optimizer=optimizer, train=values_of(sides.train),
        held_out=values_of(sides.held_out), calls=60, max_tokens=32, model="any",
        routing=Routing(cards=cards, learns=False),
    )  # fmt: skip
    python = TRAINER.installed(installed())
    trained = asyncio.run(train_job(job, python=python, environment=dict(os.environ), ask=ask))
    assert trained.baseline < trained.optimised == 1.0, trained.told
    assert trained.kept == "optimised"
    assert all(demo.keys() == {"message", "intent"} for demo in trained.program.demos)
