"""A conversation in the terminal: what the person types, what the models answer, and the commands between."""

from __future__ import annotations

from decimal import Decimal

from rich.console import Console

from pointsman.core.errors import PointsmanError

from .answering import Spoken, speak
from .client import Facts, GatewayClient
from .conversation import Conversation, Turn
from .explain import parse_record
from .output import dollars, styled, usd


class ChatSession:
    """State of one `pointsman chat`."""

    def __init__(self, client: GatewayClient, console: Console, conversation: Conversation) -> None:
        self.client = client
        self.console = console
        self.conversation = conversation
        self.models: list[str] = []
        """Names that the gateway knows; completion shares this list."""
        self.last_question: str | None = None
        self.last_decision: str | None = None

    async def refresh_models(self) -> None:
        self.models[:] = [name for name in await self.client.model_names() if name != "auto"]

    async def ask(self, question: str) -> None:
        """Send a question and draw its answer. A part of an answer is kept, and marked as stopped.

        Raises:
            PointsmanError: the answer failed.
        """
        turns, spoken, whole = self.conversation.turns, Spoken(), False
        self.last_question = question
        turns.append(Turn(role="user", content=question))
        fields = {"model": self.conversation.model, "messages": self.conversation.messages()}
        try:
            await speak(self.client, self.console, fields, spoken)
            whole = True
        finally:
            self.last_decision = spoken.facts.decision or self.last_decision
            if whole or spoken.text:
                facts = spoken.facts
                turns.append(
                    Turn(
                        role="assistant",
                        content=spoken.text,
                        model=facts.model,
                        decision=facts.decision,
                        reason=facts.reason,
                        stopped=not whole,
                    )
                )
            else:
                turns.pop()  # two questions in a row would upset models; /retry still has this one
            if not whole:
                self.tell("stopped" if not spoken.text else "stopped; what had come is kept")
        await self._epilogue(spoken)

    async def _epilogue(self, spoken: Spoken) -> None:
        """The dim line below an answer."""
        facts, usage = spoken.facts, spoken.usage
        parts = [facts.model or "", _clause(facts)]
        if usage is not None:
            parts.append(f"{usage.prompt_tokens} + {usage.completion_tokens} tokens")
        parts += [await self._cost(spoken), f"{spoken.seconds:.1f} s"]
        if spoken.finish == "length":
            parts.append("cut at the limit of tokens")
        self.tell(" · ".join(filter(None, parts)))

    async def _cost(self, spoken: Spoken) -> str:
        """What the answer cost, from the decision's record; the estimate when there is none yet."""
        if spoken.facts.decision is not None:
            try:
                outcome = parse_record(await self.client.decision(spoken.facts.decision)).outcome
            except PointsmanError:
                outcome = None
            if outcome is not None and outcome.cost_micro_usd is not None:
                return usd(outcome.cost_micro_usd)
        estimate = spoken.facts.estimated_cost_usd
        if estimate is None:
            return ""
        return "free" if estimate == Decimal(0) else f"≈ {dollars(estimate)}"

    def tell(self, message: str) -> None:
        self.console.print(styled(message, "dim"))

    def complain(self, error: PointsmanError) -> None:
        self.console.print(styled(f"error: {error.message}", "red"))


def _clause(facts: Facts) -> str:
    """The gist of the reason: its first clause, without the model's name; /why has the rest."""
    return (facts.reason or "").removeprefix(f"{facts.model}: ").partition(",")[0].rstrip(".")
