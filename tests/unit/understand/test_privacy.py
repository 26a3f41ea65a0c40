"""What was found decides what may leave the machine, and everything that travels upstream is looked at."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from pointsman.core.errors import InvalidRequest
from pointsman.core.request import ChatRequest
from pointsman.core.signals import PrivacyClass

from .private_values import Values
from .understanding import assistant, stage, understand, user

SECRET = Values(seed=1).fill("AKIA{upper32:16}")
CARD = Values(seed=1).fill("{card:4}")
MAIL = "petra.huber@gmail.com"
HOST = "http://wiki.acme.internal/x"


@pytest.mark.parametrize(
    ("level", "text", "local_only"),
    [
        ("standard", SECRET, True),
        ("standard", CARD, True),
        ("standard", MAIL, False),
        ("standard", HOST, False),
        ("standard", "hello", False),
        ("high", SECRET, True),
        ("high", MAIL, True),
        ("high", HOST, True),
        ("high", "hello", False),
        ("max", "hello", True),
    ],
)
def test_levels(level: Any, text: str, local_only: bool):
    privacy = understand(text, using=stage(level=level)).privacy
    assert privacy.local_only is local_only
    assert privacy.level == level


def test_classes_and_names_are_told_and_never_the_text():
    signals = understand(f"{SECRET} {CARD} {MAIL} {HOST}")
    assert signals.privacy.classes == tuple(PrivacyClass)
    assert signals.privacy.detectors == ("aws_access_key_id", "payment_card", "email", "internal_host")
    told = msgspec.json.encode(signals).decode()
    assert not any(value in told for value in (SECRET, CARD, MAIL, "acme"))


def test_a_request_may_be_stricter_than_the_installation_and_never_laxer():
    def level(installed: Any, body: Any, header: Any) -> str:
        preferences = {"routing_preferences": {"privacy_level": body}} if body else {}
        request = ChatRequest.build({"messages": [user("hello")], **preferences})
        return stage(level=installed)(request, privacy_level=header).privacy.level

    assert level("standard", None, None) == "standard"
    assert level("standard", "high", None) == "high"
    assert level("standard", "high", "max") == "max"
    assert level("standard", "max", "standard") == "max"
    assert level("high", "standard", "standard") == "high"


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [{"type": "function", "function": {"name": "f", "description": f"use {SECRET}"}}]},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"properties": {SECRET: {}}}}}]},
        {"functions": [{"name": "f", "description": SECRET}]},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"enum": [SECRET]}}}},
        {"user": SECRET},
        {"metadata": {"a": [{"b": SECRET}]}},
        {"some_future_field": SECRET},
        {SECRET: 1},
        {"stop": [SECRET]},
        {"prediction": {"type": "content", "content": f"x {SECRET}"}},
        {"metadata": {"card": int(CARD)}},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_every_field_that_travels_is_looked_at(fields: dict[str, Any]):
    assert understand("hello", **fields).privacy.local_only


@pytest.mark.parametrize(
    "message",
    [
        user([{"type": "text", "text": SECRET}]),
        user([{"type": "image_url", "image_url": {"url": f"https://x.io/?k={SECRET}"}}]),
        user([{"type": "file", "file": {"filename": f"{SECRET}.txt"}}]),
        {"role": "user", "content": "hi", "name": SECRET},
        {"role": "system", "content": f"the key is {SECRET}"},
        {"role": "tool", "tool_call_id": "c", "content": f"KEY={SECRET}"},
        {"role": "assistant", "content": None, "reasoning_content": SECRET},
        {"role": "assistant", "content": None, "refusal": SECRET},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "1", "function": {"name": "sh", "arguments": json.dumps({"cmd": f"a\n{SECRET}"})}}]},
        {"role": "user", "content": "hi", "unknown": {"deep": [SECRET]}},
    ],
    ids=range(10),
)  # fmt: skip
def test_every_part_of_a_message_is_looked_at(message: dict[str, Any]):
    assert understand(message, "hello").privacy.local_only


def test_a_key_in_the_history_counts_as_much_as_one_in_the_last_message():
    assert understand(f"my key: {SECRET}", assistant("noted"), "and now hello").privacy.local_only


def test_a_password_as_a_json_value_beside_its_key_is_found():
    arguments = json.dumps({"host": "db", "password": "kX9-trombone-41"})
    call = {"id": "1", "type": "function", "function": {"name": "connect", "arguments": arguments}}
    assert understand({"role": "assistant", "content": None, "tool_calls": [call]}, "go").privacy.local_only
    assert understand("hi", metadata={"password": "kX9-trombone-41"}).privacy.local_only


def test_pictures_are_not_read_as_text():
    noise = "AKIA" + Values(seed=2).fill("{upper32:16}")
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{noise}"}}
    assert not understand(user([picture])).privacy.local_only
    text = {"type": "file", "file": {"file_data": f"data:text/plain,{noise}"}}
    assert understand(user([text])).privacy.local_only


def test_a_field_that_nobody_can_read_is_refused():
    with pytest.raises(InvalidRequest) as caught:
        stage()(ChatRequest.parse(b'{"messages": [{"role": "user", "content": "hi"}], "metadata": {"a": "\xff"}}'))
    assert caught.value.param == "metadata"
