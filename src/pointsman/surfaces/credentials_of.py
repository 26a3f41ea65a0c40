"""The keys that a caller brings for models' providers.

Three ways, where the settings allow them: `auth_override` in the body, the header `x-pointsman-credential`, and the key
that a provider's own client sends to an open port. They are taken out of the request before anything reads it, go to
the provider that they are for, and are kept nowhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from operator import itemgetter
from types import MappingProxyType

import msgspec

from pointsman.core.caller import Caller
from pointsman.core.credential import Credential, TakesKeys
from pointsman.core.errors import Forbidden, InvalidRequest
from pointsman.core.request import ChatRequest
from pointsman.transport.http import Headers

FIELD = "auth_override"
HEADER = b"x-pointsman-credential"
NONE: Mapping[str, Credential] = MappingProxyType({})

SHORTEST, LONGEST = 8, 8192
"""Characters of a key."""
MOST = 16
"""Providers for which one request may bring keys."""

PASSED: tuple[tuple[str, str, re.Pattern[bytes]], ...] = (
    ("/v1/messages", "anthropic", re.compile(rb"sk-ant-[!-~]{8,}")),
    ("/v1/", "openai", re.compile(rb"sk-(?!ant-)[!-~]{16,}")),
)
"""Beginning of a path, the provider whose clients ask there, and the form of its keys; the first path that fits counts.
Clients must send some key, and placeholders have other forms."""

_BETWEEN = re.compile(r"\s*,\s*(?=[a-z0-9][a-z0-9_-]*=)")
_overrides = msgspec.json.Decoder(dict[str, str | None] | None)


def credentials_of(
    request: ChatRequest, path: str, headers: Headers, caller: Caller, rules: TakesKeys
) -> Mapping[str, Credential]:
    """The caller's keys by provider; `auth_override` is taken out of the request.

    Raises:
        InvalidRequest: they are not of the form that is wanted; never quotes them.
        Forbidden: the settings do not allow them.
    """
    raw = request.fields.pop(FIELD, None)
    sent = HEADER in map(_name_of, headers)
    if raw is None and not sent and not rules.passes:
        return NONE
    found = _from_headers(headers) if sent else {}
    if raw is not None:
        for provider, credential in _from_body(bytes(raw)).items():
            if found.setdefault(provider, credential).api_key != credential.api_key:
                raise _invalid("two keys for one provider were sent, in the body and in a header")
    for provider in found:
        _allow(provider, rules)
    if rules.passes:
        _pass_on(found, path, headers, caller, rules)
    return found or NONE


def _from_body(raw: bytes) -> dict[str, Credential]:
    try:
        fields = _overrides.decode(raw) or {}
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        raise _invalid('an object of strings is expected, such as {"openai_api_key": "…"}') from None
    keys: dict[str, str] = {}
    organizations: dict[str, str] = {}
    for name, value in fields.items():
        provider, end = next(((name.removesuffix(end), end) for end in _ENDS if name.endswith(end)), ("", ""))
        if not provider:
            raise _invalid("its fields are named PROVIDER_api_key and PROVIDER_org_id")
        if value is not None:
            (keys if end == "_api_key" else organizations)[provider] = value
    if organizations.keys() - keys.keys():
        raise _invalid("an organization was sent without the key of its provider")
    return {name: _credential(key, organizations.get(name)) for name, key in keys.items()}


_ENDS = ("_api_key", "_org_id")


_name_of = itemgetter(0)


def _from_headers(headers: Headers) -> dict[str, Credential]:
    found: dict[str, Credential] = {}
    for name, value in headers:
        if name != HEADER:
            continue
        for pair in _BETWEEN.split(value.decode("latin-1").strip()):
            provider, equals, key = pair.partition("=")
            if not equals or not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", provider):
                raise _invalid("`PROVIDER=KEY` is expected", HEADER.decode())
            if found.setdefault(provider, credential := _credential(key, None)).api_key != credential.api_key:
                raise _invalid("two keys for one provider were sent", HEADER.decode())
    return found


def _credential(key: str, organization: str | None) -> Credential:
    if not (SHORTEST <= len(key) <= LONGEST and key.isascii() and key.isprintable() and key == key.strip()):
        raise _invalid(f"a key is one line of {SHORTEST} to {LONGEST} printable ASCII characters")
    if organization is not None and not re.fullmatch(r"[!-~]{1,200}", organization):
        raise _invalid("an organization is one line of at most 200 printable ASCII characters")
    return Credential(api_key=key, organization=organization)


def _allow(provider: str, rules: TakesKeys) -> None:
    if rules.knows(provider):
        if rules.takes(provider):
            return
        wanted = f"`security.caller_credentials: override`, or `providers.{provider}.caller_keys: true`"
    elif rules.takes(""):
        # What was sent as a name may be a key in the wrong place.
        raise _invalid("it names a provider that is not set up, or that takes no key")
    else:
        wanted = "`security.caller_credentials: override`, or `caller_keys: true` of one provider"
    raise Forbidden(
        f"Callers' own keys are not taken here. Whoever runs the gateway can allow them with {wanted}.",
        code="caller_credentials_not_allowed",
        param=FIELD,
    )


def _pass_on(found: dict[str, Credential], path: str, headers: Headers, caller: Caller, rules: TakesKeys) -> None:
    """Take the key that a client sends to an open port, where it has the form of its provider's keys.

    Where a key of ours is asked for, whatever was sent is one of ours; and those are never passed on.
    """
    if caller.key_id is not None or caller.user_id is not None:
        return
    fitting = next((row for row in PASSED if path.startswith(row[0])), None)
    if fitting is None:
        return
    _, provider, form = fitting
    sent = [value for name, value in headers if name in (b"authorization", b"x-api-key")]
    keys = {value.partition(b" ")[2].strip() if value[:7].lower() == b"bearer " else value.strip() for value in sent}
    if len(keys) != 1 or provider in found or not rules.knows(provider) or not rules.takes(provider):
        return
    key = keys.pop()
    if len(key) <= LONGEST and form.fullmatch(key):
        organization = next((value for name, value in headers if name == b"openai-organization"), b"")
        known = provider == "openai" and re.fullmatch(rb"[!-~]{1,200}", organization)
        found[provider] = Credential(api_key=key.decode(), organization=organization.decode() if known else None)


def _invalid(reason: str, where: str = FIELD) -> InvalidRequest:
    return InvalidRequest(f"Invalid `{where}`: {reason}.", param=where)
