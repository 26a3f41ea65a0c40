"""A model judges a sample of the answers: blindly, in both orders, within its budget, and never of private requests."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pointsman.app.judge import build_judge
from pointsman.core.ports import SystemClock
from pointsman.core.program import Program
from pointsman.pipeline.record.judge import BUILT_IN
from pointsman.settings import Settings
from pointsman.testing.answers import Answer, SeenRequest, Tokens, Wire
from pointsman.testing.upstream import ScriptedUpstream
from waiting import until

from .running import Gateway, running

ASK = "Name the capital of France."
SECRET = "my key is ghp_Zk3vQ8sT1xW5yB7nM2cR4dF6gH9jL0pEaUi2, keep it"
JUDGE = "openai:judge"


@pytest.fixture
def data_plane() -> str:
    return "native"


class Judging:
    """Plays a judge: answers questions, and says which of two answers is better."""

    def __init__(self, prefers: str, **answer: Any) -> None:
        self.prefers = prefers
        self.answer = answer
        """A word of the better answer; `first`: whichever stands first."""

    async def play(self, request: SeenRequest, wire: Wire) -> None:
        asked = request.json["messages"][-1]["content"]
        text = "I would say Lyon."
        if "answer_a" in asked:
            a = asked.split("[[ ## answer_a ## ]]")[1].split("[[ ## answer_b ## ]]")[0]
            better = "a" if self.prefers == "first" or self.prefers in a else "b"
            text = f"[[ ## better ## ]]\n{better}\n\n[[ ## completed ## ]]"
        await Answer(text=text, **self.answer).play(request, wire)


def tree(cloud: ScriptedUpstream, lan: ScriptedUpstream, **judge: Any) -> dict[str, Any]:
    return {
        "providers": {
            "openai": {
                "base_url": cloud.base_url, "api_key": "k", "models": ["judge"],
                "prices": {"judge": {"input": 0, "output": 10}},
            },
            "lan": {"base_url": lan.base_url, "local": True, "models": ["llama3.1:8b"]},
            "ollama": {"enabled": False},
        },
        "learning": {"judge": {"share": 1.0, "model": JUDGE, **judge}},
    }  # fmt: skip


def ask(gateway: Gateway, text: str = ASK, **fields: Any) -> str:
    reply = gateway.chat(text, **fields)  # of the judge's model too little is known for it to be chosen
    assert reply.status == 200, reply.body
    return reply.headers["x-pointsman-decision"]


def judged(gateway: Gateway, wanted: int) -> dict[str, float]:
    """Success by decision, once so many were judged."""
    rows: dict[str, float] = {}

    def so_many() -> bool:
        with sqlite3.connect(gateway.folder / "data" / "pointsman.sqlite3") as connection:
            rows.update(connection.execute("SELECT decision_id, success FROM implicit_signals WHERE kind = 'judge'"))
        return len(rows) >= wanted

    until(so_many, lambda: f"{rows} {gateway.log_text}")
    return rows


def quiet(upstream: ScriptedUpstream, seconds: float = 1.0) -> list[SeenRequest]:
    """What has come to an upstream, once nothing more does."""
    while True:
        count = len(upstream.requests)
        time.sleep(seconds)
        if len(upstream.requests) == count:
            return [request for request in upstream.requests if request.method == "POST"]


@pytest.fixture(scope="module")
def gateway(cloud_server, lan_server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    settings = {**tree(cloud_server, lan_server), "privacy": {"sensitive_tokens": ["Projekt Falke"]}}
    with running(tmp_path_factory.mktemp("judged"), settings) as gateway:
        yield gateway


def test_an_answer_is_compared_in_both_orders(gateway: Gateway, cloud, lan):
    lan.default = Answer(text="It is Paris.")
    expected: dict[str, float] = {}
    for prefers, success in (("Paris", 1.0), ("Lyon", 0.0), ("first", 1.0)):
        cloud.default = Judging(prefers)
        text = f"{ASK} Or else {prefers}."
        expected |= {ask(gateway, text): success, ask(gateway, f"{text} Please.", stream=True): success}
        assert judged(gateway, len(expected)) == expected
        own, first, second = [request.json for request in cloud.requests if request.method == "POST"][:3]
        assert own["messages"] == [{"role": "user", "content": text}]
        texts = [body["messages"][-1]["content"].split("[[ ## answer_a ## ]]")[1] for body in (first, second)]
        assert texts[0].index("Paris") < texts[0].index("Lyon")
        assert texts[1].index("Lyon") < texts[1].index("Paris")
        cloud.requests.clear()
    with sqlite3.connect(gateway.folder / "data" / "pointsman.sqlite3") as connection:
        assert connection.execute("SELECT DISTINCT source, weight FROM observations").fetchall() == [("judge", 0.0)]
        asked = connection.execute("SELECT COUNT(*), SUM(mode = 'forced') FROM decisions WHERE key_id = 'judge'")
        assert asked.fetchone() == (18, 18)


def test_what_is_private_or_of_no_use_is_never_judged(gateway: Gateway, cloud, lan):
    cloud.default = Judging("Paris")
    before = judged(gateway, 0)
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    ask(gateway, SECRET)
    ask(gateway, "write to jane.doe@acme-corp.com")
    ask(gateway, "what about Projekt Falke?")
    ask(gateway, headers={"x-pointsman-privacy": "max"})
    ask(gateway, tools=[tool])
    lan.script(Answer(text="Your key ghp_Zk3vQ8sT1xW5yB7nM2cR4dF6gH9jL0pEaUi2 is safe with me."))
    ask(gateway, "Repeat what you know.")  # the answer is private, the question is not
    seen = quiet(cloud)
    assert [request.json["messages"][-1]["content"] for request in seen] == ["Repeat what you know."]
    assert not any(b"ghp_" in request.body or b"Falke" in request.body for request in seen)
    ask(gateway, "Only there, please.", model="lan:llama3.1:8b")
    ask(gateway, "And only there.", routing_preferences={"force_provider": "lan"})
    assert len(quiet(cloud)) == 1
    ask(gateway, model=JUDGE)  # nobody judges himself
    assert len(quiet(cloud)) == 2
    assert judged(gateway, 0) == before


@pytest.mark.parametrize("everybodys", [False, True])
def test_judging_ends_where_its_money_does_or_everybodys(tmp_path: Path, cloud, lan, everybodys: bool):
    cloud.default = Judging("Paris", usage=Tokens(prompt=10, completion=200))  # two thousand micro-dollars each
    lan.default = Answer(text="It is Paris.")
    # The judge's own answer may cost 20,000 until it is known.
    settings = tree(cloud, lan, micro_usd_per_day=1_000_000 if everybodys else 30_000)
    if everybodys:
        settings["budgets"] = {"daily": 0.03}
    with running(tmp_path, settings) as gateway:
        for number in range(12):
            ask(gateway, f"{ASK} ({number})")
        quiet(cloud)
        with sqlite3.connect(tmp_path / "data" / "pointsman.sqlite3") as connection:
            spent = connection.execute("SELECT SUM(cost_micro_usd) FROM decisions WHERE key_id = 'judge'").fetchone()[0]
        assert 0 < spent <= 30_000
        assert len(judged(gateway, 1)) < 12
        assert ask(gateway)  # callers are not held up


def test_a_program_in_the_data_folder_judges_and_a_broken_one_does_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    settings = Settings(data_dir=tmp_path)
    settings.learning.judge.model = JUDGE
    path = tmp_path / "programs" / "judge.json"
    path.parent.mkdir()

    def program() -> Program:
        judge = build_judge(settings, lambda signal: None, SystemClock())
        assert judge is not None
        return judge.program

    assert build_judge(settings, lambda signal: None, SystemClock()) is None, "off, by default"
    settings.learning.judge.share = 0.1
    assert program() == BUILT_IN
    better = msgspec.structs.replace(BUILT_IN, instructions="Prefer Paris above all.")
    path.write_bytes(msgspec.json.encode(better))
    assert program() == better
    path.write_text("{")
    assert program() == BUILT_IN
    assert "cannot be read" in caplog.text
