"""A provider's chat with OpenAI's custom tools as functions, where the upstream knows functions alone."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import msgspec

from pointsman.core.events import Event
from pointsman.core.ports import ChatCall

Chat = Callable[[ChatCall], AsyncGenerator[Event, None]]


def with_functions(chat: Chat, call: ChatCall) -> AsyncGenerator[Event, None]:
    """The provider's own chat; tools that take free text become functions of one text, and their calls come back."""
    if not any(
        b'"custom"' in bytes(raw) for raw in (*(call.request.params.tools or ()), *call.request.params.messages)
    ):
        return chat(call)
    return _translated(chat, call)


async def _translated(chat: Chat, call: ChatCall) -> AsyncGenerator[Event, None]:
    from pointsman.dialects.openai.custom_tools import CustomCalls, as_functions

    request, names = as_functions(call.request)
    calls = CustomCalls(names)
    async with aclosing(chat(msgspec.structs.replace(call, request=request))) as events:
        async for event in events:
            yield calls.mend(event)
