"""Tool calls by prompt, around a model that knows none: the request that it gets, and what its answer means.

The request teaches the actions of `tool_prompt` and asks for them by a JSON Schema. The answer is read strictly: what
is no JSON from its first letter is a plain text, what begins as an action and does not end as one is an error, and a
call comes out only whole, with arguments that its tool's schema allows. Nothing that is malformed is ever a tool call.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any

import msgspec

from pointsman.core.errors import InvalidRequest, UpstreamProtocolError
from pointsman.core.request import ChatRequest, Message

from .action_stream import ActionStream, CallArguments, CallStart, ReplyText
from .plain_turns import plain_turns
from .schema_check import fits
from .stop_text import StopText
from .tool_prompt import ToolPlan, action_schema, plan_tools
from .tool_schema import SchemaBook

_HINT = re.compile(rb"tool|function|\\\\u")
"""Of a message that may speak of tools: most do not, and need not be decoded."""

OF_TOOLS = ("tools", "tool_choice", "parallel_tool_calls", "functions", "function_call")
OF_THE_ANSWER = ("response_format", "stop", "logprobs", "top_logprobs")
"""Fields that would be about the JSON around a call."""


class Simulation(msgspec.Struct, frozen=True, kw_only=True):
    """A request as the model gets it, and what its answer is read by."""

    request: ChatRequest
    plan: ToolPlan | None
    """None: there is nothing to call, and only earlier calls and results were put into words."""
    stops: tuple[str, ...] = ()
    raw_reply: bool = False
    """Whether a reply is JSON of the caller's own schema."""


def simulate(request: ChatRequest) -> Simulation | None:
    """The request put into words; None when no tool is in it.

    Raises:
        InvalidRequest: tools, their choice or a schema that cannot be used.
    """
    params = request.params
    if not params.tools and not any(_HINT.search(raw) for raw in params.messages):
        return None
    messages = request.messages()
    plan = plan_tools(params)
    if plan is None and not params.tools and not any(_of_tools(message) for message in messages):
        return None
    fields: dict[str, Any] = {name: raw for name, raw in request.fields.items() if name not in OF_TOOLS}
    fields["messages"] = _turns(messages, plan)
    if plan is None:
        return Simulation(request=_built(request, fields), plan=None)
    for name in OF_THE_ANSWER:
        fields.pop(name, None)
    reply = _wanted_reply(request)
    schema = action_schema(plan, reply)
    fields["response_format"] = {"type": "json_schema", "json_schema": {"name": "action", "schema": schema}}
    if bytes(fields.get("temperature", b"null")) == b"null":
        fields["temperature"] = 0
    stops = [params.stop] if isinstance(params.stop, str) else params.stop or []
    return Simulation(request=_built(request, fields), plan=plan, stops=tuple(stops), raw_reply=reply is not None)


class ActionReader:
    """The text of one answer in, what it says to the caller out.

    Raises, whenever it is fed or ended: UpstreamProtocolError, for an answer that is malformed.
    """

    def __init__(self, simulation: Simulation) -> None:
        assert simulation.plan is not None
        self._plan = simulation.plan
        self._actions = ActionStream(simulation.plan, raw_reply=simulation.raw_reply)
        self._stops = StopText(simulation.stops)
        self._plain: bool | None = None
        self._name = ""
        self._arguments: list[str] = []

    def feed(self, text: str) -> str:
        """What may be told of the reply now."""
        if self._plain is None:
            text = text.lstrip()
            if not text:
                return ""
            self._plain = not text.startswith("{")
            if self._plain and not self._plan.reply:
                raise UpstreamProtocolError("The model answered in words where a tool call was required.")
        if self._plain:
            return self._stops.feed(text)
        said = []
        for piece in self._actions.feed(text):
            match piece:
                case ReplyText(more):
                    said.append(self._stops.feed(more))
                case CallStart(name):
                    self._name = name
                case CallArguments(fragment):
                    self._arguments.append(fragment)
        return "".join(said)

    def end(self, reason: str) -> tuple[str, dict[str, Any] | None, str]:
        """The rest of the reply, the call as OpenAI writes it, and the finish reason.

        Args:
            reason: the model's own.
        """
        rest = self._stops.rest()
        if self._plain or (self._plain is None and reason == "length"):
            return rest, None, "stop" if self._stops.found else reason
        if not self._actions.complete:
            if reason != "length":
                raise UpstreamProtocolError("The model ended an action before it was whole.")
            return rest, None, reason
        if not self._name:
            return rest, None, "stop"
        return "", self._call("".join(self._arguments)), "tool_calls"

    def _call(self, arguments: str) -> dict[str, Any]:
        tool = next(tool for tool in self._plan.tools if tool.name == self._name)
        book = SchemaBook()
        schema = book.add({**tool.parameters, "type": "object"}, param=tool.param)
        try:
            value = msgspec.json.decode(arguments)
        except (msgspec.MsgspecError, RecursionError):
            value = None
        if not isinstance(value, dict) or not fits(value, schema, book.definitions):
            raise UpstreamProtocolError("The model called a tool with arguments that the tool's schema does not allow.")
        function = {"name": self._name, "arguments": arguments}
        return {"id": f"call_{os.urandom(12).hex()}", "type": "function", "function": function}


def _of_tools(message: Message) -> bool:
    return bool(message.tool_calls) or message.role in ("tool", "function")


def _built(request: ChatRequest, fields: dict[str, Any]) -> ChatRequest:
    built = ChatRequest.build(fields)
    built.passed, built.origin, built.dropped = request.passed, request.origin, request.dropped
    return built


class _JsonSchema(msgspec.Struct):
    schema: Any = None


def _wanted_reply(request: ChatRequest) -> object | None:
    """The schema that the caller wants a reply to have, or None for a text."""
    wanted = request.params.response_format
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return {"type": "object"}
    try:
        given = msgspec.json.decode(bytes(wanted.json_schema), type=_JsonSchema)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidRequest(
            f"Invalid `response_format.json_schema`: {error}.", param="response_format.json_schema"
        ) from None
    return {"type": "object"} if given.schema is None else given.schema


def _turns(messages: Sequence[Message], plan: ToolPlan | None) -> list[dict[str, Any]]:
    """The conversation as turns of text, each with the pictures that its message had."""
    pictures: list[list[Any]] = []
    plain: list[Message] = []
    for message in messages:
        content, found = message.content, []
        if isinstance(content, list):
            found = [part for part in content if part.type == "image_url"]
            message = msgspec.structs.replace(message, content=[part for part in content if part.type != "image_url"])
        result = message.role in ("tool", "function")
        if result and plain and plain[-1].role in ("tool", "function"):
            pictures[-1] += found  # results that follow one another are one turn
        else:
            pictures.append(found)
        plain.append(message)
    turns: list[dict[str, Any]] = [*plain_turns(plain, plan)]
    # What teaches the tools stands in front, so a turn is counted from the end.
    for back, found in enumerate(reversed(pictures), start=1):
        if found:
            turn = turns[-back]
            parts = [{"type": "image_url", "image_url": part.image_url} for part in found]
            turn["content"] = [{"type": "text", "text": turn["content"]}, *parts]
    return turns
