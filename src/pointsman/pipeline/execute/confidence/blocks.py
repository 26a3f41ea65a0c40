"""The code blocks of an answer, and whether they parse.

Python, JSON, TOML and YAML are parsed with what is installed anyway. Of other languages only brackets and quotes are
counted: a parser for all of them (tree-sitter with a wheel of grammars) is 40 MB and more, and what breaks in an
answer that was cut or lost its thread is mostly the balance.
"""

from __future__ import annotations

import ast
import re
import tomllib
import warnings
from collections.abc import Callable, Iterable, Iterator

import msgspec

MOST = 48_000
"""Characters of a block that are parsed: some 20 ms of Python."""
MOST_BLOCKS = 12
MOST_IN_A_LINE = 2_000
"""A line longer than that is data, or made to exhaust a parser; JSON alone may be written so."""
MOST_BRACKETS = 500
"""Of a block of YAML: its parser takes time by the square of the brackets that are open."""

_FENCE = re.compile(r"^[ \t]{0,8}(`{3,}|~{3,})[ \t]*([^\s`]*)[^\n`]*$", re.MULTILINE)
_STUB = re.compile(
    r"(?im)^\s*(?:pass|\.\.\.)\s*(?:#.*)?$|\b(?:TODO|FIXME)\b|\byour (?:code|implementation|logic) (?:goes )?here\b"
    r"|\braise NotImplementedError\b|\bunimplemented!\(|\b(?:rest|remainder) of (?:the|your) (?:code|implementation)\b"
    r"|(?:#|//) ?\.\.\. ?(?:existing|rest|remaining|other)"
)
_REMARK = re.compile(r"(\"\"\"|''').*?(?:\1|\Z)|#[^\n]*", re.DOTALL)
_REMARK_C = re.compile(r"//[^\n]*|/\*.*?(?:\*/|\Z)", re.DOTALL)
_CALLABLE = re.compile(r"\b(?:def|class|function|fn|func)\b|=>")
_PROMPT = re.compile(r"^(?:>>>|In \[\d+\]:)", re.MULTILINE)


class Block(msgspec.Struct, frozen=True, gc=False):
    """A fenced block."""

    language: str
    code: str
    closed: bool
    begin: int
    """Where the code begins in the text."""


def blocks_of(text: str) -> Iterator[Block]:
    """Every block, the last one perhaps not closed."""
    at = 0
    while (opened := _FENCE.search(text, at)) is not None:
        begin = opened.end() + 1
        fence, language = opened.group(1), opened.group(2).lower().strip("{}.")
        at = begin
        while (end := _FENCE.search(text, at)) is not None and not (
            end.group(1).startswith(fence) and not end.group(2)
        ):
            at = end.end()
        if end is None:
            yield Block(language, text[begin:], closed=False, begin=begin)
            return
        yield Block(language, text[begin : end.start()], closed=True, begin=begin)
        at = end.end()


def parses(block: Block) -> bool | None:
    """Whether a block is sound; None where nothing can be said of its language, or it is too long."""
    if len(block.code) > MOST or not block.code.strip():
        return None
    if block.language != "json" and max(map(len, block.code.splitlines())) > MOST_IN_A_LINE:
        return None
    check = CHECKS.get(block.language)
    return check(block.code) if check is not None else None


def working_code(blocks: Iterable[Block]) -> list[tuple[int, int]]:
    """The spans of the text that hold code, but for comments and docstrings."""
    spans = []
    for block in blocks:
        at = block.begin
        for remark in (_REMARK_C if block.language in _LIKE_C else _REMARK).finditer(block.code):
            spans.append((at, block.begin + remark.start()))
            at = block.begin + remark.end()
        spans.append((at, block.begin + len(block.code)))
    return [(begin, end) for begin, end in spans if begin < end]


def is_stub(block: Block) -> bool:
    """Whether a block leaves its work to the reader."""
    return _CALLABLE.search(block.code) is not None and _STUB.search(block.code) is not None


def _python(code: str) -> bool | None:
    if _PROMPT.search(code):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an escape that is none is told with the line it stands in
            ast.parse(_dedented(code))
    except (RecursionError, MemoryError):
        return None
    except (SyntaxError, ValueError):
        return False
    return True


def _dedented(code: str) -> str:
    first = next((line for line in code.splitlines() if line.strip()), "")
    margin = first[: len(first) - len(first.lstrip())]
    if not margin:
        return code
    return "\n".join(line.removeprefix(margin) for line in code.splitlines())


def _json(code: str) -> bool | None:
    try:
        msgspec.json.decode(code)
    except RecursionError:
        return None
    except (msgspec.MsgspecError, UnicodeError):
        lines = [line for line in code.splitlines() if line.strip()]
        try:  # of JSON lines, each
            return len(lines) > 1 and all(isinstance(msgspec.json.decode(line), dict | list) for line in lines)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return False
    return True


def _toml(code: str) -> bool | None:
    try:
        tomllib.loads(code)
    except RecursionError:
        return None
    except ValueError:
        return False
    return True


def _yaml(code: str) -> bool | None:
    if "{{" in code or "{%" in code:
        return None  # a template of YAML
    if code.count("[") + code.count("{") > MOST_BRACKETS:
        return None
    import yaml

    loader = getattr(yaml, "CSafeLoader", None)
    if loader is None:
        return None  # the parser in Python takes a second for a hundred kilobytes
    try:
        for _ in yaml.parse(code, Loader=loader):  # events alone: aliases are not followed, nothing is made
            pass
    except (yaml.YAMLError, UnicodeError):
        return False
    return True


_SIGN = re.compile(r"\\.|//|/\*|\*/|[(){}\[\]\"'`\n]", re.DOTALL)
_PAIRS = {")": "(", "]": "[", "}": "{"}


def _balanced(code: str) -> bool | None:
    """Whether brackets pair up outside strings and comments, of languages that write these as C does; None: a quote
    has no partner in its line, as in regular expressions."""
    held: list[str] = []
    inside = ""
    for found in _SIGN.finditer(code):
        sign = found.group()
        if inside:
            if sign == inside:
                inside = ""
            elif sign == "\n" and inside in ("'", '"'):
                return None
        elif sign == "//":
            inside = "\n"
        elif sign == "/*":
            inside = "*/"
        elif sign in ("'", '"', "`"):
            inside = sign
        elif sign in _PAIRS:
            if not held or held.pop() != _PAIRS[sign]:
                return False
        elif sign in _PAIRS.values():
            held.append(sign)
    return not held and inside in ("", "\n")


_LIKE_C = (
    *("javascript", "js", "typescript", "ts", "java", "c", "cpp", "c++", "cs", "csharp", "go", "golang", "kotlin"),
    *("swift", "php", "scala", "dart"),
)
"""Not Rust, whose lifetimes look like quotes, nor JSX, whose texts hold apostrophes, nor shells, whose `case` has
brackets without a partner."""

CHECKS: dict[str, Callable[[str], bool | None]] = {
    **dict.fromkeys(("python", "py", "python3"), _python),
    "json": _json,
    "toml": _toml,
    **dict.fromkeys(("yaml", "yml"), _yaml),
    **dict.fromkeys(_LIKE_C, _balanced),
}
