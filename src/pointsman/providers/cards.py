"""Facts about models and providers, from two tables in `data/`: read once, when first asked for."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import msgspec

from pointsman.core.catalog import FimTokens, ModelCard, Prefill

from . import prices

NAME_LIMIT = 200
"""Characters of a name that are looked at: no model has a longer one, and the search is quadratic."""

DATA = Path(__file__).parent / "data"


class CompletionRoute(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An upstream's own endpoint for some of its models' completions, that takes `suffix`."""

    models: str
    """A regular expression on the name."""
    path: str
    """On the upstream's host, from the root."""
    answers: Literal["text_completion", "chat"] = "text_completion"
    """The shape of its answers."""


class Preset(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An upstream that needs only a key or a URL."""

    type: Literal["openai", "ollama", "anthropic", "litellm"]
    base_url: str | None = None
    """None where there is no usual one: it must be set."""
    local: bool = False
    auth: Literal["bearer", "api-key"] = "bearer"
    """How a key goes out: `Authorization: Bearer KEY` or `api-key: KEY`."""
    key_required: bool = False
    stream_usage: bool = True
    completion: CompletionRoute | None = None
    embeds_base64: bool = False
    """Whether it gives embeddings as base64, a third of the bytes of floats."""
    lacks: frozenset[str] = frozenset()
    """Capabilities that its endpoint does not honour, whatever the model can do."""
    unsupported: frozenset[str] = frozenset()
    """Parameters of a request that it does not take, or does not heed."""
    takes: frozenset[str] = frozenset()
    """Fields of other dialects that it takes in a chat, such as `cache_control`."""
    gemini: bool = False
    """Whether it has Gemini's ways with tool calls: streamed without their index, and signed."""
    max_completion_tokens: bool = False
    """Whether it wants an answer's bound under that name; others know `max_tokens`."""
    responses: bool = False
    """Whether it speaks OpenAI's Responses too, at its usual address."""
    custom_tools: bool = False
    """Whether it knows tools that take free text."""
    prefill: Prefill | None = None
    """How its models go on with a last message of the assistant's."""


class Fact(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is known of a model, whoever serves it. Fields as in ModelCard."""

    profile: str
    also: tuple[str, ...] = ()
    """Other names of the same model."""
    pinned: tuple[str, ...] = ()
    """Fields of a card that stand as they are here, whatever the price table says."""
    context_window: int
    max_output: int | None = None
    tokenizer: str | None = None
    price_input: int | None = None
    price_cached_input: int | None = None
    price_output: int | None = None
    first_token_seconds: float | None = None
    tokens_per_second: float | None = None
    prefill_tokens_per_second: float | None = None
    quality: float
    qualities: Mapping[str, float] = {}
    strengths: tuple[str, ...] = ()
    parameters: str | None = None
    licence: str | None = None
    equivalents: tuple[str, ...] = ()
    recommended_temperature: float | None = None


class _Kind(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    match: str
    capabilities: frozenset[str]


class _Fim(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    match: str
    tokens: FimTokens


class _Embedding(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    context_window: int
    price_input: int


class _Names(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    remote: str
    noise: tuple[str, ...]
    maker: str
    kinds: tuple[_Kind, ...]
    fim: tuple[_Fim, ...]


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    intents: dict[str, tuple[str, ...]]
    profiles: dict[str, frozenset[str]]
    names: _Names
    embedding: dict[str, _Embedding]
    cache_writes: dict[str, tuple[int, int]]
    efforts: dict[str, tuple[str, ...]]
    model: dict[str, Fact]


class _Knowledge(NamedTuple):
    models: dict[str, Fact]
    facts: dict[str, Fact]
    """By name as `_plain` writes it."""
    fields: dict[str, dict[str, Any]]
    """By the same names: a ModelCard's fields, wherever it runs."""
    remote: re.Pattern[str]
    noise: re.Pattern[str]
    maker: re.Pattern[str]
    size: re.Pattern[str]
    kinds: tuple[tuple[re.Pattern[str], frozenset[str]], ...]
    fim: tuple[tuple[re.Pattern[str], FimTokens], ...]
    embedding: dict[str, _Embedding]


@cache
def presets() -> Mapping[str, Preset]:
    """The known upstreams by name."""
    return MappingProxyType(msgspec.convert(_read("presets.toml"), dict[str, Preset]))


def known_models() -> Mapping[str, Fact]:
    """Every model of the table by its first name."""
    return MappingProxyType(_knowledge().models)


def fact_for(name: str) -> Fact | None:
    """What is known of a model by any of the names it goes by, or None.

    Hosts' prefixes (`models/`, `Qwen/`, `anthropic.`) and what names a revision of a model rather than another model
    are left out one by one from the end: dates, `latest`, `preview`, `instruct`, quantisations, file formats.
    """
    key = _key(name)
    return None if key is None else _knowledge().facts[key]


@cache
def takes_effort(name: str) -> bool:
    """Whether a model is known to take `reasoning_effort`."""
    fact = fact_for(name)
    return fact is not None and fact.profile in ("openai-reasoning", "gemini")


def card_for(provider: str, name: str, *, local: bool) -> ModelCard:
    """The card of a model as a provider serves it; what the provider itself tells should then replace its fields.

    Known models get the table's facts, less what the provider's endpoint lacks, with prices and windows from the price
    table (`prices`). A local model costs nothing. Of an unknown one chat is assumed, and what the price table says of
    it; `auto` may choose it only when it is local, with a prior by the size in its name. Embedding, speech and image
    models get a card that cannot chat and is never routed to.

    Args:
        local: whether the provider's owner declared its models local. Names that an engine relays to servers
            elsewhere (`…-cloud`) are remote all the same.
    """
    return _priced(_card(provider, name, local=local))


def _priced(card: ModelCard) -> ModelCard:
    """The card with the price table's prices and windows, which are newer than those of models.toml."""
    if card.local:
        return card
    key = _key(card.name)
    fact = None if key is None else _knowledge().facts[key]
    row = prices.row_for(card.provider, card.name)
    if row is None and key is not None and card.price_input is not None:
        row = prices.vendor_row(key)
    if row is None:
        return card
    fields = {**row.price_fields(), **row.size_fields()}
    if fact is None and card.capabilities >= {"chat"} and row.capabilities:
        preset = presets().get(card.provider)
        fields["capabilities"] = (card.capabilities | row.capabilities) - (preset.lacks if preset else frozenset())
    pinned = () if fact is None else fact.pinned
    return msgspec.structs.replace(card, **{name: value for name, value in fields.items() if name not in pinned})


def _card(provider: str, name: str, *, local: bool) -> ModelCard:
    knowledge = _knowledge()
    lower = name.lower()
    local = local and knowledge.remote.search(lower) is None
    preset = presets().get(provider)
    shared: dict[str, Any] = {
        "id": f"{provider}:{name}",
        "provider": provider,
        "name": name,
        "local": local,
        "price_input": 0 if local else None,
        "price_output": 0 if local else None,
        "stream_usage": preset is None or preset.stream_usage,
        "prefill": preset.prefill if preset is not None else None,
    }
    bare = knowledge.maker.sub("", lower.rsplit("/", 1)[-1][:NAME_LIMIT])
    for pattern, capabilities in knowledge.kinds:
        if pattern.search(bare):
            if "embeddings" in capabilities:
                shared |= _embedding(bare, local=local)
            else:
                shared |= _completion(preset, name, bare, capabilities)
            return ModelCard(**{"capabilities": capabilities, **shared}, routable=False)
    key = _key(name)
    if key is None:
        known = _completion(preset, name, bare, frozenset({"chat"}))
        return ModelCard(**{**shared, **known}, routable=local, **_by_size(bare, local=local))
    fields = knowledge.fields[key]
    if local:
        fields = {field: value for field, value in fields.items() if not field.startswith("price_")}
    if preset is not None and preset.lacks:
        fields = {**fields, "capabilities": fields["capabilities"] - preset.lacks}
    fields = {**fields, **_completion(preset, name, bare, fields["capabilities"])}
    return ModelCard(**{**shared, **fields}, routable="chat" in fields["capabilities"])


def prior_by_size(billions: float) -> float:
    """The prior quality of a model of which only its size is known, in billions of parameters.

    A straight line in the logarithm of the size, through 0.25 near zero, 0.53 at 8 and 0.80 at 70: judgement, from
    where models of known quality stand.
    """
    return min(0.25 + 0.09 * math.log2(1.0 + billions), 0.85)


def _completion(preset: Preset | None, name: str, bare: str, capabilities: frozenset[str]) -> dict[str, Any]:
    """What is known of a model's completions beside what its kind of models can do."""
    route = completion_route(preset, name)
    if route is not None:
        return {"capabilities": capabilities | {"completion"}, "takes_suffix": True}
    if preset is not None and "completion" in preset.lacks:
        return {}
    for pattern, tokens in _knowledge().fim:
        if pattern.search(bare):
            return {"capabilities": capabilities | {"completion"}, "fim": tokens}
    return {}


def completion_route(preset: Preset | None, name: str) -> CompletionRoute | None:
    """The upstream's own endpoint for this model's completions, where it has one."""
    route = preset.completion if preset is not None else None
    return route if route is not None and re.search(route.models, name.lower()) else None


def _embedding(bare: str, *, local: bool) -> dict[str, Any]:
    """Prices and window of an embedding model; nothing is paid for vectors themselves."""
    known = _knowledge().embedding.get(bare)
    if known is None:
        return {}
    window = {"context_window": known.context_window}
    return window if local else {**window, "price_input": known.price_input, "price_output": 0}


def _by_size(name: str, *, local: bool) -> dict[str, Any]:
    found = _knowledge().size.search(name) if local else None
    if found is None:
        return {}
    billions = float(found["count"]) * (0.001 if found["unit"] == "m" else 1.0) * float(found["experts"] or 1)
    if not 0.0 < billions < 10_000.0:
        return {}
    return {
        "quality": prior_by_size(billions),
        "parameters": f"{found['experts'] + 'x' if found['experts'] else ''}{found['count']}{found['unit']}".upper(),
        "tokens_per_second": 220.0 / billions,
        "prefill_tokens_per_second": 4_000.0 / billions,
    }


def _key(name: str) -> str | None:
    knowledge = _knowledge()
    plain = _plain(knowledge.maker.sub("", name.lower().rsplit("/", 1)[-1][:NAME_LIMIT]))
    while plain not in knowledge.facts:
        shorter = knowledge.noise.sub("", plain)
        if shorter == plain:
            return None
        plain = shorter
    return plain


def _plain(name: str) -> str:
    """A name with one separator, so that `qwen3:8b` and `Qwen3-8B` are the same."""
    return re.sub(r"[:@ ]", "-", name.lower())


@cache
def _knowledge() -> _Knowledge:
    table = msgspec.convert(_read("models.toml"), _Table)
    facts: dict[str, Fact] = {}
    fields: dict[str, dict[str, Any]] = {}
    for name, fact in table.model.items():
        capabilities = table.profiles[fact.profile]
        known = {field: value for field in fact.__struct_fields__ if (value := getattr(fact, field)) is not None}
        del known["profile"], known["also"], known["pinned"]
        known["capabilities"] = capabilities
        if fact.profile in table.cache_writes:
            known["cache_write_percent"] = table.cache_writes[fact.profile]
        if fact.profile in table.efforts:
            known["efforts"] = table.efforts[fact.profile]
        known["qualities"] = {
            intent: quality for group, quality in fact.qualities.items() for intent in table.intents[group]
        }
        for plain in map(_plain, (name, *fact.also)):
            facts[plain] = fact
            fields[plain] = known
    names = table.names
    return _Knowledge(
        models=table.model,
        facts=facts,
        fields=fields,
        remote=re.compile(names.remote),
        noise=re.compile(f"[-_.](?:{'|'.join(names.noise)})$"),
        maker=re.compile(names.maker),
        size=re.compile(r"(?<![a-z0-9.])(?:(?P<experts>\d+)x)?(?P<count>\d+(?:\.\d+)?)(?P<unit>[bm])(?![a-z0-9])"),
        kinds=tuple((re.compile(kind.match), kind.capabilities) for kind in names.kinds),
        fim=tuple((re.compile(fim.match), fim.tokens) for fim in names.fim),
        embedding=table.embedding,
    )


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads((DATA / name).read_text(encoding="utf-8"))
