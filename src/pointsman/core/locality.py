"""What counts as local, and the one rule that no stage may break.

Locality is declared per model and defaults to remote. A loopback address proves nothing: a LiteLLM proxy or an
Ollama cloud model answers there and sends the prompt on.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from .errors import PrivacyWall


class Destination(msgspec.Struct, frozen=True, gc=False):
    """Where an outbound call goes: a model (or a provider's own end point, for discovery), and whether it is local."""

    model: str
    local: bool = False


def guard(
    destination: Destination,
    *,
    local_only: bool,
    clears: Callable[[bytes], bool] | None = None,
    body: bytes = b"",
) -> None:
    """Refuse to carry local-only content to a remote destination.

    Args:
        clears: the last check of a redacted copy, the one form in which private content may leave.

    Raises:
        PrivacyWall: `local_only`, the destination is not declared local, and the body is no clear redacted copy.
    """
    if not local_only or destination.local:
        return
    if clears is None:
        raise PrivacyWall(
            f"This request holds content that must stay on this machine, and {destination.model} is not declared"
            " local. Use a local model, lower privacy_level, or remove the private content."
        )
    if not clears(body):
        raise PrivacyWall(
            f"The redacted request for {destination.model} still held private content, so it was not sent. Use a local"
            " model, or remove the private content."
        )
