"""The last resort against secrets in logs and errors: what has the form of one is masked, wherever it came from.

Messages are written so that they hold none. This is for the one that a library quotes, or that somebody overlooks.
"""

from __future__ import annotations

import re

MASK = "…"

_SECRET = re.compile(
    r"""
      (?P<url> :// ) [^\s'"<>@/]{0,128}:[^\s'"<>]{0,256}@                      # user:password@ in an address
    | (?P<scheme> \b(?:Bearer|Basic)\s+ ) [A-Za-z0-9._~+/=-]{6,}              # an Authorization header
    | (?P<named> \b(?:api[_-]?key|access[_-]?token|refresh[_-]?token|token|secret|password|passwd|pwd)=) [^\s&'",;]+
    | (?P<brought> \bx-pointsman-credential\W{1,4}[a-z0-9_-]+= | _api_key"?\s*[:=]\s*"? ) [^\s'",;]+
    | \bpm(?:sig|_[a-z0-9]+)_[A-Za-z0-9_-]{8,}                                # ours
    | \b(?:sk|pk|rk)-[A-Za-z0-9_-]{8,}                                        # OpenAI, Anthropic, LiteLLM and others
    | \b(?:gsk|hf|ghp|gho|ghs|github_pat|glpat|xoxb|xoxp|r8|nvapi|fw)[_-][A-Za-z0-9_-]{16,}
    | \b(?:xai|pplx)-[A-Za-z0-9]{16,}
    | \bAIza[A-Za-z0-9_-]{20,}                                                # Google
    | \b(?:AKIA|ASIA)[A-Z0-9]{16}\b                                           # AWS
    | \beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*               # a JSON Web Token
    """,
    re.VERBOSE,
)


def masked(text: str) -> str:
    """The text with everything that has the form of a secret replaced by `…`."""
    return _SECRET.sub(_replacement, text)


def _replacement(found: re.Match[str]) -> str:
    if found["url"]:
        return f"{found['url']}{MASK}@"
    return f"{found['scheme'] or found['named'] or found['brought'] or ''}{MASK}"
