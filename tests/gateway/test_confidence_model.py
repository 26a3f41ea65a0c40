"""Answers are judged by a model of confidence of one's own, where the settings name its file."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import yaml

from pointsman.app.execution import confidence_model
from pointsman.core.errors import SettingsError
from pointsman.settings import load
from pointsman.testing import Answer
from waiting import until

from .running import Gateway, running

QUESTION = "What is the capital of France?"


@pytest.fixture(scope="module")
def data_plane() -> str:
    return "native"


@pytest.fixture
def artefact() -> dict[str, Any]:
    """What comes with the package."""
    file = resources.files("pointsman.pipeline.execute.confidence") / "model.json"
    read: dict[str, Any] = json.loads(file.read_text())
    return read


def test_answers_are_judged_by_it(tmp_path, settings, cloud, lan, artefact):
    artefact["whole"]["model"]["bias"] = -9.0  # nothing is good enough for it
    file = tmp_path / "own.json"
    file.write_text(json.dumps(artefact))
    for model, answerer in ((None, "lan:llama3.1:8b"), (str(file), "openai:")):
        escalation = {"enabled": True, "threshold": 0.2, "model": model}
        with running(tmp_path / answerer[:3], {**settings, "execution": {"escalation": escalation}}) as gateway:
            cloud.reset()
            lan.script(Answer(text="Paris."))
            reply = gateway.chat(QUESTION)
            assert reply.headers["x-pointsman-model"].startswith(answerer), model
            assert bool(cloud.chats) == (model is not None)
            told = gateway.decision(reply)["outcome"]["attempts"][0]["confidence"]
            assert (told < 0.01) == (model is not None)
            signals = until(partial(noted, gateway, reply.headers["x-pointsman-decision"]))
            assert signals == [("verdict" if model is None else "rejected", told)], "it may yet be learned from"
            change = {"execution": {"escalation": {"hold_tokens": 9}}}
            assert gateway.ask("POST", "/api/v1/config", change).status == 200
            lan.script(Answer(text="Paris."))
            assert gateway.chat(QUESTION).headers["x-pointsman-model"].startswith(answerer), "it stays"
            named = {"execution": {"escalation": {"model": "/etc/passwd"}}}
            reply = gateway.ask("POST", "/api/v1/config", named)
            assert reply.status == 400, "files are named where the gateway is started"


def noted(gateway: Gateway, decision: str) -> list[tuple[str, float]]:
    """The signals that are kept of an answer."""
    with sqlite3.connect(gateway.folder / "data" / "pointsman.sqlite3") as database:
        found = "SELECT kind, success FROM implicit_signals WHERE decision_id = ?"
        return database.execute(found, (decision,)).fetchall()


SPOILT = {
    "cut": lambda whole: json.dumps(whole)[:500],
    "nothing": lambda whole: "",
    "bytes": lambda whole: "\x00\x01",
    "deep": lambda whole: "[" * 100_000,
    "a list": lambda whole: "[]",
    "another version": lambda whole: json.dumps({**whole, "version": 2}),
    "an input less": lambda whole: json.dumps({**whole, "whole": {**whole["begun"], "model": {
        **whole["begun"]["model"], "weights": {}}}}),
    "falling quantiles": lambda whole: json.dumps({**whole, "begun": {**whole["begun"], "shifts": [1.0, 0.0]}}),
    "no probability": lambda whole: json.dumps({**whole, "prior": 1.5}),
}  # fmt: skip


@pytest.mark.parametrize("how", SPOILT)
def test_a_spoilt_file_is_refused(tmp_path, artefact, how):
    file = tmp_path / "own.json"
    file.write_text(SPOILT[how](artefact))
    with pytest.raises(SettingsError, match="eval confidence --fit") as refused:
        confidence_model(settings_with(tmp_path, file))
    assert refused.value.key == "execution.escalation.model"


def test_a_file_that_is_not_there_is_refused(tmp_path):
    for file in (tmp_path / "nowhere.json", tmp_path):
        with pytest.raises(SettingsError, match="cannot be read"):
            confidence_model(settings_with(tmp_path, file))


def settings_with(folder: Path, file: Path) -> Any:
    config = folder / "pointsman.yaml"
    tree = {"data_dir": str(folder / "data"), "execution": {"escalation": {"model": str(file)}}}
    config.write_text(yaml.safe_dump(tree))
    return load(config=config, environ={})


def test_a_gateway_does_not_start_with_one(tmp_path):
    file = tmp_path / "own.json"
    file.write_text("{}")
    settings_with(tmp_path, file)
    done = subprocess.run(
        [sys.executable, "-m", "pointsman", "--config", str(tmp_path / "pointsman.yaml"), "serve"],
        capture_output=True, text=True, timeout=60, check=False, env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode != 0
    assert "execution.escalation.model" in done.stderr
    assert str(file) in done.stderr
    assert "Traceback" not in done.stderr
