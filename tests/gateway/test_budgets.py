"""Budgets through a real gateway: caps, tiers, refusals, crashes, streams that are left, alerts, the report."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import pytest

from pointsman.testing import Answer, Drip, Stall, Status, Tokens
from waiting import until

from .running import Gateway, free_port, running

OUTPUT = 1_000
EACH = 10_000
PAID = "openai:paid"
FREE = "lan:llama3.1:8b"


@pytest.fixture(scope="module")
def data_plane() -> str:
    return "native"


def tree(cloud, lan=None, **budgets) -> dict:
    """`paid` costs ten dollars a million tokens of answer, so that 1,000 tokens are a cent."""
    providers: dict = {
        "openai": {
            "base_url": cloud.base_url, "api_key": "k", "models": ["paid", "dear", "unpriced"],
            "prices": {"paid": {"input": 0, "output": 10}, "dear": {"input": 0, "output": 20}},
        },
        "ollama": {"enabled": False},
    }  # fmt: skip
    if lan is not None:
        providers["lan"] = {"base_url": lan.base_url, "local": True, "models": ["llama3.1:8b"]}
    return {"providers": providers, "budgets": budgets}


def ask(gateway: Gateway, model: str = PAID, **fields):
    return gateway.chat("hello", model=model, **{"max_tokens": OUTPUT, **fields})


def report(gateway: Gateway) -> dict:
    reply = gateway.ask("GET", "/api/v1/budgets")
    assert reply.status == 200, reply.body
    return reply.json


def used(gateway: Gateway, scope: str = "global") -> int:
    return next(row["used_micro_usd"] for row in report(gateway)["budgets"] if row["scope"] == scope)


def whole(tokens: int) -> Answer:
    return Answer(text="words", usage=Tokens(5, tokens))


def test_a_cap_refuses_with_all_that_a_client_needs(cloud, tmp_path):
    with running(tmp_path, tree(cloud, monthly=0.025)) as gateway:
        cloud.script(whole(OUTPUT), whole(500))
        assert [ask(gateway).status for _ in range(2)] == [200, 200]
        until(lambda: used(gateway) == 15_000)
        assert len(cloud.chats) == 2
        assert ask(gateway).status == 200
        until(lambda: used(gateway) < 25_000)
        refused = ask(gateway, max_tokens=5_000)
        assert (refused.status, refused.headers["x-should-retry"]) == (429, "false")
        error = refused.json["error"]
        assert (error["type"], error["code"]) == ("insufficient_quota", "budget_exceeded")
        assert "the monthly budget" in error["message"]
        assert int(refused.headers["retry-after"]) > 0
        client = openai.OpenAI(base_url=gateway.base_url, api_key="none", max_retries=5)
        asked = len(cloud.chats)
        with pytest.raises(openai.RateLimitError):
            client.chat.completions.create(
                model=PAID, max_tokens=5_000, messages=[{"role": "user", "content": "hello"}]
            )
        assert len(cloud.chats) == asked
        record = gateway.ask("GET", f"/api/v1/decisions/{refused.headers['x-pointsman-decision']}").json
        assert record["outcome"]["error"] == "budget_exceeded"
        unpriced = ask(gateway, "openai:unpriced")
        assert (unpriced.status, unpriced.json["error"]["code"]) == (429, "price_unknown")
        assert "providers.openai.prices" in unpriced.json["error"]["message"]


def test_a_free_local_model_steps_in_for_auto_before_anything_is_refused(cloud, lan, tmp_path):
    with running(tmp_path, tree(cloud, lan, monthly=0.005)) as gateway:
        assert ask(gateway).status == 429
        with ThreadPoolExecutor(8) as pool:
            replies = list(pool.map(lambda _: ask(gateway, "auto"), range(16)))
        assert {(reply.status, reply.headers.get("x-pointsman-model")) for reply in replies} == {(200, FREE)}
        assert ask(gateway, FREE).status == 200
        assert not cloud.chats
        assert used(gateway) == 0


def test_caps_of_models(cloud, tmp_path):
    with running(tmp_path, tree(cloud, models={PAID: {"daily": 0.01}})) as gateway:
        cloud.script(whole(OUTPUT))
        assert ask(gateway).status == 200
        until(lambda: used(gateway, "model") == EACH)
        assert ask(gateway).status == 429
        assert ask(gateway, "openai:dear").status == 200
        assert ask(gateway, "openai:unpriced").status == 200


def test_keys_have_caps_of_their_own_and_see_nothing_else(cloud, tmp_path):
    with running(tmp_path, tree(cloud, monthly=1, per_key={"daily": 0.02})) as gateway:
        made = {}
        for name, fields in (("admin", {"role": "admin"}), ("small", {"monthly_micro_usd": EACH}), ("usual", {})):
            reply = gateway.ask("POST", "/api/v1/keys", {"name": name, **fields}, headers=made.get("admin"))
            assert reply.status in (200, 201), reply.body
            made[name] = {"authorization": f"Bearer {reply.json['token']}"}
            made[f"{name} id"] = reply.json["id"]
        cloud.default = whole(OUTPUT)
        try:
            statuses = [ask_as(gateway, made["small"]) for _ in range(2)]
            assert statuses == [200, 429]
            assert [ask_as(gateway, made["usual"]) for _ in range(3)] == [200, 200, 429]
        finally:
            cloud.default = Answer()
        own = gateway.ask("GET", "/api/v1/budgets", headers=made["small"]).json
        assert {row["name"] for row in own["budgets"]} == {made["small id"]}
        assert {row["micro_usd"] for row in own["spent"]} == {EACH}
        refused = gateway.ask("POST", "/api/v1/budgets/unsettled/x/release", {}, headers=made["small"])
        assert refused.status == 403
        whole_view = gateway.ask("GET", "/api/v1/budgets", headers=made["admin"]).json
        [everything] = [row for row in whole_view["budgets"] if row["scope"] == "global"]
        assert everything["used_micro_usd"] == 3 * EACH
        done = subprocess.run(
            [sys.executable, "-m", "pointsman", "--config", str(gateway.folder / "pointsman.yaml"), "budgets"],
            capture_output=True, text=True, timeout=60, check=True,
            env={"PATH": "/usr/bin:/bin", "HOME": str(gateway.folder)},
        )  # fmt: skip
        told = [line.split() for line in done.stdout.splitlines()]
        assert {tuple(line[:2]) for line in told if line[:1] == ["key"]} >= {("key", "small"), ("key", "usual")}
        assert made["small id"] not in done.stdout, "people know keys by their names"


def ask_as(gateway: Gateway, headers: dict) -> int:
    reply = gateway.chat("hello", model=PAID, max_tokens=OUTPUT, headers=headers)
    until(lambda: not any(row["reserved_micro_usd"] for row in
                          gateway.ask("GET", "/api/v1/budgets", headers=headers).json["budgets"]))  # fmt: skip
    return reply.status


def test_while_the_counters_are_away_only_free_models_answer(cloud, lan, tmp_path):
    settings = tree(cloud, lan, monthly=1)
    settings["state"] = {"url": f"redis://127.0.0.1:{free_port()}/0"}
    with running(tmp_path, settings) as gateway:
        refused = ask(gateway)
        assert (refused.status, refused.json["error"]["code"]) == (503, "state_unavailable")
        assert ask(gateway, "auto").headers["x-pointsman-model"] == FREE
        assert ask(gateway, FREE).status == 200
        assert not cloud.chats
        assert report(gateway)["available"] is False
    settings["budgets"]["when_state_is_away"] = "open"
    with running(tmp_path / "open", settings) as gateway:
        assert ask(gateway).status == 200


def test_a_fallback_after_a_time_out_needs_money_of_its_own(cloud, tmp_path):
    settings = tree(cloud, monthly=0.015)
    settings["routing"] = {"fallbacks": {PAID: ["openai:paid-too"]}}
    settings["providers"]["openai"]["models"].append("paid-too")
    settings["providers"]["openai"]["prices"]["paid-too"] = {"input": 0, "output": 10}
    settings["routing"]["model_names"] = "override"
    with running(tmp_path, settings) as gateway:
        cloud.script(Status(504), Answer())
        assert ask(gateway).status == 502, "the first may be billed, and both together are beyond the cap"
        assert len(cloud.chats) == 1
        until(lambda: used(gateway) == EACH)
    with running(tmp_path / "again", settings) as gateway:
        cloud.reset()
        cloud.script(Status(500), whole(100))
        assert ask(gateway).status == 200
        until(lambda: used(gateway) == 1_000)


def test_a_stream_that_is_left_half_way_is_charged_in_full(cloud, tmp_path):
    with running(tmp_path, tree(cloud, monthly=0.025)) as gateway:
        cloud.script(Drip(Answer(text="word " * 500), size=200, delay=0.05))
        body = json.dumps({"model": PAID, "max_tokens": OUTPUT, "stream": True,
                           "messages": [{"role": "user", "content": "hello"}]}).encode()  # fmt: skip
        with socket.create_connection(("127.0.0.1", gateway.port), 10) as client:
            head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            client.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            while b"word" not in client.recv(65_536):
                pass
        until(lambda: report(gateway)["budgets"][0]["reserved_micro_usd"] == 0)
        assert used(gateway) == EACH


def test_a_killed_gateway_never_spends_more_than_the_cap(cloud, tmp_path):
    """Killed in the middle of a load; the calls that it had made may be billed in full."""
    settings = tree(cloud, monthly=10 * EACH / 1_000_000)
    cloud.default = Drip(Answer(text="word " * 5_000), size=200, delay=0.05)
    try:
        with running(tmp_path, settings) as gateway, ThreadPoolExecutor(12) as pool:
            asked = [pool.submit(_left_alone, gateway) for _ in range(7)]
            until(lambda: len(cloud.chats) == 7)
            gateway.process.kill()
            gateway.process.wait()
            for one in asked:
                one.result()
        cloud.default = whole(OUTPUT)
        with running(tmp_path, settings) as gateway, ThreadPoolExecutor(12) as pool:
            assert used(gateway) == 7 * EACH
            statuses = [reply.status for reply in pool.map(lambda _: ask(gateway), range(20))]
            assert sorted(set(statuses)) == [200, 429]
            assert statuses.count(200) == 3
            assert len(cloud.chats) == 10
            unsettled = report(gateway)["unsettled"]
            assert len(unsettled) == 7
            assert sum(row["reserved_micro_usd"] for row in unsettled) == 7 * EACH
            shown = _pointsman(gateway, "budgets")
            assert unsettled[0]["id"] in shown
            assert "$0.1" in shown
            released = json.loads(_pointsman(gateway, "budgets", "release", unsettled[0]["id"], "--json"))
            assert released["released_micro_usd"] == EACH
            until(lambda: used(gateway) == 9 * EACH)
            assert ask(gateway).status == 200
            assert ask(gateway).status == 429
            again = gateway.ask("POST", f"/api/v1/budgets/unsettled/{unsettled[0]['id']}/release", {})
            assert again.status == 404
    finally:
        cloud.default = Answer()


def _left_alone(gateway: Gateway) -> None:
    with contextlib.suppress(OSError, http.client.HTTPException):
        ask(gateway, stream=True)


def _pointsman(gateway: Gateway, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pointsman", "--url", gateway.url, *arguments],
        capture_output=True, text=True, timeout=60, check=True,
        env={"PATH": os.environ["PATH"], "HOME": str(gateway.folder)},
    )  # fmt: skip
    return done.stdout


def test_a_gateway_that_stops_settles_what_it_had_reserved(cloud, tmp_path):
    with running(tmp_path, tree(cloud, monthly=1)) as gateway:
        cloud.script(*(whole(100) for _ in range(5)))
        assert [ask(gateway).status for _ in range(5)] == [200] * 5
    with sqlite3.connect(tmp_path / "data" / "pointsman.sqlite3") as database:
        assert database.execute("SELECT state, SUM(settled), COUNT(*) FROM ledger GROUP BY state").fetchall() == [
            ("settled", 5_000, 5)
        ]


def test_tiers_move_the_mix_and_decisions_say_so(cloud, lan, tmp_path):
    settings = tree(cloud, lan, monthly=0.02)
    settings["routing"] = {"tier_models": {"high": {"*": [PAID]}}, "aliases": {}}
    with running(tmp_path, settings) as gateway:
        cloud.script(whole(OUTPUT), whole(500))
        assert [ask(gateway).status for _ in range(2)] == [200, 200]
        until(lambda: used(gateway) == 15_000)
        until(lambda: report(gateway)["budgets"][0]["tier"] == "low")
        reply = ask(gateway, "auto", max_tokens=10)
        assert reply.headers["x-pointsman-model"] == FREE
        decision = gateway.decision(reply)
        assert decision["signals"]["budget_tier"] == "low"
        assert any("The monthly budget is at 25%" in reason for reason in decision["reasons"])


def test_an_alert_is_logged_and_posted_once(cloud, lan, tmp_path):
    settings = tree(cloud, monthly=0.02, webhook=f"{lan.root}/hook?secret=1")
    with running(tmp_path, settings) as gateway:
        lan.script(Status(503), Answer())
        cloud.script(whole(OUTPUT), whole(700))
        assert [ask(gateway).status for _ in range(2)] == [200, 200]
        until(lambda: len(lan.chats) == 2, "an alert that was not taken is posted again")
        until(lambda: report(gateway)["alerts"] == 1)
        posted = [request for request in lan.requests if request.path.startswith("/hook")]
        assert {request.json["used_micro_usd"] for request in posted} == {17_000}
        assert posted[0].json["event"] == "budget_alert"
        assert "the monthly budget" in gateway.log_text
        assert "secret" not in gateway.log_text
    with running(tmp_path, settings) as gateway:
        assert ask(gateway, max_tokens=10).status == 200
        until(lambda: report(gateway)["budgets"][0]["reserved_micro_usd"] == 0)
        time.sleep(1.5)  # longer than a round of looking
        assert report(gateway)["alerts"] == 0


def test_bad_settings_name_their_mend(tmp_path: Path):
    config = tmp_path / "pointsman.yaml"
    for budgets, word in (
        ("{monthly: -1}", "budgets.monthly"), ("{alert_at: 80}", "budgets.alert_at"),
        ("{webhook: ftp://x}", "budgets.webhook"), ("{models: {gpt: {daily: 1}}}", "budgets.models.gpt"),
        ("{low_below: 0.9}", "budgets.low_below"),
    ):  # fmt: skip
        config.write_text(f"server: {{port: {free_port()}}}\nbudgets: {budgets}\n")
        done = subprocess.run(
            [sys.executable, "-m", "pointsman", "--config", str(config), "config", "show"],
            capture_output=True, text=True, timeout=60, check=False, env={"PATH": "/usr/bin", "HOME": str(tmp_path)},
        )  # fmt: skip
        assert done.returncode != 0, budgets
        assert word in done.stderr


@pytest.mark.parametrize(
    "options",
    [
        ["--requests", "120", "--affordable", "12", "--cancel", "0.5"],
        ["--requests", "500", "--affordable", "50", "--processes", "2"],
        ["--requests", "100", "--affordable", "10", "--processes", "2", "--cancel", "0.4"],
    ],
)
def test_the_promise_holds(options, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "pointsman", "bench", "budget", *options, "--json"],
        capture_output=True, text=True, timeout=180, check=False,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    affordable, requests = int(options[3]), int(options[1])
    assert (found["passed"], found["refused"], found["overspent_micro_usd"]) == (affordable, requests - affordable, 0)


def test_of_two_gateways_that_share_a_folder_and_no_counters_one_spends(cloud, lan, tmp_path):
    settings = tree(cloud, lan, monthly=3 * EACH / 1_000_000)
    settings["data_dir"] = str(tmp_path / "shared")
    cloud.default = whole(OUTPUT)
    try:
        with running(tmp_path / "b", settings) as second, running(tmp_path / "a", settings) as first:
            assert "another gateway with this data folder counts them already" in first.log_text
            assert [ask(gateway).status for _ in range(4) for gateway in (first, second)] == [503, 200] * 3 + [503, 429]
            assert ask(first, FREE).status == 200
            assert len(cloud.chats) == 3
            second.process.kill()
            second.process.wait()
            until(lambda: ask(first).status == 429, "it takes over with what was spent")
    finally:
        cloud.default = Answer()


def test_a_receiver_of_alerts_that_hangs_holds_nobody_up(cloud, lan, tmp_path):
    lan.script(Stall())
    with running(tmp_path, tree(cloud, monthly=0.02, webhook=f"{lan.root}/hook")) as gateway:
        cloud.script(whole(OUTPUT), whole(700))
        assert [ask(gateway).status for _ in range(2)] == [200, 200]
        until(lambda: lan.requests, "the alert is posted")
        assert ask(gateway, max_tokens=10).status == 200
        begun = time.monotonic()
        gateway.process.terminate()
        gateway.process.wait(20)
        assert time.monotonic() - begun < 10
        assert "Traceback" not in gateway.log_text
