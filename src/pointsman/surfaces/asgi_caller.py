"""Who asks, as the front door told the ASGI application."""

from __future__ import annotations

from starlette.requests import Request

from pointsman.core.caller import Caller


def caller_of(request: Request) -> Caller:
    """The admitted caller.

    Raises:
        TypeError: the application is served without the front door.
    """
    caller = request.scope.get("state", {}).get("caller")
    if not isinstance(caller, Caller):
        raise TypeError("a request reached the application without an admitted caller")
    return caller
