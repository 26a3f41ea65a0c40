"""Text from models and servers, made safe for a terminal.

A model can be talked into writing escape sequences that clear the screen, retitle the window or fill the clipboard,
and bidirectional overrides that make code read differently from what it is. Neither reaches the terminal.
"""

from __future__ import annotations

import re

_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def safe(text: str) -> str:
    """The text without control characters other than line feed and tab, and without bidirectional overrides."""
    return _UNSAFE.sub("", text)


def escaped(json: str) -> str:
    """A JSON text in which the same characters stand as escapes, so that it still says what it said."""
    return _UNSAFE.sub(lambda found: f"\\u{ord(found.group()):04x}", json)


def safe_line(text: str) -> str:
    """The same on one line."""
    return " ".join(safe(text).split())
