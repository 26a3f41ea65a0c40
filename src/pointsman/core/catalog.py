"""A model's card: what it can do, what it costs, where it runs."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from .errors import ModelNotFound
from .locality import Destination

CAPABILITIES = frozenset(
    {"chat", "tools", "vision", "json_object", "json_schema", "logprobs", "completion", "embeddings"}
)


class FimTokens(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a model that fills in the middle wants around the text before the gap and the text behind it."""

    prefix: str
    suffix: str
    middle: str
    end: tuple[str, ...] = ()
    """What ends the middle, where the model's own end of text does not."""
    suffix_first: bool = False
    """Whether the text behind the gap comes first."""


class Prefill(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a model is told to go on with a last message of the assistant's, rather than to answer it."""

    fields: Mapping[str, Any] = {}
    """What the body says for that."""
    with_tools: bool = True
    """Whether it can where the request has tools."""


class PriceStep(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The prices of requests with a long prompt. They hold for the whole request, its answer too."""

    above: int
    """Tokens of prompt beyond which they hold."""
    price_input: int
    price_output: int
    price_cached_input: int | None = None


class ModelCard(msgspec.Struct, frozen=True, kw_only=True):
    """One model that may be chosen (an *arm*).

    Prices are integer micro-dollars per million tokens; None means unknown, never free. Qualities are the prior
    share of requests of an intent that the model answers well, in [0, 1]; `quality` serves where an intent has none.
    """

    id: str
    """`provider:name`, unique in the catalog."""
    provider: str
    name: str
    """What the provider calls it."""
    local: bool = False
    routable: bool = True
    """Whether `auto` may choose it; a model of which nothing is known answers only when it is named."""
    capabilities: frozenset[str] = frozenset({"chat"})
    context_window: int | None = None
    """Tokens of prompt and answer together; None when the provider does not say."""
    max_output: int | None = None
    tokenizer: str | None = None
    """`o200k_base`, `cl100k_base`, or None when no exact count can be had offline."""
    price_input: int | None = None
    price_cached_input: int | None = None
    price_output: int | None = None
    price_steps: tuple[PriceStep, ...] = ()
    """What long prompts cost, the shortest first; empty where the price does not depend on the prompt's length."""
    cache_write_percent: tuple[int, int] = (100, 100)
    """What it costs to write the prompt to a cache for minutes, and for an hour, in hundredths of `price_input`."""
    writes_unasked: bool = False
    """Whether its provider writes prompts to its cache, at that price, though the request asks for no cache."""
    tokens_per_second: float | None = None
    """Prior of the decoding speed; running measurements replace it."""
    prefill_tokens_per_second: float | None = None
    first_token_seconds: float | None = None
    load_seconds: float | None = None
    """Prior of how long its server takes to load it when nobody has used it of late; None: it is always there."""
    quality: float = 0.5
    qualities: Mapping[str, float] = {}
    strengths: tuple[str, ...] = ()
    recommended_temperature: float | None = None
    parameters: str | None = None
    """Size as people say it, such as `0.5B`."""
    licence: str | None = None
    equivalents: tuple[str, ...] = ()
    """Ids or names of models that may stand in during an outage, best first."""
    stream_usage: bool = True
    """Whether the upstream understands `stream_options.include_usage`."""
    fim: FimTokens | None = None
    """None: it is not known to fill in the middle by tokens of its own."""
    takes_suffix: bool = False
    """Whether its provider takes a completion's `suffix` as such."""
    efforts: tuple[str, ...] = ()
    """Values of `reasoning_effort` that may be chosen for it beside its own default."""
    simulated: frozenset[str] = frozenset()
    """Capabilities that the gateway makes up for, as with tool calls by prompt; less is expected of them."""
    responses: bool = False
    """Whether its provider speaks OpenAI's Responses, and is asked in them by callers who speak them."""
    prefill: Prefill | None = None
    """None: it is not known to go on with a last message of the assistant's."""
    needs_credential: bool = False
    """Whether its provider has no key of ours: only callers who bring their own can use it."""

    @property
    def destination(self) -> Destination:
        return Destination(model=self.id, local=self.local)

    def at(self, prompt_tokens: int) -> ModelCard:
        """The card with the prices that hold for a prompt of so many tokens."""
        held = [step for step in self.price_steps if prompt_tokens > step.above]
        if not held:
            return self
        step = held[-1]
        return msgspec.structs.replace(
            self,
            price_input=step.price_input,
            price_output=step.price_output,
            price_cached_input=step.price_cached_input,
            price_steps=(),
        )

    def prices_at(self, prompt_tokens: int) -> tuple[int, int] | None:
        """What a token of a prompt of so many and one of the answer cost, in micro-dollars per million; None when the
        price is unknown."""
        price_input, price_output = self.price_input, self.price_output
        if price_input is None or price_output is None:
            return None
        if self.price_steps and prompt_tokens > self.price_steps[0].above:
            return self.at(prompt_tokens).prices_at(prompt_tokens)
        return price_input, price_output

    def cost_micro_usd(
        self,
        prompt_tokens: int,
        completion_tokens: int,
        cached_tokens: int = 0,
        cache_writes: tuple[int, int] = (0, 0),
    ) -> int | None:
        """What so many tokens cost, in micro-dollars, rounded up; None when the price is unknown.

        Args:
            cache_writes: of the prompt, the tokens written to a cache for a short time and for long.
        """
        price_input, price_output = self.price_input, self.price_output
        if price_input is None or price_output is None:
            return None
        if self.price_steps and prompt_tokens > self.price_steps[0].above:
            return self.at(prompt_tokens).cost_micro_usd(prompt_tokens, completion_tokens, cached_tokens, cache_writes)
        if not cached_tokens and cache_writes == (0, 0):
            return -(-(prompt_tokens * price_input + completion_tokens * price_output) // 1_000_000)
        cached_tokens = min(cached_tokens, prompt_tokens)  # what upstreams say is not always a sum
        cached_price = price_input if self.price_cached_input is None else self.price_cached_input
        total = (
            (prompt_tokens - cached_tokens) * price_input
            + cached_tokens * cached_price
            + completion_tokens * price_output
        )
        short, long = self.cache_write_percent
        dearer = cache_writes[0] * (short - 100) + cache_writes[1] * (long - 100)
        if dearer > 0:
            total += -(-dearer * price_input // 100)
        return -(-total // 1_000_000)


class Catalog:
    """Every model that is known now. Immutable; a refresh builds another one.

    Args:
        aliases: the owner's names for models.
        absent: provider → why none of its models is known, for those that were asked and did not tell.
    """

    def __init__(
        self,
        cards: Iterable[ModelCard],
        aliases: Mapping[str, str] | None = None,
        absent: Mapping[str, str] | None = None,
    ) -> None:
        self._cards = {card.id: card for card in cards}
        self.aliases = dict(aliases or {})
        self.autos = frozenset({"", "auto", *(name for name, target in self.aliases.items() if target == "auto")})
        """The names for which a model is to be chosen, whatever the settings say of bare names."""
        self.absent = dict(absent or {})
        self._by_name: dict[str, ModelCard] = {}
        """The one that answers to a provider's own name."""
        for card in self._cards.values():
            known = self._by_name.setdefault(card.name, card)
            if card.local and not known.local:
                self._by_name[card.name] = card
        self.windows = tuple(sorted({card.context_window for card in self._cards.values() if card.context_window}))
        """Every context window, in tokens, once, ascending: each request compares its bounds with them."""

    def __iter__(self) -> Iterator[ModelCard]:
        return iter(self._cards.values())

    def __len__(self) -> int:
        return len(self._cards)

    def __contains__(self, model_id: object) -> bool:
        return model_id in self._cards

    def __getitem__(self, model_id: str) -> ModelCard:
        return self._cards[model_id]

    def get(self, model_id: str) -> ModelCard | None:
        return self._cards.get(model_id)

    def free_of(self, providers: Collection[str], models: Collection[str]) -> Catalog:
        """These models of the catalog, of which those of these providers cost nothing: whoever brings the key pays.
        Without providers all of it."""
        if not providers:
            return self
        free = {"price_input": 0, "price_cached_input": 0, "price_output": 0}
        cards = [card for model in models if (card := self._cards.get(model)) is not None]
        return Catalog(msgspec.structs.replace(card, **free) if card.provider in providers else card for card in cards)

    def find(self, name: str) -> ModelCard | None:
        """The card for an id, an alias, or a provider's own name; None when there is none.

        Of several providers that serve a name, a local one comes first, then the order of the catalog.
        """
        name = self.aliases.get(name, name)
        card = self._cards.get(name)
        return card if card is not None else self._by_name.get(name)

    def resolve(self, name: str) -> ModelCard:
        """Like `find`.

        Raises:
            ModelNotFound: with the closest names, when no model answers to it.
        """
        card = self.find(name)
        if card is not None:
            return card
        close = self.close_matches(name)
        provider = name.partition(":")[0]
        if provider in self.absent:
            away = ModelNotFound(
                f"The model {name[:200]!r} is not known, for {provider} is away: {self.absent[provider]}"
                " `pointsman doctor` says more."
            )
            away.plain = f"The model {name[:200]!r} is not known, for {provider} is away."
            raise away
        hint = f" Did you mean {', '.join(close)}?" if close else " GET /v1/models lists what there is."
        if provider == name:  # tools ask for names of their own
            hint += " An entry in `routing.aliases` can give the name a meaning, such as `auto`."
        unset = provider != name and not close and all(card.provider != provider for card in self)
        why = f", for no provider {provider[:100]!r} is set up: its key or address is missing" if unset else ""
        error = ModelNotFound(f"The model {name[:200]!r} does not exist{why}.{hint}")
        error.alternatives = tuple(close)
        raise error

    def close_matches(self, name: str, count: int = 3) -> list[str]:
        names = ["auto", *self._cards, *self._by_name, *self.aliases]
        return difflib.get_close_matches(name[:200], names, n=count, cutoff=0.5)
