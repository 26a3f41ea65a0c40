"""The embedded model is asked for the intent by its next word: a real call, of one token, that stays on the machine."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import platformdirs
import pytest

from waiting import until

from .running import running
from .test_intent_model import UNSURE, ask, results

pytestmark = [pytest.mark.engine, pytest.mark.timeout(240)]

SMALL = "embedded:smollm2:135m"


def test_the_smallest_model_is_asked_for_one_token(tmp_path: Path):
    settings = {
        "cache_dir": str(platformdirs.user_cache_path("pointsman", appauthor=False)),
        "embedded": {"models": ["smollm2:135m"], "context": 2048, "pulled": False},
        "providers": {"ollama": {"enabled": False}},
        "routing": {"intent_model": SMALL, "intent_timeout": 60},
    }
    with running(tmp_path, settings, patience=60) as gateway:
        until(
            lambda: gateway.chat("Say ok.", model=SMALL, max_tokens=1).status == 200,
            lambda: gateway.log_text,
            seconds=180,
        )
        secret = "ghp_Zk3vQ8sT1xW5yB7nM2cR4dF6gH9jL0pEaUi2"
        for text in (f"{UNSURE} one", f"{UNSURE} one", f"{UNSURE} {secret}"):
            signals = ask(gateway, text, max_tokens=1)
            assert signals["intent_source"] == ("classifier" if signals["intent"] == "general" else "model")
        told = results(gateway)
        assert sum(told.values()) == 2, gateway.log_text
        assert set(told) <= {"told", "unsure", "unreadable"}
        gateway.ask("GET", "/api/v1/decisions?limit=1")  # reads after what was queued is written
        with sqlite3.connect(tmp_path / "data" / "pointsman.sqlite3") as connection:
            rows = connection.execute("SELECT id FROM decisions WHERE key_id = 'intent' ORDER BY created_at").fetchall()
        calls = [gateway.record(identifier) for (identifier,) in rows]
        assert [call["outcome"]["model"] for call in calls] == [SMALL] * 2
        assert [call["outcome"]["completion_tokens"] for call in calls] == [1, 1]
        assert [call["signals"]["privacy"]["local_only"] for call in calls] == [False, True]
