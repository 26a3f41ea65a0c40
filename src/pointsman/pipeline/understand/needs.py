"""What a model must be able to do for a request, and how many tokens the request takes."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from pointsman.core import tokens
from pointsman.core.budget import UNMEASURED
from pointsman.core.request import NOTHING, ChatRequest
from pointsman.core.signals import Intent, Needs

from .facts import MessageFacts

if TYPE_CHECKING:
    from .beside import Beside

EXPECTED_OUTPUT = {
    Intent.COMPLETION: 450,
    Intent.ERROR_ANALYSIS: 500,
    Intent.REFACTORING: 600,
    Intent.EXPLANATION: 450,
    Intent.TESTS: 700,
    Intent.REVIEW: 550,
    Intent.CREATIVE: 600,
    Intent.MATH: 350,
    Intent.REASONING: 500,
    Intent.SUMMARIZATION: 200,
    Intent.CONVERSATION: 80,
    Intent.GENERAL: 350,
}
"""Tokens of one answer to a request of typical complexity: priors, until measured answers replace them."""
TYPICAL_COMPLEXITY = 0.3
LEAST_SHARE, MOST_SHARE = 0.3, 2.0
"""Bounds of what complexity makes of these: a fact in a sentence, a design over pages."""
TOOL_STEP_OUTPUT = 200
"""In the middle of an agent's work an answer is mostly one more tool call."""
MOST_COUNTED_BYTES = 1 << 20
"""Text counted exactly at once; beyond it counting would hold up other requests, and the bounds have to do."""


def needs_of_fields(request: ChatRequest) -> Needs:
    """What the request needs as far as the fields beside its messages say it."""
    params = request.params
    form = params.response_format.type if params.response_format is not None else "text"
    return Needs(
        kind=request.kind,
        dear_service=bytes(request.fields.get("service_tier", NOTHING)) not in _USUAL_SERVICE,
        infill=request.kind == "completion" and bytes(request.fields.get("suffix", NOTHING)) != b"null",
        tools=_wants_tools(request),
        json_object=form == "json_object",
        json_schema=form == "json_schema",
        logprobs=bool(params.logprobs) or bool(params.top_logprobs),
        effort_named=_names_effort(request),
        choices=params.n or 1,
        output_most=max(params.max_completion_tokens or 0, params.max_tokens or 0) or None,
        max_output=request.max_output,
    )


def find_needs(
    beside: Beside,
    messages: Sequence[MessageFacts],
    *,
    usual: bool,
    size: int,
    values: int,
    intent: Intent,
    complexity: float,
    windows: Sequence[int],
    count: Callable[[], int],
) -> Needs:
    """What the request needs.

    Args:
        beside: what the fields beside the messages say of it.
        usual: whether every message is (`MessageFacts.usual`).
        size: text bytes of the messages and of the fields beside them (tool definitions, schemas).
        values: JSON values in all of them.
        windows: context windows, in tokens, of the models that are known; ascending.
        count: counts the prompt's text exactly; called only when a window lies between the bounds.
    """
    asked, disguised, cache_marks = beside.needs, beside.disguised, beside.cache_marks
    kind, most, tools, images, unmeasured = asked.kind, asked.max_output, asked.tools, 0, 0
    for message in () if usual else messages:
        images += message.images
        unmeasured += message.unmeasured
        disguised += message.disguised
        cache_marks += message.caches
        if message.tool_calls or message.role in _TOOL_ROLES:
            tools = True
    output = 0
    if kind != "embeddings":
        output = expected_output(intent, complexity, in_the_middle=messages[-1].tool_result, most=most)
    low, high = tokens.bounds(size)
    typical = tokens.estimate(size)
    if images:
        low += images * tokens.IMAGE_LOW
        typical += images * tokens.IMAGE_TYPICAL
        high += images * tokens.IMAGE_HIGH
    between = bisect_right(windows, low) != bisect_right(windows, high + (most or output))
    if between and size <= MOST_COUNTED_BYTES:
        exact = count()
        low = int(exact * tokens.OTHER_TOKENIZERS_LOW) + images * tokens.IMAGE_LOW
        typical = exact + images * tokens.IMAGE_TYPICAL
        high = -int(-exact * tokens.OTHER_TOKENIZERS_HIGH // 1) + images * tokens.IMAGE_HIGH
    return msgspec.structs.replace(
        asked,
        tools=tools,
        vision=images > 0,
        # each prompt of a completion is answered `n` times
        choices=asked.choices * len(messages) if kind == "completion" else asked.choices,
        cache_marks=cache_marks,
        prompt_tokens_low=low,
        prompt_tokens=typical,
        prompt_tokens_high=high,
        prompt_tokens_most=UNMEASURED
        if unmeasured or beside.searches
        else _most_tokens(size + disguised, len(messages), values, images, tools=tools),
        expected_output=output,
    )


def expected_output(intent: Intent, complexity: float, *, in_the_middle: bool, most: int | None) -> int:
    """Tokens of an answer, in proportion to complexity from the least share upwards.

    Args:
        in_the_middle: of an agent's work: what came last is a tool's result.
        most: what the caller allows.
    """
    if in_the_middle:
        output = TOOL_STEP_OUTPUT
    else:
        share = LEAST_SHARE + (1 - LEAST_SHARE) * complexity / TYPICAL_COMPLEXITY
        output = int(EXPECTED_OUTPUT[intent] * min(MOST_SHARE, share))
    return output if most is None or output < most else most


_EFFORTS = frozenset({"reasoning_effort", "reasoning", "thinking", "output_config"})
"""Fields that say how much a model shall think, in the words of several makers."""


def _names_effort(request: ChatRequest) -> bool:
    named = _EFFORTS & request.fields.keys()
    return bool(named) and any(bytes(request.fields[name]) != b"null" for name in named)


_TOOL_ROLES = ("tool", "function")


def _wants_tools(request: ChatRequest) -> bool:
    if request.params.tool_choice == "none":
        return False
    functions = request.fields.get("functions")
    return bool(request.params.tools) or (functions is not None and bytes(functions) not in (b"[]", b"null"))


class _Tool(msgspec.Struct):
    type: Any = None


_tool_decoder = msgspec.json.Decoder(_Tool)


_USUAL_SERVICE = frozenset({b"null", b'"auto"', b'"default"', b'"standard"', b'"standard_only"', b'"flex"'})
"""Tiers of service that cost what the table says, or less."""


def searches(request: ChatRequest) -> bool:
    """Whether the provider may add to the prompt by itself: with what it finds in the web or in files."""
    for name in _SEARCHES & request.fields.keys():
        if bytes(request.fields[name]) != b"null":
            return True
    if not request.params.tools:
        return False
    try:
        return any(_tool_decoder.decode(tool).type not in _CALLERS_OWN for tool in request.params.tools)
    except msgspec.MsgspecError:
        return True


_SEARCHES = frozenset({"web_search_options", "plugins", "mcp_servers"})
_CALLERS_OWN = (None, "function", "custom")
"""Types of tools that the caller runs."""


def _most_tokens(size: int, messages: int, values: int, images: int, *, tools: bool) -> int:
    """What no prompt of this size exceeds: a token stands for one byte at least, in every tokenizer that falls back to
    bytes, and the provider puts its own words around."""
    return (
        size
        + tokens.REQUEST_MOST
        + messages * tokens.MESSAGE_MOST
        + values * tokens.VALUE_MOST
        + images * tokens.IMAGE_MOST
        + (tokens.TOOLS_MOST if tools else 0)
    )
