"""How an upstream fares, by whether it gives its list of models."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from pointsman.core.errors import UpstreamClosed, UpstreamConnectError, UpstreamError, UpstreamStatus
from pointsman.core.ports import Health


async def list_health(
    name: str, where: str, count: Callable[[], Awaitable[int]], *, named: bool, unreachable: str
) -> Health:
    """
    Args:
        name: the provider's, and `where` its address as it may be shown.
        count: asks for the list, and says how many models it has. May raise UpstreamError.
        named: whether the settings name its models, so that no list is needed.
        unreachable: the mend where it does not answer at all.
    """
    try:
        found = await count()
    except UpstreamStatus as error:
        if error.upstream_status in (401, 403):
            mend = f"Check the key in providers.{name}.api_key."
            return Health(ok=False, detail=f"{where} refuses the API key ({error.upstream_status}).", mend=mend)
        if error.upstream_status in (404, 405) and named:
            return Health(ok=True, detail=f"{where} answers; it lists no models, the settings do.")
        mend = f"Check providers.{name}.base_url, or name its models in providers.{name}.models."
        return Health(ok=False, detail=f"{where} answered {error.upstream_status}.", mend=mend)
    except (UpstreamConnectError, UpstreamClosed) as error:
        return Health(ok=False, detail=f"{where}: {error.message}", mend=unreachable)
    except UpstreamError as error:
        return Health(ok=False, detail=f"{where}: {error.message}", mend=f"Check providers.{name}.base_url.")
    return Health(ok=True, detail=f"{where} lists {found} {'model' if found == 1 else 'models'}.")
