"""The settings of one upstream and of its models."""

from __future__ import annotations

from typing import Literal

import msgspec

from .section import Secret, Section


class Price(Section):
    """US dollars per million tokens."""

    input: float
    output: float
    cached_input: float | None = None


class ModelSettings(Section):
    """One model of a provider, and what the catalog does not know of it or knows otherwise."""

    name: str
    """What callers call it, behind the provider's name and a colon."""
    deployment: str | None = None
    """What the provider calls it, where that differs (Azure's deployment)."""
    capabilities: list[str] | None = None
    """Of chat, tools, vision, json_object, json_schema, logprobs, completion, embeddings: all that it has."""
    context_window: int | None = None
    """Tokens of prompt and answer together."""
    max_output: int | None = None
    price: Price | None = None
    quality: float | None = None
    """Share of requests, in [0, 1], that it answers well: with it `auto` may choose a model that is in no table."""


class ProviderTimeouts(Section):
    """Seconds for calls to one provider, in place of those of `limits`."""

    connect: float | None = None
    first_byte: float | None = None
    between_bytes: float | None = None
    total: float | None = None
    """For one attempt; limits.request_timeout bounds it all the same."""


class InstanceSettings(Section):
    """One of several servers of a provider."""

    url: str
    slots: int | None = None
    """How many answers it gives at once. It takes so much larger a share of the requests. None: as the provider's
    `slots` says, else a share like one."""


class ProviderSettings(Section):
    """One upstream. Built-in ones (openai, anthropic, gemini, litellm, ollama) need only a key or a URL."""

    type: Literal["openai", "ollama", "anthropic", "openai-compatible", "ollama-compatible"] | None = None
    """The API it speaks; None: as the built-in provider of that name does, else openai."""
    base_url: str | None = None
    instances: list[str | InstanceSettings] = msgspec.field(default_factory=list)
    """Addresses of several servers of the same kind, Ollamas or servers that speak OpenAI's chat such as vLLM; each
    request goes to one of them. In place of an address may stand a mapping: `{url: http://10.1.2.3:11434, slots: 4}`.
    `base_url`, where it is set, is one more."""
    api_key: Secret | None = None
    api_key_env: str | None = None
    """The name of an environment variable that holds the key, in place of `api_key`."""
    caller_keys: bool | None = None
    """Whether callers may bring a key of their own for it; None: as security.caller_credentials says."""
    organization: str | None = None
    enabled: bool = True
    local: bool = False
    """Declare that this provider's models run on this machine. Prompts with private content may go there."""
    models: list[str | ModelSettings] = msgspec.field(default_factory=list)
    """Names to put in the catalog without asking the upstream; empty asks it. In place of a name may stand a mapping:
    `{name: x, deployment: y, capabilities: [chat, tools], context_window: 32768, max_output: 4096, price: {input: 0.5,
    output: 2}, quality: 0.7}`."""
    deployments: dict[str, str] = msgspec.field(default_factory=dict)
    """Model name → what the provider calls it in a request, where that differs (Azure's deployments)."""
    default_model: str | None = None
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    keep_alive: str | int | float | None = None
    """Of an Ollama: how long a model stays in memory after a request that does not say, as in `30m`; seconds as a
    number, -1 for ever. None: as the server has it."""
    responses: bool | None = None
    """Whether it speaks OpenAI's Responses (`POST …/responses`): requests that come in them then go out in them. None:
    OpenAI does, at its own address."""
    simulate_tools: bool | None = None
    """Offer tool calls by prompt for chat models that know none. None: for an Ollama's models that say so."""
    prices: dict[str, Price] = msgspec.field(default_factory=dict)
    """Model name → its price, where the catalog has none or a wrong one."""
    requests_per_minute: int | None = None
    """What the provider allows this installation, over all keys."""
    tokens_per_minute: int | None = None
    unsupported: list[str] = msgspec.field(default_factory=list)
    """Parameters of a request that it does not take (`logit_bias`, `seed`), beside those that are known of it. A
    request that asks something by one goes to the next model, or gets a 400 that names it."""
    drop_unsupported: bool = False
    """Leave such parameters out instead, with a line in the log."""
    slots: int | None = None
    """How many answers each of its servers gives at once (OLLAMA_NUM_PARALLEL, vLLM's max-num-seqs): more wait in the
    gateway, and keys take turns. None: everything is sent at once."""
    queue: int = 64
    """Requests that may wait for a slot before callers get a 503."""
    queue_seconds: float | None = None
    """For how long one may wait; None: limits.first_byte_timeout. Who would wait longer is refused at once."""
    batch_window: float = 0.0
    """Seconds for which an idle server waits for more requests after the first, so that they start together."""
    timeouts: ProviderTimeouts = msgspec.field(default_factory=ProviderTimeouts)

    @property
    def model_names(self) -> list[str]:
        """Of `models`, whichever way they are written."""
        return [model if isinstance(model, str) else model.name for model in self.models]

    @property
    def described(self) -> dict[str, ModelSettings]:
        """Those of `models` that are written as mappings, by name."""
        return {model.name: model for model in self.models if isinstance(model, ModelSettings)}

    @property
    def deployment_of(self) -> dict[str, str]:
        """Model name → what the provider calls it, from wherever that is said."""
        own = {name: model.deployment for name, model in self.described.items() if model.deployment is not None}
        return {**self.deployments, **own}

    @property
    def addresses(self) -> dict[str, int]:
        """Address of each of several servers → its slots, `base_url` first; empty where there are not several."""
        return {url: slots or 1 for url, slots in self._slots_of.items()}

    @property
    def all_slots(self) -> int | None:
        """The slots of all its servers together; None where they are not known of each."""
        known = list(self._slots_of.values()) if self.instances else [self.slots]
        return None if None in known else sum(slots or 0 for slots in known)

    @property
    def of_unknown_slots(self) -> tuple[str, ...]:
        """Addresses of those of several servers whose slots nobody has said."""
        return tuple(url for url, slots in self._slots_of.items() if slots is None)

    @property
    def _slots_of(self) -> dict[str, int | None]:
        """Address of each of several servers → its slots, as far as they are known."""
        if not self.instances:
            return {}
        own = {self.base_url: self.slots} if self.base_url is not None else {}
        return own | {one.url: one.slots or self.slots for one in map(_instance, self.instances)}

    @property
    def speaks(self) -> str | None:
        """`type`, in the word of the provider tables."""
        return self.type.removesuffix("-compatible") if self.type is not None else None


def _instance(given: str | InstanceSettings) -> InstanceSettings:
    return InstanceSettings(url=given) if isinstance(given, str) else given
