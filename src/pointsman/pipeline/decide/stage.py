"""The stage: a requested model and what was understood go in, a Decision comes out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, NamedTuple

import msgspec

from pointsman.core.budget import AMPLE, Means
from pointsman.core.caller import Caller
from pointsman.core.catalog import Catalog, ModelCard
from pointsman.core.decision import Candidate, Decision, Dropped, new_decision_id
from pointsman.core.signals import Signals

from . import explain
from .candidates import part
from .constraints import SOFT_WHEN_NAMED, Demand, active, violations
from .effort import with_efforts
from .embedding import embedding_model
from .explore import Allowance, Explorer
from .force import check_named, check_provider
from .hybrid import rank_local_first, why_local_first
from .names import Requested, interpret, within
from .pace import Paces
from .plan import chain, unique
from .policy import Policy, rules_of
from .predict import Arm, predict
from .refuse import refuse_all, refuse_named
from .staged import mixed, turn_of
from .switching import weigh_switch
from .threads import NOWHERE, Place, conversation_of
from .waiting import Waits, after_waiting, why_not_waiting

FORCED_POLICY = "forced@1"
"""Stands in a decision's `policy` where the caller chose: nothing can be learned of a policy from it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecideRules:
    """The settings of the stage. Aliases come with the catalog, the priority with the signals."""

    model_names: Literal["override", "hint"] = "override"
    force_provider: str | None = None
    default_provider: str | None = None
    fallbacks: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Model id or name → those that follow when it fails, in order."""
    equivalents: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Model id or name → those that stand in for it in an outage, in place of what its card says."""
    named_stand_ins: bool = False
    """Whether they do so for a model that the request names too."""
    max_attempts: int = 4
    tier_models: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)
    """Budget tier → intent or `*` → models to choose from, when one of them can do it."""
    complexity_threshold: float = 0.65
    """For the explanation; the policy has its own."""
    development: bool = False
    """Whether requests stay with local models unless their ask matches a pattern (`Signals.cloud_asked`)."""
    choose_effort: bool = False
    """Whether models that think are also tried at other efforts, where a request does not name one."""
    embedding_model: str = ""
    """Embeds the texts of callers that name no model; empty: they are refused."""
    quality_floor: float | None = None
    """How far below the best model's success a choice may lie, for requests that do not say; None: as weights say."""


_NOBODY: frozenset[str] = frozenset()


class Choice(NamedTuple):
    ranked: list[Candidate]
    """The one that was picked first."""
    plan: tuple[str, ...]
    dropped: list[Dropped]
    reasons: tuple[str, ...]
    policy: str
    """Who chose."""
    explored: bool = False
    """Whether chance picked another than the policy thinks best."""


class Decide:
    """Chooses a model. Pure but for the decision's random id and what the explorer draws; no input or output.

    Args:
        explorer: lets the policy try arms to learn of them; None: it does not.
        paces: what is measured of models' speed and length; None: the catalog's priors hold.
        waits: tells of the queues before engines; None: there are none.
    """

    def __init__(
        self,
        *,
        rules: DecideRules,
        policy: Policy,
        explorer: Explorer | None = None,
        paces: Paces | None = None,
        waits: Waits | None = None,
    ) -> None:
        self.rules = rules
        self.policy = policy
        self.explorer = explorer
        self.paces = paces
        self._waits = waits

    def __call__(
        self,
        requested_model: str,
        signals: Signals,
        *,
        catalog: Catalog,
        unhealthy: Mapping[str, str],
        key_id: str | None,
        now: float,
        stream: bool,
        caller: Caller | None = None,
        means: Means = AMPLE,
        force_provider: str | None = None,
        local_first: bool = False,
        credentials: Collection[str] = (),
        quality_floor: float | None = None,
        explore: bool = True,
        place: Place = NOWHERE,
    ) -> Decision:
        """Decide one request.

        Args:
            force_provider: the only provider that the caller wants asked, within what the settings allow.
            local_first: whether local models go before all others wherever they will do.
            credentials: providers for which the caller brought a key.
            quality_floor: how far below the best model's success the choice may lie; None: as the rules say.
            explore: whether an arm may be tried to learn of it.
            place: what is known of the conversation that it goes on with.
            unhealthy: model id or provider name → why it is thought to be down.
            caller: who asks; a key may be confined to some models.
            means: what may be spent; models that may cost more are out, and a low tier moves the choice.
            now: seconds since the epoch, UTC.

        Raises:
            ModelNotFound: nothing answers to the requested name.
            PrivacyWall: the request must stay on the machine, and the named model, or every model, is elsewhere.
            ContextTooLong: the prompt is longer than the named model's window, or than every window.
            InvalidRequest: the caller forces a provider that there is not, or that does not serve the named model.
            Forbidden: the named model, or the provider that the caller forces, is not the settings' forced provider.
            BudgetExceeded: what may be spent does not cover the named model, or any that could answer.
            NoCapableModel: nothing can do what the request needs, or the named model does not chat.
            UpstreamError: every model that could answer is down.
        """
        confined = caller if caller is not None and caller.scopes.models else None
        if force_provider is not None:
            check_provider(force_provider, catalog, confined, only=self.rules.force_provider)
        if confined is None:
            requested = self._interpret(requested_model, catalog)
        else:
            requested = within(requested_model, catalog, confined, partial(self._interpret, requested_model, catalog))
        if signals.needs.kind == "embeddings":
            requested = embedding_model(requested, self.rules.embedding_model, catalog)
        if quality_floor is None:
            quality_floor = self.rules.quality_floor
        if means.tier != signals.budget_tier or quality_floor is not None:
            signals = msgspec.structs.replace(signals, budget_tier=means.tier, quality_floor=quality_floor)
        demand = Demand(
            needs=signals.needs,
            privacy=signals.privacy,
            unhealthy=unhealthy,
            force_provider=self.rules.force_provider or force_provider,
            credentials=credentials,
            named=frozenset([card.id for card in requested.cards]) if requested.cards else _NOBODY,
            caller=confined,
            means=means,
            development=self.rules.development and not signals.cloud_asked,
            now=now,
        )
        if requested.mode == "forced":
            if force_provider is not None:
                check_named(force_provider, requested.cards, requested_model)
            choice = self._forced(requested_model, requested, signals, demand, catalog)
        else:
            choice = self._auto(
                requested_model,
                requested,
                signals,
                demand,
                catalog,
                local_first=local_first,
                explore=explore,
                place=place,
                waits=self._waits(key_id, caller.scopes.tier if caller is not None else None) if self._waits else {},
            )
        picked = choice.ranked[0]
        return Decision(
            id=new_decision_id(now),
            created_at=now,
            model=picked.model,
            plan=choice.plan,
            mode=requested.mode,
            requested_model=requested_model,
            candidates=tuple(choice.ranked),
            dropped=tuple(choice.dropped),
            propensity=picked.propensity,
            policy=choice.policy,
            reasons=choice.reasons,
            signals=signals,
            estimated_cost_micro_usd=picked.cost_micro_usd,
            stream=stream,
            effort=picked.effort,
            explored=choice.explored,
            conversation=conversation_of(signals, place.in_use),
            key_id=key_id,
        )

    def _interpret(self, requested_model: str, catalog: Catalog) -> Requested:
        return interpret(
            requested_model,
            catalog=catalog,
            model_names=self.rules.model_names,
            default_provider=self.rules.default_provider,
        )

    def _auto(
        self,
        name: str,
        requested: Requested,
        signals: Signals,
        demand: Demand,
        catalog: Catalog,
        *,
        local_first: bool,
        explore: bool,
        place: Place,
        waits: Mapping[str, float],
    ) -> Choice:
        kept, dropped = part(catalog, demand)
        if not kept:
            raise refuse_all(catalog, demand)
        tiers = self.rules.tier_models.get(signals.budget_tier)
        if tiers:
            kept = _of_tier(kept, dropped, tiers, signals, catalog)
        arms = predict(kept, signals, self.paces)
        if self.rules.choose_effort:
            arms = with_efforts(arms, signals.needs)
        unhurried = arms = weigh_switch(arms, signals, place)
        if waits:
            arms = after_waiting(arms, waits)
        explorer = self.explorer if explore and not demand.named else None
        allowance = explorer.allowance(signals, demand.now) if explorer is not None else None
        turn = turn_of(self.policy, conversation_of(signals, place.in_use))
        rank = partial(
            _rank_by, arms=arms, signals=signals, preferred=demand.named, allowance=allowance, local_first=local_first
        )
        ranked = rank(turn.policy)
        tipped = why_not_waiting(ranked[0], rank(turn.policy, arms=unhurried)[0], waits) if waits else None
        greedy = picked = ranked[0]
        if explorer is not None and allowance is not None:
            picked = explorer.draw(ranked)
            if picked is not greedy:
                ranked = [picked, *(candidate for candidate in ranked if candidate is not picked)]
        explored = picked is not greedy
        if turn.other is not None:
            ranked = mixed(ranked, rank(turn.other), turn.share)
        primary = picked.model
        configured = self._configured(primary, catalog)
        if configured is None:
            plan = chain(
                primary,
                ranked,
                catalog=catalog,
                max_attempts=self.rules.max_attempts,
                equivalents=self._equivalents(primary, catalog),
            )
        else:
            constraints = active(demand)
            able = [card.id for card in configured if not violations(card, demand, constraints).keys() - {"disabled"}]
            plan = tuple(unique([primary, *able], self.rules.max_attempts))
            dropped = [drop for drop in dropped if drop.model not in plan]
        reasons = explain.why_auto(
            ranked,
            dropped,
            signals,
            complexity_threshold=self.rules.complexity_threshold,
            requested=name,
            hinted=requested.cards,
            left_share=demand.means.left_share,
            greedy=greedy if explored else None,
        )
        if tipped is not None:
            reasons = (reasons[0], tipped, *reasons[1:])
        if local_first:
            reasons = (reasons[0], why_local_first(ranked[0], catalog), *reasons[1:])
        return Choice(ranked, plan, dropped, reasons, policy=turn.policy.version, explored=explored)

    def _forced(self, name: str, requested: Requested, signals: Signals, demand: Demand, catalog: Catalog) -> Choice:
        """The named model, its twins at other providers where a bare name has several, then a configured chain."""
        constraints = active(demand)
        found = [(card, violations(card, demand, constraints)) for card in requested.cards]
        usable = [(card, why) for card, why in found if not why.keys() - SOFT_WHEN_NAMED]
        if not usable:
            raise refuse_named(requested.cards[0], demand, catalog)
        if len(usable) > 1:
            usable.sort(key=lambda pair: len(pair[1].keys() - {"disabled"}))
        order = [card.id for card, _ in usable]
        dropped = (
            [] if len(usable) == len(found) else [_dropped(card, why) for card, why in found if card.id not in order]
        )
        followers = []
        configured = self._configured(order[0], catalog)
        if configured is None and self.rules.named_stand_ins:
            names = self._equivalents(order[0], catalog)
            configured = [card for name in names if (card := catalog.find(name)) is not None]
        stand_ins = () if signals.needs.kind == "embeddings" else configured or ()
        for card in stand_ins:
            why = violations(card, demand, constraints)
            if not why.keys() - {"disabled"}:
                followers.append(card.id)
            elif card.id not in order and "key" not in why:
                dropped.append(_dropped(card, why))
        plan = tuple(unique([*order, *followers], self.rules.max_attempts))
        arms = predict([card for card, _ in usable], signals, self.paces)
        ranked = rules_of(self.policy).rank(arms, signals)
        if len(ranked) > 1:
            by_id = {candidate.model: candidate for candidate in ranked}
            ranked = [
                msgspec.structs.replace(by_id[model], propensity=1.0 if model == order[0] else 0.0) for model in order
            ]
        reasons = explain.why_forced(ranked[0], dropped, signals, requested=name, forgiven=usable[0][1])
        return Choice(ranked, plan, dropped, reasons, policy=FORCED_POLICY)

    def _equivalents(self, primary: str, catalog: Catalog) -> Sequence[str]:
        """Names of models that stand in for this one in an outage, best first."""
        card = catalog.get(primary)
        return self.equivalents(card) if card is not None else ()

    def equivalents(self, card: ModelCard) -> Sequence[str]:
        """Names of models that stand in for one in an outage: as the settings say, else its card."""
        names = self.rules.equivalents.get(card.id)
        return self.rules.equivalents.get(card.name, card.equivalents) if names is None else names

    def _configured(self, primary: str, catalog: Catalog) -> list[ModelCard] | None:
        """The known models of the chain that the operator set for this one; None without a chain."""
        card = catalog.get(primary)
        names = self.rules.fallbacks.get(primary)
        if names is None and card is not None:
            names = self.rules.fallbacks.get(card.name)
        if names is None:
            return None
        return [card for name in names if (card := catalog.find(name)) is not None]


def _rank_by(
    policy: Policy,
    *,
    arms: Sequence[Arm],
    signals: Signals,
    preferred: frozenset[str],
    allowance: Allowance | None,
    local_first: bool,
) -> list[Candidate]:
    """The arms as a policy ranks them, local ones first where the caller wants that."""
    if local_first:
        return rank_local_first(policy, arms, signals, preferred=preferred, allowance=allowance)
    return policy.rank(arms, signals, preferred=preferred, allowance=allowance)


def _of_tier(
    kept: list[ModelCard],
    dropped: list[Dropped],
    tiers: Mapping[str, Sequence[str]],
    signals: Signals,
    catalog: Catalog,
) -> list[ModelCard]:
    """Those that the settings name for the tier and the intent, when there are any; `dropped` gets the others."""
    names = tiers.get(signals.intent.value, tiers.get("*", ()))
    ids = {card.id for name in names if (card := catalog.find(name)) is not None}
    chosen = [card for card in kept if card.id in ids]
    if not chosen:
        return kept
    detail = f"is not among the models for tier {signals.budget_tier}"
    dropped += [Dropped(model=card.id, constraint="tier", detail=detail) for card in kept if card.id not in ids]
    return chosen


def _dropped(card: ModelCard, why: Mapping[str, str]) -> Dropped:
    constraint, detail = next((pair for pair in why.items() if pair[0] not in SOFT_WHEN_NAMED), next(iter(why.items())))
    return Dropped(model=card.id, constraint=constraint, detail=detail)
