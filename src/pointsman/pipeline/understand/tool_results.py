"""What tools answered: whether a text is a tool's answer, and whether it tells of a failure."""

from __future__ import annotations

import re2

from .tables import any_of

_LOOKED_AT = 4_000
"""Characters of the beginning, and of the end: exit codes and summaries stand there."""

_options = re2.Options()
_options.log_errors = False

_RESULT = re2.compile(
    r"(?i)\A\s*(?:\[[a-z_][\w-]*(?: for [^\n]*)?\] result:|<(?:function_results?|tool_results?|tool_response"
    r"|tool_output|command_output|execute_command_result)>|observation:|tool (?:output|result):"
    # aider has no tools: it tells of its own doings in the user's name
    r"|I ran this command:|I updated the files\.|I have \*added these files to the chat\*"
    r"|Here are summaries of some files present in my git repository)",
    _options,
)
_BEGINNINGS = frozenset("[<oOtTiIhH")
_FAILED = re2.compile(
    "(?m)"
    + "|".join(
        (
            r"Traceback \(most recent call last\)",
            r"(?i:exit(?:ed)?(?: with)?(?: (?:code|status))?[:= ]{1,3}(?:code |status )?-?[1-9]\d{0,4})\b",
            r"""(?i:["'](?:exit_?code|return_?code|status)["']: ?-?[1-9]\d{0,2})\b""",
            r"""(?i:["']?is_?error["']? ?[:=] ?true)""",
            r"""(?i:["'](?:success|ok)["']: ?false)""",
            r"""(?i:["']error["']: ?["{])""",
            r"(?i:<(?:tool_use_)?error>|<is_error>true)",
            r"(?i:^(?:[\w./-]{1,80}:(?:\d+:){0,2} ?)?(?:fatal )?(?:error|err!|fatal)\b ?[:\[(])",
            r"\b[A-Z]\w*(?:Error|Exception): ",
            r"^panic: |panicked at |Segmentation fault|core dumped",
            r"npm ERR!|BUILD FAILED|error TS\d+|error CS\d+|error\[E\d+\]|^FAILED |^FAIL\b|^--- FAIL:|^not ok \d",
            r"\b[1-9]\d* (?:failed|failing|failures?)\b|(?i:failures?: ?[1-9]|failed: ?[1-9])",
            r"\b[1-9]\d* errors?\b",
            r"(?i:command not found|no such file or directory|permission denied|is not recognized as an internal)",
            r"(?i:^(?:the )?(?:tool|command|operation|request|edit|patch|build|tests?)(?: execution)?"
            r" (?:failed|timed out|was denied))",
            r"(?i:connection refused|timed out after|string to replace not found|no match found for)",
        )
    ),
    _options,
)


_BROKEN, _MISSED = any_of("actions", "broken"), any_of("actions", "missed")
MISSED, FAILING, BROKEN = 0.3, 0.6, 1.0
"""How bad a failure is: the tool was used wrongly, which the next call mends; the work does not do yet, as when tests
fail or a build breaks; the ground gives way, as when a program crashes, hangs or may not be run. An order with even
steps: nothing is learned from the distances."""

_TESTS_PASSED, _TESTS_FAILED = any_of("actions", "tests_passed"), any_of("actions", "tests_failed")


def severity(text: str) -> float:
    """How bad the failure is that a tool's answer tells of, in [0, 1]; 0 when it tells of none."""
    sample = _sample(text)
    if _BROKEN.search(sample) is not None and _FAILED.search(sample) is not None:
        return BROKEN
    if _MISSED.search(sample) is not None:
        return MISSED
    return FAILING if _FAILED.search(sample) is not None else 0.0


def checks_in(text: str) -> bool | None:
    """Whether the tests, checks or builds that a tool's answer reports went well; None when it reports none."""
    sample = _sample(text)
    if _TESTS_FAILED.search(sample) is not None:
        return False
    return True if _TESTS_PASSED.search(sample) is not None else None


def _sample(text: str) -> bytes:
    if len(text) > 2 * _LOOKED_AT:
        text = f"{text[:_LOOKED_AT]}\n{text[-_LOOKED_AT:]}"
    return text.encode("utf-8", "replace")


def is_tool_result(text: str) -> bool:
    """Whether a user message is a tool's answer that an agent wrote into the conversation."""
    beginning = text[:200]
    if beginning.lstrip()[:1] not in _BEGINNINGS:
        return False
    return _RESULT.search(beginning.encode("utf-8", "replace")) is not None


def looks_failed(text: str) -> bool:
    """Whether a tool's answer tells of an error: an exit code, a stack trace, a summary of failed tests."""
    return _FAILED.search(_sample(text)) is not None
