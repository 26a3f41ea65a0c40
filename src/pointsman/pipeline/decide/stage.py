"""The stage: a requested model and what was understood go in, a Decision comes out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial

import msgspec

from pointsman.core.budget import AMPLE, Means
from pointsman.core.caller import Caller
from pointsman.core.catalog import Catalog, ModelCard
from pointsman.core.decision import Candidate, Decision, Dropped, new_decision_id
from pointsman.core.signals import Signals

from . import explain
from .candidates import Pool
from .constraints import Demand
from .effort import with_efforts
from .embedding import embedding_model
from .explore import Allowance, Explorer
from .force import check_named, check_provider
from .hybrid import rank_local_first, why_local_first
from .known import Known, equivalents
from .names import Requested, within
from .pace import Paces
from .plan import unique
from .policy import Policy, rules_of
from .predict import Arm, predict
from .refuse import refuse_all, refuse_named
from .rules import DecideRules
from .staged import mixed, turn_of
from .switching import weigh_switch
from .threads import NOWHERE, Place, conversation_of
from .waiting import Waits, after_waiting, why_not_waiting

FORCED_POLICY = "forced@1"
"""Stands in a decision's `policy` where the caller chose: nothing can be learned of a policy from it."""


class Choice(msgspec.Struct, frozen=True):
    ranked: Sequence[Candidate]
    """The one that was picked first."""
    plan: tuple[str, ...]
    dropped: Sequence[Dropped]
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
        self._known = Known(Catalog(()), rules)

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
        rules = self.rules
        known = self._known
        if known.catalog is not catalog or known.rules is not rules:
            known = self._known = Known(catalog, rules)
        confined = caller if caller is not None and caller.scopes.models else None
        if force_provider is not None:
            check_provider(force_provider, catalog, confined, only=rules.force_provider)
        if confined is None:
            requested = known.requested(requested_model)
        else:
            requested = within(requested_model, catalog, confined, partial(known.requested, requested_model))
        if signals.needs.kind == "embeddings":
            requested = embedding_model(requested, rules.embedding_model, catalog)
        if quality_floor is None:
            quality_floor = rules.quality_floor
        if quality_floor is not None or means.tier != signals.budget_tier:
            signals = msgspec.structs.replace(signals, budget_tier=means.tier, quality_floor=quality_floor)
        conversation = conversation_of(signals, place.in_use)
        demand = Demand(
            needs=signals.needs,
            privacy=signals.privacy,
            unhealthy=unhealthy,
            force_provider=rules.force_provider or force_provider,
            credentials=credentials,
            named=requested.ids,
            caller=confined,
            means=means,
            development=rules.development and not signals.cloud_asked,
            now=now,
        )
        if requested.mode == "forced":
            if force_provider is not None:
                check_named(force_provider, requested.cards, requested_model)
            choice = self._forced(requested_model, requested, signals, demand, known)
        else:
            choice = self._auto(
                requested_model,
                requested,
                signals,
                demand,
                known,
                local_first=local_first,
                explore=explore,
                place=place,
                conversation=conversation,
                waits=self._waits(key_id, caller.scopes.tier if caller is not None else None) if self._waits else {},
            )
        picked = choice.ranked[0]
        return Decision(
            new_decision_id(now),
            now,
            picked.model,
            choice.plan,
            requested.mode,
            requested_model,
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
            conversation=conversation,
            key_id=key_id,
        )

    def _auto(
        self,
        name: str,
        requested: Requested,
        signals: Signals,
        demand: Demand,
        known: Known,
        *,
        local_first: bool,
        explore: bool,
        place: Place,
        conversation: str,
        waits: Mapping[str, float],
    ) -> Choice:
        catalog, rules = known.catalog, known.rules
        kept, out = known.part(demand)
        if not kept:
            raise refuse_all(catalog, demand)
        tiers = rules.tier_models.get(signals.budget_tier)
        if tiers:
            kept, out = _of_tier(kept, out, tiers, signals, catalog)
        arms = predict(kept, signals, self.paces)
        if rules.choose_effort:
            arms = with_efforts(arms, signals.needs)
        unhurried = arms = weigh_switch(arms, signals, place)
        if waits:
            arms = after_waiting(arms, waits)
        explorer = self.explorer if explore and not demand.named else None
        allowance = explorer.allowance(signals, demand.now) if explorer is not None else None
        turn = turn_of(self.policy, conversation)
        rank = rank_local_first if local_first else _rank_by
        ranked = rank(turn.policy, arms, signals, preferred=demand.named, allowance=allowance)
        tipped = None
        if waits:
            alone = rank(turn.policy, unhurried, signals, preferred=demand.named, allowance=allowance)
            tipped = why_not_waiting(ranked[0], alone[0], waits)
        greedy = picked = ranked[0]
        if explorer is not None and allowance is not None:
            picked = explorer.draw(ranked)
            if picked is not greedy:
                ranked = [picked, *(candidate for candidate in ranked if candidate is not picked)]
        explored = picked is not greedy
        if turn.other is not None:
            other = rank(turn.other, arms, signals, preferred=demand.named, allowance=allowance)
            ranked = mixed(ranked, other, turn.share)
        primary = catalog[picked.model]
        configured = known.chain(primary)
        if configured is None:
            plan = known.plan(ranked)
        else:
            able = [card.id for card in configured if not known.violations(card, demand).keys() - {"disabled"}]
            plan = tuple(unique([primary.id, *able], rules.max_attempts))
            out = [drop for drop in out if drop.model not in plan]
        reasons = explain.why_auto(
            ranked,
            out,
            signals,
            complexity_threshold=rules.complexity_threshold,
            requested=name,
            hinted=requested.cards,
            left_share=demand.means.left_share,
            greedy=greedy if explored else None,
        )
        if tipped is not None:
            reasons = (reasons[0], tipped, *reasons[1:])
        if local_first:
            reasons = (reasons[0], why_local_first(ranked[0], catalog), *reasons[1:])
        return Choice(ranked, plan, out, reasons, turn.policy.version, explored)

    def _forced(self, name: str, requested: Requested, signals: Signals, demand: Demand, known: Known) -> Choice:
        """The named model, its twins at other providers where a bare name has several, then a configured chain."""
        cards, plan, dropped, forgiven = known.named(requested, demand)
        if not cards:
            raise refuse_named(requested.cards[0], demand, known.catalog)
        ranked = rules_of(self.policy).rank(predict(cards, signals, self.paces), signals)
        if len(ranked) > 1:
            first = cards[0]
            by_id = {candidate.model: candidate for candidate in ranked}
            ranked = [
                msgspec.structs.replace(by_id[card.id], propensity=1.0 if card is first else 0.0) for card in cards
            ]
        reasons = explain.why_forced(ranked[0], dropped, signals, requested=name, forgiven=forgiven)
        return Choice(ranked, plan, dropped, reasons, FORCED_POLICY)

    def equivalents(self, card: ModelCard) -> Sequence[str]:
        """Names of models that stand in for one in an outage: as the settings say, else its card."""
        return equivalents(card, self.rules)


def _rank_by(
    policy: Policy,
    arms: Sequence[Arm],
    signals: Signals,
    *,
    preferred: frozenset[str],
    allowance: Allowance | None = None,
) -> list[Candidate]:
    """The arms as a policy ranks them; `rank_local_first` puts local ones first."""
    return policy.rank(arms, signals, preferred=preferred, allowance=allowance)


def _of_tier(
    kept: Sequence[ModelCard],
    dropped: Sequence[Dropped],
    tiers: Mapping[str, Sequence[str]],
    signals: Signals,
    catalog: Catalog,
) -> Pool:
    """Those that the settings name for the tier and the intent, when there are any, and with the dropped the others."""
    names = tiers.get(signals.intent.value, tiers.get("*", ()))
    ids = {card.id for name in names if (card := catalog.find(name)) is not None}
    chosen = [card for card in kept if card.id in ids]
    if not chosen:
        return Pool(kept, dropped)
    detail = f"is not among the models for tier {signals.budget_tier}"
    others = [Dropped(model=card.id, constraint="tier", detail=detail) for card in kept if card.id not in ids]
    return Pool(chosen, [*dropped, *others])
