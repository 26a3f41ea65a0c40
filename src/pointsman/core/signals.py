"""What was understood of a request, before anything was decided."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import msgspec

from .request import Kind, Priority, PrivacyLevel


class Intent(StrEnum):
    """What the caller wants done: six kinds of coding work, five of general chat, and `general` when unsure."""

    COMPLETION = "completion"
    ERROR_ANALYSIS = "error_analysis"
    REFACTORING = "refactoring"
    EXPLANATION = "explanation"
    TESTS = "tests"
    REVIEW = "review"
    CREATIVE = "creative"
    MATH = "math"
    REASONING = "reasoning"
    SUMMARIZATION = "summarization"
    CONVERSATION = "conversation"
    GENERAL = "general"


IntentSource = Literal["rules", "classifier", "model"]
"""Whose word the intent is: the rules', the learned classifier's where it overruled them or they had none, or that of
the language model of `routing.intent_model`."""

Tier = Literal["high", "medium", "low"]
"""How much of the monthly budget is left: more than 60 %, 30 to 60 %, less than 30 % (the settings' default bounds)."""


class PrivacyClass(StrEnum):
    SECRET = "secret"  # noqa: S105 - the name of a class, not a password
    IDENTITY = "identity"
    CONTACT = "contact"
    INTERNAL = "internal"


class Complexity(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How demanding the prompt looks, each in [0, 1]; `score` is their weighted sum."""

    score: float
    length: float
    terms: float
    structure: float


class Privacy(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """What was found, under which level, and whether the request must stay on the machine."""

    level: PrivacyLevel = "standard"
    classes: tuple[PrivacyClass, ...] = ()
    detectors: tuple[str, ...] = ()
    """Names of the detectors that matched; never the text that they matched."""
    local_only: bool = False
    redacted: bool = False
    """Secrets and identity numbers were replaced in the copy for remote models; local ones get the original."""
    placeholders: int = 0
    """How many different values were replaced."""


class Needs(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """What a model must be able to do, and how many tokens the request takes."""

    kind: Kind = "chat"
    infill: bool = False
    """A completion with text behind the gap."""
    tools: bool = False
    vision: bool = False
    json_object: bool = False
    json_schema: bool = False
    logprobs: bool = False
    effort_named: bool = False
    """The request says itself how much the model shall think."""
    choices: int = 1
    dear_service: bool = False
    """Asks to be served sooner than others, at a price that no table here has."""
    cache_marks: int = 0
    """Messages and fields that speak of what the provider should keep in a cache: writing it may cost more than reading
    it."""
    prompt_tokens_low: int = 0
    prompt_tokens_high: int = 0
    prompt_tokens_most: int = 0
    """What no tokenizer exceeds: money is reserved by it."""
    prompt_tokens: int = 0
    """The estimate between the bounds that costs are reckoned with."""
    max_output: int | None = None
    """What the caller allows; None when it does not say."""
    output_most: int | None = None
    """The same, read by an upstream that heeds the larger of two bounds."""
    expected_output: int = 256


Stage = Literal["chat", "explore", "edit", "test", "stuck", "done"]
"""Where an agent's work stands: no agent at all; looking around; changing files; looking at what tests or builds say;
failing again and again; tests pass and what is left is to say so."""


class Conversation(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """What the shape of the conversation says."""

    turn: int = 1
    """User turns so far, this one included."""
    messages: int = 1
    tool_results: int = 0
    tool_errors: int = 0
    repeated_failures: int = 0
    """How many of the last tool results in a row were errors."""
    stage: Stage = "chat"
    severity: float = 0.0
    """The worst failure among the last tool results, in [0, 1]; older ones count less."""
    spinning: float = 0.0
    """Share of the last tool calls that repeat an earlier one with the same result, in [0, 1]."""
    tests_passed: bool | None = None
    """Whether the tests that a tool reported last went well; None when none were."""
    short_reply: bool = False
    """The last user turn is a short assent ("yes, do it"): intent and complexity are those of the turn before."""
    awaiting_tool_result: bool = False
    """The last message is a tool's result: the model is in the middle of its work."""


class Signals(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """Everything the decision may look at. Holds no text of the prompt."""

    intent: Intent = Intent.GENERAL
    intent_confidence: float = 0.0
    """How likely it is right, as the rules or the classifier say; a language model says nothing of it: 0."""
    intent_source: IntentSource = "rules"
    complexity: Complexity
    privacy: Privacy
    needs: Needs
    conversation: Conversation
    cloud_asked: bool = False
    """In development mode: the ask matches a pattern of those that may go to the cloud."""
    priority: Priority = "balanced"
    budget_tier: Tier = "high"
    """How much of the monthly budget was left; the decision adds it."""
    quality_floor: float | None = None
    """How far below the best model's success the choice may lie at most; the decision adds it. None: as weights say."""
    features: bytes = b""
    """The ask as a learned policy sees it, in the layout of `core.features`; empty where nobody is to choose."""
    prefixes: bytes = b""
    """Keyed hashes, 8 bytes each, of the conversation as it came, then of its beginnings, the longest first: equal
    beginnings have equal hashes, so that the turns of a conversation are known as such. Only of those that hold a user
    turn."""
    prompt_hash: str = ""
    """Keyed hash of the messages: equal prompts can be told, none can be read back."""
