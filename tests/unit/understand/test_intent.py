"""What callers want done, from how they say it."""

from __future__ import annotations

import pytest

from pointsman.core.signals import Intent

from .understanding import assistant, tool, understand, user

TRACE = """Traceback (most recent call last):
  File "app.py", line 3, in <module>
    main()
KeyError: 'name'"""
CODE = "```python\ndef add(a, b):\n    return a - b\n```"
DIFF = "diff --git a/x.py b/x.py\nindex 83db48f..bf269f4 100644\n--- a/x.py\n+++ b/x.py\n@@ -1,2 +1,2 @@\n-a\n+b"


@pytest.mark.parametrize(
    ("text", "intent"),
    [
        ("write a function that merges two sorted lists", Intent.COMPLETION),
        ("Implement a rate limiter in Go", Intent.COMPLETION),
        ("How do I read a CSV file with pandas?", Intent.COMPLETION),
        ("<|fim_prefix|>def add(a, b):\n    <|fim_suffix|>\n<|fim_middle|>", Intent.COMPLETION),
        ("<PRE> int main() { <SUF> } <MID>", Intent.COMPLETION),
        ("schreibe eine Funktion, die eine Liste umdreht", Intent.COMPLETION),
        ("写一个快速排序函数", Intent.COMPLETION),
        (TRACE, Intent.ERROR_ANALYSIS),
        (f"I get this when I start the app:\n{TRACE}", Intent.ERROR_ANALYSIS),
        ("panic: runtime error: index out of range [3]\n\ngoroutine 1 [running]:", Intent.ERROR_ANALYSIS),
        ('Exception in thread "main" java.lang.NullPointerException\n\tat a.B.c(B.java:7)', Intent.ERROR_ANALYSIS),
        ("error[E0382]: borrow of moved value: `x`", Intent.ERROR_ANALYSIS),
        ("Uncaught TypeError: x.map is not a function\n    at App (App.js:12:9)", Intent.ERROR_ANALYSIS),
        ("FAILED tests/test_a.py::test_b - AssertionError: assert 1 == 2\n1 failed, 3 passed", Intent.ERROR_ANALYSIS),
        ("Why does my loop never end? It should stop at 10 but it doesn't work", Intent.ERROR_ANALYSIS),
        (f"fix the bug in this function\n{CODE}", Intent.ERROR_ANALYSIS),
        (f"refactor this to be more readable\n{CODE}", Intent.REFACTORING),
        ("optimize this query, it is too slow", Intent.REFACTORING),
        ("rename getUser to fetchUser everywhere", Intent.REFACTORING),
        ("convert this class to TypeScript", Intent.REFACTORING),
        (f"explain what this code does\n{CODE}", Intent.EXPLANATION),
        ("What is the difference between a mutex and a semaphore?", Intent.EXPLANATION),
        ("why is the sky blue?", Intent.EXPLANATION),
        (f"write unit tests for this function\n{CODE}", Intent.TESTS),
        ("add test cases that cover the empty list", Intent.TESTS),
        ("increase the test coverage of utils.py", Intent.TESTS),
        (f"review this change\n```diff\n{DIFF}\n```", Intent.REVIEW),
        (f"are there any bugs in this code?\n{CODE}", Intent.REVIEW),
        ("give me feedback on my pull request", Intent.REVIEW),
        ("write a short poem about the sea", Intent.CREATIVE),
        ("tell me a bedtime story about a dragon", Intent.CREATIVE),
        ("Schreibe mir ein Gedicht über den Herbst", Intent.CREATIVE),
        ("solve for x: 3x + 7 = 22", Intent.MATH),
        ("Compute $\\int_0^1 x^2 dx$", Intent.MATH),
        ("A baker sells 12 rolls a day for $2. How many dollars does she earn in 3 weeks?", Intent.MATH),
        ("A logic puzzle: exactly one of the three knights is lying. Who is it? Think step by step.", Intent.REASONING),
        ("weigh the options step by step, and choose the best one", Intent.REASONING),
        ("summarize this article in three bullet points: ...", Intent.SUMMARIZATION),
        ("tl;dr please: the meeting went on for hours", Intent.SUMMARIZATION),
        ("hello!", Intent.CONVERSATION),
        ("hi there, how are you?", Intent.CONVERSATION),
        ("xyzzy", Intent.GENERAL),
        ("", Intent.GENERAL),
    ],
)
def test_intent(text: str, intent: Intent):
    signals = understand(text)
    assert signals.intent is intent
    assert 0 <= signals.intent_confidence <= 1
    if intent is Intent.GENERAL:
        assert signals.intent_confidence <= 0.2


@pytest.mark.parametrize(
    "reply",
    ["yes, do it", "go ahead", "continue", "fix it", "ok", "Yes please!", "👍", "ja, mach weiter", "bitte weiter",
     "oui, vas-y", "d'accord", "sí, adelante", "vale", "sim", "continua", "继续", "да, продолжай", "1", "option B"],
)  # fmt: skip
def test_a_short_assent_inherits_the_turn_before(reply: str):
    ask = "write unit tests for the parser, and cover lock-free paths"
    first = understand(ask)
    then = understand(ask, assistant("Shall I?"), reply)
    assert then.conversation.short_reply
    assert (then.intent, then.intent_confidence, then.complexity) == (
        first.intent,
        first.intent_confidence,
        first.complexity,
    )


@pytest.mark.parametrize(
    "reply", ["no", "yes, but write it in Rust", "ok, now explain it", "continue with the docs for it"]
)
def test_a_reply_that_says_something_is_no_assent(reply: str):
    assert not understand("write unit tests for it", assistant("Shall I?"), reply).conversation.short_reply


def test_assents_in_a_row_lead_back_to_the_ask():
    signals = understand(
        "write a poem", assistant("sure?"), "yes", assistant("really?"), "ok", assistant("so?"), "go ahead"
    )
    assert signals.intent is Intent.CREATIVE


def test_an_assent_with_nothing_before_it_stands_for_itself():
    assert not understand("ok").conversation.short_reply


def test_the_ask_is_found_inside_what_agents_wrap_around_it():
    wrapped = (
        f"<environment_details>\n# Open tabs\nerror.log\n{TRACE}\n</environment_details>\n"
        "<user_query>\nwrite a haiku about rain\n</user_query>"
    )
    assert understand(wrapped).intent is Intent.CREATIVE
    reminded = f"summarize our discussion\n<system-reminder>{TRACE} fix the bug</system-reminder>"
    assert understand(reminded).intent is Intent.SUMMARIZATION


@pytest.mark.parametrize("place", ["{ask}\n\n{paste}", "{paste}\n\n{ask}"])
def test_the_ask_is_found_at_either_end_of_a_huge_paste(place: str):
    paste = "```\n" + "value = compute(value)\n" * 20_000 + "```"
    assert (
        understand(place.format(ask="Please review this code for security holes.", paste=paste)).intent is Intent.REVIEW
    )


def test_the_intent_of_an_agent_at_work_is_that_of_its_task():
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "function": {"name": "run"}}]}
    signals = understand("refactor the parser to be simpler", call, tool(TRACE))
    assert signals.intent is Intent.REFACTORING


def test_text_in_parts_is_read_as_one():
    parts = [{"type": "text", "text": "please summarize"}, {"type": "text", "text": "this article: ..."}]
    assert understand(user(parts)).intent is Intent.SUMMARIZATION
