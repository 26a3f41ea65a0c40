"""`POST /v1/responses`: OpenAI's newer words for a chat, with answers that can be continued by their id."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

import msgspec

from pointsman.core.aside import LARGE, aside
from pointsman.core.caller import Caller
from pointsman.core.errors import PointsmanError
from pointsman.core.events import Body, Event
from pointsman.core.ports import Clock
from pointsman.core.request import ChatRequest
from pointsman.dialects.responses.answer import Output
from pointsman.dialects.responses.fields import read_fields
from pointsman.dialects.responses.object import Keeping, new_mark, response_id, response_object, with_ids
from pointsman.dialects.responses.output import Events
from pointsman.dialects.responses.request import ResponsesRequest, own_items, references, to_chat
from pointsman.dialects.responses.rewrite import Relayed, encoded
from pointsman.pipeline.answer import Answer
from pointsman.surfaces.converse import EVENT_STREAM, Refusal
from pointsman.surfaces.openai.errors import to_openai
from pointsman.transport.http import HttpRequest

from .memory import Item, Memory, owner_of

log = logging.getLogger(__name__)
_encoder = msgspec.json.Encoder()


class ResponsesDialect:
    """Implements `surfaces.converse.Dialect`."""

    stream_headers = EVENT_STREAM

    def __init__(
        self, memory: Memory, clock: Clock, *, hosts: Callable[[str, Caller], bool] = lambda model, caller: False
    ) -> None:
        """
        Args:
            hosts: whether the model that a request of a caller names is at an upstream that speaks Responses.
        """
        self._memory = memory
        self._clock = clock
        self._hosts = hosts
        self._told: set[str] = set()

    async def read(self, http: HttpRequest, caller: Caller) -> ChatRequest:
        asked, rest = await aside(partial(read_fields, http.body), len(http.body))
        before: list[Item] = []
        if asked.previous_response_id is not None:
            before = await self._memory.conversation(asked.previous_response_id, caller)
        kept = {item["id"]: item for item in before}
        wanted = [each for each in references(own_items(asked)) if each not in kept]
        if wanted:
            kept |= await self._memory.items(wanted, caller)
        hosts = self._hosts(asked.model, caller)
        make = partial(to_chat, asked, rest, before=before, kept=kept, owner=owner_of(caller), hosts=hosts)
        request = await aside(make, LARGE if before else len(http.body))
        self._tell(request)
        return request

    def writer(self, request: ChatRequest, answer: Answer) -> ResponsesWriter:
        assert isinstance(request, ResponsesRequest)
        return ResponsesWriter(request, answer, self._memory, self._clock)

    def refuse(self, error: PointsmanError) -> Refusal:
        return to_openai(error)

    def _tell(self, request: ResponsesRequest) -> None:
        """Warn, once of each kind, of tools that callers go without."""
        for dropped in request.dropped:
            _, _, tool = dropped.partition(" ")
            if tool and tool not in self._told:
                self._told.add(tool)
                log.warning("Callers ask for the tool %s, which runs at OpenAI alone; they go without it.", tool)


class ResponsesWriter:
    """Implements `surfaces.converse.Writer`."""

    def __init__(self, request: ResponsesRequest, answer: Answer, memory: Memory, clock: Clock) -> None:
        privacy = answer.decision.signals.privacy
        keeping: Keeping = "kept"
        if privacy.local_only or privacy.classes:
            keeping = "private"
        elif request.asked.store is False or not memory.keeps:
            keeping = "unkept"
        self._request = request
        self._answer = answer
        self._memory = memory
        self._clock = clock
        self._created_at = int(clock.now())
        self._mark = new_mark()
        self._id = response_id(self._mark, keeping)
        self._keep = keeping == "kept"
        self._events = Events()
        self._output = Output(self._events, self._mark, request.known)
        self._begun = False
        self._relayed: Relayed | None = None

    def begin(self) -> bytes:
        return b""  # who writes the first event is known when it comes

    def write(self, event: Event) -> bytes:
        if event.dialect == "responses":
            return self._relaying().frames(event.raw)
        self._begin()
        self._output.feed(event)
        return self._events.take()

    async def end(self) -> bytes:
        if self._relayed is not None:
            last = self._relayed.last()
            if last is None:
                return b""
            event, response = last
            await self._keep_it(response)
            return encoded(event)
        self._begin()
        response = await self._ended()
        self._events.tell(f"response.{response['status']}", response=response)
        return self._events.take()

    def broken(self, error: PointsmanError) -> bytes:
        if self._relayed is not None:
            self._events = Events(self._relayed.next_number)
        else:
            self._begin()
        self._events.tell("response.failed", response=self._object("failed", error=error))
        return self._events.take()

    async def whole(self, body: Body) -> bytes:
        if body.dialect == "responses":
            response = self._relaying().response(body.raw)
            await self._keep_it(response)
            return _encoder.encode(response)
        self._output.feed(body)
        return _encoder.encode(await self._ended())

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            response = self._object("in_progress")
            self._events.tell("response.created", response=response)
            self._events.tell("response.in_progress", response=response)

    def _relaying(self) -> Relayed:
        if self._relayed is None:
            asked = self._request.asked
            told = {
                "id": self._id,
                "model": self._answer.model,
                "store": self._keep,
                "previous_response_id": asked.previous_response_id,
                "instructions": asked.instructions,
                "tools": asked.tools or [],
                "tool_choice": asked.tool_choice or "auto",
                "metadata": asked.metadata or {},
            }
            self._relayed = Relayed(told, self._request.known)
        return self._relayed

    async def _ended(self) -> Item:
        """The response, whole, and kept where it may be."""
        self._output.end()
        response = self._object(self._output.status)
        await self._keep_it(response)
        return response

    async def _keep_it(self, response: Item) -> None:
        if self._keep:
            items = with_ids(self._request.items, self._mark)
            response["store"] = await self._memory.keep(response, items, owner=self._request.owner)

    def _object(self, status: str, error: PointsmanError | None = None) -> Item:
        output = self._output
        return response_object(
            self._request.asked,
            identifier=self._id,
            created_at=self._created_at,
            completed_at=int(self._clock.now()) if status == "completed" else None,
            model=self._answer.model,
            store=self._keep and error is None,
            status=status,
            output=output.so_far(),
            usage=output.usage,
            finish=output.finish,
            error=error,
            service_tier=output.service_tier,
        )
