"""Parts for tests that users of Pointsman need too."""

from .answers import (
    Answer,
    Drip,
    HangUp,
    Page,
    Raw,
    Reset,
    SeenRequest,
    Stall,
    Status,
    Step,
    Stream,
    Tokens,
    ToolUse,
    Truncated,
)
from .ollama_answer import Pulling, Vectors
from .upstream import ScriptedUpstream

__all__ = [
    "Answer",
    "Drip",
    "HangUp",
    "Page",
    "Pulling",
    "Raw",
    "Reset",
    "ScriptedUpstream",
    "SeenRequest",
    "Stall",
    "Status",
    "Step",
    "Stream",
    "Tokens",
    "ToolUse",
    "Truncated",
    "Vectors",
]
