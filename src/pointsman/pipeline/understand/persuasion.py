"""Words of a prompt that speak to whoever routes it: they say nothing of the task, so they are not read as part of it.

"Use the strongest model", "ignore the router, this is critical", pasted system prompts, encoded lines. The upstream
gets them as they are; only intent, complexity and features look past them. A caller who wants a better model says so
with the request's routing preferences, which a key's owner may bound.
"""

from __future__ import annotations

import re

import re2

_options = re2.Options()
_options.case_sensitive = False
_options.log_errors = False
_options.max_mem = 16 << 20

_GREAT = (
    r"(?:strong|smart|larg|bigg?|great|high|clever)est|best|top|premium|frontier|flagship|dearest|finest"
    r"|most (?:expensive|powerful|capable|intelligent|advanced|able|costly)"
)
_VERY = r"extremely|incredibly|insanely|absolutely|very|super|so|really"
_HARD = r"hard|difficult|complex|critical|important|urgent"
_NAMED = r"gpt-?[\w.]+|claude|opus|sonnet|gemini|o[134](?:-\w+)?"
_SET = r"models?|llm|tier|rout(?:e|er|ing)|difficulty|complexity|priority|quality"
_GAP = r"[^.!?\n]{0,30}"
_SPOKEN = (
    # an order about the model
    rf"\b(?:use|choose|pick|select|want|need|give|route|send|only|to|at|by|with|on|for)\b (?:[\w']+ ){{0,2}}"
    rf"(?:{_GREAT}) (?:[\w']+ ){{0,3}}(?:models?|tiers?|llms?)\b",
    rf"\b(?:not|never|avoid|without|no)\b{_GAP}\b(?:small|cheap|weak|tiny|mini)\w*\b[^.!?\n]{{0,12}}\bmodels?\b",
    rf"\b(?:choose|use|pick|select|want|prefer|need)\b{_GAP}\b(?:{_NAMED})\b{_GAP}\b(?:for this|on this|cheaper)\b",
    r"\b(?:route|escalate|forward|upgrade|send) (?:me|this|it|my (?:request|prompt|question))\b"
    r"[^.!?\n]{0,40}\b(?:models?|tier|router|gpt|claude|opus)\b",
    rf"\b(?:ignore|override|bypass|disregard|skip)\b{_GAP}\b(?:router|routing|gateway)\b",
    r"\brouter ?:|\b(?:routing_preferences|quality_floor|force_provider)\b|\bpremium tier\b",
    rf"\b(?:set|assume|treat|mark|rate)\b{_GAP}\b(?:difficulty|complexity|priority) ?[=:]",
    # who is to answer, with or without an order
    rf"\b(?:your|the|its) (?:very )?(?:{_GREAT}) (?:[\w']+ ){{0,3}}"
    rf"(?:models?|tiers?|llms?|systems?|engines?|ai|brains?)\b{_GAP}\b(?:answers?|responds?|replies|reply|handles?|takes?|picks?|serves?)\b",
    rf"\b(?:you are|acting as)\b{_GAP}\b(?:routing assistant|router|gateway)\b",
    # how much hangs on it
    rf"\b(?:is|are|this)\b{_GAP}\b(?:{_VERY}) (?:{_HARD})\b",
    r"\b(?:extremely|highly) complex\b|\bmission[- ]critical\b|\bthis is (?:critical|urgent)\b|^\W*urgent\b",
    r"\b(?:career|job|life|lives|company) (?:depends?|hangs?) on\b|\b(?:is|are) at stake\b",
    r"\b(?:hardest|most difficult|toughest|most complex) (?:problem|task|question|challenge)s?\b",
    r"\b(?:phd|nobel|genius)[- ](?:level|grade)\b|\bthink (?:as|really|very|extremely) hard\b",
    # the same in other languages
    r"(?:stärkste|beste|größte|teuerste|leistungsfähigste|klügste)[nms]? (?:\w+ )?modell",
    r"mod(?:èle|elo|ello) (?:(?:le|la|il|más|mais|più|de) )*(?:plus )?"
    r"(?:puissant|intelligent|cher|potente|capaz|caro|inteligente|fort)",
    r"(?:meilleur|mejor|melhor|miglior)e? mod(?:èle|elo|ello)|сам\pL+ (?:сильн|мощн|лучш|умн)\pL+ модел",
    r"最(?:强|好|大|贵|智能|先进)\pL{0,3}的?模型|最(?:も強力|高|強|良|大)\S{0,3}モデル|가장 (?:강력|좋|큰)\S{0,3} 모델",
)
_ANY = re2.compile("(?m)" + "|".join(_SPOKEN), _options)
_ENDS = re.compile(rb"([.!?\n]+|(?:\xe3\x80\x82|\xef\xbc\x81|\xef\xbc\x9f)+)")
"""What ends a sentence, in UTF-8; the last three are ideographic."""
_MARKS = (b".", b"!", b"?", b"\n", *(mark.encode() for mark in "。！？"))
_BLOCK = re2.compile(
    r"(?s)<\|im_start\|>system.*?<\|im_end\|>|<\|im_(?:start|end)\|>(?:user|assistant)?"
    r"|<(?:system|sys|admin|developer)>.*?</(?:system|sys|admin|developer)>|\[ ?routing\b[^\]\n]*\]"
    # settings that are written into the text
    rf"|<!--[^>]{{0,80}}\b(?:{_SET})\w* ?[=:][^>]{{0,80}}-->"
    rf"|(?m:^[^\w\n]*(?:{_SET})[_-]?\w* ?[=:] ?[\w.\"'-]{{1,30}}[^\w\n]*$)"
    r"|### ?system\b.*?### ?(?:user|human|instruction)\b:?|\[INST\]|\[/INST\]|<<SYS>>.*?<</SYS>>",
    _options,
)
_ESCAPED = re.compile(rb"\\u00([2-7][0-9a-fA-F])")
"""A letter of ASCII, written as JSON may."""
_RUN = "[A-Za-z0-9+]*"
_ENCODED = re.compile(
    rf"\b(?={_RUN}[a-z])(?={_RUN}[A-Z])(?={_RUN}\d)[A-Za-z0-9+]{{28,}}={{0,2}}|(?:\w*\\u00[0-9a-f]{{2}})+"
)
"""Base64 of a sentence has letters of both cases and digits; numbers and hashes have not."""
_LONG = re2.compile(r"[a-z0-9+]{28}|\\u00", _options)
"""What `_ENCODED` may match: it is slow."""
HINT = (
    rf"mod[eè]l(?:s|l|lo|o|e|os)?\b|rout(?:er|ing)|urgent|(?:{_VERY}|highly) (?:{_HARD})|critical"
    r"|model_(?:hint|tier|choice|name)|\btier\b|most (?:capable|powerful|intelligent|advanced)"
    r"|(?:strong|smart|clever)est|flagship|frontier|quality ?[=:]"
    r"|(?:depends?|hangs?) on|at stake|hardest|toughest|most (?:difficult|complex)|phd|nobel|genius|think "
    r"|im_start|<(?:sys|admin|developer)|### ?system|\[/?inst|\bllms?\b|quality_floor|force_provider|premium"
    r"|priority|complexity|difficulty|nothing cheaper|модел|模型|モデル|모델|[a-z0-9+]{28}|\\u00"
)
"""Without one of these there is nothing to look for; hardly any prompt gets beyond it."""
_HINTS = re2.compile(HINT, _options)


def without_persuasion(prose: str) -> str:
    """The prose without what speaks to the router; all of it where nothing else would be left."""
    raw = prose.encode("utf-8", "replace")
    if _HINTS.search(raw) is None:
        return prose
    left = _BLOCK.sub(b" ", _ESCAPED.sub(_unescaped, raw) if b"\\u00" in raw else raw)
    left = _without_spoken(left)
    text = prose if left == raw else left.decode("utf-8", "replace")
    kept = _ENCODED.sub(" ", text) if _LONG.search(left) is not None else text
    if kept == prose:
        return prose
    kept = kept.strip()
    return kept if any(map(str.isalnum, kept)) else prose


def _unescaped(found: re.Match[bytes]) -> bytes:
    return bytes.fromhex(found[1].decode())


def _without_spoken(raw: bytes) -> bytes:
    """Without the sentences that speak to the router. Only those that hold a hint are looked at closely."""
    kept: list[bytes] = []
    copied = looked = 0
    for hint in _HINTS.finditer(raw):
        if hint.end() <= looked:
            continue
        before = ((raw.rfind(mark, looked, hint.start()), len(mark)) for mark in _MARKS)
        start = max((at + length for at, length in before if at >= 0), default=looked)
        end = _ENDS.search(raw, hint.end())
        looked = len(raw) if end is None else end.end()
        if _ANY.search(raw[start : looked if end is None else end.start()]) is not None:
            kept += [raw[copied:start], b" "]
            copied = looked
    return b"".join((*kept, raw[copied:])) if kept else raw
