"""The inner form of a request: the OpenAI chat body, kept whole, with typed accessors.

The body is read as a table of raw fields (unknown ones included, so that they pass through byte for byte) and into
`ChatParams`, which checks the types of the known ones. Messages stay raw until a stage asks for one: a coding agent
resends a hundred kilobytes of history with every turn, and only the last message is new.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeVar, get_args

import msgspec
from msgspec import Raw

from .errors import InvalidRequest
from .one_scan import INSTEAD, LARGE, cut_out

PrivacyLevel = Literal["standard", "high", "max"]
Priority = Literal["balanced", "speed", "quality", "privacy", "cost"]
Kind = Literal["chat", "completion", "embeddings"]
"""What is asked for. A completion's prompt and each text to embed stand as user messages in the inner form."""
Dialect = Literal["chat", "messages", "responses", "ollama"]
"""A wire format that both callers and upstreams speak: OpenAI's chat, Anthropic's Messages, OpenAI's Responses,
Ollama's."""

OWN_FIELDS = ("routing_preferences", "auth_override")
"""Fields of ours in a request's body; they are never sent upstream."""

_OWN = frozenset(OWN_FIELDS)


NOTHING = Raw(b"null")
"""Of a raw field that is absent: msgspec cannot tell `Raw | None` apart, and would refuse every value."""


class FunctionCall(msgspec.Struct):
    name: str
    arguments: str = ""


class ToolCall(msgspec.Struct):
    id: str | None = None
    type: str = "function"
    function: FunctionCall | None = None


class ContentPart(msgspec.Struct):
    type: str
    text: str | None = None
    image_url: Raw = NOTHING
    refusal: str | None = None


class Message(msgspec.Struct):
    """One message, typed as far as stages look; what they do not look at stays in the raw form."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[ContentPart] | None = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None
    refusal: str | None = None
    audio: Raw = NOTHING
    """An earlier spoken answer, by its id."""

    @property
    def text(self) -> str:
        """The text of the content; parts are joined by line feeds."""
        if self.content is None:
            return ""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text for part in self.content if part.text)


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class ResponseFormat(msgspec.Struct):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: Raw = NOTHING


class RoutingPreferences(msgspec.Struct, forbid_unknown_fields=True):
    """What a caller may ask of the router beside the OpenAI fields."""

    force_provider: str | None = None
    """The only provider whose models may answer."""
    privacy_level: PrivacyLevel | None = None
    latency_preference: Literal["speed", "balanced", "quality"] | None = None
    priority: Priority | None = None
    mode: str | None = None
    """`auto`, `hybrid` (local models first) or `local`; `surfaces.wishes` checks it and names the choices."""
    prioritize_privacy: bool = False
    prioritize_speed: bool = False
    quality_floor: float | None = None
    """How far below the best model's success the choice may lie, in [0, 1]: the cheapest within it answers."""
    explore: bool | None = None
    """False: this request is not one to try a model with."""
    escalate: bool | None = None
    """Whether the answer is judged before it is told, and a stronger model takes over where it is not convincing."""


class ChatParams(msgspec.Struct):
    """The known fields of a chat body, checked for type."""

    messages: list[Raw]
    model: str = "auto"
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    tools: list[Raw] | None = None
    tool_choice: str | dict[str, Raw] | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    user: str | None = None
    routing_preferences: RoutingPreferences | None = None


Params = TypeVar("Params")
_fields_decoder = msgspec.json.Decoder(dict[str, Raw])
_params_decoder = msgspec.json.Decoder(ChatParams)
_message_decoder = msgspec.json.Decoder(Message)
_encoder = msgspec.json.Encoder()
_MISSING = re.compile(r"missing required field `([^`]+)`")
_PATH = re.compile(r" - at `\$\.?([^`]*)`$")
_QUOTED = re.compile(r"Invalid enum value .*?(?= - at `|$)", re.DOTALL)
_UNKNOWN = re.compile(r"unknown field `(.*?)`(?= - at `|$)", re.DOTALL)
_KEY = re.compile(rb'[\s,]*("(?:[^"\\]|\\.)*+")\s*:\s*')
_PLAIN_NAME = re.compile(r"[a-z]{1,20}(?:_[a-z]{1,20}){0,4}")
NO_CHOICE = "There is no such choice"
MOST_FIELDS = 1000
MOST_CHOICES = 128
MOST_MESSAGES = 50_000
"""Each takes ten microseconds to be understood, in which no other request is answered."""


def _choices(param: str | None) -> list[str]:
    """What one of our own fields may be, where that is a choice; of others nothing."""
    of, _, field = (param or "").rpartition(".")
    if not of.endswith("routing_preferences"):
        return []
    found = next((one for one in msgspec.structs.fields(RoutingPreferences) if one.name == field), None)
    return [value for kind in get_args(found.type) for value in get_args(kind)] if found is not None else []


def invalid(error: Exception, prefix: str = "") -> InvalidRequest:
    """The 400 for a msgspec error: names the field, never quotes the content."""
    text = _UNKNOWN.sub(_told_unknown, _QUOTED.sub(NO_CHOICE, str(error)))
    found = _PATH.search(text)
    missing = _MISSING.search(text)
    path = [found.group(1) if found else "", missing.group(1) if missing else ""]
    param = prefix + ".".join(filter(None, path)) or None
    reason = _PATH.sub("", text)
    if reason == NO_CHOICE and (choices := _choices(param)):
        reason = f"one of {', '.join(choices)} is expected"
    message = f"Invalid `{param}`: {reason}." if param else f"Invalid request: {reason}."
    return InvalidRequest(message, param=param)


def decode_body(body: bytes, needed: str, decoder: msgspec.json.Decoder[Params]) -> tuple[dict[str, Raw], Params]:
    """A body as a table of raw fields, and typed.

    Args:
        needed: the field without which there is nothing to do, for the message about an empty body.

    Raises:
        InvalidRequest: not JSON, not an object, or a known field of a wrong type, which is named.
    """
    if not body:
        raise InvalidRequest(f"The request body is empty; a JSON object with `{needed}` is needed.")
    try:
        return _fields_decoder.decode(body), decoder.decode(body)
    except msgspec.ValidationError as error:
        raise invalid(error) from None
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"The request body is not valid JSON: {error}.") from None


def decode_message(raw: bytes | Raw, index: int) -> Message:
    """One message of a body, checked.

    Raises:
        InvalidRequest: naming the field, as `messages[3].content`.
    """
    try:
        return _message_decoder.decode(raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        at = f"messages[{index}]"
        mapped = invalid(error, f"{at}.")
        if mapped.param != f"{at}.":
            raise mapped from None
        raise InvalidRequest(mapped.message.replace(f"`{at}.`", f"`{at}`", 1), param=at) from None


def _told_unknown(found: re.Match[str]) -> str:
    name = found.group(1)
    return f"unknown field `{name}`" if _PLAIN_NAME.fullmatch(name) else "unknown field"


def _read(body: bytes) -> tuple[dict[str, Raw], ChatParams]:
    """A chat body as raw fields, each of which stands once, and typed.

    Raises:
        InvalidRequest: as `decode_body`; a field stands twice.
    """
    if len(body) >= LARGE and (found := _read_once(body)) is not None:
        return found
    fields, params = decode_body(body, "messages", _params_decoder)
    _refuse_repeated(body, fields)
    return fields, params


def _read_once(body: bytes) -> tuple[dict[str, Raw], ChatParams] | None:
    """The same in one scan; None where that cannot be, or where something is wrong.

    Raises:
        InvalidRequest: a field stands twice.
    """
    around, lists = body, {}
    try:
        params = _params_decoder.decode(body)
        for name, items in (("messages", params.messages), ("tools", params.tools)):
            if items and (cut := cut_out(around, name.encode(), items)) is not None:
                around, lists[name] = cut
        if not lists:
            return None
        fields = _fields_decoder.decode(around)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None
    if any(bytes(fields.get(name, NOTHING)) != INSTEAD for name in lists):
        return None
    _refuse_repeated(around, fields)
    fields.update(lists)
    return fields, params


def _refuse_repeated(body: bytes, fields: Mapping[str, Raw]) -> None:
    """Of a field that stands twice, this reader takes the last one and another may take the first.

    What encoders write without a byte to spare is what the fields themselves are written as; only other bodies are
    walked through, field by field.

    Raises:
        InvalidRequest: a field stands twice.
    """
    if _encoder.encode(fields) == body:
        return
    seen: set[str] = set()
    at = body.index(b"{") + 1
    while (key := _KEY.match(body, at)) is not None:
        name: str = msgspec.json.decode(key.group(1))
        raw = bytes(fields[name])
        if name in seen or not body.startswith(raw, key.end()):
            raise InvalidRequest("A field stands twice in the request body.")
        seen.add(name)
        at = key.end() + len(raw)


def _out_of_bounds(name: str, value: int, bounds: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid `{name}`: {value} given, {bounds} expected.", param=name)


def _refuse_variants(fields: Mapping[str, Raw]) -> None:
    """Some upstreams read names without regard to case: `Model` would there replace the model that was chosen, `N` the
    number of answers that money was reserved for.

    Raises:
        InvalidRequest: a field is written like one that decides where the request goes or what it costs, in other
            letters.
    """
    for name in fields.keys() - _WELL_WRITTEN:
        if name not in _DECISIVE and name.casefold() in _DECISIVE:
            right = name.casefold()
            raise InvalidRequest(f"Field names are in small letters: write `{right}`.", param=right)


_DECISIVE = frozenset(
    {"model", "messages", "stream", "stream_options", "n", "max_tokens", "max_completion_tokens", *OWN_FIELDS}
)

_WELL_WRITTEN = _DECISIVE | frozenset(ChatParams.__struct_fields__)

_CHOOSING = ("models", "fallbacks", "context_window_fallbacks", "content_policy_fallbacks")
"""Fields by which some upstreams (OpenRouter, LiteLLM) let a caller name further models: none that the gateway chose,
that the caller's key allows, or that money was reserved for."""


def _refuse_choosing(fields: Mapping[str, Raw]) -> None:
    """
    Raises:
        InvalidRequest: a field would have the upstream answer with another model than the one that is chosen here.
    """
    for name in _CHOOSING:
        if name in fields and bytes(fields[name]) not in (b"null", b"[]"):
            raise InvalidRequest(
                f"Invalid `{name}`: which model answers is decided here. Send `model` alone; routing.fallbacks in the"
                " settings says what steps in when it fails.",
                param=name,
            )


def _refuse_odd_tools(tools: Iterable[Raw]) -> None:
    """
    Raises:
        InvalidRequest: a tool is not an object.
    """
    for index, tool in enumerate(tools):
        if bytes(memoryview(tool)[:1]) != b"{":
            raise InvalidRequest(f"Invalid `tools[{index}]`: an object is expected.", param=f"tools[{index}]")


class ChatRequest:
    """A chat request. Immutable by convention; `render` makes the body for one upstream."""

    __slots__ = (
        "also_read",
        "dialect",
        "dropped",
        "fields",
        "kind",
        "origin",
        "params",
        "passed",
        "size",
        "stream",
        "translated",
    )

    def __init__(
        self,
        fields: dict[str, Raw],
        params: ChatParams,
        size: int,
        *,
        kind: Kind = "chat",
        dialect: Dialect = "chat",
        passed: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        self.fields = fields
        self.kind = kind
        self.dialect = dialect
        """What the caller speaks: an upstream that speaks the same may have its answer relayed as the bytes that come.
        A redacted copy is always `chat`, so that its answer can be read and restored."""
        self.origin = dialect
        """What the caller speaks, of a redacted copy too: which fields of other dialects may stand in the body."""
        self.translated = dialect != "chat"
        """Whether a chat's answer is written in other words for the caller, so that each chunk must be one."""
        self.passed = passed
        """Headers, in lower case, for an upstream of the caller's dialect."""
        self.params = params
        self.stream = bool(params.stream)
        self.size = size
        """Bytes of the body as it came."""
        self.also_read: tuple[str, ...] = ()
        """What the caller wrote and the fields hold in another writing, in which it might not be known for private."""
        self.dropped: tuple[str, ...] = ()
        """What the caller asked for and goes without, because nothing here can do it; the answer's head tells."""

    @classmethod
    def parse(
        cls,
        body: bytes,
        *,
        kind: Kind = "chat",
        dialect: Dialect = "chat",
        passed: tuple[tuple[bytes, bytes], ...] = (),
    ) -> ChatRequest:
        """Read a body.

        Args:
            kind, dialect, passed: of a request that a surface translated into this form.

        Raises:
            InvalidRequest: not JSON, not an object, a known field of a wrong type, no messages.
        """
        fields, params = _read(body)
        if not params.messages:
            raise InvalidRequest("Invalid `messages`: at least one message is needed.", param="messages")
        if len(fields) > MOST_FIELDS:
            raise InvalidRequest(f"The request body has more than {MOST_FIELDS} fields.")
        if len(params.messages) > MOST_MESSAGES:
            raise InvalidRequest(f"Invalid `messages`: more than {MOST_MESSAGES}.", param="messages")
        if not fields.keys() <= _WELL_WRITTEN:
            _refuse_variants(fields)
            _refuse_choosing(fields)
        if params.tools:
            _refuse_odd_tools(params.tools)
        if params.n is not None and not 1 <= params.n <= MOST_CHOICES:
            raise _out_of_bounds("n", params.n, f"between 1 and {MOST_CHOICES}")
        if params.max_tokens is not None and params.max_tokens < 1:
            raise _out_of_bounds("max_tokens", params.max_tokens, "at least 1")
        if params.max_completion_tokens is not None and params.max_completion_tokens < 1:
            raise _out_of_bounds("max_completion_tokens", params.max_completion_tokens, "at least 1")
        return cls(fields, params, len(body), kind=kind, dialect=dialect, passed=passed)

    @classmethod
    def build(
        cls,
        fields: Mapping[str, Any],
        *,
        kind: Kind = "chat",
        dialect: Dialect = "chat",
        passed: tuple[tuple[bytes, bytes], ...] = (),
    ) -> ChatRequest:
        """A request from Python values, for translators and callers inside (the CLI, the doctor, tests)."""
        return cls.parse(_encoder.encode(fields), kind=kind, dialect=dialect, passed=passed)

    def redacted(self, fields: Mapping[str, Any]) -> ChatRequest:
        """A copy with other fields, whose answer must be readable as chat."""
        copy = ChatRequest.build(fields, kind=self.kind, passed=self.passed)
        copy.origin, copy.translated = self.origin, self.translated
        return copy

    def with_defaults(self, defaults: Mapping[str, Any]) -> ChatRequest:
        """This request, with fields that the caller left out, or gave as null, filled in."""
        missing = {
            name: Raw(_encoder.encode(value))
            for name, value in defaults.items()
            if bytes(self.fields.get(name, NOTHING)) == b"null"
        }
        if not missing:
            return self
        fields = {**self.fields, **missing}
        params = _params_decoder.decode(_encoder.encode(fields))
        filled = ChatRequest(fields, params, self.size, kind=self.kind, dialect=self.dialect, passed=self.passed)
        filled.origin, filled.translated = self.origin, self.translated
        return filled

    def without(self, dialect: Dialect) -> tuple[str, ...]:
        """What the caller asked for and goes without in an answer that an upstream gave in this dialect."""
        return self.dropped

    @property
    def model(self) -> str:
        return self.params.model

    @property
    def wants_usage(self) -> bool:
        """Whether the caller asked for a usage chunk at the end of the stream."""
        options = self.params.stream_options
        return bool(options is not None and options.include_usage)

    @property
    def max_output(self) -> int | None:
        """The caller's bound on the answer's tokens."""
        return self.params.max_completion_tokens or self.params.max_tokens

    def message(self, index: int) -> Message:
        """The message at `index` (negative counts from the end), decoded."""
        if index < 0:
            index += len(self.params.messages)
        return decode_message(self.params.messages[index], index)

    def messages(self) -> list[Message]:
        return [decode_message(raw, index) for index, raw in enumerate(self.params.messages)]

    def render(self, replace: Mapping[str, Any], drop: Iterable[str] = ()) -> bytes:
        """The body with some top-level fields replaced or dropped, every other one byte for byte as it came."""
        fields: dict[str, Any] = self.fields.copy()
        for name in drop:
            fields.pop(name, None)
        if not _OWN.isdisjoint(fields):
            for name in OWN_FIELDS:
                fields.pop(name, None)
        fields.update(replace)
        return _encoder.encode(fields)
