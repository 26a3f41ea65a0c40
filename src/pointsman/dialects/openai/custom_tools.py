"""OpenAI's custom tools, which take free text, as functions with that text as their one argument, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw

from pointsman.core.errors import UpstreamProtocolError
from pointsman.core.events import Body, Event, encode_frame, payloads
from pointsman.core.request import ChatRequest
from pointsman.dialects.messages.tools import TEXT, custom_names, text_of_call

_object_decoder = msgspec.json.Decoder(dict[str, Any])
_encoder = msgspec.json.Encoder()


def as_functions(request: ChatRequest) -> tuple[ChatRequest, frozenset[str]]:
    """The request with functions alone, and the names of those that stand for custom tools.

    Raises:
        InvalidRequest: a custom tool without a name.
    """
    fields: dict[str, Any] = dict(request.fields)
    names = custom_names(request.params.tools or ())
    if names:
        fields["tools"] = [_tool(raw) for raw in request.params.tools or ()]
    choice = request.params.tool_choice
    if isinstance(choice, Mapping) and bytes(choice.get("type", b"")) == b'"custom"' and "custom" in choice:
        fields["tool_choice"] = {"type": "function", "function": choice["custom"]}
    fields["messages"] = [_message(raw) for raw in request.params.messages]
    built = ChatRequest.build(fields, kind=request.kind, dialect=request.dialect, passed=request.passed)
    built.origin, built.dropped = request.origin, request.dropped
    return built, names


def _tool(raw: Raw) -> Any:
    tool = _object_decoder.decode(raw)
    custom = tool.pop("custom", None)
    if tool.get("type") != "custom" or not isinstance(custom, dict):
        return raw
    form = custom.get("format")
    grammar = isinstance(form, dict) and form.get("type") == "grammar"
    asked = f"Its text must be of this form: {_encoder.encode(form).decode()}" if grammar else None
    described = "\n\n".join(filter(None, [custom.get("description"), asked]))
    schema = {"type": "object", "properties": {TEXT: {"type": "string"}}, "required": [TEXT]}
    about = {"description": described} if described else {}
    return {**tool, "type": "function", "function": {"name": custom["name"], **about, "parameters": schema}}


def _message(raw: Raw) -> Any:
    if b'"custom"' not in bytes(raw):
        return raw
    message = _object_decoder.decode(raw)
    calls = message.get("tool_calls")
    if not isinstance(calls, list):
        return raw
    return {**message, "tool_calls": [_call(call) for call in calls]}


def _call(call: Any) -> Any:
    custom = call.get("custom") if isinstance(call, dict) and call.get("type") == "custom" else None
    if not isinstance(custom, dict):
        return call
    rest = {name: value for name, value in call.items() if name != "custom"}
    given = _encoder.encode({TEXT: custom.get("input", "")}).decode()
    return {**rest, "type": "function", "function": {"name": custom.get("name"), "arguments": given}}


class CustomCalls:
    """Tells calls of such functions as calls of custom tools. The text of a call comes in one piece: of a JSON string
    that is not whole yet nobody knows what it says.

    Args:
        names: of the functions that stand for custom tools.
    """

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names
        self._pieces: dict[tuple[int, int], list[str]] = {}
        """Arguments so far, by choice and call."""

    def mend(self, event: Event) -> Event:
        """The event, told so.

        Raises:
            UpstreamProtocolError: calls of a shape that nobody knows.
        """
        if event.dialect != "chat" or not self._names:
            return event
        try:
            return self._mended(event)
        except (msgspec.MsgspecError, TypeError, AttributeError) as error:
            raise UpstreamProtocolError(f"The model's provider sent calls that cannot be read: {error}.") from None

    def _mended(self, event: Event) -> Event:
        if isinstance(event, Body):
            return msgspec.structs.replace(event, raw=self._body(event.raw)) if b'"tool_calls"' in event.raw else event
        if b'"tool_calls"' not in event.raw and not (self._pieces and b'"finish_reason"' in event.raw):
            return event
        return msgspec.structs.replace(event, raw=b"".join(map(self._frame, payloads(event.raw))))

    def _body(self, raw: bytes) -> bytes:
        answer = _object_decoder.decode(raw)
        for choice in answer.get("choices") or ():
            message = choice.get("message") or {}
            for call in message.get("tool_calls") or ():
                function = call.get("function") or {}
                if function.get("name") in self._names:
                    text = text_of_call(function.get("arguments") or "")
                    del call["function"]
                    call |= {"type": "custom", "custom": {"name": function["name"], "input": text}}
        return _encoder.encode(answer)

    def _frame(self, payload: bytes) -> bytes:
        chunk = _object_decoder.decode(payload)
        for choice in chunk.get("choices") or ():
            at = choice.get("index") or 0
            delta = choice.get("delta") or {}
            told = [piece for call in delta.get("tool_calls") or () if (piece := self._piece(at, call)) is not None]
            if choice.get("finish_reason"):
                told += self._ended(at)
            if told:
                choice["delta"] = {**delta, "tool_calls": told}
            elif "tool_calls" in delta:
                choice["delta"] = {name: value for name, value in delta.items() if name != "tool_calls"}
        return encode_frame(_encoder.encode(chunk))

    def _piece(self, choice: int, call: dict[str, Any]) -> dict[str, Any] | None:
        """What of a call can be told now."""
        function = call.get("function") or {}
        place = (choice, call.get("index") or 0)
        if function.get("name") in self._names:
            self._pieces[place] = [function.get("arguments") or ""]
            rest = {name: value for name, value in call.items() if name != "function"}
            return {**rest, "type": "custom", "custom": {"name": function["name"], "input": ""}}
        if place in self._pieces and not function.get("name"):
            self._pieces[place].append(function.get("arguments") or "")
            return None
        return call

    def _ended(self, choice: int) -> list[dict[str, Any]]:
        ended = [place for place in self._pieces if place[0] == choice]
        texts = [text_of_call("".join(self._pieces.pop(place))) for place in ended]
        return [{"index": index, "custom": {"input": text}} for (_, index), text in zip(ended, texts, strict=True)]
