"""What Prometheus reads, read by Prometheus' own parser."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from waiting import until

from .running import Gateway, running

KEY, ADMIN = "pm-key-of-somebody-0123456789", "pm-key-of-an-admin-0123456789"
LABELS = ("version", "scope", "name", "cycle")
PRICES = {"gpt-4o-mini": {"input": 100.0, "output": 100.0}}


@pytest.fixture(scope="module")
def data_plane() -> str:
    return "native"


def read(gateway: Gateway) -> dict[tuple[str, ...], float]:
    answer = gateway.ask("GET", "/metrics", headers={"authorization": f"Bearer {ADMIN}"})
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, *(sample.labels[label] for label in LABELS if label in sample.labels)): sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
    }


def test_budgets_and_their_alert_are_told(settings: dict[str, Any], cloud, tmp_path):
    providers = {**settings["providers"], "openai": {**settings["providers"]["openai"], "prices": PRICES}}
    tree = {
        **settings,
        "providers": providers,
        "server": {"api_keys": [KEY], "admin_keys": [ADMIN]},
        "budgets": {"monthly": 1.0, "daily": 0.5, "alert_at": 0.001},
    }
    with running(tmp_path, tree) as gateway:
        before = read(gateway)
        assert before["pointsman_budget_cap_dollars", "global", "", "monthly"] == 1.0
        assert before["pointsman_budget_used_dollars", "global", "", "daily"] == 0
        assert before["pointsman_budget_alerts_total",] == 0
        mine = {"authorization": f"Bearer {KEY}"}
        answer = gateway.chat(model="openai:gpt-4o-mini", max_tokens=50, headers=mine)
        assert answer.status == 200
        until(lambda: read(gateway)["pointsman_budget_alerts_total",])
        after = read(gateway)
        for cycle in ("daily", "monthly"):
            assert 0 < after["pointsman_budget_used_dollars", "global", "", cycle] < 0.5
        assert after["pointsman_budget_overspent_dollars_total",] == 0
        assert after["pointsman_database_up",] == after["pointsman_shared_state_up",] == 1
        assert after["pointsman_models",] == 3


def test_it_is_for_admins(settings, cloud, tmp_path):
    with running(tmp_path, {**settings, "server": {"api_keys": [KEY]}}) as gateway:
        assert gateway.ask("GET", "/metrics").status == 401
        assert gateway.ask("GET", "/metrics", headers={"authorization": f"Bearer {KEY}"}).status == 403
