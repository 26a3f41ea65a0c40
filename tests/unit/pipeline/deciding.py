"""Cards, signals and strategies that the tests of the decide stage share."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from pointsman.core.budget import AMPLE, Means
from pointsman.core.caller import Caller
from pointsman.core.catalog import Catalog, ModelCard
from pointsman.core.signals import Complexity, Conversation, Intent, Needs, Privacy, PrivacyClass, Signals
from pointsman.pipeline.decide.policy import RulePolicy
from pointsman.pipeline.decide.stage import Decide, DecideRules

EVERYTHING = frozenset({"chat", "tools", "vision", "json_object", "json_schema", "logprobs"})


def card(model: str, **fields: Any) -> ModelCard:
    provider, _, name = model.partition(":")
    if fields.get("local"):
        fields = {"price_input": 0, "price_output": 0, **fields}
    return ModelCard(id=model, provider=provider, name=name, **{"capabilities": EVERYTHING, **fields})


SMALL = card("embedded:small", local=True, quality=0.4, context_window=4_096, tokens_per_second=40.0)
HOME = card("ollama:home", local=True, quality=0.6, context_window=32_768, tokens_per_second=25.0)
CHEAP = card("openai:cheap", quality=0.75, context_window=128_000, price_input=150_000, price_output=600_000)
STRONG = card(
    "openai:strong",
    quality=0.92,
    context_window=200_000,
    price_input=2_000_000,
    price_output=10_000_000,
    first_token_seconds=4.0,
)
RIVAL = card(
    "anthropic:rival",
    quality=0.9,
    context_window=200_000,
    price_input=3_000_000,
    price_output=15_000_000,
    first_token_seconds=2.0,
)
CATALOG = Catalog([SMALL, HOME, CHEAP, STRONG, RIVAL], {"fast": "openai:cheap", "any": "auto", "gone": "openai:old"})


def signals(
    *,
    complexity: float = 0.3,
    privacy: Privacy | None = None,
    local_only: bool = False,
    priority: Any = "balanced",
    intent: Intent = Intent.GENERAL,
    prompt: int = 2_000,
    **needs: Any,
) -> Signals:
    if privacy is None:
        privacy = SECRET if local_only else Privacy()
    bounds = {"prompt_tokens_low": prompt, "prompt_tokens_high": prompt, "prompt_tokens": prompt}
    return Signals(
        intent=intent,
        complexity=Complexity(score=complexity, length=complexity, terms=complexity, structure=complexity),
        privacy=privacy,
        needs=Needs(**{**bounds, **needs}),
        conversation=Conversation(),
        priority=priority,
    )


SECRET = Privacy(classes=(PrivacyClass.SECRET,), detectors=("aws_access_key",), local_only=True)


def decide(
    model: str = "auto",
    what: Signals | None = None,
    *,
    catalog: Catalog = CATALOG,
    unhealthy: dict[str, str] | None = None,
    policy: RulePolicy | None = None,
    means: Means = AMPLE,
    caller: Caller | None = None,
    **rules: Any,
):
    stage = Decide(
        rules=DecideRules(**rules), policy=policy or RulePolicy(default_provider=rules.get("default_provider"))
    )
    return stage(
        model,
        what or signals(),
        catalog=catalog,
        unhealthy=unhealthy or {},
        key_id="key_1",
        now=1_700_000_000.0,
        stream=True,
        means=means,
        caller=caller,
    )


PROVIDERS = ("embedded", "ollama", "openai", "anthropic")


@st.composite
def cards(draw: st.DrawFn, *, plain: bool = False) -> ModelCard:
    """A card of any kind; `plain` ones can do everything, are routable and have a price."""
    provider = draw(st.sampled_from(PROVIDERS))
    local = draw(st.booleans())
    price = st.integers(0, 100_000_000) if plain else st.none() | st.integers(0, 100_000_000)
    return card(
        f"{provider}:m{draw(st.integers(0, 30))}",
        local=local,
        routable=plain or draw(st.booleans()),
        capabilities=EVERYTHING if plain else draw(st.frozensets(st.sampled_from(sorted(EVERYTHING)))) | {"chat"},
        context_window=None if plain else draw(st.none() | st.integers(256, 1_000_000)),
        price_input=0 if local else draw(price),
        price_output=0 if local else draw(price),
        tokens_per_second=draw(st.none() | st.floats(0.5, 500)),
        first_token_seconds=draw(st.none() | st.floats(0, 20)),
        quality=draw(st.floats(0, 1)),
        equivalents=tuple(f"m{number}" for number in draw(st.lists(st.integers(0, 30), max_size=4))),
    )


def catalogs(*, plain: bool = False) -> st.SearchStrategy[Catalog]:
    return st.lists(cards(plain=plain), min_size=1, max_size=12).map(Catalog)


@st.composite
def anything(draw: st.DrawFn) -> Signals:
    """The signals of any request."""
    low = draw(st.integers(0, 300_000))
    high = low + draw(st.integers(0, 50_000))
    flag = st.booleans()
    return signals(
        complexity=draw(st.floats(0, 1)),
        local_only=draw(flag),
        priority=draw(st.sampled_from(["balanced", "speed", "quality", "privacy", "cost"])),
        intent=draw(st.sampled_from(list(Intent))),
        prompt=low,
        prompt_tokens_high=high,
        prompt_tokens=(low + high) // 2,
        expected_output=draw(st.integers(1, 4_000)),
        max_output=draw(st.none() | st.integers(1, 8_000)),
        choices=draw(st.integers(1, 4)),
        tools=draw(flag),
        vision=draw(flag),
        json_object=draw(flag),
        json_schema=draw(flag),
        logprobs=draw(flag),
    )
