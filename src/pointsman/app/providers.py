"""The ways out to models: those that the settings name, and the embedded engine."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from pointsman.core.credential import Credential
from pointsman.core.errors import SettingsError, UpstreamConnectError
from pointsman.core.ports import Provider
from pointsman.providers import prices
from pointsman.providers.caller_keyed import CallerKeyed
from pointsman.providers.cards import Preset, presets
from pointsman.providers.litellm import state
from pointsman.providers.litellm.provider import LiteLLM
from pointsman.providers.ollama import Ollama
from pointsman.providers.openai_compatible import OpenAICompatible
from pointsman.providers.patience import Patience
from pointsman.providers.simulated import SimulatedTools
from pointsman.settings import ProviderSettings, Server, Settings, child_environment, is_loopback
from pointsman.transport.http import Outbound

from .caller_keys import takes_keys
from .cards import amend, amended, known_names

if TYPE_CHECKING:
    from pointsman.providers.llamacpp.fleet import Fleet

log = logging.getLogger(__name__)

OnProgress = Callable[[str, int, int], None]
"""Told the name of what is fetched, the bytes that are here, and the bytes in all."""


PASSED_ON = ("openai", "anthropic")
"""Providers whose own clients send a key that can be passed on to them, so that they need no settings."""


def check_names(settings: Settings, providers: Sequence[Provider]) -> None:
    """Say at the start what would otherwise be a riddle later: names of models and providers that nobody has.

    Raises:
        SettingsError: an embedded model that does not exist.
    """
    if settings.embedded.enabled:
        from pointsman.providers.llamacpp.sources import load_sources

        for name in settings.embedded.models:
            if name not in load_sources():
                raise SettingsError(
                    "embedded.models", name, f"there is no such model; there are {', '.join(load_sources())}"
                )
    known = {provider.name for provider in providers}
    for key, wanted in (
        ("routing.force_provider", settings.routing.force_provider),
        ("routing.default_provider", settings.routing.default_provider),
    ):
        if wanted is not None and wanted not in known:
            log.warning("%s names %s, which is not set up; set up are %s", key, wanted, ", ".join(sorted(known)))


def build_fleet(settings: Settings, outbound: Outbound, on_progress: OnProgress | None) -> Fleet | None:
    if not settings.embedded.enabled or not settings.embedded.models:
        return None
    from pointsman.providers.llamacpp.fleet import Fleet, FleetRules

    embedded = settings.embedded
    return Fleet(
        rules=FleetRules(
            models=tuple(embedded.models),
            pulled=embedded.pulled,
            lazy=embedded.start == "lazy",
            context=embedded.context,
            threads=embedded.threads,
            slots=embedded.slots,
            cache_ram_mib=embedded.cache_ram_mib,
            hub=embedded.hub,
        ),
        cache_dir=settings.cache_dir,
        data_dir=settings.data_dir,
        environment=child_environment({}),
        outbound=outbound,
        on_progress=on_progress,
    )


def build_providers(
    settings: Settings, outbound: Outbound, stored: Mapping[str, Credential] = MappingProxyType({})
) -> list[Provider]:
    """Every upstream that the settings name, or that has a stored credential, and that can be asked; an Ollama on its
    usual port, and a LiteLLM that `pointsman litellm` runs."""
    prices.use(settings.data_dir)
    built = (build_provider(name, settings, outbound, stored.get(name)) for name in provider_names(settings, stored))
    return [provider for provider in built if provider is not None]


def provider_names(settings: Settings, stored: Iterable[str] = ()) -> list[str]:
    """Of every upstream that may be had."""
    passed = PASSED_ON if settings.security.caller_credentials == "pass" else ()
    return list(dict.fromkeys(["ollama", "litellm", *settings.providers, *stored, *passed]))


def uninvited(settings: Settings) -> frozenset[str]:
    """Those that are welcome and not missed."""
    return frozenset({"ollama"} - settings.providers.keys()) | (
        frozenset() if settings.litellm.enabled else frozenset({"litellm"} - settings.providers.keys())
    )


def build_provider(
    name: str, settings: Settings, outbound: Outbound, stored: Credential | None = None
) -> Provider | None:
    """One upstream; None, with a line in the log, where it cannot be asked.

    Args:
        stored: used where the settings (or the environment) have no key for it.

    Raises:
        SettingsError: its settings cannot be used.
    """
    own = settings.providers.get(name) or ProviderSettings()
    if not own.enabled:
        return None
    if own.addresses:
        return _pool(name, own, settings, outbound, stored)
    if own.base_url is not None and _is_this_gateway(own.base_url, settings.server):
        # A shell whose OPENAI_BASE_URL sends its tools here must not send us to ourselves.
        log.warning("providers.%s.base_url is this gateway's own address; it is left out", name)
        return None
    if name != "ollama" and name not in settings.providers and not reachable(name, settings):
        log.warning("%s has a stored credential and no address (providers.%s.base_url); it is left out", name, name)
        return None
    found = _provider(name, own, settings, outbound, stored)
    return found[0] if found is not None else None


def _pool(
    name: str, own: ProviderSettings, settings: Settings, outbound: Outbound, stored: Credential | None
) -> Provider | None:
    from .pools import build_pool

    return build_pool(
        name,
        own,
        lambda one: _provider(name, one, settings, outbound, stored),
        is_own=lambda url: _is_this_gateway(url, settings.server),
    )


def reachable(name: str, settings: Settings) -> bool:
    """Whether an address is known for a provider."""
    own, preset = settings.providers.get(name), presets().get(name)
    return bool((own is not None and (own.base_url or own.instances)) or (preset is not None and preset.base_url))


def _is_this_gateway(base_url: str, server: Server) -> bool:
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    return parts.port == server.port != 0 and (host == server.host.strip("[]") or is_loopback(host))


def _speaks_responses(own: ProviderSettings, preset: Preset | None) -> bool:
    """Whether an upstream is asked in Responses. What stands at another address under a known name may be anything."""
    if own.responses is not None:
        return own.responses
    usual = preset is not None and (own.base_url is None or _host(own.base_url) == _host(preset.base_url or ""))
    return preset is not None and preset.responses and usual


def _host(address: str) -> str | None:
    return urlsplit(address).hostname


def _services() -> frozenset[str]:
    """Hosts that nobody can have on a machine of their own."""
    hosts = {urlsplit(preset.base_url).hostname or "" for preset in presets().values() if preset.base_url}
    return frozenset({host for host in hosts if host and not is_loopback(host)} | {"ollama.com", "www.ollama.com"})


def _beside(data_dir: Path) -> tuple[str, str] | None:
    """Where the LiteLLM beside the gateway is, and its key.

    Raises:
        UpstreamConnectError: it is not there yet.
    """
    running = state.running(data_dir)
    if running is None and state.keeper(data_dir) is not None:
        raise UpstreamConnectError("LiteLLM is being started; `pointsman litellm logs` has its words.")
    return None if running is None else (running.base_url, running.key)


def _provider(
    name: str, own: ProviderSettings, settings: Settings, outbound: Outbound, stored: Credential | None
) -> tuple[Provider, Provider] | None:
    """One server's provider, and the one that it wraps."""
    preset = presets().get(name)
    base_url = own.base_url or (preset.base_url if preset is not None else None)
    if base_url is None:
        raise SettingsError(f"providers.{name}.base_url", None, "is needed: this provider has no usual address")
    key, organization = own.api_key.reveal() if own.api_key is not None else None, own.organization
    if key is None and stored is not None:
        key, organization = stored.api_key, organization or stored.organization
    kind = own.speaks or (preset.type if preset is not None else "openai")
    needs_key = preset is not None and preset.key_required and own.base_url is None
    of_callers = key is None and kind != "ollama" and takes_keys(name, settings) and (needs_key or own.caller_keys)
    models = own.model_names or (known_names(name) if of_callers else [])
    if of_callers and not models:
        log.warning("%s takes callers' keys and has none of ours to ask for its models; providers.%s.models names them",
                    name, name)  # fmt: skip
        return None
    if needs_key and key is None and not of_callers:
        log.warning(
            "%s has no API key and is left out; `pointsman credentials set %s` stores one, providers.%s.api_key names"
            " one in the settings",
            *(name, name, name),
        )
        return None
    common: Mapping[str, Any] = {
        "base_url": base_url,
        "outbound": outbound,
        "api_key": key,
        "headers": own.headers,
        "local": own.local or (preset is not None and preset.local),
        "models": models,
        "default_model": own.default_model,
        "cards": amended(own),
    }
    host = (urlsplit(base_url).hostname or "").lower()
    if own.local and host in _services():
        raise SettingsError(
            f"providers.{name}.local", True, f"cannot be: {host} is a service on the internet, and prompts leave for it"
        )
    if kind == "ollama":
        simulate = own.simulate_tools is not False
        ollama = Ollama(name, **common, amend=amend(own), keep_alive=own.keep_alive, simulate_tools=simulate)
        return ollama, ollama
    common = {
        **common,
        "deployments": own.deployment_of,
        "drop_unsupported": own.drop_unsupported,
        "patience": Patience(**msgspec.structs.asdict(own.timeouts)),
    }
    provider: Provider
    if kind == "anthropic":
        from pointsman.providers.anthropic import Anthropic

        provider = Anthropic(name, **common, unsupported={*presets()["anthropic"].unsupported, *own.unsupported})
    elif kind == "litellm":
        beside = own.base_url is None and key is None
        provider = LiteLLM(
            name,
            **common,
            amend=amend(own),
            where=partial(_beside, settings.data_dir) if beside else None,
            preset=presets()["litellm"],
            responses=_speaks_responses(own, preset),
            unsupported=own.unsupported,
        )
    else:
        provider = OpenAICompatible(
            name,
            **common,
            auth=preset.auth if preset is not None else "bearer",
            organization=organization,
            preset=preset,
            responses=_speaks_responses(own, preset),
            unsupported=own.unsupported,
        )
    inner = provider
    if own.simulate_tools:
        provider = SimulatedTools(provider)
    return (CallerKeyed(provider) if of_callers else provider), inner
