"""How plans are carried out, from the settings."""

from __future__ import annotations

from pointsman.pipeline.execute import Escalation, ExecutionRules, Hedging, Retries
from pointsman.settings import Settings


def execution_rules(settings: Settings) -> ExecutionRules:
    execution = settings.execution
    escalation, hedging = execution.escalation, execution.hedging
    return ExecutionRules(
        retries=Retries(most=execution.retries, longest=execution.longest_wait),
        splice=execution.splice,
        escalation=Escalation(
            enabled=escalation.enabled,
            priorities=frozenset(escalation.priorities),
            share=escalation.share,
            threshold=escalation.threshold,
            hold_tokens=escalation.hold_tokens,
            hold_seconds=escalation.hold_seconds,
        ),
        hedging=Hedging(enabled=hedging.enabled, most_micro_usd=hedging.most_micro_usd, share=hedging.share),
    )
