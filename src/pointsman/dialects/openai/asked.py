"""What a request asks for beside its messages, and what it merely mentions."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from pointsman.core.request import ChatRequest

NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "n": (1,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "store": (False,),
    "parallel_tool_calls": (True,),
    "modalities": (["text"],),
    "functions": ([],),
    "verbosity": ("medium",),
    "speed": ("standard",),
}
"""Values by which a parameter says what is so without it; null is one of every parameter."""


def asked(request: ChatRequest, names: Collection[str]) -> tuple[str, ...]:
    """Those of the parameters by which the request asks for something."""
    return tuple(name for name in request.fields if name in names and _asks(name, request.fields[name]))


def _asks(name: str, raw: msgspec.Raw) -> bool:
    if bytes(raw) == b"null":
        return False
    neutral = NEUTRAL.get(name, ())
    if not neutral or len(bytes(raw)) > 64:
        return True
    value = msgspec.json.decode(raw)
    return value not in neutral
