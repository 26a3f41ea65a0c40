"""What the decision log keeps of a prompt's embedding, in the database and for whoever asks."""

from __future__ import annotations

import base64
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from pointsman.core.features import EMBEDDED, WIDTH
from pointsman.testing.upstream import ScriptedUpstream

from .running import Gateway, running

KEY = "ghp_Zk3vQ8sT1xW5yB7nM2cR4dF6gH9jL0pEaUi2"


@pytest.fixture
def data_plane() -> str:
    return "native"


def tree(cloud: ScriptedUpstream, lan: ScriptedUpstream, **privacy: Any) -> dict[str, Any]:
    return {
        "providers": {
            "openai": {"base_url": cloud.base_url, "api_key": "k", "models": ["gpt-4o-mini"]},
            "lan": {"base_url": lan.base_url, "local": True, "models": ["llama3.1:8b"]},
            "ollama": {"enabled": False},
        },
        "privacy": {"redaction": True, **privacy},
    }


def embedding(gateway: Gateway, text: str, **headers: str) -> bytes:
    """The part of the logged vector that stands for words."""
    logged = gateway.decision(gateway.chat(text, headers=headers))["signals"]["features"]
    features = base64.b64decode(logged)
    assert len(features) == WIDTH + 1
    assert any(features[1 + EMBEDDED :])
    with sqlite3.connect(gateway.folder / "data" / "pointsman.sqlite3") as connection:
        rows = connection.execute("SELECT COUNT(*) FROM decisions WHERE instr(signals, ?) > 0", (logged,))
        assert rows.fetchone() == (1,)
    return features[1 : 1 + EMBEDDED]


def test_private_prompts_leave_no_embedding_in_the_log(tmp_path: Path, cloud, lan):
    with running(tmp_path, tree(cloud, lan)) as gateway:
        assert any(embedding(gateway, "Explain how a lighthouse works."))
        for text in (f"Where does {KEY} go?", "Write to jane.doe@acme-corp.com about the lighthouse."):
            assert not any(embedding(gateway, text))
        assert not any(embedding(gateway, "Explain how a dyke works.", **{"x-pointsman-privacy": "max"}))


def test_none_is_kept_where_the_settings_say_so(tmp_path: Path, cloud, lan):
    with running(tmp_path, tree(cloud, lan, store_embeddings=False)) as gateway:
        assert not any(embedding(gateway, "Explain how a lighthouse works."))
