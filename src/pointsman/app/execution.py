"""How plans are carried out, from the settings."""

from __future__ import annotations

from pointsman.core.errors import SettingsError
from pointsman.pipeline.execute import Escalation, ExecutionRules, Hedging, Retries
from pointsman.pipeline.execute.confidence import Model, parse_model
from pointsman.settings import Settings

MODEL = "execution.escalation.model"


def confidence_model(settings: Settings) -> Model | None:
    """What judges answers, where the settings name it. Raises SettingsError when it cannot be used."""
    path = settings.execution.escalation.model
    if path is None:
        return None
    try:
        return parse_model(path.expanduser().read_bytes())
    except OSError as error:
        raise SettingsError(MODEL, str(path), f"cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # msgspec's are such
        raise SettingsError(
            MODEL, str(path), f"is nothing that `pointsman eval confidence --fit` writes: {error}"
        ) from None


def execution_rules(settings: Settings, model: Model | None = None) -> ExecutionRules:
    """
    Args:
        model: what judges answers; None: what comes with the package.
    """
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
            model=model,
        ),
        hedging=Hedging(enabled=hedging.enabled, most_micro_usd=hedging.most_micro_usd, share=hedging.share),
    )
