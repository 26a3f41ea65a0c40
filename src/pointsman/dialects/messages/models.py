"""The list of models of Anthropic's API."""

from __future__ import annotations

import msgspec

from pointsman.core.errors import UpstreamProtocolError

from .upstream import Abilities


class _Support(msgspec.Struct):
    supported: bool = False


class _ThinkingTypes(msgspec.Struct):
    adaptive: _Support = msgspec.field(default_factory=_Support)
    enabled: _Support = msgspec.field(default_factory=_Support)


class _Thinking(msgspec.Struct):
    supported: bool = False
    types: _ThinkingTypes = msgspec.field(default_factory=_ThinkingTypes)


class _Effort(msgspec.Struct):
    supported: bool = False
    low: _Support | None = None
    medium: _Support | None = None
    high: _Support | None = None
    xhigh: _Support | None = None
    max: _Support | None = None


class Told(msgspec.Struct):
    """What the list says that a model can do; what it leaves out is not known."""

    thinking: _Thinking | None = None
    effort: _Effort | None = None
    image_input: _Support | None = None
    structured_outputs: _Support | None = None

    def abilities(self, usual: Abilities) -> Abilities:
        """What it takes; `usual` where the list is silent."""
        found = usual
        if self.thinking is not None:
            types = self.thinking.types
            kind = "adaptive" if types.adaptive.supported else "budget" if types.enabled.supported else "none"
            found = msgspec.structs.replace(found, thinking=kind)
        if self.effort is not None:
            levels = ("low", "medium", "high", "xhigh", "max")
            known = [level for level in levels if (one := getattr(self.effort, level)) is not None and one.supported]
            found = msgspec.structs.replace(found, efforts=frozenset(known if self.effort.supported else ()))
        return found

    def of(self, capabilities: frozenset[str]) -> frozenset[str]:
        """A card's capabilities, less what the list denies and with what it promises."""
        for told, word in ((self.image_input, "vision"), (self.structured_outputs, "json_schema")):
            if told is not None:
                capabilities = capabilities | {word} if told.supported else capabilities - {word}
        return capabilities


class Listed(msgspec.Struct):
    """A model of the list."""

    id: str
    max_input_tokens: int | None = None
    max_tokens: int | None = None
    lifecycle: str | None = None
    capabilities: Told | None = None


class Page(msgspec.Struct):
    data: list[Listed]
    has_more: bool = False
    last_id: str | None = None


_decoder = msgspec.json.Decoder(Page)


def read_models(raw: bytes, provider: str) -> Page:
    """One page of the list, without the models that are retired.

    Raises:
        UpstreamProtocolError: it is no such list.
    """
    try:
        page: Page = _decoder.decode(raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise UpstreamProtocolError(
            f"{provider} answered with a list of models that cannot be read: {error}."
        ) from None
    page.data = [model for model in page.data if model.lifecycle != "retired"]
    return page
