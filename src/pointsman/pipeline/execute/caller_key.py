"""What is different where a caller's own key is used: nothing that an upstream says of it may be kept or shown."""

from __future__ import annotations

import json

import msgspec

from pointsman.core.catalog import ModelCard
from pointsman.core.credential import Credential
from pointsman.core.errors import CallerKeyRefused, PointsmanError, UpstreamStatus
from pointsman.core.events import Event

REMOVED = "[removed]"
REFUSED = frozenset({401, 403})


def judged(error: PointsmanError, credential: Credential, card: ModelCard) -> PointsmanError:
    """The error as it may be logged and told: without the key, and as the caller's matter where the key was refused."""
    if isinstance(error, UpstreamStatus) and error.upstream_status in REFUSED:
        return CallerKeyRefused(
            f"{card.provider} refused the key that came with this request ({error.upstream_status})."
        )
    for secret in _spellings(credential):
        error.message = error.message.replace(secret, REMOVED)
        error.args = (error.message,)
        if error.plain is not None:
            error.plain = error.plain.replace(secret, REMOVED)
        if isinstance(error, UpstreamStatus):
            error.body = error.body.replace(secret.encode(), REMOVED.encode())
    return error


def unkeyed(event: Event, credential: Credential) -> Event:
    """The event without words for the log that hold the key. The answer itself goes to whoever owns the key."""
    for name in ("answer_id", "finish_reason", "note"):
        word = getattr(event, name)
        if word is not None and any(secret in word for secret in _spellings(credential)):
            event = msgspec.structs.replace(event, **{name: None if name != "finish_reason" else REMOVED})
    return event


def _spellings(credential: Credential) -> set[str]:
    return {credential.api_key, json.dumps(credential.api_key)[1:-1]}
