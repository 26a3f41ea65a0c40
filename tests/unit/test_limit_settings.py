"""Nonsense in the settings of limits is refused, with a message that names the key."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pointsman.core.errors import SettingsError
from pointsman.settings import Settings, load


def read(tmp_path: Path, tree: dict) -> Settings:
    path = tmp_path / "pointsman.yaml"
    path.write_text(yaml.safe_dump({"data_dir": str(tmp_path), **tree}))
    return load(config=path, environ={})


@pytest.mark.parametrize(
    ("tree", "key"),
    [
        ({"limits": {"default_tier": "gold"}}, "limits.default_tier"),
        ({"limits": {"tiers": {"gold": {"per_minute": 0}}}}, "limits.tiers.gold.per_minute"),
        ({"limits": {"tiers": {"gold": {"per_day": -5}}}}, "limits.tiers.gold.per_day"),
        ({"limits": {"tiers": {"gold": {"per_day": 10**18}}}}, "limits.tiers.gold.per_day"),
        ({"limits": {"tiers": {"Gold!": {}}}}, "limits.tiers.Gold!"),
        ({"limits": {"buckets": {"chats": {"burst": 5, "per_minute": 5}}}}, "limits.buckets.chats"),
        ({"limits": {"buckets": {"public": {"burst": 5, "per_minute": 5}}}}, "limits.buckets.public"),
        ({"limits": {"buckets": {"chat": {"burst": 0, "per_minute": 5}}}}, "limits.buckets.chat.burst"),
        ({"limits": {"buckets": {"chat": {"burst": 5, "per_minute": 0}}}}, "limits.buckets.chat.per_minute"),
        ({"limits": {"buckets": {"chat": {"burst": 5, "per_minute": float("nan")}}}}, "limits.buckets.chat.per_minute"),
        ({"providers": {"openai": {"requests_per_minute": 0}}}, "providers.openai.requests_per_minute"),
        ({"providers": {"openai": {"tokens_per_minute": -1}}}, "providers.openai.tokens_per_minute"),
    ],
)
def test_nonsense_is_refused(tmp_path: Path, tree: dict, key: str):
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, tree)
    assert caught.value.key == key


def test_tiers_are_added_to_those_that_come_with_it(tmp_path: Path):
    tiers = read(tmp_path, {"limits": {"tiers": {"gold": {"per_day": 7}, "free": {"per_day": 3}}}}).limits.tiers
    assert set(tiers) == {"free", "basic", "premium", "enterprise", "gold"}
    assert (tiers["free"].per_minute, tiers["free"].per_day) == (None, 3)
