"""Budgets, from the settings."""

from __future__ import annotations

import logging

import msgspec

from pointsman.core.errors import SettingsError
from pointsman.core.ports import Clock, DecisionLog
from pointsman.core.shared import SharedState
from pointsman.pipeline.admit.budget_report import Alert
from pointsman.pipeline.admit.budget_rules import BudgetRules, Caps
from pointsman.pipeline.admit.budgets import Budgets
from pointsman.settings import BudgetCap, Settings
from pointsman.stores.database import Database
from pointsman.stores.ledger import Ledger
from pointsman.stores.sole import SoleProcess
from pointsman.transport.http import Outbound
from pointsman.transport.webhook import Webhook

log = logging.getLogger(__name__)


def build_budgets(
    settings: Settings,
    *,
    database: Database,
    state: SharedState,
    decisions: DecisionLog,
    clock: Clock,
    outbound: Outbound,
) -> tuple[Budgets, Ledger]:
    """The accounts and their books, which are opened at the first need.

    Raises:
        SettingsError: the webhook is no address.
    """
    own = settings.budgets
    rules = BudgetRules(
        caps=_caps(BudgetCap(daily=own.daily, monthly=own.monthly)),
        per_key=_caps(own.per_key),
        models={model: _caps(caps) for model, caps in own.models.items()},
        hard=own.hard,
        alert_at=own.alert_at,
        open_when_away=own.when_state_is_away == "open",
        medium_below=own.medium_below,
        low_below=own.low_below,
        lease_seconds=settings.limits.request_timeout + own.lease_margin,
        shared=settings.state.url is not None,
        default_output=settings.routing.default_max_tokens,
    )
    if rules.configured and settings.database.url is not None and not rules.shared:
        log.warning(
            "Budgets are counted in this process alone: with several replicas each would spend the whole of them."
            " Set REDIS_URL."
        )
    notify = None
    if own.webhook is not None:
        try:
            webhook = Webhook(own.webhook, outbound)
        except ValueError as error:
            raise SettingsError("budgets.webhook", "…", str(error)) from None

        async def notify(alert: Alert) -> None:
            await webhook.post(msgspec.json.encode(alert))

    ledger = Ledger(database, settings.data_dir)
    sole = SoleProcess(settings.data_dir / "budgets.lock")
    budgets = Budgets(rules=rules, state=state, books=ledger, log=decisions, clock=clock, notify=notify, sole=sole)
    return budgets, ledger


def _caps(caps: BudgetCap) -> Caps:
    return Caps(daily=_micro_usd(caps.daily), monthly=_micro_usd(caps.monthly))


def _micro_usd(dollars: float | None) -> int | None:
    return None if dollars is None else round(dollars * 1_000_000)
