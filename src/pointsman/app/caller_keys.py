"""For which providers callers may bring keys of their own, as the settings say now."""

from __future__ import annotations

from collections.abc import Callable, Collection

from pointsman.settings import Settings


def takes_keys(provider: str, settings: Settings) -> bool:
    own = settings.providers.get(provider)
    if own is not None and own.caller_keys is not None:
        return own.caller_keys
    return settings.security.caller_credentials != "never"


class CallerKeys:
    """Implements `core.credential.TakesKeys`; follows settings that are read anew.

    Args:
        known: names of the providers that there are now.
    """

    def __init__(self, settings: Settings, known: Callable[[], Collection[str]]) -> None:
        self._settings = settings
        self._known = known

    @property
    def passes(self) -> bool:
        return self._settings.security.caller_credentials == "pass"

    def knows(self, provider: str) -> bool:
        return provider in self._known() and provider != "embedded"

    def takes(self, provider: str) -> bool:
        return takes_keys(provider, self._settings)
