"""Pools: providers whose settings name several servers."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from urllib.parse import urlsplit

import msgspec

from pointsman.core.errors import SettingsError
from pointsman.core.ports import Provider
from pointsman.providers.caller_keyed import CallerKeyed
from pointsman.providers.ollama import Ollama
from pointsman.providers.openai_compatible import OpenAICompatible
from pointsman.providers.pool import Instance, OllamaLook, OpenAILook, Pool
from pointsman.settings import ProviderSettings
from pointsman.settings.checks import shown_address

log = logging.getLogger(__name__)

Ask = Callable[[ProviderSettings], tuple[Provider, Provider] | None]
"""Builds what asks one server: the provider as callers see it, and what it wraps. None: it cannot be asked."""


def build_pool(name: str, own: ProviderSettings, ask: Ask, *, is_own: Callable[[str], bool]) -> Provider | None:
    """A provider over several servers; None, with a line in the log, where none of them can be asked.

    Args:
        is_own: whether an address is this gateway's.

    Raises:
        SettingsError: its settings cannot be used.
    """
    instances = []
    for url in own.addresses:
        if is_own(url):
            log.warning("providers.%s.instances has this gateway's own address; it is left out", name)
            continue
        try:
            built = ask(msgspec.structs.replace(own, base_url=url, instances=[]))
        except SettingsError as error:
            raise SettingsError(error.key.replace(".base_url", ".instances"), error.value, error.mend) from None
        if built is None:
            return None
        instances.append(_instance(name, *built, own, url=url))
    if not instances:
        return None
    return Pool(name, instances, total=own.timeouts.total)


def _instance(name: str, provider: Provider, asked: Provider, own: ProviderSettings, *, url: str) -> Instance:
    shown = shown_address(url) or urlsplit(url).netloc
    here = partial(Instance, provider, url=shown, slots=own.addresses[url], counted=url not in own.of_unknown_slots)
    if isinstance(asked, Ollama):
        return here(look=OllamaLook(asked.library), library=asked.library)
    if type(asked) is not OpenAICompatible:
        raise SettingsError(
            f"providers.{name}.instances", None, "can be Ollamas or servers that speak OpenAI's chat, and no others"
        )
    if isinstance(provider, CallerKeyed):  # never asked without a caller's key
        return here(look=None)
    look = OpenAILook(asked, named=bool(own.models), deployments=own.deployment_of)
    return here(look=look)
