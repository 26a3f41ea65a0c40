"""What counts as local, and the one rule that no stage may break.

Locality is declared per model and defaults to remote. A loopback address proves nothing: a LiteLLM proxy or an
Ollama cloud model answers there and sends the prompt on.
"""

from __future__ import annotations

import msgspec

from .errors import PrivacyWall


class Destination(msgspec.Struct, frozen=True, gc=False):
    """Where an outbound call goes: a model (or a provider's own end point, for discovery), and whether it is local."""

    model: str
    local: bool = False


def guard(destination: Destination, *, local_only: bool) -> None:
    """Refuse to carry local-only content to a remote destination.

    Raises:
        PrivacyWall: always, when `local_only` and the destination is not declared local.
    """
    if local_only and not destination.local:
        raise PrivacyWall(
            f"This request holds content that must stay on this machine, and {destination.model} is not declared"
            " local. Use a local model, lower privacy_level, or remove the private content."
        )
