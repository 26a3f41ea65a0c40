"""Parameters that an upstream does not take: the request goes elsewhere, or goes without them."""

from __future__ import annotations

import logging
from collections.abc import Collection

from pointsman.core.errors import UpstreamLacks
from pointsman.core.request import ChatRequest
from pointsman.dialects.openai.asked import asked

log = logging.getLogger(__name__)


class Unsupported:
    """What one upstream does not take.

    Args:
        provider: its name, for messages.
        names: the parameters.
        drop: whether a request goes without them, with a line in the log, rather than not at all.
    """

    def __init__(self, provider: str, names: Collection[str], *, drop: bool = False) -> None:
        self._provider = provider
        self.names = frozenset(names)
        self._drop = drop

    def left_out(self, request: ChatRequest) -> tuple[str, ...]:
        """The parameters that must not be sent.

        Raises:
            UpstreamLacks: the request asks for something by one, and nothing is to be dropped.
        """
        if not self.names or self.names.isdisjoint(request.fields):
            return ()
        wanted = asked(request, self.names)
        if wanted and not self._drop:
            raise UpstreamLacks(wanted[0], provider=self._provider)
        if wanted:
            log.info("%s does not take %s: left out of a request", self._provider, ", ".join(wanted))
        return tuple(name for name in request.fields if name in self.names)
