"""The settings of circuit breakers: what is refused, and what a change while the gateway runs leaves as it was."""

from __future__ import annotations

import msgspec
import pytest

from pointsman.app.breakers import breaker_rules
from pointsman.core.errors import SettingsError
from pointsman.pipeline.execute.circuit import BreakerRules
from pointsman.settings import Settings
from pointsman.settings.change import at, changed, choices, flat


def changing(**breaker: object) -> Settings:
    return changed(Settings(), flat({"execution": {"breaker": breaker}}))


def test_the_stage_and_the_settings_have_the_same_defaults():
    assert breaker_rules(Settings()) == BreakerRules()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("window", 0),
        ("window", float("nan")),
        ("min_errors", 0),
        ("error_rate", 0),
        ("error_rate", 1.1),
        ("slow_rate", -1),
        ("slow_factor", 0.5),
        ("slow_seconds", 0),
        ("slow_beyond", 0),
        ("connect_errors", 0),
        ("open_seconds", 0),
        ("open_seconds", 301),
        ("max_open_seconds", 100_000),
        ("probes", 0),
        ("probe_seconds", 0),
        ("enabled", "perhaps"),
    ],
)
def test_what_cannot_work_is_refused_by_name(name, value):
    with pytest.raises(SettingsError) as caught:
        changing(**{name: value})
    assert caught.value.key in (f"execution.breaker.{name}", "execution.breaker.max_open_seconds")


def test_a_change_leaves_the_rest_as_it_was():
    settings = changing(min_errors=7, slow_beyond=20)
    expected = msgspec.structs.replace(Settings().execution.breaker, min_errors=7, slow_beyond=20.0)
    assert settings.execution.breaker == expected
    assert at(settings, "execution.breaker.min_errors") == 7
    assert choices("execution.breaker.min_errors") is None


def test_names_may_be_written_dotted_and_unknown_ones_are_refused():
    assert flat({"execution.breaker.probes": 3, "execution": {"breaker.window": 9, "retries": 2}}) == {
        "execution.breaker.probes": 3,
        "execution.breaker.window": 9,
        "execution.retries": 2,
    }
    for tree in (
        {"execution": {"breaker": {"colour": 1}}},
        {"execution": {"breaker": 1}},
        {"server": {"api_keys": {"x": 1}}},
        {"execution": {"retries": {"x": {"y": 1}}}},
    ):
        with pytest.raises(SettingsError):
            changed(Settings(), flat(tree))
