"""The named-entity model, where the settings ask for it."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from pointsman.core.errors import SettingsError
from pointsman.pipeline.understand import NOT_TEXT, People, Understand
from pointsman.settings import Settings, child_environment
from pointsman.stores.secret_key import SecretKey


def build_people(
    settings: Settings, understand: Understand, secret_key: SecretKey, stack: AsyncExitStack
) -> People | None:
    """What looks for names of people; None where nobody asked for it. The model is fetched and started meanwhile.

    Raises:
        SettingsError: the extra is not installed.
    """
    if not settings.privacy.named_entities:
        return None
    from pointsman.providers.entities.finder import INSTALL, NameFinder, installed

    if not installed():
        raise SettingsError("privacy.named_entities", "true", f"the extra is not installed; {INSTALL}")
    finder = NameFinder(cache_dir=settings.cache_dir, environment=child_environment({}))
    stack.push_async_callback(asyncio.to_thread, finder.close)
    people = People(finder, classes=understand.classes, hash_key=secret_key.derive("people"), skipped=NOT_TEXT)
    stack.callback(people.close)
    preparing = asyncio.create_task(finder.prepare(), name="named-entity model")
    stack.callback(preparing.cancel)
    return people
