"""`providers.yaml`: what it may say, what comes before what, and errors that name file, line and mend."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pointsman import settings
from pointsman.app.cards import amended
from pointsman.core.errors import SettingsError

KEY = "sk-planted-0123456789abcdef"


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    config = tmp_path / "pointsman.yaml"
    config.write_text("providers: {lab: {base_url: 'http://lab.example/v1', api_key: from-pointsman}, other: {}}\n")
    return config, tmp_path / "providers.yaml"


def load(files: tuple[Path, Path], text: str, environ: dict[str, str] | None = None) -> settings.Settings:
    files[1].write_text(text)
    return settings.load(config=files[0], environ=environ or {})


def test_it_is_found_in_the_current_folder_without_any_other_file(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "providers.yaml").write_text("providers: {lab: {base_url: 'http://lab.example/v1'}}\n")
    assert "lab" in settings.load(environ={}).providers
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine.yaml").write_text("log: {level: debug}\n")
    named = settings.load(config=elsewhere / "mine.yaml", environ={})
    assert named.providers == {}, "a settings file that is named has its providers beside it"


def test_a_list_of_providers(files):
    found = load(
        files,
        """
providers:
  - name: lab
    type: openai-compatible
    base_url: https://new.example/v1
    api_key_env: LAB_KEY
    local: false
    models:
      - plain
      - name: coder
        deployment: coder-32b-prod
        capabilities: [chat, tools]
        context_window: 32768
        max_output: 4096
        price: {input: 0.5, output: 2, cached_input: 0.05}
        quality: 0.8
  - {name: box, type: ollama-compatible, base_url: "http://box:11434", local: true, deployments: {a: b}}
""",
        {"LAB_KEY": KEY},
    )
    assert set(found.providers) == {"lab", "box", "other"}
    lab, box = found.providers["lab"], found.providers["box"]
    assert (lab.speaks, lab.base_url, box.speaks, box.local) == ("openai", "https://new.example/v1", "ollama", True)
    assert lab.api_key is not None
    assert lab.api_key.reveal() == KEY
    assert lab.model_names == ["plain", "coder"]
    assert lab.deployment_of == {"coder": "coder-32b-prod"}
    assert box.deployment_of == {"a": "b"}
    card = amended(lab)("lab", "coder", local=False)
    assert (card.context_window, card.max_output, card.capabilities) == (32768, 4096, {"chat", "tools"})
    assert (card.price_input, card.price_output, card.price_cached_input) == (500_000, 2_000_000, 50_000)
    assert (card.quality, card.routable) == (0.8, True)
    assert not amended(lab)("lab", "plain", local=False).routable


def test_a_quality_of_the_settings_holds_for_every_kind_of_task(files):
    """Of a model that the table knows too, whose priors by intent would come before it."""
    own = load(files, "providers: [{name: openai, models: [{name: gpt-4o, quality: 0.3}]}]").providers["openai"]
    card = amended(own)("openai", "gpt-4o", local=False)
    assert (card.quality, card.qualities) == (0.3, {})


def test_nothing_is_paid_for_vectors_themselves(files):
    """Their tokens are never told: a price for them would have every call cost its worst case."""
    prices = "prices: {text-embedding-3-small: {input: 0.5, output: 2}}"
    own = load(files, f"providers: [{{name: openai, api_key: k, {prices}}}]").providers["openai"]
    card = amended(own)("openai", "text-embedding-3-small", local=False)
    assert (card.price_input, card.price_output) == (500_000, 0)


def test_a_mapping_of_providers_is_as_good(files):
    found = load(files, "providers:\n  lab: {base_url: 'http://a/v1', models: [x]}\n")
    assert found.providers["lab"].model_names == ["x"]


def test_a_provider_of_the_file_takes_nothing_from_the_other_one(files):
    """Else the key of one would go to the address of the other."""
    assert load(files, "providers: [{name: lab, base_url: 'http://elsewhere/v1'}]").providers["lab"].api_key is None


def test_the_environment_is_stronger_and_a_named_variable_strongest(files):
    text = "providers: [{name: openai, base_url: 'http://a/v1', default_model: x}]"
    found = load(files, text, {"OPENAI_BASE_URL": "http://b/v1", "OPENAI_API_KEY": "usual-key"}).providers["openai"]
    assert found.api_key is not None
    assert (found.base_url, found.default_model, found.api_key.reveal()) == ("http://b/v1", "x", "usual-key")
    text = "providers: [{name: openai, api_key_env: MINE}]"
    found = load(files, text, {"MINE": "my-own-key", "OPENAI_API_KEY": "usual-key"}).providers["openai"]
    assert found.api_key is not None
    assert found.api_key.reveal() == "my-own-key"


def test_where_it_is_looked_for(files, tmp_path):
    elsewhere = tmp_path / "deep" / "mine.yaml"
    elsewhere.parent.mkdir()
    elsewhere.write_text("providers: [{name: named, base_url: 'http://a'}]")
    files[1].write_text("providers: [{name: beside, base_url: 'http://a'}]")
    assert "beside" in settings.load(config=files[0], environ={}).providers
    by_name = settings.load(config=files[0], environ={"POINTSMAN_PROVIDERS": str(elsewhere)}).providers
    assert "named" in by_name
    assert "beside" not in by_name
    files[0].write_text(f"providers_file: {elsewhere}\n")
    assert "named" in settings.load(config=files[0], environ={}).providers
    with pytest.raises(SettingsError, match="no such file"):
        settings.load(config=files[0], environ={"POINTSMAN_PROVIDERS": str(tmp_path / "nowhere.yaml")})


def test_a_shared_anchor_does_not_share_what_the_environment_changes(files):
    text = "providers:\n  openai: &one {default_model: x}\n  gemini: *one\n"
    found = load(files, text, {"OPENAI_API_KEY": "only-for-openai"})
    assert found.providers["gemini"].api_key is None


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        ("", "providers_file", "write `providers: []`"),
        ("providers:\n", "providers_file", "write `providers: []`"),
        ("providers: 3", "providers_file", "a list of providers"),
        ("providers: [3]", "providers_file", "line 1: a provider is a mapping with a `name`"),
        ("providers:\n  - base_url: x", "providers_file", "line 2: a provider is a mapping with a `name`"),
        ("providers: [{name: Lab}]", "providers_file", "small letters"),
        ("providers: [{name: a}, {name: a}]", "providers_file", "stands twice"),
        ("providers: {a: {}, a: {}}", "providers_file", "line 1, column 20: 'a' stands twice"),
        ("providers: {a: 3}", "providers_file", "no mapping"),
        ("x: 1\nproviders: []", "providers_file", "beside `providers`"),
        ("providers: [", "providers_file", "line 1, column 13"),
        ("\x00", "providers_file", "cannot be read"),
        ("providers:\n  lab:\n    base_url: ftp://x", "providers.lab.base_url", "providers.yaml, line 3"),
        ("providers:\n  lab:\n    base_ur: x", "providers.lab.base_ur", "did you mean base_url"),
        ("providers:\n  lab: {type: opena}", "providers.lab.type", "openai-compatible"),
        ("providers:\n  lab:\n    api_key_env: NOPE", "providers.lab.api_key_env", "no such environment variable"),
        (f"providers: [{{name: a, api_key_env: {KEY}}}]", "providers.a.api_key_env", "is no name"),
        (f"providers: [{{name: a, api_key: {KEY}, api_key_env: X}}]", "providers.a.api_key", "give one of them"),
        (f"providers: [{{name: a, api_key: *{KEY}}}]", "providers_file", "undefined alias …"),
        (f"providers: [{{name: a, api_key: !{KEY} x}}]", "providers_file", "constructor for the tag …"),
        (f"providers: [{{name: a, api_key: [{KEY}]}}]", "providers[...].api_key", "…"),
        (f"providers: [{{name: a, api_key: {KEY}\u00e9}}]", "providers.a.api_key", "printable ASCII"),
        (f"providers: [{{name: a, base_url: 'http://u:{KEY}@x y'}}]", "providers.a.base_url", "http://"),
        ("providers: [{name: embedded, base_url: 'http://x'}]", "providers.embedded", "own"),
        ("providers: [{name: a, models: [{name: x, capabilities: [dance]}]}]", "providers.a.models[0].capabilities",
         "there are chat"),
        ("providers:\n- name: a\n  models:\n  - x\n  - {name: y,\n     context_window: 0}",
         "providers.a.models[1].context_window", "line 6"),
        ("providers: [{name: a, models: [x, x]}]", "providers.a.models[1].name", "stands twice"),
        ("providers: [{name: a, models: [{name: x, price: {input: -1, output: 1}}]}]", "providers.a.models[0].price",
         "US dollars"),
        ("providers: [{name: a, models: [{name: x, quality: 2}]}]", "providers.a.models[0].quality", "0 and 1"),
        ("providers: [{name: a, models: [{name: x, deployment: ''}]}]", "providers.a.deployments.x", "1 to 200"),
    ],
)  # fmt: skip
def test_a_mistake_names_file_line_and_mend_and_never_a_key(files, text, key, words):
    with pytest.raises(SettingsError) as refused:
        load(files, text)
    assert refused.value.key == key
    assert words in str(refused.value)
    assert "providers.yaml" in str(refused.value) or "[...]" in key
    assert "planted" not in str(refused.value)


def test_what_is_no_file_to_be_read(files):
    files[1].mkdir()
    with pytest.raises(SettingsError, match=r"Is a directory|is no file"):
        settings.load(config=files[0], environ={})
    files[1].rmdir()
    os.mkfifo(files[1])  # nobody will ever write into it
    with pytest.raises(SettingsError, match="is no file"):
        settings.load(config=files[0], environ={})
    files[1].unlink()
    files[1].write_bytes(b"#" * 10_000_000)
    with pytest.raises(SettingsError, match="larger than 1024 KiB"):
        settings.load(config=files[0], environ={})
    files[1].write_bytes(b"providers: [{name: a, base_url: '\xff'}]")
    with pytest.raises(SettingsError, match="not UTF-8"):
        settings.load(config=files[0], environ={})


def test_a_disabled_provider_needs_no_variable(files):
    assert load(files, "providers: [{name: a, enabled: false, api_key_env: NOPE}]").providers["a"].api_key is None


def test_pointsman_yaml_takes_the_same_words(tmp_path):
    config = tmp_path / "pointsman.yaml"
    config.write_text("providers: {lab: {api_key_env: K, models: [{name: x, context_window: 5}, y]}}\n")
    found = settings.load(config=config, environ={"K": "some-key"}).providers["lab"]
    assert found.model_names == ["x", "y"]
    assert found.api_key is not None
    assert found.api_key.reveal() == "some-key"


def test_the_documented_example_loads():
    example = Path(__file__).parents[2] / "docs" / "reference" / "providers.example.yaml"
    names = ["LAB_API_KEY", "AZURE_OPENAI_KEY"]
    found = settings.load(environ={"POINTSMAN_PROVIDERS": str(example), **dict.fromkeys(names, "some-key")})
    assert {"lab", "azure", "workstation", "openai"} <= found.providers.keys()
    assert found.providers["azure"].deployment_of
    assert found.providers["lab"].described
